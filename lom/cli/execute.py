"""Carries out a plan for the command line: progress, signals, and the results in their format."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lom.cli.common import Common
from lom.cli.faults import Answered
from lom.cli.output import STDERR, STDOUT, ReaderGone, write_pieces, write_stderr, write_stdout
from lom.exit_codes import ExitCode

if TYPE_CHECKING:
    from lom import Orchestrator, Plan, Run, Start
    from lom.render.progress import Progress
    from lom.render.table import Screen

_ASK_S = 0.1  # how often a person who is asked is looked at


def execute(
    common: Common,
    orchestrator: Orchestrator,
    plan: Plan,
    start: Start,
    text: Callable[[Mapping[str, Any], Screen], str] | None = None,
) -> int:
    """Carry out the plan, print its results, return the exit code.

    ``text`` replaces the table of results for people.
    """
    from lom.render.results import render_run, summary_line

    progress = None if plan.options.confirm_between else _progress(common)
    listeners: list[Callable[[dict[str, Any]], None]] = []
    if common.output == "ndjson":
        from lom.render.documents import encode

        listeners.append(lambda event: write_stdout(encode(event, "ndjson")))
    if progress is not None:
        listeners.append(progress.event)

    def on_event(event: dict[str, Any]) -> None:
        for listener in listeners:
            listener(event)

    if plan.bound:
        write_stderr(f"warning: {plan.bound}\n")
    started: list[Run] = []
    broken: Exception | None = None

    def cancel() -> None:
        for run in started:
            run.cancel()

    say = progress.say if progress is not None and progress.in_place else None
    with common.interrupts.cancelling(cancel, say):
        try:
            run = orchestrator.start(plan, on_event if listeners else None, start=start)
            started.append(run)
            if common.interrupts.came:  # it came while the run was being started
                run.cancel()
            with run:
                run.wait()
        except (ReaderGone, BrokenPipeError):
            raise
        except Exception as error:
            if not started:
                raise
            broken = error  # its results are told all the same
        finally:
            if progress is not None:
                progress.close()
        document = run.document_to_read()
        if common.output == "table" and text is not None:
            write_stdout(text(document, common.stdout).encode("utf-8", "backslashreplace"))
        elif common.output != "ndjson":
            write_pieces(render_run(document, common.output, common.stdout))
    if run.ledger_problem:
        write_stderr(
            f"warning: the ledger's record of the run {run.run_id} is incomplete:"
            f" {run.ledger_problem}\n"
        )
    if broken is not None:
        raise Answered(broken) from broken
    if common.output == "table":
        common.tell(summary_line(document, common.stderr.color))
    return ExitCode.CANCELLED if common.interrupts.came else run.exit_code


def confirmation(common: Common) -> Callable[[str], bool] | None:
    """Return what asks a person, or None where nobody can be asked: a program must say --yes.

    It may be called from any thread. A signal ends the asking: in the main thread by
    KeyboardInterrupt, in others it counts as no, as it cancels the run.
    """
    if common.output != "table" or not (os.isatty(STDERR) and sys.stdin and sys.stdin.isatty()):
        return None

    def ask(question: str) -> bool:
        import select

        came_before = common.interrupts.came
        write_stderr(f"{question}. Go on? [y/N] ")
        # Never blocked in a read: another thread may end the run, and the process, meanwhile.
        while not select.select([sys.stdin], [], [], _ASK_S)[0]:
            if common.interrupts.came != came_before:
                if threading.current_thread() is threading.main_thread():
                    raise KeyboardInterrupt
                return False
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    return ask


def _progress(common: Common) -> Progress | None:
    """Return what shows the run on stderr: in place on a terminal, else by a line now and then."""
    from lom.render.table import is_terminal

    if common.quiet or sys.stderr is None:
        return None
    if common.output == "ndjson" and is_terminal(STDOUT):
        return None
    from lom.render.progress import live, plain

    if is_terminal(STDERR) and os.environ.get("TERM") not in (None, "", "dumb"):
        return live(STDERR, common.stderr.color)
    return plain(STDERR)
