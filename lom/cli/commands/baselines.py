"""``rune baseline``: what hosts once measured, kept under a name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from lmm.errors import RequestError
from lom.cli.commands.runs import ledger_file, open_ledger, run_argument
from lom.cli.common import Common, columns, common_options, completing
from lom.cli.group import Group
from lom.cli.ledgers import state_dir_option
from lom.exit_codes import ExitCode

if TYPE_CHECKING:
    from lom.ledger.sqlite.baselines import Baseline


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
    from lom.cli.commands.fleet import STATISTICS, measured_in
    from lom.fleet import need_libraries

    need_libraries(*STATISTICS)
    from lom.fleet.report import baseline_metrics
    from lom.ledger.sqlite.baselines import save_baseline

    with open_ledger(common) as ledger:
        found = ledger.find(run)
        metrics = baseline_metrics(measured_in(ledger, found, ()))
    if not metrics:
        raise RequestError(
            "no_metrics",
            f"nothing in the run {found.run_id} can be a baseline: no host gave a valid metric with"
            " at least 3 samples",
            run_id=found.run_id,
        )
    saved = save_baseline(ledger_file(common), name, found, metrics, replace=replace)
    return _tell(common, saved)


@baseline.command("list")
@state_dir_option
@common_options()
def list_baselines(common: Common) -> int:
    """List the baselines."""
    from lom.ledger.sqlite.baselines import baselines
    from lom.render.table import table

    with open_ledger(common) as ledger:
        rows = [_listed(one) for one in baselines(ledger)]
    names = ("name", "action", "groups", "metrics", "saved_at", "who", "run_id")
    common.emit({"baselines": rows}, rows, lambda view: table(names, columns(rows, names), view))
    return ExitCode.OK


@baseline.command("show")
@name_argument
@state_dir_option
@common_options()
def show(common: Common, name: str) -> int:
    """Show what the baseline NAME holds."""
    from lom.ledger.sqlite.baselines import find_baseline

    with open_ledger(common) as ledger:
        return _tell(common, find_baseline(ledger, name))


@baseline.command("remove")
@name_argument
@state_dir_option
@common_options()
def remove(common: Common, name: str) -> int:
    """Delete the baseline NAME."""
    from lom.ledger.sqlite.baselines import find_baseline, remove_baseline

    with open_ledger(common) as ledger:
        find_baseline(ledger, name)
    remove_baseline(ledger_file(common), name)
    document = {"removed": name}
    common.emit(document, [document], lambda view: f"removed the baseline {name}\n")
    return ExitCode.OK


def _tell(common: Common, one: Baseline) -> int:
    from lom.render.fleet import baseline_rows, baseline_text

    document = _document(one)
    rows = baseline_rows(document)
    common.emit(document, rows, lambda view: baseline_text(document, view))
    return ExitCode.OK


def _about(one: Baseline) -> dict[str, Any]:
    return {
        "name": one.name,
        "action": one.action,
        "run_id": one.run_id,
        "saved_at": one.saved_at,
        "who": one.who,
    }


def _listed(one: Baseline) -> dict[str, Any]:
    groups = {(metric.plugin, metric.facts) for metric in one.metrics}
    return {**_about(one), "groups": len(groups), "metrics": len(one.metrics)}


def _document(one: Baseline) -> Mapping[str, Any]:
    import json

    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for metric in one.metrics:
        groups.setdefault((metric.plugin, metric.facts), []).append(
            {
                "name": metric.series.name,
                "labels": json.loads(metric.series.labels),
                "unit": metric.series.unit,
                "better": metric.series.better,
                "center": metric.center,
                "spread": metric.spread,
                "hosts": metric.hosts,
            }
        )
    return {
        **_about(one),
        "groups": [
            {"plugin": plugin, "facts": json.loads(facts), "metrics": metrics}
            for (plugin, facts), metrics in groups.items()
        ],
    }
