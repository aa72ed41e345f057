"""Says whether a plan may be carried out, and has that recorded, before any connection.

Asked for every run: the judges (rules, locked plugins, approvals), then the confirmation of what is
destructive, and after that the judges again: a person may take long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from lmm.errors import PolicyDenied, RuneError
from lom.admission import judges
from lom.admission.audit.logs import write
from lom.admission.caller import Caller
from lom.admission.safeguards import approval_store, audit_logs
from lom.admission.verdict import Grounds
from lom.planning.options import Start
from lom.planning.plan import Plan
from lom.settings.values import Settings

if TYPE_CHECKING:
    from lom.admission.approvals.standing import Demand
    from lom.admission.verdict import Consent


class Decision(NamedTuple):
    """What the judges say to a plan; ``error`` is why it may not run.

    ``verdicts`` are JSON objects: policy, rule, effect, targets (their number), why. ``consent``
    is None where no rule demands an approval.
    """

    caller: Caller
    verdicts: tuple[Mapping[str, Any], ...] = ()
    error: PolicyDenied | None = None
    consent: Consent | None = None

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "allowed": self.error is None,
            "user": self.caller.user,
            "verdicts": list(self.verdicts),
            "reason": self.error and self.error.reason,
            "message": self.error and self.error.message,
            **({"approval": self.consent.document()} if self.consent else {}),
        }


class Admission(NamedTuple):
    """A plan may run: ``record_end`` takes its summary; ``approved_by`` are names of users.

    ``record_failure`` takes why it has not begun; with True what was approved still ``waits``.
    """

    record_end: Callable[[Mapping[str, Any]], None]
    record_failure: Callable[[RuneError, bool], None]
    approved_by: tuple[str, ...]


def judge(plan: Plan, start: Start, caller: Caller, grounds: Grounds) -> Decision:
    """Return what the judges say; nobody is asked and nothing is recorded.

    Raises RequestError (``config_invalid``; ``unknown_run``, ``local_io_error`` for an approval).
    """
    now = datetime.now(UTC)
    rows: list[Mapping[str, Any]] = []
    demands: list[Demand] = []
    for make in judges.JUDGES:
        if (asked := make(grounds)) is None:
            continue
        verdict = asked.judge(plan, caller, now)
        rows += verdict.rows
        demands += verdict.demands
        if verdict.error is not None:
            return Decision(caller, tuple(rows), verdict.error)
    if not demands and not start.approved:
        return Decision(caller, tuple(rows))
    from lom.admission.approvals.check import Approvals

    verdict = Approvals(demands, grounds, start.approved).judge(plan, caller, now)
    return Decision(caller, tuple(rows), verdict.error, verdict.consent)


def admit(plan: Plan, start: Start, ask: Callable[[], tuple[Caller, Grounds]]) -> Admission:
    """Return if the plan may run; an approval is used up by that.

    ``ask`` gives who asks, and what judges may need, as it is at the moment of the call.
    A plan that needs an approval leaves a request for one. Raises PolicyDenied (``policy_denied``,
    ``plugin_not_locked``, ``confirmation_required``, ``audit_unavailable``,
    ``approval_required``, ``approval_denied``, ``approval_void``) and as ``judge``.
    """
    from lom.admission.audit.records import decided, event_of, finished

    caller, grounds = ask()
    settings = grounds.settings
    logs = audit_logs(settings)
    decision = judge(plan, start, caller, grounds)
    found = decision.consent
    approved_by = found.approved_by if found else ()
    request = found.request if found else None
    error: RuneError | None = decision.error
    question = None if error or approved_by or start.yes else _question(plan)
    if question:
        error = _unconfirmed(question, start)
        if error is None:
            return admit(plan, replace(start, yes=True), ask)

    def record(event: str, error: RuneError | None) -> PolicyDenied | None:
        told = found.document() if found else None
        rows = decision.verdicts
        return write(logs, decided(event, plan, caller, grounds.scripts, rows, error, told))

    uses = error is None and start.approved and not plan.resumes
    if uses:
        from lom.admission.approvals.check import use_up

        error = use_up(approval_store(settings), plan.run_id)
    unwritten = record(event_of(plan, start, error), error)
    if unwritten is not None and (error is None or request is not None):
        record("run.denied", unwritten)
        if uses:
            approval_store(settings).give_back(plan.run_id)
        raise unwritten
    if request is not None:
        approval_store(settings).ask(request)
    if error is not None:
        raise error

    def record_end(summary: Mapping[str, Any]) -> None:
        write(logs, finished(summary, caller))

    def record_failure(error: RuneError, waits: bool) -> None:
        record("run.denied", error)
        if waits:
            approval_store(settings).give_back(plan.run_id)

    return Admission(record_end, record_failure, tuple(answer.user for answer in approved_by))


def refuse(settings: Settings, caller: Caller, command: str, why: str) -> PolicyDenied:
    """Return the error for what a bound account may not be asked for, after recording it."""
    from lom.admission.audit.records import refused

    error = PolicyDenied("command_refused", why, user=caller.user)
    return write(audit_logs(settings), refused(command, caller, error)) or error


def _question(plan: Plan) -> str | None:
    """Return what a person has to confirm, None where nothing is destructive."""
    destructive = [
        step for step in plan.steps if step.capability and step.capability.risk == "destructive"
    ]
    if not destructive:
        return None
    return f"{plan.action} is destructive and will run on {len(destructive)} target(s)"


def _unconfirmed(question: str, start: Start) -> PolicyDenied | None:
    """Ask a person, and return why the plan may not run."""
    if start.confirm is None:
        return PolicyDenied("confirmation_required", f"{question}; confirm with --yes")
    if not start.confirm(question):
        return PolicyDenied("policy_denied", f"{question}; it was not confirmed")
    return None
