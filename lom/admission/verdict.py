"""What a judge is, what it is given and what it says. Each judges by itself; a refusal stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lmm.errors import PolicyDenied
from lmm.model import Script
from lom.admission.caller import Caller
from lom.inventory.model import Inventory
from lom.planning.plan import Plan
from lom.registry.manifest import Plugin
from lom.settings.values import Settings

if TYPE_CHECKING:
    from lom.admission.approvals.standing import Answer, Demand
    from lom.admission.approvals.store import ApprovalRequest

Scripts = Mapping[Plugin, Script]


class Consent(NamedTuple):
    """Who has approved of the plan with this hash.

    ``request`` is what could be approved, where nothing was asked for yet.
    """

    plan_hash: str
    approved_by: tuple[Answer, ...] = ()
    request: ApprovalRequest | None = None

    def document(self) -> dict[str, Any]:
        """Return what the audit log and ``--dry-run`` tell of it, as JSON values."""
        answers = [one.document() for one in self.approved_by]
        return {"plan_hash": self.plan_hash, "approved_by": answers}


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
