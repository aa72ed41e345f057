"""``rune plugin new``, ``install``, ``remove``, ``lock`` and ``verify``: plugins as folders."""

from __future__ import annotations

from dataclasses import asdict

import click

from lom.cli.common import Common, common_options, completing
from lom.exit_codes import ExitCode


@click.command("new")
@click.argument("name")
@click.option(
    "--lang",
    type=click.Choice(("bash", "python", "go", "rust", "c", "node", "perl")),
    default="bash",
    help="The language to write it in.  [default: bash]",
)
@click.option("--action", metavar="NAME", help="Its action.  [default: NAME, dots for dashes]")
@click.option("--description", metavar="TEXT", default="", help="What it does, in one line.")
@click.option(
    "--into",
    metavar="FOLDER",
    default="plugins",
    shell_complete=completing("folder"),
    help="Where to put its folder.  [default: ./plugins, which is searched]",
)
@common_options()
def new(
    common: Common, name: str, lang: str, action: str | None, description: str, into: str
) -> int:
    """Write a plugin that works: manifest, script, cases and README, to be changed from there.

    \b
    rune plugin new disk-free
    rune plugin new disk-free --lang go --action disk.free

    One in go, rust or c is built at once where the compiler is there.
    """
    from pathlib import Path

    from lom.authoring.templates import build, write_plugin

    folder = Path(into) / name
    files = write_plugin(folder, name, lang, action, description)
    unbuilt = build(folder, lang)
    written = [str(file) for file in files]
    document = {"plugin": name, "folder": str(folder), "files": written, "built": unbuilt is None}
    common.emit(document, [document], lambda view: "".join(f"wrote {file}\n" for file in written))
    if unbuilt is not None:
        common.tell(f"not built: {unbuilt}; build it with: make -C {folder}")
    common.tell(f"try it: rune plugin test {folder}")
    return ExitCode.OK


@click.command("install")
@click.argument("source", metavar="PATH|TARBALL|GIT-URL[@REF]")
@click.option(
    "--sha256", metavar="HEX", help="Refuse it unless the tarball, or the folder, has this hash."
)
@click.option("--plugin", "name", metavar="NAME", help="Which one, of a source with several.")
@click.option("--replace", is_flag=True, help="Put it in the place of an installed one.")
@common_options()
def install(
    common: Common, source: str, sha256: str | None, name: str | None, replace: bool
) -> int:
    """Install a plugin from a folder, a tarball or a git repository, for this user.

    \b
    rune plugin install ../acme/disk-free
    rune plugin install disk-free-1.2.0.tar.gz --sha256 9f86d081…
    rune plugin install https://git.example.com/acme/plugins.git@v1.2.0 --plugin disk-free

    It has to pass `rune plugin check`. A program has to be built already. Where it is from and its
    hash are recorded; `rune plugin list` tells when its files have changed since.
    """
    from lom.authoring.installing import install as put
    from lom.authoring.installing import install_place

    plugin, record = put(source, install_place(), sha256=sha256, name=name, replace=replace)
    actions = [one.action for one in plugin.capabilities]
    document = {
        "plugin": plugin.name,
        "actions": actions,
        "directory": str(plugin.directory),
        **asdict(record),
    }
    pin = record.sha256 or record.tree_sha256
    common.emit(
        document,
        [document],
        lambda view: (
            f"installed {plugin.name} {plugin.version}, which offers {', '.join(actions)}\n"
            f"sha256 {pin}\n"
        ),
    )
    return ExitCode.OK


@click.command("remove")
@click.argument("name", shell_complete=completing("plugin"))
@common_options()
def remove(common: Common, name: str) -> int:
    """Remove the plugin NAME, which `rune plugin install` has put there."""
    from lom.authoring.installing import install_place
    from lom.authoring.installing import remove as take_away

    record = take_away(name, install_place())
    document = {"plugin": name, **asdict(record)}
    common.emit(document, [document], lambda view: f"removed {name} {record.version}\n")
    return ExitCode.OK


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
