"""One run of a plugin on this machine, with all that it is given and all that it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from lmm.envelope import environment
from lmm.errors import RequestError
from lmm.model import SecretRef
from lom.authoring.cases import Case, load_cases
from lom.authoring.trials import TrialOptions, Trials
from lom.names import did_you_mean
from lom.planning.params import mask_write_only, pointer_of, resolve_parameters
from lom.registry.manifest import Capability, Plugin

_T = TypeVar("_T")


def choose(
    plugin: Plugin, action: str | None, case_name: str | None
) -> tuple[Capability, Case | None]:
    """Return the action of a case, or the one named, or the first; and the case.

    Raises RequestError (``invalid_request``) for one that the plugin has not.
    """
    case = None
    if case_name is not None:
        cases = {one.name: one for one in load_cases(plugin)}
        case = _named(cases, case_name, "case", plugin)
    actions = {one.action: one for one in plugin.capabilities}
    chosen = case.action if case else action or next(iter(actions))
    return _named(actions, chosen, "action", plugin), case


def parameters_of(
    capability: Capability,
    case: Case | None,
    given: Mapping[str, Any],
    assignments: Sequence[str],
    secrets: Mapping[str, SecretRef],
) -> Mapping[str, Any]:
    """Return the parameters: the case's, and over them what is given. Raises RequestError."""
    parameters = given
    if assignments or secrets:
        parameters = resolve_parameters(
            capability.input_schema,
            assignments=assignments,
            document=given,
            secrets=secrets,
            action=capability.action,
        )
    return parameters if case is None else {**case.input_parameters, **parameters}


def run_once(
    trials: Trials,
    capability: Capability,
    case: Case | None,
    parameters: Mapping[str, Any],
    secrets: Mapping[str, SecretRef],
    timeout_s: float | None,
) -> dict[str, Any]:
    """Run the plugin and return what it was given and what it answered, as JSON values.

    Raises Cancelled.
    """
    options = TrialOptions(timeout_s, secret_params=frozenset(map(pointer_of, secrets)))
    tried = trials.run(capability, parameters, case, options)
    result, invocation = tried.result, tried.invocation
    message = dict(invocation.message)
    shown = mask_write_only(message["payload"]["input_parameters"], invocation.write_only)
    message["payload"] = {**message["payload"], "input_parameters": shown}
    variables = environment(invocation.message, invocation.write_only)
    return {
        "plugin": trials.plugin.name,
        "action": capability.action,
        "stdin": message,
        "environment": {name: value.decode() for name, value in variables},
        "outcome": str(result.outcome),
        "exit_code": result.exit_code,
        "duration_s": result.duration_s,
        "output_data": result.output_data,
        "error": result.error,
        "events": list(tried.events),
        "stderr": result.stderr,
    }


def _named(known: Mapping[str, _T], name: str, kind: str, plugin: Plugin) -> _T:
    if name not in known:
        raise RequestError(
            "invalid_request", f"{plugin.name} has no {kind} {name!r}{did_you_mean(name, known)}"
        )
    return known[name]
