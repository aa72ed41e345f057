"""What this machine may run out of while it talks to others, told from all other faults.

Such a fault is nobody's but this machine's: it costs the target that met it, never the run.
"""

from __future__ import annotations

import errno
import os

from lmm.errors import ConnectionLost, HostError, InternalError, RuneError, Unreachable

_WANTING = {
    errno.EMFILE: "file descriptors (ulimit -n)",
    errno.ENFILE: "file descriptors, for all processes together",
    errno.EAGAIN: "processes (ulimit -u)",  # of fork; a socket that would block is waited for
    errno.ENOMEM: "memory",
    errno.ENOBUFS: "memory for sockets",
    errno.ENOSPC: "room on a disk",
    errno.EDQUOT: "room on a disk (quota)",
}


def wanting(error: BaseException) -> str | None:
    """Return what there was too little of, in words; None if the error says nothing of the kind."""
    if isinstance(error, MemoryError):
        return "memory"
    if isinstance(error, OSError):
        return _WANTING.get(error.errno or 0)
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return "threads (ulimit -u, ulimit -v)"
    if isinstance(error, RuntimeError) and "can't allocate lock" in str(error):
        return "memory"
    return None


def fault(error: Exception, doing: str) -> RuneError:
    """Return the error of a target for which nothing was started yet, because of ``error`` here.

    Unreachable (``local_resources``) for want of something, else HostError (``local_io_error``).
    """
    if lacking := wanting(error):
        return Unreachable("local_resources", f"cannot {doing}: this machine lacks {lacking}")
    words = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
    return HostError("local_io_error", f"cannot {doing}: {words}")


def broken(error: BaseException, name: str, *, was_sent: bool) -> RuneError:
    """Return the error of a target in the middle of whose call this machine met ``error``.

    For want of something Unreachable or, where the plugin may have run, ConnectionLost; else
    InternalError.
    """
    lacking = wanting(error)
    if lacking and was_sent:
        words = f"this machine lacked {lacking}; the plugin may have run"
        return ConnectionLost("connection_lost", words)
    if lacking and isinstance(error, Exception):
        return fault(error, f"reach {name}")
    problem = InternalError("internal_error", f"{type(error).__name__}: {error}")
    problem.__cause__ = error
    return problem


def check_descriptors() -> None:
    """Raise OSError if no file can be opened: for what fails without saying that this is why."""
    os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
