"""Answers what others asked to run: who may, what is recorded, and what they are shown.

What an answer is worth is decided when the run is started, in ``lom.admission.admit``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from lmm.envelope import timestamp
from lmm.errors import PolicyDenied, RequestError
from lom.admission.approvals.standing import Answer
from lom.admission.approvals.store import ApprovalRequest, may_answer, may_see
from lom.admission.audit.logs import write
from lom.admission.caller import Caller
from lom.admission.safeguards import approval_store, audit_logs, caller_of, safeguards_of
from lom.settings.values import Settings

__all__ = [
    "LONGEST_REASON",
    "caller_of",
    "check_approver",
    "find",
    "listed",
    "respond",
    "waiting",
]

LONGEST_REASON = 4096  # characters, as specs/approval_v1.json says


def find(
    settings: Settings, name: str, caller: Caller, plan_hash: str | None = None
) -> ApprovalRequest:
    """Return the request with this run id, or the one whose id begins so, if the caller may see it.

    Raises RequestError (``unknown_run``, ``local_io_error``, ``config_invalid``); PolicyDenied
    (``approval_void``) where its plan has another hash than the one expected.
    """
    identities = safeguards_of(settings).identities
    request = approval_store(settings).find(name, lambda one: may_see(one, caller, identities))
    if plan_hash is not None and plan_hash != request.plan_hash:
        raise PolicyDenied(
            "approval_void",
            f"the plan of {request.run_id} has the hash {request.plan_hash}, not {plan_hash}",
            run_id=request.run_id,
            plan_hash=request.plan_hash,
        )
    return request


def waiting(settings: Settings, caller: Caller) -> list[dict[str, Any]]:
    """Return what waits and the caller may see, each with its answers, as JSON values.

    Raises RequestError (``local_io_error``, ``config_invalid``).
    """
    safeguards = safeguards_of(settings)
    if safeguards.approvals is None:
        return []
    store = approval_store(settings)
    return [
        {
            **listed(one),
            "answers": [
                answer.document()
                for answer in store.answers(one.run_id)
                if answer.plan_hash == one.plan_hash
            ],
        }
        for one in store.requests()
        if may_see(one, caller, safeguards.identities)
    ]


def listed(request: ApprovalRequest) -> dict[str, Any]:
    """Return what a request is about, in short, as JSON values."""
    return {
        "run_id": request.run_id,
        "action": request.subject["action"],
        "targets": len(request.subject["targets"]),
        "user": request.user,
        "asked_at": timestamp(request.asked_at),
        "approvers": sorted({name for one in request.demands for name in one.approvers}),
        "plan_hash": request.plan_hash,
    }


def check_approver(request: ApprovalRequest, caller: Caller) -> None:
    """Raise PolicyDenied (``policy_denied``) if the caller may not answer."""
    data = {"run_id": request.run_id, "user": caller.user}
    if caller.user == request.user:
        why = f"{caller.user} asked for {request.run_id}; somebody else has to answer"
        raise PolicyDenied("policy_denied", why, **data)
    if not may_answer(request, caller):
        by = " and ".join(one.words for one in request.demands)
        why = f"{caller.user} may not answer {request.run_id}: it needs an approval {by}"
        raise PolicyDenied("policy_denied", why, **data)


def respond(
    request: ApprovalRequest, settings: Settings, caller: Caller, denial: str | None = None
) -> Answer:
    """Approve of exactly what the request says, or deny it for a reason.

    Raises PolicyDenied (``policy_denied``, ``audit_unavailable``), RequestError
    (``invalid_request``, ``local_io_error``, ``config_invalid``).
    """
    from lom.admission.audit.records import answered

    check_approver(request, caller)
    if denial is not None:
        denial = denial.encode("utf-8", "backslashreplace").decode()  # an argument may be any bytes
    if denial is not None and len(denial) > LONGEST_REASON:
        raise RequestError(
            "invalid_request",
            f"the reason has {len(denial)} characters, more than {LONGEST_REASON} @ $.reason",
            field="$.reason",
        )
    now = datetime.now(UTC)
    answer = Answer(caller.user, caller.groups, request.plan_hash, denial is None, now, denial)
    line = answered(request.run_id, request.subject, answer.document(), caller)
    unwritten = write(audit_logs(settings), line)
    if unwritten is not None:
        raise unwritten
    approval_store(settings).leave(request.run_id, answer)
    return answer
