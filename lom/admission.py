"""Says whether a plan may be carried out, and has that recorded, before any connection.

Asked once for every run: rules, locked plugins, then the confirmation of what is destructive.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lmm.errors import PolicyDenied, RuneError
from lmm.model import Script
from lom.config import Settings, state_folder, system_safeguards
from lom.inventory import Inventory, load_inventory
from lom.manifest import Plugin
from lom.plan import Plan
from lom.policy.caller import Caller, current_caller
from lom.policy.values import AuditLog, Safeguards

if TYPE_CHECKING:
    from lom.policy.rules import Policy

AUDIT_FILE = "audit.jsonl"

Scripts = Mapping[Plugin, Script]


@dataclass(frozen=True, slots=True)
class Decision:
    """What rules and locks say to a plan; ``error`` is why it may not run.

    ``verdicts`` are JSON objects: policy, rule, effect, targets (their number), why.
    """

    caller: Caller
    verdicts: tuple[Mapping[str, Any], ...] = ()
    error: PolicyDenied | None = None

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "allowed": self.error is None,
            "user": self.caller.user,
            "verdicts": list(self.verdicts),
            "reason": self.error and self.error.reason,
            "message": self.error and self.error.message,
        }


def judge(
    plan: Plan, scripts: Scripts, settings: Settings, inventory: Callable[[], Inventory]
) -> Decision:
    """Return what rules and locks say; nobody is asked and nothing is recorded.

    ``scripts`` are the bytes that would be sent, ``inventory`` gives the one in use. Raises
    RequestError (``config_invalid``).
    """
    safeguards = _safeguards(settings)
    caller = current_caller(os.environ, safeguards.identities)
    verdicts: list[Mapping[str, Any]] = []
    error: PolicyDenied | None = None
    if safeguards.policies:
        verdicts, error = _ask(safeguards.policies, plan, caller, inventory)
    if safeguards.locks and error is None:
        from lom.lockfile import check_locked

        sent = [(plugin, script.content) for plugin, script in scripts.items()]
        error = check_locked(safeguards.locks, sent)
    return Decision(caller, tuple(verdicts), error)


def admit(
    plan: Plan, scripts: Scripts, settings: Settings, inventory: Callable[[], Inventory]
) -> Callable[[Mapping[str, Any]], None]:
    """Return if the plan may run, with what records its end from the run's summary.

    Raises PolicyDenied (``policy_denied``, ``plugin_not_locked``, ``confirmation_required``,
    ``audit_unavailable``), RequestError (``config_invalid``).
    """
    from lom.audit.records import decided, finished

    logs = audit_logs(settings)
    decision = judge(plan, scripts, settings, inventory)
    caller, error = decision.caller, decision.error or _confirmed(plan)
    unwritten = _record(logs, decided(plan, caller, scripts, decision.verdicts, error))
    if error is None and unwritten is not None:
        error = unwritten
        _record(logs, decided(plan, caller, scripts, decision.verdicts, error))
    if error is not None:
        raise error

    def record_end(summary: Mapping[str, Any]) -> None:
        _record(logs, finished(summary, caller))

    return record_end


def audit_logs(settings: Settings) -> tuple[AuditLog, ...]:
    """Return where runs are recorded: what the files say, else in the state directory."""
    named = _safeguards(settings).audit
    if named is not None:
        return named
    return (AuditLog(str(state_folder(settings) / AUDIT_FILE)),)


def _safeguards(settings: Settings) -> Safeguards:
    return system_safeguards() if settings.safeguards is None else settings.safeguards


def _ask(
    policies: Sequence[Policy], plan: Plan, caller: Caller, inventory: Callable[[], Inventory]
) -> tuple[list[Mapping[str, Any]], PolicyDenied | None]:
    """Return what all the policies say, and the first denial."""
    from lom.policy.decide import Request, denial, verdicts_of

    subjects = tuple((step.target, step.capability.risk) for step in plan.steps if step.capability)
    request = Request(plan.action, subjects, caller, datetime.now(UTC))
    verdicts = []
    for policy in policies:
        verdicts += verdicts_of(policy, request, _inventory_of(policy, inventory))
    denied = next((one for one in verdicts if not one.allowed), None)
    error = denial(denied, request) if denied else None
    return [one.document() for one in verdicts], error


def _inventory_of(policy: Policy, in_use: Callable[[], Inventory]) -> Inventory:
    if policy.inventory is not None:
        return load_inventory(policy.inventory)
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


def _record(logs: Sequence[AuditLog], record: Mapping[str, Any]) -> PolicyDenied | None:
    """Append to every log; return why one that is required has not got the line."""
    from lom.audit.chain import append

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
