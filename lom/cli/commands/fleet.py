"""``rune fleet``: what the hosts of a run measured, compared; and ``rune runs compare``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lmm.errors import RequestError
from lom.cli.commands.runs import open_ledger, run_argument
from lom.cli.common import Common, common_options, completing
from lom.cli.group import Group
from lom.cli.ledgers import state_dir_option
from lom.exit_codes import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lom.ledger import LedgerReader, RunRow
    from lom.ledger.sqlite.measurements import Measurement

STATISTICS = ("numpy", "scipy")
PAGE = ("jinja2", "matplotlib")


@click.group(cls=Group)
def fleet() -> None:
    """Tell which hosts of a run are slow, and compared to what."""


def metric_option(command: Any) -> Any:
    """Give a command ``--metric``."""
    return click.option(
        "--metric",
        "metrics",
        multiple=True,
        metavar="M",
        help="Only this metric; may be repeated.",
    )(command)


def measured_in(ledger: LedgerReader, run: RunRow, metrics: Sequence[str]) -> list[Measurement]:
    """Return what a run measured. Raises RequestError (``no_metrics``, ``unknown_metric``)."""
    from lom.fleet.groups import check_metrics, with_metrics
    from lom.ledger.sqlite.measurements import measurements

    found = measurements(ledger, run)
    check_metrics(found, metrics, run.run_id)
    return with_metrics(found, metrics)


def told_of(run: RunRow) -> dict[str, str]:
    """Return what a document says of the run that it is about."""
    return {"run_id": run.run_id, "action": run.action, "started_at": run.started_at}


@fleet.command("report")
@run_argument
@metric_option
@click.option(
    "--baseline",
    metavar="NAME",
    shell_complete=completing("baseline"),
    help="Compare with this baseline, too.",
)
@click.option(
    "--html",
    metavar="FILE",
    shell_complete=completing("file"),
    help="Write the report with plots to FILE as one page that needs no network.",
)
@state_dir_option
@common_options()
def report(
    common: Common, run: str, metrics: tuple[str, ...], baseline: str | None, html: str | None
) -> int:
    """Compare the hosts of RUN with each other and with their own earlier runs.

    Hosts are compared within a group: one plugin, and the same facts (SKU, driver, clocks, ...).
    A host is slow if it is worse than its group beyond chance, drifted if it is worse than it was.
    Exit code 0 whatever the verdicts are: they are in the document.
    """
    from lom.fleet import need_libraries

    need_libraries(*STATISTICS, *(PAGE if html else ()))
    from lom.fleet.report import fleet_report
    from lom.ledger.sqlite.baselines import find_baseline
    from lom.ledger.sqlite.measurements import history
    from lom.render.fleet import report_rows, report_text

    with open_ledger(common) as ledger:
        found = ledger.find(run)
        saved = None if baseline is None else find_baseline(ledger, baseline)
        if saved:
            _same_action(found, f"the baseline {saved.name}", saved.action)
        measured = measured_in(ledger, found, metrics)
        past = history(ledger, found)
    document = fleet_report(told_of(found), measured, past, saved)
    if html is not None:
        from lom.fleet.paths import host_paths
        from lom.render.fleet_html import page

        _write(html, page(document, host_paths(document, past)))
        common.tell(f"wrote {html}")
    rows = report_rows(document) if common.output == "csv" else document["hosts"]
    common.emit(document, rows, lambda view: report_text(document, view))
    return ExitCode.OK


@click.command("compare")
@run_argument
@click.argument(
    "other", required=False, metavar="[RUN2|BASELINE]", shell_complete=completing("baseline")
)
@metric_option
@state_dir_option
@common_options()
def compare(common: Common, run: str, other: str | None, metrics: tuple[str, ...]) -> int:
    """Tell what changed on each host since RUN2, or beside BASELINE.

    Without a second name the run before RUN of the same action is taken. A change counts where it
    is beyond the noise of the samples and at least 2 %.
    """
    from lom.fleet import need_libraries

    need_libraries(*STATISTICS)
    from lom.fleet.compare import compare_baseline, compare_runs
    from lom.fleet.groups import with_metrics
    from lom.ledger.sqlite.baselines import baselines
    from lom.ledger.sqlite.measurements import run_before
    from lom.render.fleet import comparison_rows, comparison_text

    with open_ledger(common) as ledger:
        found = ledger.find(run)
        measured = measured_in(ledger, found, metrics)
        saved = next((one for one in baselines(ledger) if one.name == other), None)
        if saved:
            _same_action(found, f"the baseline {saved.name}", saved.action)
            at: dict[str, str | None] = {
                "baseline": saved.name,
                "run_id": saved.run_id,
                "at": saved.saved_at,
            }
            document = compare_baseline({**told_of(found), "with": at}, saved, measured)
        else:
            before = run_before(ledger, found) if other is None else _run(ledger, other)
            if before is None:
                raise RequestError(
                    "no_metrics",
                    f"no run of {found.action} before {found.run_id} measured anything;"
                    " name a run or a baseline to compare with",
                )
            _same_action(found, f"the run {before.run_id}", before.action)
            then = with_metrics(measured_in(ledger, before, ()), metrics)
            at = {"baseline": None, "run_id": before.run_id, "at": before.started_at}
            document = compare_runs({**told_of(found), "with": at}, then, measured)
    rows = comparison_rows(document) if common.output == "csv" else document["hosts"]
    common.emit(document, rows, lambda view: comparison_text(document, view))
    return ExitCode.OK


def _run(ledger: LedgerReader, name: str) -> RunRow:
    """Return the run with this name, which no baseline has. Raises ``unknown_run``."""
    from lom.ledger.sqlite.baselines import baselines
    from lom.names import did_you_mean

    try:
        return ledger.find(name)
    except RequestError as error:
        hint = did_you_mean(name, [one.name for one in baselines(ledger)])
        raise RequestError(
            error.reason, f"{error.message}, nor a baseline of this name{hint}", field="RUN2"
        ) from None


def _same_action(run: RunRow, other: str, action: str) -> None:
    if run.action != action:
        raise RequestError(
            "invalid_request",
            f"the run {run.run_id} is one of {run.action}, {other} one of {action}:"
            " they measured different things",
            run_id=run.run_id,
        )


def _write(path: str, data: bytes) -> None:
    from pathlib import Path

    try:
        Path(path).write_bytes(data)
    except OSError as error:
        raise RequestError(
            "local_io_error", f"cannot write the report {path}: {error.strerror}", field="--html"
        ) from None
