"""Says whether a plan may be carried out, and has that recorded, before any connection.

Asked once for every run: rules, locked plugins, then the confirmation of what is destructive.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from lmm.errors import PolicyDenied, RuneError
from lmm.model import Script
from lom.admission.caller import Caller, current_caller, user_name
from lom.inventory.load import Inventory, load_inventory
from lom.planning.plan import Plan
from lom.registry.manifest import Plugin
from lom.settings.load import system_safeguards
from lom.settings.policy.values import AuditLog, Safeguards
from lom.settings.values import Settings, state_folder

if TYPE_CHECKING:
    from lom.admission.approvals.check import Consent
    from lom.admission.approvals.standing import Demand
    from lom.admission.decide import Verdict
    from lom.settings.policy.rules import Policy

AUDIT_FILE = "audit.jsonl"

Scripts = Mapping[Plugin, Script]


@dataclass(frozen=True, slots=True)
class Decision:
    """What rules and locks say to a plan; ``error`` is why it may not run.

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
    """A plan may run: ``record_end`` takes its summary; ``approved_by`` are names of users."""

    record_end: Callable[[Mapping[str, Any]], None]
    approved_by: tuple[str, ...]


def judge(
    plan: Plan, scripts: Scripts, settings: Settings, inventory: Callable[[], Inventory]
) -> Decision:
    """Return what rules and locks say; nobody is asked and nothing is recorded.

    ``scripts`` are the bytes that would be sent, ``inventory`` gives the one in use. Raises
    RequestError (``config_invalid``; ``unknown_run``, ``local_io_error`` for an approval).
    """
    safeguards = safeguards_of(settings)
    caller = current_caller(os.environ, safeguards.identities)
    verdicts: list[Mapping[str, Any]] = []
    demands: tuple[Demand, ...] = ()
    error: PolicyDenied | None = None
    if safeguards.policies:
        verdicts, demands, error = _ask(safeguards.policies, plan, caller, inventory)
    if safeguards.locks and error is None:
        from lom.registry.lockfile import check_locked

        sent = [(plugin, script.contents()) for plugin, script in scripts.items()]
        error = check_locked(safeguards.locks, sent)
    found = None
    if error is None and (demands or plan.options.approved is not None):
        found = _consent(demands, plan, scripts, settings, caller)
        error = found.error
    return Decision(caller, tuple(verdicts), error, found)


def admit(
    plan: Plan, scripts: Scripts, settings: Settings, inventory: Callable[[], Inventory]
) -> Admission:
    """Return if the plan may run; an approval is used up by that.

    A plan that needs an approval leaves a request for one. Raises PolicyDenied (``policy_denied``,
    ``plugin_not_locked``, ``confirmation_required``, ``audit_unavailable``,
    ``approval_required``, ``approval_denied``, ``approval_void``) and as ``judge``.
    """
    from lom.admission.audit.records import decided, finished

    logs = audit_logs(settings)
    decision = judge(plan, scripts, settings, inventory)
    caller, found = decision.caller, decision.consent
    approved_by = found.approved_by if found else ()
    request = found.request if found else None
    error = decision.error or (None if approved_by else _confirmed(plan))

    def record(error: RuneError | None) -> PolicyDenied | None:
        told = found.document() if found else None
        return write(logs, decided(plan, caller, scripts, decision.verdicts, error, told))

    unwritten = record(error)
    if unwritten is not None and (error is None or request is not None):
        record(unwritten)
        raise unwritten
    if request is not None:
        from lom.admission.approvals.folder import ask

        ask(approvals_folder(settings), request)
    if error is None and plan.options.approved is not None and not plan.resumes:
        from lom.admission.approvals.check import use_up

        error = use_up(approvals_folder(settings), plan.options.approved)
        if error is not None:
            record(error)
    if error is not None:
        raise error

    def record_end(summary: Mapping[str, Any]) -> None:
        write(logs, finished(summary, caller))

    return Admission(record_end, tuple(one.user for one in approved_by))


def refuse(settings: Settings, caller: Caller, command: str, why: str) -> PolicyDenied:
    """Return the error for what a bound account may not be asked for, after recording it."""
    from lom.admission.audit.records import refused

    error = PolicyDenied("command_refused", why, user=caller.user)
    return write(audit_logs(settings), refused(command, caller, error)) or error


