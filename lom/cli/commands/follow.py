"""``rune runs events``: what happened in a run, also while it goes on in another process."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from lmm.errors import RequestError
from lom.cli.commands.runs import open_ledger, run_argument
from lom.cli.common import Common, common_options
from lom.cli.ledgers import state_dir_option
from lom.cli.output import write_pieces, write_stderr, write_stdout
from lom.exit_codes import ExitCode
from lom.render.lazily import Again

if TYPE_CHECKING:
    from lom.ledger import LedgerReader, RunRow

_LOOK_S = 0.1  # between two looks for new events
_LOOKS = 10  # without any, until the process is looked at


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

    streamed = common.output in ("table", "ndjson")
    if follow and not streamed:
        raise RequestError(
            "invalid_usage",
            f"--follow prints a line for each event; -o {common.output} cannot",
            command="rune runs events",
        )
    with open_ledger(common) as ledger:
        found = ledger.find(run)
        told = ledger.events(found, from_seq - 1)
        if follow:
            told = following(ledger, found, from_seq - 1)
        if not streamed:
            _print_whole(common, found, Again(lambda: ledger.events(found, from_seq - 1)))
            return ExitCode.OK
        last: dict[str, Any] = {}
        for last in told:
            write_stdout(encode(last, "ndjson"))
        now = ledger.refreshed(found)
    if follow and (now is None or not now.finished):
        _tell_interrupted(common, found, last.get("seq", from_seq - 1))
        return ExitCode.LOST
    return ExitCode.OK


def _print_whole(common: Common, run: RunRow, events: Iterable[dict[str, Any]]) -> None:
    from lom.render.documents import csv_pieces
    from lom.render.streamed import encoded

    if common.output == "csv":
        write_pieces(csv_pieces(events))
    else:
        document = {"run_id": run.run_id, "events": events}
        write_pieces(encoded(document, common.output, pretty=common.stdout.columns is not None))


def following(ledger: LedgerReader, run: RunRow, after: int) -> Iterator[dict[str, Any]]:
    """Yield events as they come, until the run has finished, its process died or it was pruned."""
    seen, quiet = -1, 0
    while True:
        changes = ledger.changes()
        quiet += 1
        if changes != seen or quiet >= _LOOKS:
            seen, quiet = changes, 0
            now = ledger.refreshed(run)  # before the events: what has finished has all of them
            for event in ledger.events(run, after):
                after = event["seq"]
                yield event
            if now is None or now.status not in ("running", "unknown"):
                return
        time.sleep(_LOOK_S)


def _tell_interrupted(common: Common, run: RunRow, seq: int) -> None:
    from lmm.eps import document
    from lmm.errors import ConnectionLost
    from lom.render.documents import encode

    error = ConnectionLost(
        "run_interrupted",
        f"the process {run.pid} of the run {run.run_id} has ended without finishing it;"
        f" its last event is {seq}",
        last_seq=seq,
    )
    write_stderr(f"error: {error.message}\n")
    if common.output == "ndjson":
        write_stdout(encode(document(error, subject={"run_id": run.run_id}), "ndjson"))
