"""Plans how a run that the ledger has goes on: one that was left, or is asked for again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lmm.errors import RequestError
from lmm.model import Outcome, Target
from lom.planning.options import RunOptions
from lom.planning.pairs import batches_of
from lom.planning.plan import Plan, Step

if TYPE_CHECKING:
    from lom.ledger.records import RunRow, TargetRow


def is_open(target: TargetRow) -> bool:
    """Whether a run that is taken up still has to do with the target."""
    return target.state != "done" or target.outcome == Outcome.LOST


def resumed(plan: Plan, run: RunRow, targets: Sequence[TargetRow]) -> Plan:
    """Return the plan that takes the run up, made of a new plan of its action on its targets.

    It has the run's id, request, targets and batches. Of targets that are through, the new plan may
    lack some. Raises RequestError (``unknown_target``).
    """
    steps = {step.target.name: step for step in plan.steps}
    gone = [target.name for target in targets if is_open(target) and target.name not in steps]
    if gone:
        raise RequestError(
            "unknown_target",
            f"the run {run.run_id} has {len(gone)} target(s) left that are not in the inventory any"
            f" more, {gone[0]!r} the first",
            name=gone[0],
        )
    found = tuple(steps.get(target.name) or _through(target) for target in targets)
    return replace(
        plan,
        run_id=run.run_id,
        request=run.request,
        steps=found,
        batches=batches_of(found, plan.options.batch),
        resumes=True,
    )


def _through(target: TargetRow) -> Step:
    return Step(Target(target.name, transport=target.transport), None, None, "it is through")


def differences(plan: Plan, run: RunRow) -> list[str]:
    """Return in what a plan's request is not that of the run, save for values of secrets."""
    now = _asked(plan.request, plan.secret_params, plan.options.document())
    options = RunOptions.of(run.options).document()
    then = _asked(run.request, frozenset(run.secret_params), options)
    return [name for name in now if now[name] != then[name]]


def _asked(
    request: Mapping[str, Any], secret_params: frozenset[str], options: Mapping[str, Any]
) -> dict[str, Any]:
    data = request["payload"]["data"]
    asked = {
        "action": request["routing"]["action"],
        "targets": request["routing"]["targets"],
        "parameters": data["input_parameters"],
        "secrets": sorted(secret_params),
        "context": data["context"],
        **{f"options.{name}": value for name, value in options.items()},
    }
    found: dict[str, Any] = json.loads(json.dumps(asked))
    return found
