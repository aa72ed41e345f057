"""Tries a plugin on a target of the inventory, admitted and recorded as its runs would be."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lmm.errors import RequestError
from lmm.model import Outcome
from lmm.transports import TransportPool
from lom.authoring import inputs
from lom.authoring.cases import Case
from lom.authoring.kit_endings import find_orphans
from lom.authoring.trials import Trials
from lom.planning.options import Start
from lom.registry.registry import PluginPlace, Registry

if TYPE_CHECKING:
    from lom.planning.plan import Plan
    from lom.registry.manifest import Plugin
    from lom.service.orchestrator import Orchestrator


@contextlib.contextmanager
def trials_on(
    orchestrator: Orchestrator,
    plugin: Plugin,
    cases: Sequence[Case],
    selector: str,
    *,
    yes: bool,
    confirm: Callable[[str], bool] | None,
) -> Iterator[Trials]:
    """Yield trials on the one target that ``selector`` picks; the connection is closed after.

    Raises RequestError for a selector that picks none or several, for a target that cannot be
    reached, and for a plugin without an action that can be tried there; PolicyDenied as a run
    would.
    """
    orchestrator.registry = Registry([PluginPlace("tested", plugin.directory)])
    start = Start(yes=yes, confirm=confirm)
    plans: list[Plan] = []
    for capability in plugin.capabilities:
        own = [one for one in cases if one.action == capability.action and not one.needs_stage]
        params = own[0].input_parameters if own else {}
        if inputs.refusal(capability, params) is None:
            plans.append(orchestrator.plan(capability.action, [selector], params))
    if not plans:
        raise RequestError(
            "invalid_request",
            f"no case of {plugin.name} can be run elsewhere: each needs files, commands or an"
            " environment that only this machine can be given",
        )
    targets = [step.target for step in plans[0].steps]
    if len(targets) != 1:
        raise RequestError(
            "invalid_request",
            f"{selector!r} picks {len(targets)} targets; a plugin is tested on one at a time",
        )
    admissions = [orchestrator.admit(plan, start) for plan in plans]
    pool = TransportPool()
    trials = Trials(plugin, targets[0], pool.get(targets[0].transport))
    try:
        first = find_orphans(trials, "none")
        if not first.result.ok:  # said once, not by each check
            words = f"{targets[0].name}: {first.result.message}"
            raise RequestError(first.result.reason or "invalid_request", words)
        yield trials
    finally:
        pool.close()
        for plan, admission in zip(plans, admissions, strict=True):
            admission.record_end({"run_id": plan.run_id, "action": plan.action, **_summary(trials)})


def _summary(trials: Trials) -> dict[str, Any]:
    counted = {str(outcome): trials.outcomes[str(outcome)] for outcome in Outcome}
    seen = [name for name, number in counted.items() if number]
    return {"status": seen[0] if len(seen) == 1 else "partial", "summary": counted}
