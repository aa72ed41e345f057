"""What the rules say to a run: pure, from values to a decision.

In each policy the first rule that matches decides, for each target by itself. A run is allowed if
every policy allows every target.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from lmm.errors import PolicyDenied, RequestError
from lmm.model import Target
from lom.admission.caller import Caller
from lom.inventory.model import Inventory
from lom.inventory.selectors import evaluate, parse
from lom.settings import values as config
from lom.settings.policy.rules import Policy, Rule

SHOWN_TARGETS = 20


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the rules: each target with the risk of what would run there."""

    action: str
    subjects: tuple[tuple[Target, str], ...]
    caller: Caller
    now: datetime


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    """What one rule (None: the default) of one policy says to some of the targets."""

    policy: Policy
    rule: Rule | None
    allowed: bool
    targets: tuple[str, ...]
    why: str

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "policy": self.policy.source,
            "rule": self.rule.name if self.rule else None,
            "effect": "allow" if self.allowed else "deny",
            "targets": len(self.targets),
            "why": self.why,
        }


def verdicts_of(policy: Policy, question: Question, inventory: Inventory) -> list[RuleVerdict]:
    """Return what a policy says to a question, in the order of its rules, the default last.

    ``inventory`` is the policy's own where it has one. Raises RequestError (``config_invalid``)
    for a rule whose selector means nothing there.
    """
    subjects: list[tuple[Target, str]] = []
    foreign: dict[str, list[str]] = {}
    for target, risk in question.subjects:
        if why := _foreign(policy, question.caller, target, inventory):
            foreign.setdefault(why, []).append(target.name)
        else:
            subjects.append((target, risk))
    universe = {target.name: target for target, _ in subjects}
    inventory = replace(inventory, targets={**inventory.targets, **universe})
    chosen = {rule.name: _names(policy, rule, inventory) for rule in policy.rules if rule.targets}
    matching = [rule for rule in policy.rules if _concerns(rule, question)]
    found: dict[str | None, list[str]] = {}
    for target, risk in subjects:
        rule = next(
            (
                rule
                for rule in matching
                if (not rule.risks or risk in rule.risks)
                and (rule.name not in chosen or target.name in chosen[rule.name])
            ),
            None,
        )
        found.setdefault(rule.name if rule else None, []).append(target.name)
    verdicts = [
        _verdict(policy, rule, found[rule.name]) for rule in policy.rules if rule.name in found
    ]
    if None in found:
        allowed = policy.default == "allow"
        why = f"no rule matches, and the default is {policy.default}"
        verdicts.append(RuleVerdict(policy, None, allowed, tuple(found[None]), why))
    verdicts += [
        RuleVerdict(policy, None, False, tuple(names), why) for why, names in foreign.items()
    ]
    return verdicts


def denial(verdict: RuleVerdict, question: Question) -> PolicyDenied:
    """Return the error for a verdict that denies: which rule, what it saw, what to do."""
    rule, names = verdict.rule, verdict.targets
    listed = ", ".join(names[:SHOWN_TARGETS]) + (", …" if len(names) > SHOWN_TARGETS else "")
    at = f", line {rule.line}" if rule and rule.line else ""
    who = f"rule {rule.name!r}" if rule else "the policy"
    denied = set(names)
    risks = sorted({risk for target, risk in question.subjects if target.name in denied})
    return PolicyDenied(
        "policy_denied",
        f"{who} ({verdict.policy.source}{at}) denies {question.action} on {len(names)} target(s):"
        f" {listed}; {verdict.why}; seen: user {question.caller.user}, risk {' and '.join(risks)},"
        f" {question.now.astimezone():%a %Y-%m-%d %H:%M %Z}",
        rule=rule.name if rule else None,
        policy=verdict.policy.source,
        user=question.caller.user,
        targets=list(names[:SHOWN_TARGETS]),
        target_count=len(names),
    )


def _verdict(policy: Policy, rule: Rule, names: Sequence[str]) -> RuleVerdict:
    allowed, why = rule.effect == "allow", f"its effect is {rule.effect}"
    if rule.approval is not None:
        why += f", once {' or '.join(rule.approval.approvers)} has approved"
    if rule.max_targets is not None and len(names) > rule.max_targets:
        allowed = False
        why = f"it allows at most {rule.max_targets} target(s) in one run, these are {len(names)}"
    return RuleVerdict(policy, rule, allowed, tuple(names), why)


def _concerns(rule: Rule, question: Question) -> bool:
    """Whether the conditions that are the same for all targets of a run are met."""
    caller = question.caller
    return (
        (not rule.users or is_one_of(rule.users, caller.user, caller.groups))
        and (not rule.actions or any(fnmatchcase(question.action, one) for one in rule.actions))
        and (not rule.hours or any(window.holds(question.now) for window in rule.hours))
    )


def is_one_of(patterns: Sequence[str], user: str, groups: Iterable[str]) -> bool:
    """Whether a user with these groups is meant by names of users, or of groups after an @."""
    return any(
        any(fnmatchcase(group, pattern[1:]) for group in groups)
        if pattern.startswith("@")
        else fnmatchcase(user, pattern)
        for pattern in patterns
    )


def _names(policy: Policy, rule: Rule, inventory: Inventory) -> frozenset[str]:
    assert rule.targets
    try:
        return frozenset(target.name for target in evaluate(parse(rule.targets), inventory))
    except RequestError as error:
        raise RequestError(
            "config_invalid",
            f"rule {rule.name!r}: {error.message} @ $.targets, line {rule.line} of {policy.source};"
            " the selectors of rules mean the targets and groups of"
            f" {policy.inventory or 'the inventory in use'}",
            field="$.targets",
            file=policy.source,
            line=rule.line,
        ) from None


def _foreign(policy: Policy, caller: Caller, target: Target, inventory: Inventory) -> str | None:
    """Return why a policy denies a target, whatever its rules say; None where they decide."""
    if caller.bound and policy.source == config.SYSTEM_POLICY and target.transport == "local":
        # What runs here is the account, which holds the keys to all the hosts.
        listed = policy.inventory is not None and target.name in inventory.targets
        if not listed or not _is_known(target, inventory):
            return (
                "this machine is the account's own; list it in the policy's inventory to allow it"
            )
    if policy.inventory is not None and not _is_known(target, inventory):
        return f"not as they stand in the policy's inventory {policy.inventory}"
    return None


def _is_known(target: Target, inventory: Inventory) -> bool:
    """Whether a target is what the inventory means by its name, but for what a run may set."""
    here = target.transport == "local"
    known = inventory.targets.get(target.name)
    if known is None:
        return here and target.name in ("local", "localhost")
    settable = replace(
        target,
        transport=known.transport,
        become=known.become,
        ssh=replace(target.ssh, connect_timeout_s=known.ssh.connect_timeout_s),
        seen=known.seen,
    )
    return settable == known and here == (known.transport == "local")
