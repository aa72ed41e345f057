"""The judge that asks the rules of all policies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from lom.admission.approvals.standing import Demand
from lom.admission.caller import Caller
from lom.admission.decide import Question, RuleVerdict, denial, verdicts_of
from lom.admission.verdict import Verdict
from lom.inventory.load import load_inventory
from lom.inventory.model import Inventory
from lom.planning.plan import Plan
from lom.settings.policy.rules import Policy


class Rules:
    """Allows what every policy allows; a rule may demand an approval for that."""

    def __init__(self, policies: Sequence[Policy], inventory: Callable[[], Inventory]) -> None:
        self._policies = policies
        self._inventory = inventory

    def judge(self, plan: Plan, caller: Caller, now: datetime) -> Verdict:
        subjects = tuple(
            (step.target, step.capability.risk) for step in plan.steps if step.capability
        )
        question = Question(plan.action, subjects, caller, now)
        found: list[RuleVerdict] = []
        for policy in self._policies:
            found += verdicts_of(policy, question, self._inventory_of(policy))
        denied = next((verdict for verdict in found if not verdict.allowed), None)
        return Verdict(
            denial(denied, question) if denied else None,
            [verdict.document() for verdict in found],
            _demands(found),
        )

    def _inventory_of(self, policy: Policy) -> Inventory:
        if policy.inventory is not None:
            return load_inventory(policy.inventory, found=True)
        return self._inventory() if any(rule.targets for rule in policy.rules) else Inventory()


def _demands(verdicts: Sequence[RuleVerdict]) -> tuple[Demand, ...]:
    return tuple(
        Demand(rule.name, verdict.policy.source, rule.approval.approvers, rule.approval.valid_for_s)
        for verdict in verdicts
        if (rule := verdict.rule) and rule.approval
    )
