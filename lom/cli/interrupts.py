"""Ctrl-C: the first cancels and lets the results come, the second quits at once.

SIGTERM counts as Ctrl-C. What comes within a second of the first is the same wish: `timeout`
signals a process and then its group. Quitting hangs up on the hosts, whose watchdogs then kill
what runs. What comes while RUNE is loaded waits until it can be answered.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from lom.exit_codes import ExitCode

ONE_WISH_S = 1.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def hold() -> None:
    """Let signals wait, until a command line takes them; after it they wait again.

    SIGCHLD is heard though the caller ignored it: else the kernel forgets how children ended.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


class Interrupts:
    """Handles the signals of one command line; entered in the main thread."""

    def __init__(self) -> None:
        self._first: float | None = None
        self._cancel: Callable[[], None] | None = None
        self._say: Callable[[str], None] | None = None
        self._before: dict[int, Any] = {}
        self._mask: set[int | signal.Signals] = set()

    @property
    def came(self) -> bool:
        """Whether there was a signal."""
        return self._first is not None

    def __enter__(self) -> Interrupts:
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # ignored from the start: nohup, &
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def take(self) -> None:
        """From here on signals come, those that waited first: as KeyboardInterrupt."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._before)

    def answered(self) -> None:
        """There is nothing more to cancel: a signal changes nothing, a second one quits."""
        self._cancel = lambda: None
        self._say = lambda text: None

    @contextlib.contextmanager
    def cancelling(
        self, cancel: Callable[[], None] | None, say: Callable[[str], None] | None = None
    ) -> Iterator[None]:
        """Within, the first signal calls ``cancel``; None: it raises KeyboardInterrupt.

        ``say`` tells the person so, in the signal handler, instead of a line on stderr.
        """
        before = self._cancel, self._say
        self._cancel, self._say = cancel, say
        try:
            yield
        finally:
            self._cancel, self._say = before

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._first is not None:
            if now - self._first < ONE_WISH_S:
                return
            if self._say is not None:  # the terminal has echoed ^C at the start of a line
                _tell("")
            os._exit(ExitCode.CANCELLED)
        self._first = now
        if self._cancel is None:
            raise KeyboardInterrupt
        text = "cancelling; once more quits at once"
        if self._say is not None:
            self._say(text)
        else:
            _tell(f"\n{text}")
        self._cancel()


def _tell(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"{text}\n".encode())
