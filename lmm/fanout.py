"""Runs many invocations at once in bounded threads, with one result for each of them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from lmm.failures import failure
from lmm.mediator import TargetEventSink, mediate
from lmm.model import Invocation, Result
from lmm.scope import Scope
from lmm.shortage import broken, wanting
from lmm.threads import started
from lmm.transports.base import Transport

Call = tuple[Transport, Sequence[Invocation]]  # at most ``batch_size`` of the transport


def make_calls(
    calls: Callable[[], Iterable[Call]],
    *,
    threads: int,
    scope: Scope,
    on_event: TargetEventSink,
    on_result: Callable[[Result], None],
) -> None:
    """Make calls in several threads; return when there are none any more.

    Each thread goes through an iterable of its own and comes back for more when a call has ended.
    Where this machine has no more threads, fewer do the work, or the caller's own alone. Every
    invocation of a call gets one result, whatever happens; callbacks come from many threads.
    Raises, in the end, what was raised first.
    """
    crashed: list[BaseException] = []

    def work() -> None:
        try:
            for transport, batch in calls():
                make(transport, batch)
        except BaseException as error:  # the other threads go on
            crashed.append(error)

    def make(transport: Transport, batch: Sequence[Invocation]) -> None:
        left = Counter(invocation.target.name for invocation in batch)
        lock = threading.Lock()

        def deliver(result: Result) -> None:
            with lock:
                if not left[result.target]:
                    return  # it has one
                left[result.target] -= 1
            on_result(result)

        try:
            mediate(transport, batch, scope=scope, on_event=on_event, on_result=deliver)
        except BaseException as error:  # the other targets still get theirs
            if not wanting(error):
                crashed.append(error)
            for invocation in batch:
                name = invocation.target.name
                if left[name]:
                    deliver(failure(invocation, broken(error, name, was_sent=True)))

    workers: list[threading.Thread] = []
    try:
        for number in range(threads):
            worker = threading.Thread(target=work, name=f"rune-{number}", daemon=True)
            if not started(worker):
                break
            workers.append(worker)
        if not workers:
            work()
    finally:
        for worker in workers:
            worker.join()
    if crashed:
        raise crashed[0]
