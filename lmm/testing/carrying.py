"""Carries many invocations out at once, as a run does, without a plan, a ledger or retries."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from lmm.fanout import Call, make_calls
from lmm.mediator import TargetEventSink
from lmm.model import Invocation, Result
from lmm.scope import Scope
from lmm.transports.base import Transport


def carry(
    invocations: Sequence[Invocation],
    transport_for: Callable[[str], Transport],
    *,
    concurrency: int = 16,
    scope: Scope | None = None,
    on_event: TargetEventSink = lambda target, kind, data: None,
) -> list[Result]:
    """Make ``concurrency`` calls at a time; return a result for each invocation, as they came.

    ``transport_for`` is a ``TransportPool``'s ``get``, or another way from a name to a transport.
    """
    grouped: dict[str, list[Invocation]] = {}
    for invocation in invocations:
        grouped.setdefault(invocation.target.transport, []).append(invocation)
    todo: deque[Call] = deque()
    for name, group in grouped.items():
        transport = transport_for(name)
        size = transport.batch_size
        todo += [(transport, group[at : at + size]) for at in range(0, len(group), size)]

    def calls() -> Iterator[Call]:
        while todo:
            try:
                yield todo.popleft()
            except IndexError:  # another thread was faster
                return

    results: list[Result] = []
    make_calls(
        calls,
        threads=min(concurrency, len(todo)),
        scope=scope or Scope(),
        on_event=on_event,
        on_result=results.append,
    )
    return results
