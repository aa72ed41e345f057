"""``rune plugin check`` and ``test``: what is wrong with a plugin, and how to mend it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from lmm.errors import RequestError
from lom.cli.commands.plugins import cancelling, folder_of
from lom.cli.common import Common, common_options, completing
from lom.cli.execute import confirmation
from lom.exit_codes import ExitCode
from lom.names import did_you_mean

if TYPE_CHECKING:
    from lom.authoring.cases import Case
    from lom.authoring.findings import Finding
    from lom.authoring.kit import Check
    from lom.authoring.trials import Trials
    from lom.registry.manifest import Plugin
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
    from lom.authoring.review import review
    from lom.registry.manifest import load_plugin

    plugin = load_plugin(folder_of(common, path), "checked")
    actions = [one.action for one in plugin.capabilities]
    verdict = f"{plugin.name} {plugin.version} offers {', '.join(actions)}"
    return _report(common, plugin, review(plugin), verdict)


@click.command("test")
@_PLUGIN
@click.option(
    "-t",
    "--target",
    "selector",
    metavar="SELECTOR",
    shell_complete=completing("target"),
    help="Test it on this target, admitted and recorded as a run.  [default: this machine]",
)
@click.option(
    "--transport",
    metavar="NAME",
    shell_complete=completing("transport"),
    help="Reach the target by local, ssh, openssh, ssm or auto.  [default: as the target says]",
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
    from lom.authoring.kit import checks_of
    from lom.registry.manifest import load_plugin

    plugin = load_plugin(folder_of(common, path), "tested")
    cases = load_cases(plugin)
    with _trials(common, plugin, cases, selector, yes) as trials:
        checks = _chosen(checks_of(trials, cases, risk), only)
        with cancelling(common, trials):
            findings = [one.run() for one in checks]
    where = "" if selector is None else f" on {trials.target.name}"
    return _report(common, plugin, findings, f"{plugin.name} {plugin.version} passes{where}")


@contextlib.contextmanager
def _trials(
    common: Common, plugin: Plugin, cases: Sequence[Case], selector: str | None, yes: bool
) -> Iterator[Trials]:
    if selector is None:
        from lom.authoring.trials import Trials

        if common.settings.sources["transport"] == "flag":
            raise RequestError("invalid_usage", "--transport needs -t", command="rune plugin test")
        yield Trials(plugin)
        return
    from lom.authoring.on_target import trials_on

    confirm = confirmation(common)
    with (
        common.orchestrator() as orchestrator,
        trials_on(orchestrator, plugin, cases, selector, yes=yes, confirm=confirm) as trials,
    ):
        yield trials


def _chosen(checks: Sequence[Check], only: Sequence[str]) -> list[Check]:
    known = {one.name for one in checks}
    for name in only:
        if name not in known:
            raise RequestError(
                "invalid_request", f"there is no check {name!r}{did_you_mean(name, known)}"
            )
    return [one for one in checks if not only or one.name in only]


def _report(common: Common, plugin: Plugin, findings: Sequence[Finding], verdict: str) -> int:
    """Print the findings: to people only those that are not well."""
    from lom.authoring.findings import counts

    summary = counts(findings)
    rows = [{"plugin": plugin.name, **one.document()} for one in findings]
    document = {
        "plugin": plugin.name,
        "version": plugin.version,
        "directory": str(plugin.directory),
        "actions": [one.action for one in plugin.capabilities],
        "findings": [one.document() for one in findings],
        "summary": summary,
    }
    common.emit(document, rows, lambda view: _text(rows, view, summary, verdict))
    if common.output == "table" and not summary["failed"]:
        for one in findings:
            if one.status != "ok":
                common.tell(f"{one.status}: {one.check}: {one.what}")
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
