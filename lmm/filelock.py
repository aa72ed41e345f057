"""Locks a file for a moment, and never waits for ever: who can read it can keep it locked."""

from __future__ import annotations

import errno
import fcntl
import threading
import time

PATIENCE_S = 10.0
_STEP_S = 0.01


def lock(
    descriptor: int,
    until: float,
    *,
    shared: bool = False,
    cancelled: threading.Event | None = None,
) -> None:
    """Lock an open file (flock(2)) until it is closed.

    Raises OSError where another process keeps it locked until ``until`` (``time.monotonic``), or
    until the caller no longer wants it.
    """
    wish = cancelled or threading.Event()
    while True:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if wish.wait(_STEP_S) or time.monotonic() > until:
                raise OSError(errno.EAGAIN, "another process keeps it locked") from None
