"""Threads as far as this machine has some: what gets none is done by whoever wants it done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from lmm.shortage import wanting


def started(thread: threading.Thread) -> bool:
    """Start a thread; False where this machine has no more: its work is to be done otherwise."""
    try:
        thread.start()
    except (RuntimeError, MemoryError) as error:
        if wanting(error) is None:
            raise
        return False
    return True


def side_by_side(works: Sequence[Callable[[], None]], name: str) -> None:
    """Do all works, each in a thread of its own if there is one; return when all are done."""
    threads = [threading.Thread(target=work, name=name, daemon=True) for work in works]
    waited_for = []
    for thread in threads:
        if started(thread):
            waited_for.append(thread)
        else:
            thread.run()
    for thread in waited_for:
        thread.join()