def audit_logs(settings: Settings) -> tuple[AuditLog, ...]:
    """Return where runs are recorded: what the files say, else in the state directory.

    All are required of an account that runs RUNE for others: these could keep them from being
    written, by limits of their processes.
    """
    safeguards = safeguards_of(settings)
    logs = safeguards.audit
    if logs is None:
        logs = (AuditLog(str(state_folder(settings) / AUDIT_FILE)),)
    if user_name(os.getuid()) in safeguards.identities:
        logs = tuple(log._replace(required=True) for log in logs)
    return logs


def approvals_folder(settings: Settings) -> str:
    """Return where requests and approvals are. Raises RequestError (``config_invalid``)."""
    named = safeguards_of(settings).approvals
    if named is None:
        from lom.admission.approvals.check import no_folder

        raise no_folder()
    return named


def safeguards_of(settings: Settings) -> Safeguards:
    """Return what stands between plans and runs. Raises RequestError (``config_invalid``)."""
    return system_safeguards() if settings.safeguards is None else settings.safeguards


def _ask(
    policies: Sequence[Policy], plan: Plan, caller: Caller, inventory: Callable[[], Inventory]
) -> tuple[list[Mapping[str, Any]], tuple[Demand, ...], PolicyDenied | None]:
    """Return what all the policies say, what they demand for it, and the first denial."""
    from lom.admission.decide import Request, denial, verdicts_of

    subjects = tuple((step.target, step.capability.risk) for step in plan.steps if step.capability)
    request = Request(plan.action, subjects, caller, datetime.now(UTC))
    verdicts = []
    for policy in policies:
        verdicts += verdicts_of(policy, request, _inventory_of(policy, inventory))
    denied = next((one for one in verdicts if not one.allowed), None)
    error = denial(denied, request) if denied else None
    return [one.document() for one in verdicts], _demands(verdicts), error


def _demands(verdicts: Sequence[Verdict]) -> tuple[Demand, ...]:
    rules = [(one.policy.source, one.rule) for one in verdicts if one.rule and one.rule.approval]
    if not rules:
        return ()
    from lom.admission.approvals.standing import Demand

    return tuple(
        Demand(rule.name, source, rule.approval.approvers, rule.approval.valid_for_s)
        for source, rule in rules
        if rule.approval
    )


def _consent(
    demands: tuple[Demand, ...], plan: Plan, scripts: Scripts, settings: Settings, caller: Caller
) -> Consent:
    from lom.admission.approvals.check import consent, no_folder

    safeguards = safeguards_of(settings)
    if safeguards.approvals is None:
        raise no_folder(demands[0] if demands else None)
    return consent(plan, scripts, caller, demands, safeguards.approvals, safeguards.identities)


def _inventory_of(policy: Policy, in_use: Callable[[], Inventory]) -> Inventory:
    if policy.inventory is not None:
        return load_inventory(policy.inventory, found=True)
    return in_use() if any(rule.targets for rule in policy.rules) else Inventory()


def _confirmed(plan: Plan) -> RuneError | None:
    """Return why a destructive action may not run; a person may be asked."""
    destructive = [
        step for step in plan.steps if step.capability and step.capability.risk == "destructive"
    ]
    if not destructive or plan.options.yes:
        return None
    question = f"{plan.action} is destructive and will run on {len(destructive)} target(s)"
    if plan.options.confirm is None:
        return PolicyDenied("confirmation_required", f"{question}; confirm with --yes")
    if not plan.options.confirm(question):
        return PolicyDenied("policy_denied", f"{question}; it was not confirmed")
    return None


def write(logs: Sequence[AuditLog], record: Mapping[str, Any]) -> PolicyDenied | None:
    """Append to every audit log; return why one that is required has not got the line."""
    from lom.admission.audit.chain import append

    problem = None
    for log in logs:
        try:
            os.makedirs(os.path.dirname(os.path.abspath(log.path)), 0o700, exist_ok=True)
            append(log.path, record)
        except OSError as error:
            why = f"the audit log {log.path} cannot be written: {error.strerror}"
            if log.required:
                problem = PolicyDenied("audit_unavailable", f"{why}; it is required", file=log.path)
            _warn(why)
    return problem


def _warn(text: str) -> None:
    import logging

    logging.getLogger("rune").warning("warning: %s", text)
