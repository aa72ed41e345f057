"""``rune runs events``: what happened in a run, also while it goes on in another process."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from lmm.errors import RequestError, RuneError
from lom.cli.common import Common, common_options
from lom.cli.options import run_argument, state_dir_option
from lom.cli.output import write_pieces, write_stderr, write_stdout
from lom.exit_codes import ExitCode
from lom.render.lazily import Again


@click.command()
@run_argument
@click.option("-f", "--follow", is_flag=True, help="Wait for more until the run has finished.")
@click.option(
    "--from-seq",
    type=click.IntRange(min=1),
    default=1,
    metavar="N",
    help="Begin with the event that has this seq.  [default: 1]",
)
@state_dir_option
@common_options()
def events(common: Common, run: str, follow: bool, from_seq: int) -> int:
    """Print the events of RUN, one a line, as `rune run -o ndjson` did.

    To go on where a reader stopped, give the seq after the last one it has seen. With --follow a
    run whose process has died ends in an error and exit code 8.
    """
    from lom.render.documents import encode
    from lom.service.follow import following, interruption

    streamed = common.output in ("table", "ndjson")
    if follow and not streamed:
        raise RequestError(
            "invalid_usage",
            f"--follow prints a line for each event; -o {common.output} cannot",
            command="rune runs events",
        )
    with common.ledger() as ledger:
        found = ledger.find(run)
        told = ledger.events(found, from_seq - 1)
        if follow:
            told = following(ledger, found, from_seq - 1)
        if not streamed:
            _print_whole(common, found.run_id, Again(lambda: ledger.events(found, from_seq - 1)))
            return ExitCode.OK
        last: dict[str, Any] = {}
        for last in told:
            write_stdout(encode(last, "ndjson"))
        seq = last.get("seq", from_seq - 1)
        error = interruption(ledger, found, seq) if follow else None
    if error is not None:
        _tell(common, found.run_id, error)
        return ExitCode.LOST
    return ExitCode.OK


def _print_whole(common: Common, run_id: str, events: Iterable[dict[str, Any]]) -> None:
    from lom.render.documents import csv_pieces
    from lom.render.streamed import encoded

    if common.output == "csv":
        write_pieces(csv_pieces(events))
    else:
        document = {"run_id": run_id, "events": events}
        write_pieces(encoded(document, common.output, pretty=common.stdout.columns is not None))


def _tell(common: Common, run_id: str, error: RuneError) -> None:
    from lmm.eps import document
    from lom.render.documents import encode

    write_stderr(f"error: {error.message}\n")
    if common.output == "ndjson":
        write_stdout(encode(document(error, subject={"run_id": run_id}), "ndjson"))
