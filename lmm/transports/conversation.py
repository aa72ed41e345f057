"""Holds one job's conversation with a shell over three pipes, whoever is at their far ends."""

from __future__ import annotations

import os
import selectors
import threading
import time
from io import FileIO
from typing import Protocol

from lmm.bootstrap import CANCEL, READ
from lmm.errors import RuneError
from lmm.opening import Opening
from lmm.transports.base import LATE_S, QUIET_S, Job

CHUNK = 64 * 1024
AFTER_EXIT_S = 5.0  # how long after the shell's end its output may still be held open


class Peer(Protocol):
    """The near ends of a shell's pipes, unbuffered, and how to learn that the shell is gone."""

    @property
    def stdin(self) -> FileIO: ...
    @property
    def stdout(self) -> FileIO: ...
    @property
    def stderr(self) -> FileIO: ...
    @property
    def sign(self) -> int | None:
        """A descriptor that is readable when ``gone`` is worth asking; ``None``: ask now and
        then."""

    def gone(self) -> bool:
        """Whether the shell has ended. Never blocks."""

    @property
    def status(self) -> int | None:
        """The exit status of the shell that is gone, ``None`` if nobody knows it."""


class Waker:
    """A readable file descriptor that another thread can make ready; safe to wake after close."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._lock = threading.Lock()
        self._open = True

    def fileno(self) -> int:
        return self._read

    def wake(self) -> None:
        with self._lock:
            if self._open:
                os.write(self._write, b"x")

    def __enter__(self) -> Waker:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._open = False
            os.close(self._read)
            os.close(self._write)


def converse(job: Job, peer: Peer, opening: Opening, cancelled: Waker) -> None:
    """Send what ``opening`` says, feed the job, until it is settled or the shell is gone.

    When ``cancelled`` is woken, a host that listens is told, else stdin is closed: both make it
    kill the plugin.
    """
    os.set_blocking(peer.stdin.fileno(), False)
    with selectors.PollSelector() as selector:
        _Conversation(job, peer, opening, selector).hold(cancelled)


class _Conversation:
    def __init__(
        self, job: Job, peer: Peer, opening: Opening, selector: selectors.BaseSelector
    ) -> None:
        self._job = job
        self._peer = peer
        self._opening = opening
        self._selector = selector
        self._pipes = 2  # those of output that are still open
        self._stdin_is_watched = False
        self._to_send = memoryview(opening.first())

    def hold(self, cancelled: Waker) -> None:
        peer, selector = self._peer, self._selector
        selector.register(cancelled, selectors.EVENT_READ, "cancel")
        selector.register(peer.stdout, selectors.EVENT_READ, "out")
        selector.register(peer.stderr, selectors.EVENT_READ, "err")
        if peer.sign is not None:
            selector.register(peer.sign, selectors.EVENT_READ, "sign")
        self._write()
        self._loop()

    def _loop(self) -> None:
        job, opening, gone_at, ask = self._job, self._opening, None, True
        give_up_at, is_quiet = 0.0, False  # once time is over
        while not job.settled:
            now = time.monotonic()
            is_waiting = bool(self._to_send) or opening.pending or opening.is_late
            stop_at = opening.give_up_at if is_waiting else job.stop_at
            is_late = now >= stop_at
            if is_late:
                give_up_at = give_up_at or now + LATE_S
                if now >= give_up_at or is_quiet:
                    if job.has_begun or opening.is_late:
                        job.expire()
                        return
                    opening.too_late()
                    self._close_stdin()
                    give_up_at, is_late = 0.0, False
            if ask and self._peer.gone():
                gone_at, ask = now, False
                self._close_stdin()  # whatever of it is left on this host ends by that
                if self._peer.sign is not None:
                    self._selector.unregister(self._peer.sign)
            elif gone_at is None:
                ask = self._peer.sign is None
            if gone_at is not None and (not self._pipes or now > gone_at + AFTER_EXIT_S):
                job.hung_up(self._peer.status)
                return
            wait = QUIET_S if is_late else min(max(stop_at - now, 0.0), self._patience(gone_at))
            ready = self._selector.select(wait)
            is_quiet = is_late and not ready
            for key, _ in ready:
                if key.data == "cancel":
                    self._selector.unregister(key.fileobj)
                    if opening.pending:
                        job.expire()
                    elif not self._say(CANCEL):
                        self._close_stdin()
                elif key.data == "in":
                    self._write()
                elif key.data in ("out", "err"):
                    self._read(key)
                elif key.data == "sign":
                    ask = True
        self._say(READ)

    def _patience(self, gone_at: float | None) -> float:
        """Return after how many seconds to ask whether the shell is gone, if nothing is heard."""
        if self._peer.sign is not None and gone_at is None:
            return 60.0
        return 0.5 if self._pipes else 0.02

    def _read(self, key: selectors.SelectorKey) -> None:
        data = os.read(key.fd, CHUNK)
        if not data:
            self._selector.unregister(key.fileobj)
            self._pipes -= 1
            return
        out, err = (data, b"") if key.data == "out" else (b"", data)
        if self._opening.pending:
            try:
                answer = self._opening.receive(out, err)
            except RuneError as error:
                self._job.fail(error)
                return
            if answer:
                self._to_send = memoryview(bytes(self._to_send) + answer)
                self._write()
        if out:
            self._job.feed_stdout(out)
        else:
            self._job.feed_stderr(err)

    def _write(self) -> None:
        """Write what there is room for; the rest when the pipe says that it has some."""
        if not self._to_send or self._peer.stdin.closed:
            return
        try:
            written = os.write(self._peer.stdin.fileno(), self._to_send[:CHUNK])
        except BlockingIOError:
            written = 0
        except BrokenPipeError:
            self._close_stdin()
            return
        self._to_send = self._to_send[written:]
        self._watch_stdin(bool(self._to_send))
        if not self._to_send and not self._opening.pending:
            self._job.stream_sent()

    def _watch_stdin(self, watch: bool) -> None:
        if watch != self._stdin_is_watched:
            if watch:
                self._selector.register(self._peer.stdin, selectors.EVENT_WRITE, "in")
            else:
                self._selector.unregister(self._peer.stdin)
            self._stdin_is_watched = watch

    def _say(self, word: bytes) -> bool:
        """Tell a host that keeps a receipt, and so listens, if it has read the whole stream."""
        listening = self._job.invocation.receipt and not self._peer.stdin.closed
        if not listening or self._to_send or self._opening.pending:
            return False
        try:
            return os.write(self._peer.stdin.fileno(), word) == len(word)
        except OSError:  # gone, or not reading: then it goes by the end of its stdin
            return False

    def _close_stdin(self) -> None:
        self._to_send = memoryview(b"")
        if not self._peer.stdin.closed:
            self._watch_stdin(False)
            self._peer.stdin.close()
