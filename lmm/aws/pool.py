"""A pool of threads for calls of the cloud's API, as far as this machine has some."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from lmm.shortage import wanting


class Pool(ThreadPoolExecutor):
    """A pool whose ``submit`` does the work itself, and then returns, where no thread is left."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        turn = threading.Lock()

        def once() -> Any:  # what could not be started stays in the pool's queue
            return work(*args, **named) if turn.acquire(blocking=False) else None

        try:
            return super().submit(once)
        except (RuntimeError, MemoryError) as error:
            if wanting(error) is None:
                raise
            once()
            return Future()
