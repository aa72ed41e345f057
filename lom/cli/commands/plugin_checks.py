"""``rune plugin check`` and ``test``: what is wrong with a plugin, and how to mend it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from lmm.errors import RequestError
from lom.cli.commands.plugins import cancelling
from lom.cli.common import Common, common_options, completing
from lom.cli.execute import confirmation
from lom.cli.options import target_option, transport_option
from lom.exit_codes import ExitCode

if TYPE_CHECKING:
    from lom.render.table import Screen

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
