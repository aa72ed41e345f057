"""Carries out a plan for the command line: progress, signals, and the results in their format."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lom.cli.common import Common
from lom.cli.output import STDERR, STDOUT, write_stderr, write_stdout
from lom.exit_codes import ExitCode

if TYPE_CHECKING:
    from lom.orchestrator import Orchestrator
    from lom.plan import Plan
    from lom.render.progress import Progress
    from lom.render.table import Screen
    from lom.run import Run


def execute(
    common: Common,
    orchestrator: Orchestrator,
    plan: Plan,
    text: Callable[[Mapping[str, Any], Screen], str] | None = None,
) -> int:
    """Carry out the plan, print its results, return the exit code.

    ``text`` replaces the table of results for people.
    """
    from lom.render.results import render_run, summary_line

    progress = _progress(common)
    listeners: list[Callable[[dict[str, Any]], None]] = []
    if common.output == "ndjson":
        from lom.render.documents import encode

        listeners.append(lambda event: write_stdout(encode(event, "ndjson")))
    if progress is not None:
        listeners.append(progress.event)

    def on_event(event: dict[str, Any]) -> None:
        for listener in listeners:
            listener(event)

    started: list[Run] = []

    def cancel() -> None:
        for run in started:
            run.cancel()

    with common.interrupts.cancelling(cancel):
        try:
            run = orchestrator.start(plan, on_event if listeners else None)
            started.append(run)
            if common.interrupts.count:  # it came while the run was being started
                run.cancel()
            with run:
                for _ in run:
                    pass
        finally:
            if progress is not None:
                progress.close()
        document = run.document()
        if common.output == "table" and text is not None:
            write_stdout(text(document, common.stdout).encode("utf-8", "backslashreplace"))
        elif common.output != "ndjson":
            write_stdout(render_run(document, common.output, common.stdout))
    if common.output == "table":
        common.tell(summary_line(document, common.stderr.color))
    return ExitCode.CANCELLED if common.interrupts.count else run.exit_code


def confirmation(common: Common) -> Callable[[str], bool] | None:
    """Return what asks a person, or None where nobody can be asked: a program must say --yes."""
    if common.output != "table" or not (os.isatty(STDERR) and sys.stdin and sys.stdin.isatty()):
        return None

    def ask(question: str) -> bool:
        with common.interrupts.cancelling(None):
            write_stderr(f"{question}. Go on? [y/N] ")
            return sys.stdin.readline().strip().lower() in ("y", "yes")

    return ask


def _progress(common: Common) -> Progress | None:
    """Return a progress line if stderr is a terminal that stdout is not streaming to."""
    from lom.render.table import is_terminal

    if common.quiet or not is_terminal(STDERR) or os.environ.get("TERM") in (None, "", "dumb"):
        return None
    if common.output == "ndjson" and is_terminal(STDOUT):
        return None
    from lom.render.progress import Progress

    return Progress(STDERR, common.stderr.color)
