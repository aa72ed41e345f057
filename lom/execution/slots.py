"""Shares what a process does at the same time between its runs, so that none holds up another."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

AT_ONCE = 256  # calls of all runs of a process, unless the settings or a run's concurrency say more


@dataclass(slots=True, eq=False)
class _Waiter:
    woken: threading.Event = field(default_factory=threading.Event)
    granted: bool = False


class Slots:
    """Places for calls of transports. A place that becomes free goes to the runs in turns.

    A run joins with the most places that all runs together may take; the greatest number of those
    that have joined counts. All methods may be called from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal's handler may cancel, and so leave
        self._taken = 0
        self._most: dict[object, int] = {}
        self._waiting: dict[object, deque[_Waiter]] = {}  # in the order of the runs' turns

    def join(self, run: object, most: int) -> None:
        with self._lock:
            self._most[run] = most
            self._grant()

    def leave(self, run: object) -> None:
        """Have the run's calls wait no longer; those that have a place keep it to their end."""
        with self._lock:
            self._most.pop(run, None)
            for waiter in self._waiting.pop(run, ()):
                waiter.woken.set()

    @contextlib.contextmanager
    def place(self, run: object, timeout_s: float | None = None) -> Iterator[bool]:
        """Wait for a place and hold it within; False without one: in time, or as the run left."""
        granted = self._take(run, timeout_s)
        try:
            yield granted
        finally:
            if granted:
                with self._lock:
                    self._taken -= 1
                    self._grant()

    def waiting(self, run: object) -> int:
        """Return how many calls of a run wait for a place."""
        with self._lock:
            return len(self._waiting.get(run, ()))

    def _take(self, run: object, timeout_s: float | None) -> bool:
        with self._lock:
            if run not in self._most:
                return False
            waiter = _Waiter()
            self._waiting.setdefault(run, deque()).append(waiter)
            self._grant()
            if waiter.granted:
                return True
        waiter.woken.wait(timeout_s)
        with self._lock:
            if not waiter.granted and run in self._waiting:
                self._waiting[run].remove(waiter)
                if not self._waiting[run]:
                    del self._waiting[run]
            return waiter.granted

    def _grant(self) -> None:
        most = max(self._most.values(), default=0)
        while self._waiting and self._taken < most:
            run, waiters = next(iter(self._waiting.items()))
            waiter = waiters.popleft()
            del self._waiting[run]
            if waiters:
                self._waiting[run] = waiters  # behind the others
            self._taken += 1
            waiter.granted = True
            waiter.woken.set()


PROCESS = Slots()  # those of this process
