"""A run's events: numbered, and handed in one order to the ledger and to whoever listens."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lmm.envelope import timestamp
from lmm.threads import started

if TYPE_CHECKING:
    from lom.ledger.store import Recorder

Event = dict[str, Any]
MOST_WAITING = 10_000  # events for a listener; with more of them the run goes at its pace
Data = Mapping[str, Any] | Callable[[], Mapping[str, Any]]


class EventStream:
    """Makes events (``specs/event_v1.json``), from any thread, numbered on from ``seq``.

    The listener hears them one at a time and in order, from a thread of its own: the run goes on
    while it takes its time. What it raises goes to ``on_crash``, once; it hears nothing more
    afterwards. Where no thread is left it hears them from whoever makes them. An event that nobody
    wants is not made.
    """

    def __init__(
        self,
        run_id: str,
        listener: Callable[[Event], None] | None,
        recorder: Recorder | None,
        on_crash: Callable[[BaseException], None],
        seq: int = 0,
    ) -> None:
        self._run_id = run_id
        self._listener = listener
        self._recorder = recorder
        self._on_crash = on_crash
        self._changed = threading.Condition()
        self._seq = seq
        self._waiting: deque[tuple[Event, Data]] = deque()
        self._speaker: threading.Thread | None = None  # who calls the listener just now
        self._hurried = self._closing = False
        self._thread = threading.Thread(target=self._speak, name="rune-events", daemon=True)
        with self._changed:
            self._is_threaded = listener is not None and started(self._thread)

    def emit(self, kind: str, target: str | None, data: Data) -> None:
        """Make the next event; ``data`` is kept as it is and must not change later.

        What is large is given as a function, which is called when the listener is.
        """
        if self._listener is None and self._recorder is None:
            return
        with self._changed:
            if self._speaker is not threading.current_thread():
                self._changed.wait_for(lambda: len(self._waiting) < MOST_WAITING or self._hurried)
            self._seq += 1
            event: Event = {
                "run_id": self._run_id,
                "seq": self._seq,
                "time": timestamp(),
                "kind": kind,
            }
            if target is not None:
                event["target"] = target
            event["data"] = None if callable(data) else data
            if self._recorder is not None:
                self._recorder.event(event)
            if self._listener is None:
                return
            self._waiting.append((event, data))
            self._changed.notify_all()
        if not self._is_threaded:
            self._speak()

    def hurry(self) -> None:
        """Let nobody wait for the listener any more."""
        with self._changed:
            self._hurried = True
            self._changed.notify_all()

    def close(self) -> None:
        """Return when the listener has heard all events, of which there will be no more."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._is_threaded:
            self._thread.join()

    def _speak(self) -> None:
        """Hand on what waits, and with a thread for it what comes."""
        with self._changed:
            if self._speaker is not None:
                return  # that one hands on this event, too
            self._speaker = threading.current_thread()
        while (found := self._next()) is not None and (listener := self._listener) is not None:
            event, data = found
            try:
                listener({**event, "data": data()} if callable(data) else event)
            except BaseException as error:
                with self._changed:
                    self._listener = None
                    self._waiting.clear()
                self.hurry()
                self._on_crash(error)

    def _next(self) -> tuple[Event, Data] | None:
        with self._changed:
            if self._is_threaded:
                self._changed.wait_for(lambda: self._waiting or self._closing)
            if self._waiting:
                self._changed.notify_all()
                return self._waiting.popleft()
            self._speaker = None
            return None
