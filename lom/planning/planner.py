"""Works out what a request comes to: a function from a request and what is known to a plan.

Nothing here connects. A secret that the targets refer to is looked up, to be there when it is used.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lmm import descriptors
from lmm.contract import spec_validator
from lmm.errors import RequestError
from lmm.model import SecretRef, Target
from lmm.redact import has_secrets
from lmm.register import kind_of
from lom.inventory.model import Inventory
from lom.inventory.selectors import select
from lom.planning.options import RunOptions, checked, count_of, options_of
from lom.planning.pairs import batches_of, paired, takes_pairs
from lom.planning.params import (
    mask_write_only,
    pointer_of,
    resolve_parameters,
    write_only_paths,
)
from lom.planning.plan import Plan, Step, build_request
from lom.planning.targets import adjusted, check_buckets, check_secrets
from lom.registry.registry import Registry
from lom.registry.versions import full_version
from lom.settings.values import Settings

LOCAL = Target("local", transport="local")


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What is asked for. ``selectors`` pick the targets, none means this machine.

    ``params`` are values, ``assignments`` texts such as ``a.b=1``, ``secrets`` references by
    parameter, ``context`` what the request says of itself. ``options`` are by default those of the
    settings. ``run_id`` is that of a run which waits, None: a new one.
    """

    action: str
    selectors: tuple[str, ...] = ()
    params: Mapping[str, Any] | None = None
    assignments: tuple[str, ...] = ()
    secrets: Mapping[str, SecretRef] = field(default_factory=dict)
    options: RunOptions | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What a plan is made from, as it stood at one moment; ``origin`` as in ``Plan``."""

    settings: Settings
    inventory: Inventory
    registry: Registry
    origin: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def make_plan(request: PlanRequest, known: Known) -> Plan:
    """Return what a run would do. Raises RequestError with the reason that fits."""
    options = checked(request.options or options_of(known.settings))
    chosen = select(request.selectors, known.inventory) if request.selectors else [LOCAL]
    min_version = options.min_version and full_version(options.min_version)
    steps = tuple(
        _step(known.registry, request.action, adjusted(target, options), min_version)
        for target in chosen
    )
    ruled_out = [step.error for step in steps if step.error is not None]
    if len(ruled_out) == len(steps):
        raise ruled_out[0]
    values, secret_params = _parameters(request, steps)
    if takes_pairs(steps, values):
        if options.batch is not None:
            words = "pairs are gone through in rounds, not in batches @ $.batch"
            raise RequestError("invalid_request", words, field="$.batch")
        steps = paired(steps, values)
    check_secrets(steps)
    if has_secrets(values, secret_params):
        check_buckets(steps)
    run_id = request.run_id or new_run_id()
    message = build_request(
        request.action,
        request.selectors or [LOCAL.name],
        mask_write_only(values, secret_params),
        run_id,
        request.context,
        min_version,
    )
    violations = spec_validator("rcs_v3").violations(message)
    if violations:
        raise RequestError(
            "invalid_request",
            str(violations[0]),
            field=violations[0].path,
            validation_errors=[str(violation) for violation in violations],
        )
    count_of(options.max_failures, len(steps), "max_failures")
    return Plan(
        run_id=run_id,
        action=request.action,
        request=message,
        steps=steps,
        params=values,
        secret_params=secret_params,
        options=options,
        batches=batches_of(steps, options.batch),
        origin=known.origin,
        calls_that_fit=_calls_that_fit(steps),
    )


def new_run_id() -> str:
    """Return a run id that sorts by time and is safe in file names."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.urandom(4).hex()}"


def _step(registry: Registry, action: str, target: Target, min_version: str | None) -> Step:
    try:
        choice = registry.choose(action, target.vars, min_version)
    except RequestError as error:
        if error.reason == "unknown_action":
            raise
        return Step(target, None, None, error.message, error)
    return Step(target, choice.plugin, choice.capability, choice.why)


def _parameters(
    request: PlanRequest, steps: Sequence[Step]
) -> tuple[dict[str, Any], frozenset[str]]:
    """Resolve the parameters; every plugin chosen for the action must accept the same ones."""
    capabilities = {step.plugin: step.capability for step in steps if step.capability}
    resolved = [
        resolve_parameters(
            capability.input_schema,
            assignments=request.assignments,
            document=request.params,
            secrets=request.secrets,
            action=request.action,
        )
        for capability in capabilities.values()
    ]
    if any(values != resolved[0] for values in resolved[1:]):
        names = ", ".join(plugin.name for plugin in capabilities if plugin)
        raise RequestError(
            "invalid_parameters", f"the plugins {names} read these parameters differently"
        )
    paths = [write_only_paths(capability.input_schema) for capability in capabilities.values()]
    given = {pointer_of(key) for key in request.secrets}
    return resolved[0], frozenset(given).union(*paths)


def _calls_that_fit(steps: Sequence[Step]) -> int:
    each = max(kind_of(step.target.transport).descriptors for step in steps)
    return descriptors.calls(descriptors.limit(), each)
