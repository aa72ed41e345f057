"""``rune plugin run-local``: one run of a plugin with all that it is given and all it answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from lmm.errors import PolicyDenied, RequestError
from lom.cli.commands.plugins import cancelling, folder_of
from lom.cli.commands.run import read_params
from lom.cli.common import Common, common_options, completing
from lom.cli.types import Seconds, secret_references
from lom.exit_codes import ExitCode
from lom.names import did_you_mean

if TYPE_CHECKING:
    from lom.authoring.trials import Tried
    from lom.registry.manifest import Capability, Plugin

_CODES = {
    "ok": ExitCode.OK,
    "invalid_output": ExitCode.INVALID_OUTPUT,
    "timed_out": ExitCode.TIMED_OUT,
    "cancelled": ExitCode.CANCELLED,
}


@click.command("run-local")
@click.argument("path", metavar="PATH|NAME", shell_complete=completing("plugin"))
@click.option("--action", metavar="NAME", help="Which of its actions.  [default: the first]")
@click.option("--case", "case_name", metavar="NAME", help="Run one of its cases, on its host.")
@click.option(
    "-p",
    "--param",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="A parameter, typed by the action's input schema; a.b=1 for nested ones.",
)
@click.option(
    "--params",
    "params_file",
    metavar="FILE|-",
    shell_complete=completing("file"),
    help="Parameters from a JSON (or *.yaml) file, - for JSON on stdin; -p wins.",
)
@click.option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="KEY=REF",
    help="A parameter whose value is secret, by reference: env:NAME or file:PATH.",
)
@click.option(
    "--timeout",
    "limit_s",
    type=Seconds(),
    metavar="S",
    help="Seconds until it is killed.  [default: as the plugin says]",
)
@click.option("--yes", is_flag=True, help="Run an action that is destructive.")
@common_options()
def run_local(
    common: Common,
    path: str,
    action: str | None,
    case_name: str | None,
    assignments: tuple[str, ...],
    params_file: str | None,
    secrets: tuple[str, ...],
    limit_s: float | None,
    yes: bool,
) -> int:
    """Run a plugin once on this machine and show its stdin, its variables and its answer.

    \b
    rune plugin run-local plugins/disk-free -p path=/var
    rune plugin run-local plugins/disk-free --case missing

    Nothing is recorded. The exit code is that of `rune run`.
    """
    from lom.authoring.cases import load_cases
    from lom.authoring.trials import Manner, Trials
    from lom.planning.params import pointer_of, resolve_parameters
    from lom.registry.manifest import load_plugin

    plugin = load_plugin(folder_of(common, path), "tried")
    case = None
    if case_name is not None:
        cases = {one.name: one for one in load_cases(plugin)}
        case = _named(cases, case_name, "case", plugin)
    actions = {one.action: one for one in plugin.capabilities}
    chosen = case.action if case else action or next(iter(actions))
    capability = _named(actions, chosen, "action", plugin)
    if capability.risk == "destructive" and not yes:
        raise PolicyDenied("confirmation_required", f"{chosen} is destructive; confirm with --yes")
    given = dict(read_params(params_file)) if params_file else {}
    references = secret_references(secrets)
    parameters = given
    if assignments or references:
        parameters = resolve_parameters(
            capability.input_schema,
            assignments=assignments,
            document=given,
            secrets=references,
            action=chosen,
        )
    if case is not None:
        parameters = {**case.input_parameters, **parameters}
    secret = frozenset(map(pointer_of, references))
    trials = Trials(plugin)
    with cancelling(common, trials):
        tried = trials.run(capability, parameters, case, Manner(limit_s, secret_params=secret))
    document = _document(plugin, capability, tried)
    common.emit(document, [document], lambda view: _text(document))
    return _CODES.get(str(tried.result.outcome), ExitCode.FAILED)


def _named(known: dict[str, Any], name: str, kind: str, plugin: Plugin) -> Any:
    if name not in known:
        raise RequestError(
            "invalid_request", f"{plugin.name} has no {kind} {name!r}{did_you_mean(name, known)}"
        )
    return known[name]


def _document(plugin: Plugin, capability: Capability, tried: Tried) -> dict[str, Any]:
    from lmm.envelope import environment
    from lom.planning.params import mask_write_only

    result, invocation = tried.result, tried.invocation
    message = dict(invocation.message)
    parameters = mask_write_only(message["payload"]["input_parameters"], invocation.write_only)
    message["payload"] = {**message["payload"], "input_parameters": parameters}
    variables = environment(invocation.message, invocation.write_only)
    return {
        "plugin": plugin.name,
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


def _text(document: dict[str, Any]) -> str:
    """Return the run for people, in the order in which it happened."""
    from lom.render.text import clean

    def block(title: str, lines: list[str]) -> list[str]:
        return [f"{title}:", *(f"  {clean(line)}" for line in lines)] if lines else []

    def pretty(value: Any) -> list[str]:
        return json.dumps(value, indent=2, ensure_ascii=False).splitlines()

    error = document["error"]
    answer = error["error_data"]["error"] if error else document["output_data"]
    ended = (
        f"{document['outcome']}, exit code {document['exit_code']}, {document['duration_s']:.3f} s"
    )
    lines = [
        *block("stdin", pretty(document["stdin"])),
        *block("environment", [f"{k}={v}" for k, v in document["environment"].items()]),
        *block("events", [json.dumps(one, ensure_ascii=False) for one in document["events"]]),
        *block("stderr", document["stderr"].splitlines()),
        *block("answer", pretty(answer)),
        *block("outcome", [ended]),
    ]
    return "".join(f"{line}\n" for line in lines)
