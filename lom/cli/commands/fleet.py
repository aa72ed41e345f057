"""``rune fleet``: what the hosts of a run measured, compared; and ``rune runs compare``."""

from __future__ import annotations

import click

from lmm.errors import RequestError
from lom.cli.common import Common, common_options, completing
from lom.cli.group import Group
from lom.cli.options import run_argument, state_dir_option
from lom.exit_codes import ExitCode


@click.group(cls=Group)
def fleet() -> None:
    """Tell which hosts of a run are slow, and compared to what."""


metric_option = click.option(
    "--metric", "metrics", multiple=True, metavar="M", help="Only this metric; may be repeated."
)


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
    from lom.render.fleet import report_rows, report_text
    from lom.service import reports

    document, page = reports.report(common.ledger, run, metrics, baseline, as_page=html is not None)
    if page is not None and html is not None:
        _write(html, page)
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
    from lom.render.fleet import comparison_rows, comparison_text
    from lom.service import reports

    document = reports.compare(common.ledger, run, other, metrics)
    rows = comparison_rows(document) if common.output == "csv" else document["hosts"]
    common.emit(document, rows, lambda view: comparison_text(document, view))
    return ExitCode.OK


def _write(path: str, data: bytes) -> None:
    from lom.render.write import write_file

    try:
        write_file(path, data)
    except OSError as error:
        raise RequestError(
            "local_io_error", f"cannot write the report {path}: {error.strerror}", field="--html"
        ) from None
