"""``rune plugin new``, ``install`` and ``remove``: plugins as folders."""

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
