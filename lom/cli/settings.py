"""``rune config``: the settings in force."""

from __future__ import annotations

import click

from lom.cli.common import Common, columns, common_options
from lom.cli.group import Group
from lom.config import KEYS
from lom.exit_codes import ExitCode


@click.group(cls=Group)
def config() -> None:
    """Show the settings. Flags win over environment, ./rune.yaml, ~/.config/rune/config.yaml."""


@config.command("show")
@common_options()
def show(common: Common) -> int:
    """Show each setting, its value and where the value came from."""
    from lom.render.table import table

    rows = []
    for key in KEYS:
        value = getattr(common.settings, key)
        shown = list(value) if isinstance(value, tuple) else value
        rows.append({"setting": key, "value": shown, "source": common.settings.sources[key]})
    names = ("setting", "value", "source")
    common.emit({"settings": rows}, rows, lambda view: table(names, columns(rows, names), view))
    return ExitCode.OK
