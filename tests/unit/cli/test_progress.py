"""The progress line, on a real terminal (a pty)."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from lmm.eps import document as eps
from lmm.errors import Unreachable
from lom.render.progress import Progress
from lom.render.text import width


class Terminal:
    """A terminal of 60 columns and all that was written to it."""

    def __init__(self) -> None:
        self._master, self.descriptor = pty.openpty()
        size = struct.pack("HHHH", 24, 60, 0, 0)
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, size)
        self._data = b""
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        try:
            while data := os.read(self._master, 65536):
                with self._more:
                    self._data += data
                    self._more.notify_all()
        except OSError:  # all ends of the terminal are closed
            pass

    def wait_for(self, text: str) -> None:
        with self._more:
            assert self._more.wait_for(lambda: text in self._data.decode(), 10), self._data

    def close(self) -> str:
        os.close(self.descriptor)
        self._reader.join()
        os.close(self._master)
        return self._data.decode()


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    try:
        yield terminal
    finally:
        if terminal._reader.is_alive():
            terminal.close()


def event(kind: str, target: str = "", **data: Any) -> dict[str, Any]:
    return {"kind": kind, "target": target, "data": data}


REFUSED = eps(Unreachable("connection_refused", "refused\x1b[2J"))


def test_the_line_counts_names_and_disappears(terminal: Terminal) -> None:
    progress = Progress(terminal.descriptor, color=False)
    progress.event(event("run.started", action="noop", targets=3))
    progress.event(event("target.started", "web1"))
    progress.event(event("target.started", "web2"))
    progress.event(event("progress", "web2", percent=40.0, message="warming\nup"))
    terminal.wait_for("0/3 done  2 running")
    terminal.wait_for("web1  web2 (40% warming")
    progress.event(event("target.finished", "web1", outcome="ok", error=None))
    progress.event(event("target.finished", "web2", outcome="unreachable", error=REFUSED))
    terminal.wait_for("2/3 done  1 ok  1 unreachable")
    progress.close()
    written = terminal.close()
    assert "\r\x1b[Kweb2  unreachable  refused\\x1b[2J\r\n" in written
    assert written.endswith("\r\x1b[K")
    drawn = [part for part in written.split("\r\x1b[K") if "/3 done" in part]
    assert max(width(part.split("\r\n")[-1]) for part in drawn) < 60


def test_failures_just_before_the_end_are_still_shown(terminal: Terminal) -> None:
    progress = Progress(terminal.descriptor, color=True)
    progress.event(event("run.started", action="noop", targets=1))
    progress.event(event("target.finished", "web2", outcome="failed", error=REFUSED))
    progress.close()
    assert "web2  \x1b[31mfailed\x1b[0m  refused" in terminal.close()


def test_a_run_that_never_started_writes_nothing(terminal: Terminal) -> None:
    Progress(terminal.descriptor, color=True).close()
    assert terminal.close() == ""


def test_a_terminal_that_goes_away_stops_nothing() -> None:
    master, gone = pty.openpty()
    os.close(master)
    progress = Progress(gone, color=False)
    progress.event(event("run.started", action="noop", targets=1))
    progress._thread.join(10)
    os.close(gone)
    progress.event(event("target.finished", "web1", outcome="ok", error=None))
    progress.close()
    assert not progress._thread.is_alive()
