"""A run's events: numbered, and handed in one order to the ledger and to whoever listens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lmm.envelope import timestamp

if TYPE_CHECKING:
    from lom.ledger import Recorder

Event = dict[str, Any]


class Journal:
    """Makes events (``specs/event_v1.json``), from any thread; one at a time is handed on.

    They are numbered on from ``seq``. What a listener raises goes to ``on_crash``, once; it hears
    nothing more afterwards. An event that nobody wants is not made.
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
        self._lock = threading.RLock()  # a listener may cancel the run, which makes events
        self._seq = seq

    def emit(self, kind: str, target: str | None, data: Mapping[str, Any]) -> None:
        """Make the next event; ``data`` is kept as it is and must not change later."""
        if self._listener is None and self._recorder is None:
            return
        with self._lock:
            self._seq += 1
            event: Event = {
                "run_id": self._run_id,
                "seq": self._seq,
                "time": timestamp(),
                "kind": kind,
            }
            if target is not None:
                event["target"] = target
            event["data"] = data
            if self._recorder is not None:
                self._recorder.event(event)
            if self._listener is None:
                return
            try:
                self._listener(event)
            except BaseException as error:
                self._listener = None
                crash = error
            else:
                return
        self._on_crash(crash)
