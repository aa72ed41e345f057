"""``rune runs``: what the ledger keeps of runs, and what can be done with them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from lmm.errors import RequestError, RuneError
from lom.cli.common import Common, common_options, completing
from lom.cli.group import Group
from lom.cli.options import OUTCOMES, run_argument, state_dir_option
from lom.cli.output import write_pieces, write_stderr, write_stdout
from lom.cli.types import Age
from lom.exit_codes import ExitCode
from lom.render.lazily import Again

STATUSES = (*OUTCOMES, "partial", "running", "interrupted", "unknown", "waiting")


@click.group(
    cls=Group,
    commands_at={
        "events": "lom.cli.commands.runs:events",
        "rerun": "lom.cli.commands.again:rerun",
        "resume": "lom.cli.commands.again:resume",
        "compare": "lom.cli.commands.fleet:compare",
    },
)
def runs() -> None:
    """Show, follow, cancel, finish, repeat, compare and prune the runs that the ledger keeps.

    RUN is an id, the beginning of one, or `last` for the newest.
    """


@runs.command("list")
@click.option(
    "--limit", type=click.IntRange(min=1), default=20, metavar="N", help="[default: 20 newest]"
)
@click.option(
    "--action", metavar="A", shell_complete=completing("action"), help="Only runs of this action."
)
@click.option("--status", type=click.Choice(STATUSES), help="Only runs with this status.")
@state_dir_option
@common_options()
def list_runs(common: Common, limit: int, action: str | None, status: str | None) -> int:
    """List the newest runs, and how they ended.

    `interrupted` is a run whose process is gone without having finished it, `waiting` one that
    needs an approval first.
    """
    from lom.render.runs import runs_table

    with common.ledger() as ledger:
        rows = [run.listed() for run in ledger.runs(limit=limit, action=action, status=status)]
    common.emit({"runs": rows}, rows, lambda view: runs_table(rows, view))
    return ExitCode.OK


@runs.command("show")
@run_argument
@state_dir_option
@common_options()
def show(common: Common, run: str) -> int:
    """Show the results of RUN: with -o json the document that `rune run -o json` printed.

    A run that has not finished shows what is known of each target.
    """
    from lom.render.documents import encode
    from lom.render.results import render_run
    from lom.render.runs import run_text

    with common.ledger() as ledger:
        found = ledger.find(run)
        document = ledger.document_to_read(found)
        if common.output == "table":
            write_pieces(run_text(found.listed(), document, common.stdout))
        elif common.output == "ndjson":
            write_pieces(encode(result, "ndjson") for result in document["results"])
        else:
            write_pieces(render_run(document, common.output, common.stdout))
    return ExitCode.OK


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


@runs.command("cancel")
@run_argument
@state_dir_option
@common_options()
def cancel(common: Common, run: str) -> int:
    """Ask the process that carries RUN out to cancel it, as Ctrl-C there would.

    It looks every half second. `rune runs events RUN --follow` shows how it ends.
    """
    from lom.service.follow import cancel as ask

    document = ask(common.settings, common.asker, run)
    run_id = document["run_id"]
    common.emit(document, [document], lambda view: f"asked the run {run_id} to cancel\n")
    return ExitCode.OK


@runs.command("prune")
@click.option(
    "--older-than",
    type=Age(),
    required=True,
    metavar="AGE",
    help="Delete runs that began longer ago: 30d, 12h, 2w.",
)
@click.option(
    "--keep",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Keep the N newest runs whatever their age.",
)
@state_dir_option
@common_options()
def prune(common: Common, older_than: float, keep: int) -> int:
    """Delete old runs from the ledger and give the room back.

    A run that goes on is never deleted.
    """
    from lom.service.runs import prune as delete

    pruned = delete(common.settings, common.asker, older_than, keep)
    document = {"pruned": pruned}
    rows = [{"run_id": run_id} for run_id in pruned]
    common.emit(document, rows, lambda view: f"pruned {len(pruned)} run(s)\n")
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
