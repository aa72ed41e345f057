"""Who is asked whether a plan may run: the list, to which the next judge is added."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from lom.admission.caller import Caller
from lom.admission.safeguards import safeguards_of
from lom.admission.verdict import Grounds, Judge, Scripts, Verdict
from lom.planning.plan import Plan


def _rules(grounds: Grounds) -> Judge | None:
    policies = safeguards_of(grounds.settings).policies
    if not policies:
        return None
    from lom.admission.rules import Rules

    return Rules(policies, grounds.inventory)


def _locks(grounds: Grounds) -> Judge | None:
    locks = safeguards_of(grounds.settings).locks
    return LockedPlugins(locks, grounds.scripts) if locks else None


class LockedPlugins:
    """Refuses plugins that are not as every lock file has them."""

    def __init__(self, locks: Sequence[str], scripts: Scripts) -> None:
        self._locks = locks
        self._scripts = scripts

    def judge(self, plan: Plan, caller: Caller, now: datetime) -> Verdict:
        from lom.registry.lockfile import check_locked

        sent = [(plugin, script.contents()) for plugin, script in self._scripts.items()]
        return Verdict(check_locked(self._locks, sent))


# In the order in which they are asked; each makes its judge, or None where nothing is to be judged.
# Approvals come last of all: what they have to meet is what these demand.
JUDGES: tuple[Callable[[Grounds], Judge | None], ...] = (_rules, _locks)
