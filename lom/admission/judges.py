"""Who is asked whether a plan may run. Each judge says so by itself; the first refusal stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lmm.errors import PolicyDenied
from lmm.model import Script
from lom.admission.caller import Caller
from lom.admission.safeguards import safeguards_of
from lom.inventory.model import Inventory
from lom.planning.plan import Plan
from lom.registry.manifest import Plugin
from lom.settings.values import Settings

if TYPE_CHECKING:
    from lom.admission.approvals.check import Consent
    from lom.admission.approvals.standing import Demand

Scripts = Mapping[Plugin, Script]


class Verdict(NamedTuple):
    """What a judge says to a plan; ``error`` is why it may not run.

    ``rows`` are JSON objects for the audit log and ``--dry-run``: policy, rule, effect, targets
    (their number), why. ``demands`` are approvals without which it may not run either; ``consent``
    is what became of those.
    """

    error: PolicyDenied | None = None
    rows: Sequence[Mapping[str, Any]] = ()
    demands: tuple[Demand, ...] = ()
    consent: Consent | None = None


class Judge(Protocol):
    """Says whether a plan may run. Connects to nothing, asks nobody and records nothing."""

    def judge(self, plan: Plan, caller: Caller, now: datetime) -> Verdict:
        """Return the verdict. Raises RequestError (``config_invalid``) where none can be made."""


class Grounds(NamedTuple):
    """What a judge may need beside the plan.

    ``scripts`` are the bytes that would be sent, ``inventory`` gives the one in use.
    """

    settings: Settings
    scripts: Scripts
    inventory: Callable[[], Inventory]


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
