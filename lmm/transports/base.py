"""What a transport is: this page is all that its author must know.

A transport carries scripts to targets and bytes back. It decides nothing: no retries of started
scripts, no parsing, no outcomes. ``run`` blocks until every job it was given is settled; fan-out
calls it from many threads with at most ``batch_size`` jobs (1 for a connection per host, more for
a service that takes many hosts in one call and is polled for the answers).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

from lmm.bootstrap import Stream
from lmm.errors import RuneError
from lmm.model import Invocation

QUIET_S, LATE_S = 0.1, 5.0


class Job(Protocol):
    """One script on its way to one target. All methods may be called from any thread."""

    @property
    def invocation(self) -> Invocation: ...
    @property
    def stream(self) -> bytes:
        """All that the host's shell reads on stdin; ``Opening`` (``lmm.opening``) says what of it
        may leave when. Afterwards stdin stays open: its end is the host's sign that RUNE is gone,
        and any further byte means cancel. Where the invocation has a receipt, ``CANCEL``
        (``lmm.bootstrap``) has to be said to cancel, because a plugin may survive that end, and
        ``READ`` when the end lines have settled the job."""

    @property
    def parts(self) -> Stream:
        """The stream in its parts, for a transport that sends what targets share only once."""

    @property
    def stop_at(self) -> float:
        """Instant (``time.monotonic``) after which to give up waiting for the host, once the whole
        stream has left; before that ``Opening.give_up_at`` counts. What the host has said by then
        still counts, also where RUNE itself was stopped (SIGSTOP, a lid that was closed): read on
        until ``QUIET_S`` pass without a byte, for at most ``LATE_S``."""

    @property
    def has_begun(self) -> bool:
        """Whether the host has said that it has all it needs to start the plugin."""

    @property
    def settled(self) -> bool:
        """True once nothing more is awaited from the target: stop reading, hang up."""

    def stream_sent(self) -> None:
        """Note that the last byte of ``stream`` has left: from now on the script may run."""

    def feed_stdout(self, data: bytes) -> None: ...
    def feed_stderr(self, data: bytes) -> None: ...
    def fail(self, error: RuneError) -> None:
        """Settle the job: it could not be carried (Unreachable, ConnectionLost, HostError)."""

    def hung_up(self, exit_status: int | None, why: str = "") -> None:
        """Settle the job: the far end closed the channel. Harmless after the job has settled."""

    def expire(self) -> None:
        """Settle the job: its time has passed without a word from the host. Where not all of the
        stream has left that is certain never to have started."""

    def on_cancel(self, action: Callable[[], None]) -> None:
        """Have ``action`` called once, from another thread, when the job is to be cancelled or
        its output is no longer wanted; at once if that has already happened."""


class Transport(Protocol):
    """A way to reach targets. Connections are kept between runs until ``close``."""

    name: ClassVar[str]
    batch_size: ClassVar[int]

    def run(self, jobs: Sequence[Job]) -> None:
        """Run the jobs and return when all are settled. Must not raise for a target's fault."""

    def close(self) -> None: ...
