"""The exit codes of the command line: one table, from which help and docs are made."""

from __future__ import annotations

from enum import IntEnum

from lmm.errors import PolicyDenied, RequestError, RuneError


class ExitCode(IntEnum):
    """What the process's exit status says; ``meaning`` is the sentence that documents it."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> ExitCode:
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    OK = 0, "every target ok"
    FAILED = 1, "every target failed in the plugin"
    BAD_REQUEST = 2, "bad request: usage, unknown action, parameters, inventory, configuration"
    DENIED = 3, "denied by a policy, or not confirmed"
    UNREACHABLE = 4, "every target unreachable"
    INVALID_OUTPUT = 5, "every plugin wrote invalid output"
    TIMED_OUT = 6, "every target timed out"
    PARTIAL = 7, "partial: some targets ok and some not, or several kinds of trouble"
    LOST = 8, "every target lost: the connection went away, the plugin may have run"
    INTERNAL = 70, "internal error"
    CANCELLED = 130, "cancelled by Ctrl-C or SIGTERM, or by the hosts as the connections dropped"
    READER_GONE = 141, "the reader of stdout went away; what still ran was cancelled"


def for_error(error: RuneError) -> ExitCode:
    """Return the exit code of a request that ended with ``error`` before it became a run."""
    if isinstance(error, RequestError):
        return ExitCode.BAD_REQUEST
    if isinstance(error, PolicyDenied):
        return ExitCode.DENIED
    return ExitCode.INTERNAL
