"""Whether a run may start more of its targets, how long those may take, and what is in between."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable

from lmm.errors import HostError, RuneError
from lmm.scope import Scope
from lmm.threads import started
from lom.planning.options import RunOptions, Start


class RunLimits:
    """A run's failure budget and deadline, which say whether more of its targets may start.

    ``max_failures`` is a count, ``deadline_s`` counts from now; None: no bound. May be asked from
    any thread.
    """

    def __init__(self, max_failures: int | None, deadline_s: float | None) -> None:
        self._max_failures = max_failures
        self._deadline_s = deadline_s
        self._until = None if deadline_s is None else time.monotonic() + deadline_s
        self._lock = threading.Lock()
        self._failed = 0
        self._closed: RuneError | None = None

    def count_failure(self) -> None:
        """Note that a target has failed."""
        with self._lock:
            self._failed += 1

    def close(self, why: RuneError) -> None:
        """Start nothing more, for this reason."""
        self._closed = why

    def refusal(self) -> RuneError | None:
        """Return why no more targets may start, None while they may."""
        if self._closed is not None:
            return self._closed
        limit = self._max_failures
        if limit is not None and self._failed > limit:
            return HostError(
                "max_failures_reached", f"not started: more than {limit} target(s) had failed"
            )
        if self.cut(1.0) <= 0:
            return HostError(
                "run_deadline_passed",
                f"not started: the run's deadline of {self._deadline_s:g} s had passed",
            )
        return None

    def left(self) -> float | None:
        """Return the seconds of the run's time that are left, at least 0; None: no bound."""
        return None if self._until is None else max(0.0, self._until - time.monotonic())

    def cut(self, seconds: float) -> float:
        """Return a duration, or what is left of the run's time where that is less."""
        return seconds if self._until is None else min(seconds, self._until - time.monotonic())


def between(
    options: RunOptions, start: Start, limits: RunLimits, scope: Scope, question: str
) -> None:
    """Pause and ask before the next batch; nothing more is started if the answer is no."""
    if options.pause_between_s > 0 and limits.refusal() is None:
        scope.wait(max(0.0, limits.cut(options.pause_between_s)))
    if start.confirm is None or not options.confirm_between:
        return
    if limits.refusal() is not None or scope.cancelled:
        return
    if not _confirmed(start.confirm, question, scope):
        limits.close(HostError("batch_not_confirmed", "not started: it was not confirmed"))


def _confirmed(confirm: Callable[[str], bool], question: str, scope: Scope) -> bool:
    """Ask; a run that is cancelled meanwhile does not wait for the answer."""
    answers: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def ask() -> None:
        answer = False
        try:
            answer = confirm(question)
        finally:
            answers.put(answer)

    if not started(threading.Thread(target=ask, name="rune-confirm", daemon=True)):
        ask()
    while not scope.cancelled:
        with contextlib.suppress(queue.Empty):
            return answers.get(timeout=0.1)
    return False
