"""The error tree. Every error that leaves RUNE is one of these and becomes an EPS document.

::

    RuneError
    ├── RequestError      the request, a file or a setting is wrong           exit 2
    ├── PolicyDenied      a policy refused the run                            exit 3
    ├── Unreachable       the script never started on the target
    ├── ConnectionLost    the connection went away after the script started
    ├── HostError         the host cannot run the plugin (interpreter, directory, …)
    ├── PluginFailed      the plugin itself answered with an error
    ├── OutputError       what the plugin wrote breaks the contract
    ├── TimedOut          the deadline passed
    ├── Cancelled         killed before it finished
    └── InternalError     a fault of RUNE                                     exit 70

The class says what kind of thing happened, ``reason`` is the row of ``specs/eps_codes.json``
that holds code, classification, severity and recovery actions.
"""

from __future__ import annotations

import functools
from typing import Any


def spec_text(name: str) -> str:
    """Return the text of a file of ``specs/``, installed or beside the checkout."""
    from pathlib import Path  # 8 ms that `rune --help` need not pay

    here = Path(__file__).resolve().parent
    packaged = here / "specs" / name
    found = packaged if packaged.is_file() else here.parent / "specs" / name
    return found.read_text(encoding="utf-8")


def shortened(text: str, most: int) -> str:
    """Return a text of at most ``most`` characters; the last says that something was cut off."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


@functools.cache
def code_table() -> dict[str, dict[str, Any]]:
    """Return the EPS code table: reason -> row of ``specs/eps_codes.json``."""
    import json

    rows: dict[str, dict[str, Any]] = json.loads(spec_text("eps_codes.json"))["codes"]
    return rows


class RuneError(Exception):
    """An error with a reason from the code table and structured details.

    ``data`` holds JSON values only: where it was (``field``), ``validation_errors``, … Never a
    secret. ``target``, ``host`` and the like may stand in it: the fingerprint leaves them out.
    """

    def __init__(self, reason: str, message: str, **data: Any) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.data = data

    @property
    def row(self) -> dict[str, Any]:
        return code_table()[self.reason]

    @property
    def retryable(self) -> bool:
        """Whether trying again soon, unchanged, is safe and may help."""
        return bool(self.row["retry_recommended"])


class RequestError(RuneError):
    """The request, a file or a setting is wrong; nothing was started."""


class PolicyDenied(RuneError):
    """A policy refused the run; nothing was started."""


class Unreachable(RuneError):
    """The script never started on the target."""


# Data of an Unreachable whose host closed the connection without a greeting, as sshd does when
# too many log in at once (MaxStartups): it passes, unlike a host that is down.
GREETING = {"phase": "greeting"}


class ConnectionLost(RuneError):
    """The connection went away after the script had started; it may have run."""


class HostError(RuneError):
    """The host was reached but cannot run the plugin."""


class PluginFailed(RuneError):
    """The plugin answered with an error of its own."""


class OutputError(RuneError):
    """What the plugin wrote breaks the contract."""


class TimedOut(RuneError):
    """The deadline passed; the host killed the plugin's process tree."""


class Cancelled(RuneError):
    """Killed before it finished, by the operator or by the host's own watchdog."""


class InternalError(RuneError):
    """A fault of RUNE itself."""
