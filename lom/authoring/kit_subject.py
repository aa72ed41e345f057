"""One action of a plugin under test, and what can be said of its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from lom.authoring.cases import Case, base_case
from lom.authoring.findings import Finding, failed, ok
from lom.authoring.trials import TrialOptions, TrialResult, Trials
from lom.names import shown
from lom.registry.manifest import Capability

RISKS = ("read", "change", "destructive")


class Subject:
    """One action and the case that shows it at work; ``trials`` say where it is tried.

    ``may_run``: it may be run at all; ``may_harm``: it may be interrupted and given made-up
    parameters. An action whose case has stand-ins for commands harms nothing.
    """

    def __init__(
        self, trials: Trials, capability: Capability, cases: Sequence[Case], most_risk: str
    ) -> None:
        self.trials = trials
        self.capability = capability
        own = [one for one in cases if one.action == capability.action]
        self.cases = [one for one in own if trials.is_here or not one.needs_stage]
        self.case = base_case(capability, self.cases)
        self.parameters: Mapping[str, Any] = self.case.input_parameters if self.case else {}
        allowed = RISKS.index(capability.risk) <= RISKS.index(most_risk)
        self.may_harm = allowed or bool(self.case and self.case.commands)
        self.may_run = self.may_harm or capability.risk != "destructive"

    @cached_property
    def base(self) -> TrialResult:
        """What the action answers when it is left in peace."""
        return self.run()

    def run(self, parameters: Mapping[str, Any] | None = None, **options: Any) -> TrialResult:
        """Run the action on its case's host; ``options`` are fields of ``TrialOptions``."""
        chosen = self.parameters if parameters is None else parameters
        return self.trials.run(self.capability, chosen, self.case, TrialOptions(**options))


def keeps_contract(name: str, tried: TrialResult, what: str, remedy: str) -> Finding:
    """Return whether a plugin kept the contract; ``what`` says under which circumstances."""
    if tried.answered:
        return ok(name, f"it answers {what}")
    return failed(name, f"{what}: {trouble(tried)}", f"{advice(tried)} {remedy}".strip())


def trouble(tried: TrialResult) -> str:
    """Return in words what RUNE has against an answer."""
    message = tried.result.message
    first = tried.result.problem.get("data", {}).get("first_bytes")
    is_told = not first or "stdout begins with" in message
    beginning = "" if is_told else f"; stdout begins with {shown(first, 100)}"
    log = tried.result.stderr.strip()
    said = f"; stderr ends with {shown(log[-200:], 200)}" if log else ""
    return f"{tried.result.outcome}: {message}{beginning}{said}"


def advice(tried: TrialResult) -> str:
    """Return what RUNE's own error says to do; empty for a plugin's own error."""
    if tried.answered or tried.result.error is None:
        return ""
    return " ".join(tried.result.error["error_context"]["recovery_actions"])
