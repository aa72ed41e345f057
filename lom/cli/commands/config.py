"""``rune config``: the settings in force, and the folders that are trusted."""

from __future__ import annotations

import click

from lmm.errors import RequestError
from lom.cli.common import Common, common_options, completing
from lom.cli.group import Group
from lom.exit_codes import ExitCode


@click.group(cls=Group)
def config() -> None:
    """Show the settings, and trust folders.

    Flags win over environment, ./rune.yaml, ~/.config/rune/config.yaml.
    """


@config.command("show")
@common_options()
def show(common: Common) -> int:
    """Show each setting, its value and where the value came from."""
    from lom.service.describe import settings

    rows = list(settings(common.settings))
    common.emit_table({"settings": rows}, rows, ("setting", "value", "source"))
    return ExitCode.OK


@config.command("trust")
@click.argument("folder", required=False, metavar="[DIR]", shell_complete=completing("folder"))
@click.option("--list", "listed", is_flag=True, help="List the folders that are trusted.")
@click.option("--remove", is_flag=True, help="Trust DIR no longer.")
@common_options(tolerant=True)
def trust_folder(common: Common, folder: str | None, listed: bool, remove: bool) -> int:
    """Obey what lies in DIR, and below it, though others can change it.

    RUNE takes configuration, inventories and plugins that it finds, or that a file names, only from
    places that nobody but you and root can change. The list is kept in ~/.config/rune/trusted, by
    resolved paths.
    """
    from lom.service.settings import set_trusted, trusted_folders

    if listed == (folder is not None):
        raise RequestError(
            "invalid_usage", "name one folder, or give --list", command="rune config trust"
        )
    if folder is not None:
        path = set_trusted(folder, not remove)
        common.tell(f"no longer trusted: {path}" if remove else f"trusted: {path}")
    rows = [{"folder": one} for one in trusted_folders()]
    common.emit(
        {"trusted": [row["folder"] for row in rows]},
        rows,
        lambda view: "".join(f"{row['folder']}\n" for row in rows) if listed else "",
    )
    return ExitCode.OK
