"""Locks a file for a moment, and never waits for ever: who can read it can keep it locked.

What is appended to it under the lock is there as a whole, or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import threading
import time

PATIENCE_S = 10.0
_STEP_S = 0.01


def lock(
    descriptor: int,
    *,
    until: float | None = None,
    shared: bool = False,
    cancelled: threading.Event | None = None,
) -> None:
    """Lock an open file (flock(2)) until it is closed.

    Raises OSError where another process keeps it locked until ``until`` (``time.monotonic``, by
    default for ``PATIENCE_S``), or until the caller no longer wants it.
    """
    until = time.monotonic() + PATIENCE_S if until is None else until
    wish = cancelled or threading.Event()
    while True:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if wish.wait(_STEP_S) or time.monotonic() > until:
                raise OSError(errno.EAGAIN, "another process keeps it locked") from None


def open_locked(path: str, *, cancelled: threading.Event | None = None) -> int:
    """Open a file for appending, made if need be, and lock it; whoever closes it gives the lock
    back. Waits up to ``PATIENCE_S``.

    The file may be moved away, or replaced, in the meantime: then the one that is there now is
    taken. Raises OSError.
    """
    until = time.monotonic() + PATIENCE_S
    # O_NONBLOCK: a pipe that is full would make who appends wait
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    while True:
        descriptor = os.open(path, flags, 0o600)
        try:
            lock(descriptor, until=until, cancelled=cancelled)
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def append(descriptor: int, text: bytes) -> None:
    """Append all of a text to an open file, or nothing of it. Raises OSError.

    A limit of this process on the size of files goes through sudo, so a caller may have set it; it
    is looked at before: from a file that can only be appended to nothing is taken back.
    """
    size = os.fstat(descriptor).st_size
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit != resource.RLIM_INFINITY and size + len(text) > limit:
        raise OSError(errno.EFBIG, f"this process may write no file beyond {limit} bytes")
    if os.write(descriptor, text) != len(text):
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, size)
        raise OSError(errno.ENOSPC, "no space left for the whole line")
