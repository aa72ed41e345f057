"""Runs many invocations at once in bounded threads, with one result for each of them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from lmm.errors import InternalError
from lmm.job import Scope, failure
from lmm.mediator import TargetEventSink, mediate
from lmm.model import Invocation, Result
from lmm.transports.base import Transport


def batches(
    invocations: Sequence[Invocation], transport_for: Callable[[str], Transport]
) -> list[tuple[Transport, list[Invocation]]]:
    """Group invocations by transport into what one call of it takes, in order."""
    grouped: list[tuple[Transport, list[Invocation]]] = []
    open_batch: dict[str, list[Invocation]] = {}
    for invocation in invocations:
        transport = transport_for(invocation.target.transport)
        batch = open_batch.get(transport.name)
        if batch is None or len(batch) >= transport.batch_size:
            batch = open_batch[transport.name] = []
            grouped.append((transport, batch))
        batch.append(invocation)
    return grouped


def fan_out(
    invocations: Sequence[Invocation],
    transport_for: Callable[[str], Transport],
    *,
    concurrency: int,
    scope: Scope,
    may_start: Callable[[Sequence[Invocation]], bool],
    on_event: TargetEventSink,
    on_result: Callable[[Result], None],
    prepare: Callable[[Invocation], Invocation] = lambda invocation: invocation,
) -> None:
    """Run all invocations, ``concurrency`` calls at a time; return when every one has its result.

    ``may_start`` is asked before each call; when it says no, it has taken care of the results of
    that call's invocations itself. ``prepare`` may then still change each of them: what hangs
    on the moment of the start. Callbacks come from many threads.
    """
    todo = deque(batches(invocations, transport_for))
    crashed: list[BaseException] = []

    def work() -> None:
        while True:
            try:
                transport, batch = todo.popleft()
            except IndexError:
                return
            delivered: set[str] = set()

            def deliver(result: Result, delivered: set[str] = delivered) -> None:
                delivered.add(result.target)
                on_result(result)

            try:
                if may_start(batch):
                    mediate(
                        transport,
                        [prepare(invocation) for invocation in batch],
                        scope=scope,
                        on_event=on_event,
                        on_result=deliver,
                    )
            except BaseException as error:  # the other targets still get theirs
                crashed.append(error)
                problem = InternalError("internal_error", f"{type(error).__name__}: {error}")
                for invocation in batch:
                    if invocation.target.name not in delivered:
                        on_result(failure(invocation, problem))

    threads = [
        threading.Thread(target=work, name=f"rune-{number}", daemon=True)
        for number in range(min(concurrency, len(todo)))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if crashed:
        raise crashed[0]
