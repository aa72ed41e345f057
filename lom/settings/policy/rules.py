"""The rules of a policy as values; made from files by ``lom.settings.policy.parse``."""

from __future__ import annotations

from dataclasses import dataclass

from lom.settings.policy.hours import Window


@dataclass(frozen=True, slots=True)
class Approval:
    """What a rule demands besides: that one of ``approvers`` has approved of the plan.

    It holds for ``valid_for_s`` seconds after it was given.
    """

    approvers: tuple[str, ...]
    valid_for_s: float


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a policy. An empty condition is met by everything.

    ``targets`` is a selector; ``max_targets`` is how many targets of one run the rule may allow;
    ``approval`` is what it demands for that. ``line`` is where the rule begins in its file.
    """

    name: str
    effect: str
    line: int | None = None
    users: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    risks: tuple[str, ...] = ()
    targets: str | None = None
    hours: tuple[Window, ...] = ()
    max_targets: int | None = None
    approval: Approval | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one file; ``default`` holds where no rule matches.

    ``inventory`` is what the rules mean by their targets and groups; None: the run's own.
    """

    source: str
    default: str = "allow"
    rules: tuple[Rule, ...] = ()
    inventory: str | None = None
