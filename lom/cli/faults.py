"""Errors on their way out: text for people on stderr, an EPS document on stdout for programs."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from lmm.errors import InternalError, RequestError, RuneError
from lom.cli.output import STDERR, write_stderr, write_stdout
from lom.names import did_you_mean
from lom.service.settings import settings_in_force
from lom.settings.values import OUTPUTS

if TYPE_CHECKING:
    from lom.cli.bound import Gate


class Answered(Exception):
    """What went wrong in a command whose answer is on stdout: programs are told no more."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error if isinstance(error, RuneError) else unexpected(error)


def report(
    error: RuneError, arguments: Sequence[str], answered: bool = False, gate: Gate | None = None
) -> None:
    """Tell people, and programs where the command line or the settings ask for it.

    With ``answered`` stdout has a document already, which is to stay the only one. Through a
    ``gate`` no advice is given that the caller cannot take.
    """
    from lmm.eps import document
    from lom.render.errors import error_lines
    from lom.render.table import screen

    told = document(error)
    if gate:
        context = told["error_context"]
        context["recovery_actions"] = gate.advice(error, context["recovery_actions"])
    command = error.data.get("command")
    hints = (f"See `{command} --help`.",) if command else None
    color = "never" if "--no-color" in arguments or os.environ.get("NO_COLOR") else "auto"
    lines = error_lines(told, color=screen(STDERR, color, os.environ).color, hints=hints)
    write_stderr("".join(f"{line}\n" for line in lines))
    output = wanted_output(arguments)
    if output in ("json", "ndjson", "yaml") and not answered:
        from lom.render.documents import encode

        with contextlib.suppress(InternalError):  # stdout may be what is at fault
            write_stdout(encode(told, output))


def wanted_output(arguments: Sequence[str]) -> str:
    """Return the output format that is asked for anywhere, on a line that need not make sense."""
    for at in range(len(arguments) - 1, -1, -1):
        found = re.fullmatch(r"(?:--output(?:=(.*))?|-q?o=?(.*))", arguments[at], re.DOTALL)
        if found:
            following = arguments[at + 1] if at + 1 < len(arguments) else ""
            value = found[1] or found[2] or following
            if value in OUTPUTS:
                return value
    try:
        return settings_in_force({}, unchecked=True).output
    except (RuneError, OSError):
        return "table"


def from_click(wrong: click.ClickException) -> RequestError:
    """Return click's complaint about the command line as an error of ours."""
    message = wrong.format_message().removesuffix(".")
    context = wrong.ctx if isinstance(wrong, click.UsageError) else None
    command = context.command_path if context else "rune"
    if isinstance(wrong, click.exceptions.NoArgsIsHelpError):
        write_stderr(f"{message}\n\n")
        message = f"`{command}` needs a command"
    elif isinstance(wrong, click.NoSuchOption):
        message = f"No such option {wrong.option_name}"
        if context is not None and isinstance(context.command, click.Group):
            message += f"; options stand after the command, as in `{command} COMMAND -o json`"
        elif context is not None:
            params = context.command.get_params(context)
            options = [n for one in params if not getattr(one, "hidden", False) for n in one.opts]
            message += did_you_mean(wrong.option_name, options)
    return RequestError("invalid_usage", message, command=command)


def unexpected(error: Exception) -> InternalError:
    """Return the error for what nobody foresaw; its own text stays out, it may hold a secret."""
    import traceback

    from lmm.shortage import wanting

    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"at {os.path.basename(last.filename)}:{last.lineno}"
    lacking = wanting(error)
    if lacking and getattr(error, "errno", None) not in (errno.ENOSPC, errno.EDQUOT):
        problem = InternalError("local_resources", f"this machine lacks {lacking} ({place})")
    elif isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else f" {place}"
        problem = InternalError("local_io_error", f"{error.strerror or 'an I/O error'}{where}")
    else:
        problem = InternalError("internal_error", f"unexpected {type(error).__name__} {place}")
    problem.__cause__ = error
    return problem
