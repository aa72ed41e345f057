"""Cancels many things at once."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Scope:
    """A cancel switch shared by the jobs of a run. Safe to use from a signal handler's thread."""

    def __init__(self) -> None:
        self._flag = threading.Event()
        self._lock = threading.RLock()
        self._actions: dict[object, Callable[[], None]] = {}

    @property
    def cancelled(self) -> bool:
        return self._flag.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep; return True at once when cancelled."""
        return self._flag.wait(seconds)

    def cancel(self) -> None:
        with self._lock:
            self._flag.set()
            actions = list(self._actions.values())
            self._actions.clear()
        for action in actions:
            action()

    def add(self, key: object, action: Callable[[], None]) -> None:
        """Call ``action`` once on cancel; at once if that has already happened."""
        with self._lock:
            if not self._flag.is_set():
                self._actions[key] = action
                return
        action()

    def remove(self, key: object) -> None:
        with self._lock:
            self._actions.pop(key, None)
