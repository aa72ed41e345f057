"""The group ``rune`` and the one place where its every way out becomes an exit code."""

from __future__ import annotations

import os

import click

from lmm.errors import Cancelled, RuneError
from lom import __version__
from lom.cli import COMPLETE_VARIABLE
from lom.cli.faults import Answered, from_click, report, unexpected
from lom.cli.group import Group
from lom.cli.interrupts import Interrupts
from lom.cli.output import ReaderGone, discard_stdout, flush_stdout
from lom.exit_codes import ExitCode, for_error


@click.group(
    cls=Group,
    commands_at={
        "run": "lom.cli.run:run",
        "action": "lom.cli.actions:action",
        "plugin": "lom.cli.plugins:plugin",
        "target": "lom.cli.targets:target",
        "runs": "lom.cli.runs:runs",
        "fleet": "lom.cli.fleet:fleet",
        "baseline": "lom.cli.baselines:baseline",
        "approve": "lom.cli.approve:approve",
        "audit": "lom.cli.audit:audit",
        "config": "lom.cli.settings:config",
        "doctor": "lom.cli.doctor:doctor",
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
    rune run host.info -t 'gpu and not r3'   on the targets that the selector picks
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
    try:
        try:
            code = _invoke(arguments, interrupts)
        except click.exceptions.Exit as stop:  # --help, --version
            code = stop.exit_code
        flush_stdout()
        return code
    except (ReaderGone, BrokenPipeError):
        raise
    except (KeyboardInterrupt, click.Abort):
        report(Cancelled("cancelled", "cancelled"), arguments)
        return ExitCode.CANCELLED
    except click.ClickException as wrong:
        return _fail(from_click(wrong), arguments)
    except RuneError as error:
        return _fail(error, arguments)
    except Answered as after:
        return _fail(after.error, arguments, answered=True)
    except Exception as error:
        return _fail(unexpected(error), arguments)


def _invoke(arguments: list[str], interrupts: Interrupts) -> int:
    if COMPLETE_VARIABLE in os.environ:
        from lom.cli.completion import answer

        answer(rune, os.environ[COMPLETE_VARIABLE])
        return ExitCode.OK
    with rune.make_context("rune", list(arguments), obj=interrupts) as context:
        return int(rune.invoke(context) or ExitCode.OK)


def _fail(error: RuneError, arguments: list[str], *, answered: bool = False) -> int:
    report(error, arguments, answered)
    if "--debug" in arguments or os.environ.get("RUNE_DEBUG"):
        import traceback

        from lmm.model import RESOLVED
        from lmm.redact import Redactor
        from lom.cli.output import write_stderr

        write_stderr(Redactor(RESOLVED).text("".join(traceback.format_exception(error))))
    return for_error(error)
