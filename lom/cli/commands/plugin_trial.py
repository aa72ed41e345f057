"""``rune plugin run-local``: one run of a plugin with all that it is given and all it answers."""

from __future__ import annotations

import json
from typing import Any

import click

from lmm.errors import PolicyDenied
from lom.cli.commands.plugins import cancelling
from lom.cli.common import Common, common_options, completing
from lom.cli.options import new_secret_option, param_option, params_option, timeout_option
from lom.cli.types import secret_references
from lom.exit_codes import ExitCode

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
@param_option()
@params_option
@new_secret_option
@timeout_option("Seconds until it is killed.  [default: as the plugin says]", "limit_s")
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
    from lom.authoring.run_local import choose, parameters_of, run_once
    from lom.authoring.trials import Trials
    from lom.service.parameters import read_params
    from lom.service.plugin_files import plugin_at

    plugin = plugin_at(path, "tried", common.orchestrator)
    capability, case = choose(plugin, action, case_name)
    if capability.risk == "destructive" and not yes:
        words = f"{capability.action} is destructive; confirm with --yes"
        raise PolicyDenied("confirmation_required", words)
    given = read_params(params_file) if params_file else {}
    references = secret_references(secrets)
    parameters = parameters_of(capability, case, given, assignments, references)
    trials = Trials(plugin)
    with cancelling(common, trials):
        document = run_once(trials, capability, case, parameters, references, limit_s)
    common.emit(document, [document], lambda view: _text(document))
    return _CODES.get(document["outcome"], ExitCode.FAILED)


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
