"""How a run is shown while it goes on: on a real terminal (a pty), and in a log."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lmm.eps import document as eps
from lmm.errors import Unreachable
from lom.render.progress import live, plain


class Terminal:
    """A terminal of 60 columns and all that was written to it."""

    def __init__(self) -> None:
        self._master, self.descriptor = pty.openpty()
        self.resize(24, 60)
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

    def resize(self, rows: int, columns: int) -> None:
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, size)

    def wait_for(self, shown: Callable[[list[str]], bool]) -> list[str]:
        """Return what a person sees, line by line, once ``shown`` holds for it."""

        def whole() -> bool:
            return self._data.endswith(b"\x1b[?7h") and shown(screen(self._data.decode()))

        with self._more:
            assert self._more.wait_for(whole, 10), self._data
            return screen(self._data.decode())

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


def screen(written: str) -> list[str]:
    """Return the lines above the cursor that a terminal shows once it has been sent this.

    It knows what the view may send and nothing else.
    """
    lines: list[str] = []
    row, line = 0, ""
    for part in re.findall(r"\x1b\[[?0-9]*[A-Za-z]|\r\n|\r|[^\x1b\r\n]+|.", written, re.DOTALL):
        if part == "\r\n":
            lines[row:] = [line, *lines[row + 1 :]]
            row, line = row + 1, ""
        elif part.endswith("A") and part.startswith("\x1b["):
            row -= int(part[2:-1])
            assert row >= 0
        elif part == "\x1b[J":
            assert line == ""
            del lines[row:]
        elif part.isprintable():
            line += part
        else:
            assert part in ("\r", "\x1b[K", "\x1b[?7l", "\x1b[?7h"), part
    assert line == ""
    return lines


def event(kind: str, target: str = "", **data: Any) -> dict[str, Any]:
    return {"kind": kind, "target": target, "data": data}


STARTED = event("run.started", action="noop", targets=3)
REFUSED = eps(Unreachable("connection_refused", "refused\x1b[2J"))
FAILED = event("target.finished", "web2", outcome="failed", duration_s=0.1, error=REFUSED)
OK = event("target.finished", "web1", outcome="ok", duration_s=0.1, error=None)


def test_the_block_is_redrawn_in_place_and_disappears(terminal: Terminal) -> None:
    os.write(terminal.descriptor, b"what was there\n")
    view = live(terminal.descriptor, color=False)
    view.event(STARTED)
    view.event(event("target.started", "web1"))
    view.event(event("target.started", "web2"))
    view.event(event("progress", "web2", percent=40.0, message="warming\nup"))
    seen = terminal.wait_for(lambda seen: len(seen) == 4)
    assert seen[0] == "what was there"
    assert re.fullmatch(r"0/3 done  \d+ s  2 running", seen[1])
    assert re.fullmatch(r"web1  running  \d+ s", seen[2])
    assert re.fullmatch(r"web2  running  \d+ s  40% warming\\nup", seen[3])
    view.event(OK)
    view.event(FAILED)
    seen = terminal.wait_for(lambda seen: "1 ok" in seen[1])
    assert seen[2:] == ["web2  failed  0 s  refused\\x1b[2J"]
    view.close()
    assert screen(terminal.close()) == ["what was there"]


def test_it_follows_the_terminals_size(terminal: Terminal) -> None:
    view = live(terminal.descriptor, color=False)
    view.event(STARTED)
    view.event(FAILED)
    terminal.wait_for(lambda seen: len(seen) == 2)
    terminal.resize(24, 10)
    terminal.wait_for(lambda seen: len(seen) == 1 and seen[0] == "1/3 done")
    terminal.resize(1, 60)
    terminal.wait_for(lambda seen: seen == [])
    terminal.resize(0, 0)
    terminal.wait_for(lambda seen: len(seen) == 2)
    view.close()


def test_a_notice_is_shown(terminal: Terminal) -> None:
    view = live(terminal.descriptor, color=False)
    view.event(STARTED)
    view.say("cancelling")
    assert terminal.wait_for(lambda seen: len(seen) == 2)[1] == "cancelling"
    view.close()


def test_a_short_run_and_one_that_never_started_write_nothing(terminal: Terminal) -> None:
    live(terminal.descriptor, color=True).close()
    short = plain(terminal.descriptor)
    short.event(STARTED)
    short.close()
    assert terminal.close() == ""


def test_what_is_typed_meanwhile_is_drawn_over(terminal: Terminal) -> None:
    view = live(terminal.descriptor, color=False)
    view.event(STARTED)
    terminal.wait_for(lambda seen: len(seen) == 1)
    os.write(terminal.descriptor, b"^C")  # as the terminal echoes it
    view.say("cancelling")
    view.close()
    assert re.search(r"\^C\x1b\[\?7l\r\x1b\[1A.*\x1b\[J\x1b\[\?7h$", terminal.close(), re.DOTALL)


@pytest.mark.parametrize("view_of", [lambda fd: live(fd, color=False), lambda fd: plain(fd, 0.01)])
def test_a_terminal_that_goes_away_stops_nothing(view_of: Callable[[int], Any]) -> None:
    master, gone = pty.openpty()
    os.close(master)
    view = view_of(gone)
    view.event(STARTED)
    view._thread.join(10)
    os.close(gone)
    view.event(OK)
    view.close()
    assert not view._thread.is_alive()


def test_a_log_gets_whole_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file:
        view = plain(file.fileno(), every_s=0.01)
        view.event(STARTED)
        view.event(FAILED)
        until = time.monotonic() + 10
        while log.read_bytes().count(b"\n") < 3:
            assert time.monotonic() < until
            time.sleep(0.01)
        view.close()
    for line in log.read_text(encoding="utf-8").splitlines():
        assert re.fullmatch(r"progress: (0/3 done  \d+ s|1/3 done  \d+ s  1 failed)", line)
