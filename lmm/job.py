"""One script on its way to one target: what a transport feeds, and the result that comes of it.

The job decides what the bytes, the end line and a hang-up mean; transports only carry.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lmm.bootstrap import End, Frame, build_stream
from lmm.budget import ANSWERS
from lmm.endings import error_of, has_run
from lmm.envelope import FIRST_BYTES, first_bytes, parse_event, read_answer
from lmm.errors import (
    Cancelled,
    ConnectionLost,
    InternalError,
    OutputError,
    PluginFailed,
    RuneError,
    Unreachable,
)
from lmm.failures import failure
from lmm.model import Inquiry, Invocation, Outcome, Result
from lmm.opening import not_started
from lmm.redact import SHORTEST, Lines, redactor_of
from lmm.scope import Scope
from lmm.shortage import broken
from lmm.spool import Spool

EventSink = Callable[[str, Mapping[str, Any]], None]  # kind, data
EVENT_LINE_BYTES = 64 * 1024
STDOUT_IN_MEMORY = 256 * 1024  # bytes of an answer that has not ended; the rest is on disk


@dataclass(slots=True)
class _Stop:
    """Why the plugin is being stopped from here, and until when the host may confirm it."""

    error: RuneError
    until: float


class MediatedJob:
    """The ``Job`` of ``transports/base.py``.

    ``earlier`` is the job whose host is now asked what became of it: its deadline holds on, and
    what it has heard is not told again.
    """

    def __init__(
        self,
        invocation: Invocation,
        scope: Scope,
        on_event: EventSink,
        on_settled: Callable[[MediatedJob], None],
        earlier: MediatedJob | None = None,
    ) -> None:
        self.invocation = invocation
        nonce = secrets.token_hex(16)
        self.parts = build_stream(invocation, nonce)
        self._redactor = redactor_of(invocation)
        self._scope = scope
        self._on_event = on_event
        self._on_settled = on_settled
        self._lock = threading.RLock()
        self._began: float = earlier._began if earlier else time.monotonic()
        self.deadline = time.monotonic() + invocation.limits.timeout_s
        self._is_fixed = invocation.inquiry is not None
        self._lines_told: int = 0
        self._before: RuneError | None = None  # why the earlier one was to be stopped
        if earlier:
            self.deadline = max(earlier.deadline, time.monotonic())
            self._lines_told = max(earlier._lines, earlier._lines_told)
            self._before = earlier._stop.error if earlier._stop else earlier._before
        elif invocation.inquiry:
            self.deadline = max(self.deadline - invocation.inquiry.age_s, time.monotonic())
            self._lines_told = invocation.inquiry.heard
        self._lines: int = 0
        self._stdout = Spool(STDOUT_IN_MEMORY, sealed=True)  # secrets are not hidden yet
        self._stderr_bytes = 0
        self._line = bytearray()
        self._log = bytearray()
        self._log_size = 0  # without the last newline, which may be none of the plugin's
        self._waiting = Lines(self._redactor)
        self._is_whole = False  # whether the plugin has ended and nobody killed it
        lines = Frame(nonce, self._take_stderr, eager=True)
        self._frames = (Frame(nonce, self._take_stdout), lines)
        self._sent = False
        self.decided = False
        self.wants_files = False
        self._stop: _Stop | None = None
        self._excess: OutputError | None = None
        self._broken: InternalError | None = None
        self._ended: End | None = None
        self._actions: list[Callable[[], None]] = []
        self._result: Result | None = None
        scope.add(self, self._cancel)

    # -- what transports see -------------------------------------------------------------------

    @property
    def stream(self) -> bytes:
        return self.parts.whole()

    @property
    def stop_at(self) -> float:
        return self._stop.until if self._stop else self.deadline + self.invocation.limits.grace_s

    @property
    def has_begun(self) -> bool:
        return self._frames[0].started or self._frames[1].started

    @property
    def settled(self) -> bool:
        return self._result is not None

    @property
    def result(self) -> Result:
        if self._result is None:
            raise InternalError("internal_error", "a transport returned before its job was settled")
        return self._result

    @property
    def stopping(self) -> bool:
        """Whether the plugin is, or was, to be stopped from here."""
        return self._stop is not None

    @property
    def undecided(self) -> bool:
        """Whether the job has settled without the host's word, and the host keeps a receipt."""
        may_run = self._sent and not self.decided
        return self.settled and may_run and self.invocation.receipt is not None

    def inquiry(self, kill: bool) -> Inquiry:
        """Return the question to the host what became of this job's invocation."""
        before = self.invocation.inquiry.age_s if self.invocation.inquiry else 0.0
        return Inquiry(before + time.monotonic() - self._began, kill)

    def stream_sent(self) -> None:
        """Note that the last byte of the stream has left: from now on the script may run."""
        self._sent = True
        if not self._is_fixed:
            self.deadline = time.monotonic() + self.invocation.limits.timeout_s

    def feed_stdout(self, data: bytes) -> None:
        self._feed(0, data)

    def feed_stderr(self, data: bytes) -> None:
        self._feed(1, data)

    def fail(self, error: RuneError) -> None:
        with self._lock:
            if self._ended:
                return
            if isinstance(error, Unreachable) and self._stop:
                error = self._stop.error
            self._settle(error=error)

    def broke(self, error: Exception) -> None:
        """Settle the job: this machine could not go on with it, whatever the host may have said."""
        self.decided = self.settled and self.decided
        self.fail(broken(error, self.invocation.target.name, was_sent=self._sent))

    def hung_up(self, exit_status: int | None, why: str = "") -> None:
        with self._lock:
            if self.settled or self._ended:
                return
            for frame in self._frames:
                frame.close()
            out, err = (frame.end for frame in self._frames)
            # that of stderr may have come ahead of the answer, which is whole only with stdout's
            self._ended = end = out or (None if err and err.reason == "exit" else err)
            if end is None and self._stop:
                self._settle(error=self._stop.error)
            elif end is None:
                self._settle(error=self._why_gone(exit_status, why))
        if end:
            self._finish(end)

    def on_cancel(self, action: Callable[[], None]) -> None:
        with self._lock:
            if not self._stop:
                self._actions.append(action)
                return
        action()

    # -- inside --------------------------------------------------------------------------------

    def _feed(self, which: int, data: bytes) -> None:
        with self._lock:
            if self.settled or self._ended:
                return
            self._frames[which].feed(data)
            out, err = (frame.end for frame in self._frames)
            self._ended = out if err else None
        if self._ended:
            self._finish(self._ended)

    def _take_stdout(self, data: bytes) -> None:
        limit = self.invocation.limits.stdout_bytes
        if not self._excess and self._stdout.size + len(data) > limit:
            self._halt(
                OutputError(
                    "output_too_large",
                    f"stdout is larger than {limit} bytes",
                    first_bytes=first_bytes(
                        self._stdout.read(0, FIRST_BYTES), self._redactor, cut=True
                    ),
                )
            )
        elif not self._excess:
            try:
                self._stdout.add(data)
            except OSError as error:
                self._broken = _not_kept(error)
                self._halt(self._broken)

    def _take_stderr(self, data: bytes) -> None:
        limit = self.invocation.limits.stderr_bytes
        if self._excess:
            return
        self._stderr_bytes += len(data)
        if self._stderr_bytes - data.endswith(b"\n") > limit:  # the last may be the host's
            self._halt(OutputError("stderr_too_large", f"stderr is larger than {limit} bytes"))
            return
        *lines, rest = (bytes(self._line) + data).split(b"\n")
        for line in lines:
            self._take_line(line + b"\n")
        self._line[:] = rest

    def _take_line(self, line: bytes) -> None:
        self._lines += 1
        is_new = self._lines > self._lines_told
        event = parse_event(line, self._redactor) if len(line) <= EVENT_LINE_BYTES else None
        if event is not None:
            self._log_size = len(self._log)
            if is_new:
                self._on_event(event.pop("kind"), event)
            return
        self._log += line
        self._log_size = len(self._log) - line.endswith(b"\n")
        self._tell(self._waiting.add(line, is_told=not is_new))

    def _tell(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            self._on_event("log", {"message": line.decode(errors="backslashreplace").rstrip("\r")})

    def _cancel(self) -> None:
        with self._lock:
            self._halt(Cancelled("cancelled", "cancelled by the operator"))

    def _halt(self, error: RuneError) -> None:
        """Have the host kill the plugin; the job settles when it says so, or after the grace."""
        with self._lock:
            self._excess = error if isinstance(error, OutputError) else self._excess
            if self._stop or self._ended or self.settled:
                return
            self._stop = _Stop(error, time.monotonic() + self.invocation.limits.grace_s)
            actions, self._actions = self._actions, []
        for action in actions:
            action()

    def _finish(self, end: End) -> None:
        """Settle by the host's last word.

        The lock is not held: to cancel must wait for no answer that is being read, nor for its
        turn.
        """
        try:
            with ANSWERS.share(self._stdout.size):
                self._conclude(end)
        except BaseException:
            self._ended = None  # so that it can still fail
            raise

    def _conclude(self, end: End) -> None:
        self.decided = end.reason != "taken"
        self.wants_files = end.reason == "want" and not self._stop
        self._is_whole = end.reason == "exit" and end.status < 128 and not self._excess
        if self._line:
            self._take_line(bytes(self._line))
            self._line.clear()
        if self._frames[1].has_extra:
            del self._log[self._log_size :]
        stop = self._stop.error if self._stop else self._before
        error = error_of(end, self.invocation, stop, self._excess)
        error = self._broken or error
        if error is not None:
            self._settle(error=error, exit_code=end.status if has_run(end) else None)
            return
        try:
            stdout = self._stdout.read()
            data = read_answer(stdout, self.invocation, end.status, self._redactor)
        except (OutputError, PluginFailed) as problem:
            if isinstance(problem, OutputError) and self._frames[1].is_in(stdout):
                problem.message = (
                    "the login files of the host join its error output to the answer, as"
                    " `exec 2>&1` does"
                )
            self._settle(error=problem, exit_code=end.status)
        except OSError as problem:
            self._settle(error=_not_kept(problem), exit_code=end.status)
        else:
            self._settle(output_data=data, exit_code=end.status)

    def _why_gone(self, exit_status: int | None, why: str) -> RuneError:
        """The channel closed without an end line."""
        if self.has_begun:
            if exit_status is None:
                return ConnectionLost("connection_lost", why or "the connection was lost")
            return ConnectionLost("connection_lost", "the host's shell died while the plugin ran")
        if exit_status is None:
            if self._sent:
                return ConnectionLost("connection_lost", why or "the connection was lost")
            return Unreachable("connection_reset", why or "the connection dropped while sending")
        return self._not_started(exit_status)

    def _not_started(self, exit_status: int | None) -> RuneError:
        """The host's shell has ended, or its time is over: ``None``."""
        for frame in self._frames:
            frame.close()
        words = [self._redactor.bytes(frame.noise, cut=True) for frame in self._frames]
        said = (text.decode(errors="replace") for text in words)
        return not_started(self.invocation.target, self.parts, exit_status, *said)

    def expire(self) -> None:
        """Settle a job whose host has not answered by ``stop_at``."""
        with self._lock:
            if self.settled or self._ended:
                return
            if self._stop and (not self._sent or isinstance(self._stop.error, OutputError)):
                self._settle(error=self._stop.error)
                return
            if not (self._sent or self.has_begun):
                self._settle(error=self._not_started(None))
                return
            what = "was started" if self.has_begun else "was sent"
            self._settle(
                error=ConnectionLost("host_silent", f"no answer in time after the plugin {what}")
            )

    def _may_be_cut(self) -> bool:
        """Whether the log may end within a secret.

        What a plugin leaves behind may have been writing, too: then it counts from where a secret
        does, as many a word ends with the first letter of one.
        """
        if self._is_whole and (finder := self._redactor.finder):
            printed = bytes(self._log).removesuffix(b"\n")
            return len(printed) - finder.unfinished(printed, SHORTEST) >= SHORTEST
        return not self._is_whole

    def _settle(
        self,
        *,
        error: RuneError | None = None,
        output_data: Mapping[str, Any] | None = None,
        exit_code: int | None = None,
    ) -> None:
        if self.settled:
            return
        cut = self._may_be_cut()
        self._tell(self._waiting.end(cut=cut))
        stderr = self._redactor.bytes(bytes(self._log), cut=cut)
        facts: dict[str, Any] = {
            "duration_s": round(time.monotonic() - self._began, 6),
            "exit_code": exit_code,
            "stderr": stderr.decode(errors="backslashreplace"),
        }
        if error is None:
            self._result = Result(
                target=self.invocation.target.name,
                outcome=Outcome.OK,
                output_data=self._redactor.value(output_data),
                attempt=self.invocation.attempt,
                plugin=self.invocation.plugin,
                **facts,
            )
        else:
            self._result = failure(self.invocation, error, **facts)
        self._scope.remove(self)
        self._stdout.close()
        self._on_settled(self)
        # others of its batch may go on for long, and whoever wants the answer has it by now
        self._result = replace(self._result, output_data=None)


def _not_kept(error: OSError) -> InternalError:
    where = f" in {error.filename}" if error.filename else ""
    why = error.strerror or error
    return InternalError("local_io_error", f"the plugin's answer cannot be kept{where}: {why}")
