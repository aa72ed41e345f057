"""``rune baseline``: what hosts once measured, kept under a name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from lom.cli.common import Common, common_options, completing
from lom.cli.group import Group
from lom.cli.options import run_argument, state_dir_option
from lom.exit_codes import ExitCode


@click.group(cls=Group)
def baseline() -> None:
    """Keep what hosts of each kind measured, to compare later runs with it.

    A baseline holds center, spread and number of hosts of every metric, for each plugin and set of
    facts (SKU, driver, clocks, MIG, topology). It outlives the run that it was saved from.
    """


name_argument = click.argument("name", metavar="NAME", shell_complete=completing("baseline"))


@baseline.command("save")
@click.argument("name", metavar="NAME")
@run_argument
@click.option("--replace", is_flag=True, help="Replace a baseline of this name.")
@state_dir_option
@common_options()
def save(common: Common, name: str, run: str, replace: bool) -> int:
    """Save what RUN measured as the baseline NAME.

    Results that their plugin calls invalid are left out.
    """
    from lom.service.reports import save_baseline

    return _tell(common, save_baseline(common.settings, common.asker, name, run, replace=replace))


@baseline.command("list")
@state_dir_option
@common_options()
def list_baselines(common: Common) -> int:
    """List the baselines."""
    from lom.service.reports import baselines

    with common.ledger() as ledger:
        rows = baselines(ledger)
    names = ("name", "action", "groups", "metrics", "saved_at", "who", "run_id")
    common.emit_table({"baselines": rows}, rows, names)
    return ExitCode.OK


@baseline.command("show")
@name_argument
@state_dir_option
@common_options()
def show(common: Common, name: str) -> int:
    """Show what the baseline NAME holds."""
    from lom.service.reports import baseline as document_of

    with common.ledger() as ledger:
        document = document_of(ledger, name)
    return _tell(common, document)


@baseline.command("remove")
@name_argument
@state_dir_option
@common_options()
def remove(common: Common, name: str) -> int:
    """Delete the baseline NAME."""
    from lom.service.reports import remove_baseline

    remove_baseline(common.settings, common.asker, name)
    document = {"removed": name}
    common.emit(document, [document], lambda view: f"removed the baseline {name}\n")
    return ExitCode.OK


def _tell(common: Common, document: Mapping[str, Any]) -> int:
    from lom.render.fleet import baseline_rows, baseline_text

    rows = baseline_rows(document)
    common.emit(document, rows, lambda view: baseline_text(document, view))
    return ExitCode.OK
