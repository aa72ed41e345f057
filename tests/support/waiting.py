"""Waiting for what must come."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_S = 30.0

T = TypeVar("T")


def until(condition: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """Wait for what must come and return it; fails after ``patience_s`` seconds."""
    end = time.monotonic() + patience_s
    while not (found := condition()):
        assert time.monotonic() < end, "what was waited for has not come"
        time.sleep(0.01)
    return found


def comes_true(condition: Callable[[], object], patience_s: float = PATIENCE_S) -> bool:
    """Wait for a condition; False if it does not hold in time."""
    end = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
