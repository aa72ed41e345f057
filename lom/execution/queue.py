"""Which targets of a run are next, and when: those that wait come back when their time has come."""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from lmm.model import Inquiry, Result, Target
from lmm.transports import Transport
from lom.planning.plan import Step


@dataclass(slots=True, eq=False)
class TargetState:
    """A target on its way through a run.

    ``attempt`` is the number of its next attempt, ``starts`` how often this run has started it,
    ``last`` what came of the last start, if that was not good enough. ``asks`` is set while its
    host is to be asked what became of a start by an earlier process. The rest is about the lock of
    its host (``lom.execution.locks``).
    """

    step: Step
    attempt: int = 1
    starts: int = 0
    last: Result | None = None
    asks: Inquiry | None = None
    places: tuple[int, ...] | None = None
    locked_since: float | None = None
    behind: list[TargetState] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.step.target.name

    @property
    def targets(self) -> tuple[Target, ...]:
        """The target and, if it meets another one, that."""
        pair = self.step.pair
        return (self.step.target, *([pair.server.target] if pair else ()))


Batch = tuple[Transport, list[TargetState]]  # what one call of the transport takes


class TargetQueue:
    """Targets in the order in which they may start. All methods may be called from any thread."""

    def __init__(self, transport_for: Callable[[str], Transport]) -> None:
        self._transport_for = transport_for
        self._changed = threading.Condition()
        self._ready: deque[Batch] = deque()
        self._open: dict[str, list[TargetState]] = {}  # by transport, what still takes targets
        self._later: list[tuple[float, int, TargetState]] = []
        self._numbers = itertools.count()
        self._out = 0
        self._watched = math.inf  # the instant that one of the waiting threads will wake up at
        self._hurried = False

    def __len__(self) -> int:
        """How many calls are ready."""
        return len(self._ready)

    def add(self, state: TargetState, after_s: float = 0.0) -> None:
        """Put a target at the end, ``after_s`` seconds from now."""
        with self._changed:
            if after_s <= 0 or self._hurried:
                self._line_up(state)
            else:
                at = time.monotonic() + after_s
                heapq.heappush(self._later, (at, next(self._numbers), state))
            self._changed.notify()

    def hurry(self) -> None:
        """Let nobody wait for a time any more."""
        with self._changed:
            self._hurried = True
            self._line_up_until(math.inf)
            self._changed.notify_all()

    def take(self) -> Batch | None:
        """Wait for the next call; None when there will be none any more.

        Each one that was taken is to be followed by ``done``, after its targets were added again
        or are through.
        """
        with self._changed:
            while True:
                now = time.monotonic()
                self._line_up_until(now)
                if self._ready:
                    transport, states = self._ready.popleft()
                    if self._open.get(transport.name) is states:
                        del self._open[transport.name]
                    self._out += 1
                    self._changed.notify()  # if this thread has watched the time, another must
                    return transport, states
                if not self._later and not self._out:
                    self._changed.notify_all()
                    return None
                self._wait(now)

    def done(self) -> None:
        """Note that a call has ended."""
        with self._changed:
            self._out -= 1
            self._changed.notify()

    def _wait(self, now: float) -> None:
        """Wait for a change; one thread at a time also for what is due next."""
        due = self._later[0][0] if self._later else math.inf
        if due >= self._watched or due == math.inf:
            self._changed.wait()
            return
        self._watched = due
        self._changed.wait(due - now)
        if self._watched == due:
            self._watched = math.inf

    def _line_up_until(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            self._line_up(heapq.heappop(self._later)[2])

    def _line_up(self, state: TargetState) -> None:
        transport = self._transport_for(state.step.target.transport)
        states = self._open.get(transport.name)
        if states is None or len(states) >= transport.batch_size:
            states = self._open[transport.name] = []
            self._ready.append((transport, states))
        states.append(state)
