"""Drives one child process for one job: the common half of ``local`` and ``openssh``."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence

from lmm.bootstrap import Opening
from lmm.errors import HostError, RuneError
from lmm.transports.base import Job

CHUNK = 64 * 1024
AFTER_EXIT_S = 5.0  # how long after the process's end its output may still be held open


def run_process(
    job: Job,
    argv: Sequence[str],
    opening: Opening,
    env: Mapping[str, str] | None = None,
    patience_s: float = AFTER_EXIT_S,
) -> None:
    """Run ``argv``, whose far end is the shell that ``opening`` opens, until the job is settled.

    The child gets a session of its own, so that a terminal's Ctrl-C is RUNE's business alone.
    It has ended when this returns: ``patience_s`` after its pipes are closed it is killed.
    """
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            bufsize=0,
            start_new_session=True,
        )
    except FileNotFoundError:
        job.fail(
            HostError("local_dependency_missing", f"{argv[0]} is not installed on this machine")
        )
        return
    except OSError as error:
        job.fail(HostError("local_io_error", f"cannot start {argv[0]}: {error.strerror}"))
        return
    try:
        _Conversation(job, process, opening).hold()
    finally:
        _end(process, patience_s)


class _Waker:
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

    def __enter__(self) -> _Waker:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._open = False
            os.close(self._read)
            os.close(self._write)


class _Conversation:
    def __init__(self, job: Job, process: subprocess.Popen[bytes], opening: Opening) -> None:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        self._job = job
        self._process = process
        self._opening = opening
        self._stdin, self._stdout, self._stderr = process.stdin, process.stdout, process.stderr
        self._to_send = memoryview(opening.first())

    def hold(self) -> None:
        """Talk until the job is settled or the process is gone."""
        os.set_blocking(self._stdin.fileno(), False)
        with _Waker() as waker, selectors.DefaultSelector() as selector:
            self._job.on_cancel(waker.wake)
            selector.register(waker, selectors.EVENT_READ, "wake")
            selector.register(self._stdout, selectors.EVENT_READ, "out")
            selector.register(self._stderr, selectors.EVENT_READ, "err")
            self._write_when_possible(selector)
            self._loop(selector)

    def _loop(self, selector: selectors.BaseSelector) -> None:
        job, gone_at = self._job, None
        while not job.settled:
            now = time.monotonic()
            if now >= job.stop_at:
                job.expire()
                return
            if gone_at is None and self._process.poll() is not None:
                gone_at = now
                self._close_stdin(selector)  # whatever of it is left on this host ends by that
            pipes = [key for key in selector.get_map().values() if key.data in ("out", "err")]
            if gone_at is not None and (not pipes or now > gone_at + AFTER_EXIT_S):
                job.hung_up(self._process.returncode)
                return
            wait = min(job.stop_at - now, 0.5 if pipes else 0.02)
            for key, _ in selector.select(max(wait, 0)):
                if key.data == "wake":
                    selector.unregister(key.fileobj)
                    self._close_stdin(selector)
                elif key.data == "in" and not self._stdin.closed:
                    self._write(selector)
                elif key.data in ("out", "err"):
                    self._read(selector, key)

    def _read(self, selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        data = os.read(key.fd, CHUNK)
        if not data:
            selector.unregister(key.fileobj)
        elif key.data == "out":
            self._job.feed_stdout(data)
        else:
            if self._opening.pending:
                try:
                    self._to_send = memoryview(bytes(self._to_send) + self._opening.receive(data))
                except RuneError as error:
                    self._job.fail(error)
                    return
                self._write_when_possible(selector)
            self._job.feed_stderr(data)

    def _write_when_possible(self, selector: selectors.BaseSelector) -> None:
        if self._to_send and not self._stdin.closed:
            with contextlib.suppress(KeyError):
                selector.unregister(self._stdin)
            selector.register(self._stdin, selectors.EVENT_WRITE, "in")

    def _write(self, selector: selectors.BaseSelector) -> None:
        try:
            written = os.write(self._stdin.fileno(), self._to_send[:CHUNK])
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._close_stdin(selector)
            return
        self._to_send = self._to_send[written:]
        if not self._to_send:
            selector.unregister(self._stdin)
            if not self._opening.pending:
                self._job.stream_sent()

    def _close_stdin(self, selector: selectors.BaseSelector) -> None:
        if self._stdin.closed:
            return
        with contextlib.suppress(KeyError):
            selector.unregister(self._stdin)
        self._stdin.close()


def _end(process: subprocess.Popen[bytes], patience_s: float) -> None:
    """Close the pipes and wait for the child; its end of stdin makes it go."""
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            with contextlib.suppress(OSError):
                pipe.close()
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
