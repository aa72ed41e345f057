"""Shows a run while it goes on: a block of lines in place on a terminal, else lines for a log.

Events only change the state, under a lock; one thread looks at it now and then and writes. The
cursor is neither hidden nor left inside the block, so a process that is killed leaves a terminal
that needs no repair.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lmm.threads import started
from lom.render.live import HEIGHT, State, block, log_line
from lom.render.table import Screen
from lom.render.write import write_all

_REDRAW_S = 0.1
_LOG_EVERY_S = 30.0
_UP, _ERASE_LINE, _ERASE_BELOW = "\x1b[{}A", "\x1b[K", "\x1b[J"
# A terminal may take some characters for wider than we do: those lines end, they never wrap.
_NO_WRAP, _WRAP = "\x1b[?7l", "\x1b[?7h"


class Progress:
    """Shows one run from its first event on: feed it events from any thread, then close it.

    Every ``every_s`` seconds ``look`` makes lines of the state and ``write`` writes them; on
    closing it is given none. ``in_place`` tells that nobody else may write there meanwhile.
    """

    def __init__(
        self,
        look: Callable[[State, float], list[str]],
        write: Callable[[list[str]], None],
        every_s: float,
        in_place: bool,
    ) -> None:
        self.in_place = in_place
        self._look = look
        self._write = write
        self._every_s = every_s
        self._state = State()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._show, name="rune-progress", daemon=True)

    def event(self, event: Mapping[str, Any]) -> None:
        """Take one event of the run."""
        with self._lock:
            self._state.take(event, time.monotonic())
        if event["kind"] in ("run.started", "run.resumed"):
            started(self._thread)  # without one nothing is shown

    def say(self, text: str) -> None:
        """Show a line for people next time; it takes no lock, so a signal handler may call it."""
        self._state.notice = text

    def close(self) -> None:
        """Show nothing more and remove what can be removed."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()

    def _show(self) -> None:
        with contextlib.suppress(OSError):  # the terminal may go away; the run goes on
            while not self._closed.wait(self._every_s):
                with self._lock:
                    lines = self._look(self._state, time.monotonic())
                self._write(lines)
            self._write([])


def live(descriptor: int, color: bool) -> Progress:
    """Return the view of a run in place on the terminal ``descriptor``."""

    def look(state: State, now: float) -> list[str]:
        size = os.get_terminal_size(descriptor)
        columns, rows = size.columns or 80, size.lines or 24  # 0: it does not know
        # The last column stays free: what terminals do with the cursor after it differs.
        return block(state, now, Screen(columns - 1, color), min(HEIGHT, rows // 2))

    return Progress(look, _DrawnLines(descriptor).draw, _REDRAW_S, in_place=True)


def plain(descriptor: int, every_s: float = _LOG_EVERY_S) -> Progress:
    """Return the view of a run as a line every ``every_s`` seconds; none of a shorter run."""

    def write(lines: Sequence[str]) -> None:
        text = "".join(f"{line}\n" for line in lines)
        write_all(descriptor, text.encode("utf-8", "backslashreplace"))

    return Progress(lambda state, now: [log_line(state, now)], write, every_s, in_place=False)


class _DrawnLines:
    """Lines on a terminal that are drawn over themselves, the cursor always below them."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: list[str] = []

    def draw(self, lines: list[str]) -> None:
        """Put ``lines`` where the last ones were. Raises OSError."""
        if not _in_foreground(self._descriptor):
            self._lines = []  # the shell has moved the cursor since
        elif lines != self._lines:
            # As many rows up as were written: rows that a terminal has broken in two, because it
            # was made narrower, stay above rather than that somebody else's are erased.
            up = _UP.format(len(self._lines)) if self._lines else ""
            text = "".join(f"{line}{_ERASE_LINE}\n" for line in lines)
            frame = f"{_NO_WRAP}\r{up}{text}{_ERASE_BELOW}{_WRAP}"
            write_all(self._descriptor, frame.encode("utf-8", "backslashreplace"))
            self._lines = lines


def _in_foreground(descriptor: int) -> bool:
    """Tell whether the shell has given the terminal to this process, not put it behind by ``&``."""
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:  # it is no controlling terminal, so no shell shares it
        return True
