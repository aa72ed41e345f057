"""``rune plugin lock`` and ``verify``: which bytes of plugins may be sent."""

from __future__ import annotations

import click

from lom.cli.common import Common, common_options, completing
from lom.exit_codes import ExitCode

_LOCK_OPTION = click.option(
    "--file",
    "lock_file",
    metavar="PATH",
    shell_complete=completing("file"),
    help="The lock file.  [default: the one in force, else ./plugins.lock.json]",
)


@click.command("lock")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=completing("plugin"))
@_LOCK_OPTION
@common_options()
def lock(common: Common, names: tuple[str, ...], lock_file: str | None) -> int:
    """Write the SHA-256 of the plugins into the lock file: of all, or only of those named.

    Where a lock file is in force, a run sends no plugin that is not in it or differs from it.
    """
    from lom.service.plugin_files import lock as lock_plugins

    with common.orchestrator() as orchestrator:
        document, broken = lock_plugins(orchestrator, names, lock_file)
    rows = document["plugins"]
    shown = ("plugin", "version", "change", "details")
    if not (common.quiet and common.output == "table"):  # to people it is a remark
        common.emit_table(document, rows, shown)
    for name in broken:
        common.tell(f"not locked, because its manifest is wrong: {name}")
    common.tell(f"wrote {document['lock_file']}")
    return ExitCode.OK


@click.command("verify")
@_LOCK_OPTION
@common_options()
def verify(common: Common, lock_file: str | None) -> int:
    """Compare all plugins with the lock files in force.

    Exit code 0 when all are as they were locked, 1 otherwise.
    """
    from lom.service.plugin_files import verify as verify_plugins

    with common.orchestrator() as orchestrator:
        document = verify_plugins(orchestrator, lock_file)
    rows, summary = document["plugins"], document["summary"]
    names = ("plugin", "version", "status", "details", "lock_file")
    common.emit_table(document, rows, names, styled=2)
    common.tell(f"{summary['ok']} ok, {summary['failed']} failed")
    return ExitCode.FAILED if summary["failed"] else ExitCode.OK
