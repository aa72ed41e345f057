"""Bounds what is worked on in memory at the same time."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator

FREE_BYTES = 64 * 1024  # a share that is no larger costs nothing, and waits for nobody
_M_MMAP_THRESHOLD = -3  # malloc.h


class Budget:
    """Shares ``most`` bytes out, in the order in which they are asked for.

    What is larger than the whole gets it alone, so nobody waits for ever.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._next = threading.Lock()  # whoever has it is the next to get a share
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def share(self, size: int) -> Iterator[None]:
        """Wait for a share of ``size`` bytes and hold it within. Not to be nested."""
        if size <= FREE_BYTES:
            yield
            return
        _give_back()
        with self._next, self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + size <= self._most)
            self._taken += size
        try:
            yield
        finally:
            with self._changed:
                self._taken -= size
                self._changed.notify()


@functools.cache
def _give_back() -> None:
    """Have large blocks go back to the system as soon as they are freed.

    Else glibc, which raises its own bound for them when it sees some, keeps as much as one large
    answer for each of its threads.
    """
    import ctypes

    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1024 * 1024)


# Answers that are parsed, checked and handed on at the same time, in all runs of a process. As
# objects of Python they take some ten times what they take as text.
ANSWERS = Budget(8 * 1024 * 1024)
