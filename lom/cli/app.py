"""The group ``rune`` and the one place where its every way out becomes an exit code."""

from __future__ import annotations

import os

import click

from lmm.errors import Cancelled, RuneError
from lom import __version__
from lom.admission.bound import bound_account, settle
from lom.cli import COMPLETE_VARIABLE
from lom.cli.faults import Answered, from_click, report, unexpected, wanted_output
from lom.cli.group import Entry, Group
from lom.cli.interrupts import Interrupts
from lom.cli.output import ReaderGone, discard_stdout, flush_stdout, written
from lom.exit_codes import ExitCode, for_error


@click.group(
    cls=Group,
    commands_at={
        "run": "lom.cli.commands.run:run",
        "action": "lom.cli.commands.actions:action",
        "plugin": "lom.cli.commands.plugins:plugin",
        "target": "lom.cli.commands.targets:target",
        "runs": "lom.cli.commands.runs:runs",
        "fleet": "lom.cli.commands.fleet:fleet",
        "baseline": "lom.cli.commands.baselines:baseline",
        "approve": "lom.cli.commands.approve:approve",
        "audit": "lom.cli.commands.audit:audit",
        "config": "lom.cli.commands.config:config",
        "doctor": "lom.cli.commands.doctor:doctor",
        "completion": "lom.cli.completion:completion",
    },
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Environment: RUNE_INVENTORY, RUNE_PLUGIN_PATH, RUNE_OUTPUT, RUNE_CONFIG,"
    " RUNE_STATE_DIR, RUNE_DEBUG, NO_COLOR. Exit codes: see `rune run --help`.",
)
@click.version_option(__version__, prog_name="rune", message="%(prog)s %(version)s")
def rune() -> None:
    """Run an action on many hosts and get one validated answer from each.

    \b
    rune run host.info                       on this machine
    rune run host.info -t 'gpu and not r3'   on the targets that this picks
    rune action list                         what can be run
    rune doctor                              what is missing
    """


def run(arguments: list[str]) -> int:
    """Carry out one command line and return its exit code."""
    try:
        with Interrupts() as interrupts:
            return _carry_out(arguments, interrupts)
    except (ReaderGone, BrokenPipeError):
        discard_stdout()
        return ExitCode.READER_GONE


def _carry_out(arguments: list[str], interrupts: Interrupts) -> int:
    entry, before = None, written()
    try:
        try:
            entry = _enter(interrupts)
            code = _invoke(arguments, entry)
        except click.exceptions.Exit as stop:  # --help, --version
            code = stop.exit_code
        finally:
            interrupts.answered()
        flush_stdout()
        return code
    except (ReaderGone, BrokenPipeError):
        raise
    except (KeyboardInterrupt, click.Abort):
        is_answered = written() > before and wanted_output(arguments) != "ndjson"
        report(Cancelled("cancelled", "cancelled"), arguments, is_answered)
        return ExitCode.CANCELLED
    except click.ClickException as wrong:
        return _fail(from_click(wrong), arguments, entry)
    except RuneError as error:
        return _fail(error, arguments, entry)
    except Answered as after:
        return _fail(after.error, arguments, entry, answered=True)
    except Exception as error:
        return _fail(unexpected(error), arguments, entry)


def _enter(interrupts: Interrupts) -> Entry:
    """Find out for whom this is, before anything that the caller gave is looked at."""
    try:
        interrupts.take()
        bound = bound_account()
        if bound is None:
            return Entry(interrupts)
        settle(bound)
    except BaseException:  # to tell of it, nothing may be read that the caller chose
        settle(None)
        raise
    from lom.cli.bound import Gate

    return Entry(interrupts, Gate(bound))


def _invoke(arguments: list[str], entry: Entry) -> int:
    if COMPLETE_VARIABLE in os.environ:
        from lom.cli.completion import answer

        answer(rune, os.environ[COMPLETE_VARIABLE])
        return ExitCode.OK
    root = entry.gate.root(rune) if entry.gate else rune
    with root.make_context("rune", list(arguments), obj=entry) as context:
        return int(root.invoke(context) or ExitCode.OK)


def _fail(
    error: RuneError, arguments: list[str], entry: Entry | None, *, answered: bool = False
) -> int:
    report(error, arguments, answered, entry.gate if entry else None)
    wanted = "--debug" in arguments or os.environ.get("RUNE_DEBUG")
    if wanted and entry and not entry.gate:  # a traceback may tell more than the caller may read
        import traceback

        from lmm.model import RESOLVED
        from lmm.redact import Redactor
        from lom.cli.output import write_stderr

        write_stderr(Redactor(RESOLVED).text("".join(traceback.format_exception(error))))
    return for_error(error)
