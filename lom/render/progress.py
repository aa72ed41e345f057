"""One live line on a terminal: how far a run is, what still runs, and failures as they come.

Events only count; one thread redraws, at most ten times a second.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from lom.render.errors import one_line
from lom.render.text import clean, clip, duration, paint
from lom.render.write import write_all

_REDRAW_S = 0.1
_IDLE_REDRAWS = 10  # the elapsed time moves on once a second when nothing else does
_ERASE = "\r\x1b[K"


class Progress:
    """The progress line of one run on the terminal ``descriptor``, from its first event on.

    Feed it the run's events from any thread, close it before anything else is written there.
    """

    def __init__(self, descriptor: int, color: bool) -> None:
        self._descriptor = descriptor
        self._color = color
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._total = 0
        self._counts: Counter[str] = Counter()
        self._running: dict[str, str] = {}
        self._failures: list[str] = []
        self._changed = True
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._redraw, name="rune-progress", daemon=True)

    def event(self, event: Mapping[str, Any]) -> None:
        """Count one event of the run."""
        kind, data, target = event["kind"], event["data"], event.get("target", "")
        with self._lock:
            self._changed = True
            if kind == "run.started":
                self._total = data["targets"]
                self._thread.start()
            elif kind == "target.started":
                self._running[target] = ""
            elif kind == "progress" and target in self._running:
                percent = f"{data['percent']:.0f}%" if "percent" in data else ""
                self._running[target] = f"{percent} {data.get('message', '')}".strip()
            elif kind == "target.finished":
                self._running.pop(target, None)
                self._counts[data["outcome"]] += 1
                if data["error"] is not None:
                    name = paint(data["outcome"], data["outcome"], self._color)
                    said = one_line(data["error"])
                    self._failures.append(f"{clean(target)}  {name}  {clip(said, 300)}")

    def close(self) -> None:
        """Remove the line; the failures above it stay."""
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _redraw(self) -> None:
        with contextlib.suppress(OSError):  # the terminal may go away; the run goes on
            idle = 0
            while not self._closed.wait(_REDRAW_S):
                idle += 1
                if self._changed or idle >= _IDLE_REDRAWS:
                    idle = 0
                    self._draw(last=False)
            self._draw(last=True)

    def _draw(self, last: bool) -> None:
        with self._lock:
            self._changed = False
            failures, self._failures = self._failures, []
            line = "" if last else self._line()
        above = "".join(f"{failure}\n" for failure in failures)
        write_all(self._descriptor, f"{_ERASE}{above}{line}".encode("utf-8", "backslashreplace"))

    def _line(self) -> str:
        """Return the line; the names of those that run longest come first."""
        done = sum(self._counts.values())
        parts = [f"{done}/{self._total} done"]
        parts += [f"{n} {outcome.replace('_', ' ')}" for outcome, n in self._counts.items()]
        if self._running:
            parts.append(f"{len(self._running)} running")
        parts.append(duration(time.monotonic() - self._started))
        line = "  ".join(parts)
        room = os.get_terminal_size(self._descriptor).columns - 1
        for name, doing in self._running.items():
            if len(line) >= room:
                break
            line += f"  {clip(clean(name), 24)}" + (f" ({clip(clean(doing), 40)})" if doing else "")
        return clip(line, room)
