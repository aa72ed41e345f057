"""``rune plugin check``, ``test`` and ``run-local``: what is wrong with one, and how it runs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from lmm.errors import Cancelled, PolicyDenied, RequestError
from lom.cli.common import Common, common_options, completing
from lom.cli.execute import confirmation
from lom.cli.options import (
    new_secret_option,
    param_option,
    params_option,
    target_option,
    timeout_option,
    transport_option,
)
from lom.cli.types import secret_references
from lom.exit_codes import ExitCode

if TYPE_CHECKING:
    from lom.authoring.trials import Trials
    from lom.render.table import Screen

_CODES = {
    "ok": ExitCode.OK,
    "invalid_output": ExitCode.INVALID_OUTPUT,
    "timed_out": ExitCode.TIMED_OUT,
    "cancelled": ExitCode.CANCELLED,
}
_PLUGIN = click.argument("path", metavar="PATH|NAME", shell_complete=completing("plugin"))


@click.command("check")
@_PLUGIN
@common_options()
def check(common: Common, path: str) -> int:
    """Check the plugin in folder PATH, or the known plugin NAME, without running it.

    Its manifest, whether values can match its schemas, whether its cases fit them, its names, and
    its script, with shellcheck where that is installed. Exit code 0 when nothing failed, 1
    otherwise; 2 when the manifest cannot be used at all.
    """
    from lom.authoring.findings import report
    from lom.authoring.review import review
    from lom.service.plugin_files import plugin_at

    plugin = plugin_at(path, "checked", common.orchestrator)
    actions = [one.action for one in plugin.capabilities]
    verdict = f"{plugin.name} {plugin.version} offers {', '.join(actions)}"
    return _report(common, report(plugin, review(plugin)), verdict)


@click.command("test")
@_PLUGIN
@target_option(
    "selector",
    "Test it on this target, admitted and recorded as a run.  [default: this machine]",
    multiple=False,
)
@transport_option(
    "Reach the target by local, ssh, openssh, ssm or auto.  [default: as the target says]"
)
@click.option(
    "--only",
    multiple=True,
    metavar="CHECK",
    help="Run this check only; may be repeated. The report names them all.",
)
@click.option(
    "--risk",
    type=click.Choice(("read", "change", "destructive")),
    default="read",
    help="The greatest risk of an action that may be interrupted and given made-up parameters where"
    " nothing stands in for what it works on.  [default: read]",
)
@click.option("--yes", is_flag=True, help="Confirm what would ask, with -t.")
@common_options()
def test(
    common: Common, path: str, selector: str | None, only: tuple[str, ...], risk: str, yes: bool
) -> int:
    """Run the conformance kit on a plugin: its cases, and what every plugin must bear.

    \b
    rune plugin test plugins/disk-free
    rune plugin test disk-free -t web1 --transport openssh

    Each check is a real run: a message that nobody reads, no parameters, very long and hostile
    ones, a reader that is gone, a cancel, a deadline; no process may be left and no secret come
    back. Exit code 0 when nothing failed, 1 otherwise.
    """
    from lom.authoring.cases import load_cases
    from lom.authoring.findings import report
    from lom.authoring.kit import checks_of, chosen
    from lom.service.plugin_files import plugin_at

    plugin = plugin_at(path, "tested", common.orchestrator)
    cases = load_cases(plugin)
    with contextlib.ExitStack() as stack:
        if selector is None:
            from lom.authoring.trials import Trials

            if common.settings.sources["transport"] == "flag":
                words = "--transport needs -t"
                raise RequestError("invalid_usage", words, command="rune plugin test")
            trials = Trials(plugin)
        else:
            from lom.authoring.on_target import trials_on

            confirm = confirmation(common)
            orchestrator = stack.enter_context(common.orchestrator())
            on_target = trials_on(orchestrator, plugin, cases, selector, yes=yes, confirm=confirm)
            trials = stack.enter_context(on_target)
        checks = chosen(checks_of(trials, cases, risk), only)
        with cancelling(common, trials):
            findings = [one.run() for one in checks]
    where = "" if selector is None else f" on {trials.target.name}"
    verdict = f"{plugin.name} {plugin.version} passes{where}"
    return _report(common, report(plugin, findings), verdict)


def _report(common: Common, document: Mapping[str, Any], verdict: str) -> int:
    """Print the findings: to people only those that are not well."""
    summary = document["summary"]
    rows = [{"plugin": document["plugin"], **one} for one in document["findings"]]
    common.emit(document, rows, lambda view: _text(rows, view, summary, verdict))
    if common.output == "table" and not summary["failed"]:
        for row in rows:
            if row["status"] != "ok":
                common.tell(f"{row['status']}: {row['check']}: {row['what']}")
    common.tell(", ".join(f"{number} {status}" for status, number in summary.items()))
    return ExitCode.FAILED if summary["failed"] else ExitCode.OK


def _text(
    rows: Sequence[dict[str, Any]], view: Screen, summary: dict[str, int], verdict: str
) -> str:
    """Return one line for each finding that is not well, what to do below it; or the verdict."""
    from lom.render.text import clean, paint

    if not summary["failed"]:
        return f"ok: {clean(verdict)}\n"
    lines = []
    for row in rows:
        if row["status"] == "ok":
            continue
        status = paint(f"{row['status']:7}", row["status"], view.color)
        about = f"{row['action']} {row['check']}" if row["action"] else row["check"]
        lines.append(f"{status}  {clean(about)}: {clean(row['what'])}")
        if row["remedy"]:
            lines.append(f"         {clean(row['remedy'])}")
    return "".join(f"{line}\n" for line in lines)


@click.command("run-local")
@_PLUGIN
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
    common.emit(document, [document], lambda view: _run_text(document))
    return _CODES.get(document["outcome"], ExitCode.FAILED)


def _run_text(document: dict[str, Any]) -> str:
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


@contextlib.contextmanager
def cancelling(common: Common, trials: Trials) -> Iterator[None]:
    """Within, a signal ends what is tried, and with it the command."""
    try:
        with common.interrupts.cancelling(trials.cancel):
            yield
    except Cancelled:
        raise click.Abort from None
