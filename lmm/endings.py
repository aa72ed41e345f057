"""What the host's end line means: the plugin's own answer counts, or why there is none."""

from __future__ import annotations

import re

from lmm.bootstrap import End
from lmm.errors import (
    Cancelled,
    ConnectionLost,
    HostError,
    OutputError,
    RuneError,
    TimedOut,
    Unreachable,
)
from lmm.model import Invocation
from lmm.receipts import KEPT_S

_UPTIME = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")
_RAN = ("exit", "timeout", "cancel", "disconnect", "flood")
_NO_RESULT = {
    "gone": "the host's shell ended before it had noted a result: by a kill or a reboot, or the"
    " disk that keeps receipts (/var/tmp, or the home) was full",
    "forgotten": "the host removed the output because it had been read",
    "taken": "the host has been sent this invocation before",
}


def has_run(end: End) -> bool:
    """Return whether the end line's status is the plugin's own."""
    return end.reason in _RAN


def error_of(
    end: End,
    invocation: Invocation,
    stop: RuneError | None = None,
    excess: OutputError | None = None,
) -> RuneError | None:
    """Return what went wrong by the host's last word, None if the plugin ended by itself.

    ``stop`` is why it was to be stopped from here: only the host knows whether it still lived then.
    ``excess`` is set where not all of its output was taken. Nothing that a host says raises.
    """
    if stop and (end.reason in ("cancel", "disconnect") or not has_run(end)):
        return stop
    if excess and has_run(end):
        return excess
    timeout = invocation.limits.timeout_s
    match end.reason:
        case "exit":
            return None
        case "timeout":
            return TimedOut("timed_out", f"not finished after {timeout:g} s", timeout_s=timeout)
        case "cancel":
            return Cancelled("cancelled", "cancelled by the operator")
        case "disconnect":
            return Cancelled("disconnected", "the host killed the plugin: the connection dropped")
        case "flood":
            reason = "stderr_too_large" if end.detail == "stderr" else "output_too_large"
            return OutputError(reason, f"{end.detail} is larger than the host may keep")
        case "gone" | "forgotten" | "taken":
            return ConnectionLost("receipt_incomplete", _NO_RESULT[end.reason])
        case "unknown":
            return _no_receipt(end, invocation)
        case "no_receipt" if invocation.inquiry:
            return ConnectionLost("receipt_incomplete", "the host has no disk that keeps a receipt")
        case _:
            return _not_started(end)


def _no_receipt(end: End, invocation: Invocation) -> RuneError:
    """The host has no receipt and from now on will have none: was there never any?"""
    age = invocation.inquiry.age_s if invocation.inquiry else 0.0
    if not _UPTIME.fullmatch(end.detail):
        return _unknown(end)
    if age < min(float(end.detail), KEPT_S):
        return Unreachable("never_started", "the host never started this invocation")
    why = "it has been booted since" if age < KEPT_S else "it keeps receipts for a day only"
    return ConnectionLost("receipt_incomplete", f"the host has no receipt, but {why}")


def _unknown(end: End) -> RuneError:
    return ConnectionLost(
        "receipt_incomplete", f"the host says what no host should: {end.reason} {end.detail!r}"
    )


def _not_started(end: End) -> RuneError:
    match end.reason:
        case "missing":
            return HostError(
                "dependency_missing", f"command not found: {end.detail}", field=end.detail
            )
        case "want":
            return HostError("files_not_kept", "the host does not keep the plugin's files")
        case "no_directory":
            return HostError(
                "no_writable_directory", "no directory on the host takes the plugin's file"
            )
        case "no_receipt":
            return HostError("no_writable_directory", "no directory on the host takes a receipt")
        case "eaten":
            return Unreachable("stdin_taken", "something on the host has read from RUNE's input")
        case "short":
            words = "the connection dropped while sending, or somebody else has read from its input"
            return Unreachable("connection_reset", words)
        case "no_guard":
            return HostError("bootstrap_failed", "the host lets the account start no process")
        case "old_bash":
            return HostError("bootstrap_failed", f"the host's bash is too old: {end.detail}")
        case _:
            return _unknown(end)
