"""Answers what others asked to run: who may, what is recorded, and what they are shown.

What an answer is worth is decided when the run is started, in ``lom.admission.admit``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from lmm.envelope import timestamp
from lmm.errors import PolicyDenied, RequestError
from lom.admission.admit import approvals_folder, audit_logs, safeguards_of, write
from lom.admission.approvals import folder
from lom.admission.approvals.folder import Request
from lom.admission.approvals.standing import Answer
from lom.admission.caller import Caller, current_caller
from lom.admission.decide import is_one_of
from lom.settings.values import Settings

LONGEST_REASON = 4096  # characters, as specs/approval_v1.json says


def find(settings: Settings, name: str, plan_hash: str | None = None) -> Request:
    """Return the request with this run id, or the one whose id begins so.

    Raises RequestError (``unknown_run``, ``local_io_error``, ``config_invalid``); PolicyDenied
    (``approval_void``) where its plan has another hash than the one expected.
    """
    place, identities = approvals_folder(settings), safeguards_of(settings).identities
    caller = current_caller(os.environ, identities)
    request = folder.find(place, name, identities, lambda one: _may_see(one, caller, identities))
    if plan_hash is not None and plan_hash != request.plan_hash:
        raise PolicyDenied(
            "approval_void",
            f"the plan of {request.run_id} has the hash {request.plan_hash}, not {plan_hash}",
            run_id=request.run_id,
            plan_hash=request.plan_hash,
        )
    return request


def waiting(settings: Settings) -> list[dict[str, Any]]:
    """Return every request that was not used yet with its answers, as JSON values.

    Raises RequestError (``local_io_error``, ``config_invalid``).
    """
    if safeguards_of(settings).approvals is None:
        return []
    place, identities = approvals_folder(settings), safeguards_of(settings).identities
    caller = current_caller(os.environ, identities)
    return [
        {
            **listed(one),
            "answers": [
                answer.document()
                for answer in folder.answers(place, one.run_id, identities)
                if answer.plan_hash == one.plan_hash
            ],
        }
        for one in folder.requests(place, identities)
        if _may_see(one, caller, identities)
    ]


def listed(request: Request) -> dict[str, Any]:
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


def approver(request: Request, settings: Settings) -> Caller:
    """Return who calls, if they may answer. Raises PolicyDenied (``policy_denied``)."""
    caller = current_caller(os.environ, safeguards_of(settings).identities)
    data = {"run_id": request.run_id, "user": caller.user}
    if caller.user == request.user:
        why = f"{caller.user} asked for {request.run_id}; somebody else has to answer"
        raise PolicyDenied("policy_denied", why, **data)
    if not _may_answer(request, caller):
        by = " and ".join(one.words for one in request.demands)
        why = f"{caller.user} may not answer {request.run_id}: it needs an approval {by}"
        raise PolicyDenied("policy_denied", why, **data)
    return caller


def _may_answer(request: Request, caller: Caller) -> bool:
    return any(is_one_of(one.approvers, caller.user, caller.groups) for one in request.demands)


def _may_see(request: Request, caller: Caller, identities: Mapping[str, str]) -> bool:
    """Whether it may be shown: who shares an account sees only what concerns them."""
    alone = caller.os_user not in identities
    return alone or caller.user == request.user or _may_answer(request, caller)


def respond(request: Request, settings: Settings, denial: str | None = None) -> Answer:
    """Approve of exactly what the request says, or deny it for a reason.

    Raises PolicyDenied (``policy_denied``, ``audit_unavailable``), RequestError
    (``invalid_request``, ``local_io_error``, ``config_invalid``).
    """
    from lom.admission.audit.records import answered

    caller = approver(request, settings)
    if denial is not None:
        denial = denial.encode("utf-8", "backslashreplace").decode()  # an argument may be any bytes
    if denial is not None and len(denial) > LONGEST_REASON:
        raise RequestError(
            "invalid_request",
            f"the reason has {len(denial)} characters, more than {LONGEST_REASON} @ $.reason",
            field="$.reason",
        )
    answer = folder.answer_of(request, caller, denial)
    line = answered(request.run_id, request.subject, answer.document(), caller)
    unwritten = write(audit_logs(settings), line)
    if unwritten is not None:
        raise unwritten
    folder.leave(approvals_folder(settings), request.run_id, answer)
    return answer
