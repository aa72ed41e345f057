"""A job as its way through ``ssh`` sees it: what ssh says is not what the host says."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from lmm.bootstrap import Stream
from lmm.errors import RuneError, Unreachable
from lmm.model import Invocation
from lmm.redact import redactor_of
from lmm.ssh.config import HostConfig
from lmm.ssh.openssh import OUTPUT_CHARS, classify, lost_reason
from lmm.transports.base import Job

STDERR_BYTES = 64 * 1024


class LoginJob:
    """A job that knows whether its stream was sent, and tells what ssh says from what the host
    says. ``proxy_log`` is the file with the words of jump hosts, where there are some."""

    def __init__(self, job: Job, config: HostConfig) -> None:
        self._job = job
        self._config = config
        self.proxy_log: Path | None = None
        self.is_logged_in = False
        self._sent = False
        self._cancelled = False
        self._stderr = b""
        hosts = (*config.proxy_jump, config)
        self._began = time.monotonic()
        self.patience_s = sum(
            host.connect_timeout_s + host.banner_timeout_s + host.auth_timeout_s for host in hosts
        )
        job.on_cancel(self._cancel)

    @property
    def invocation(self) -> Invocation:
        return self._job.invocation

    @property
    def stream(self) -> bytes:
        return self._job.stream

    @property
    def parts(self) -> Stream:
        return self._job.parts

    @property
    def stop_at(self) -> float:
        if self._sent:
            return self._job.stop_at
        return 0.0 if self._cancelled else min(self._began + self.patience_s, self._job.stop_at)

    @property
    def has_begun(self) -> bool:
        return self._job.has_begun

    @property
    def settled(self) -> bool:
        return self._job.settled

    def stream_sent(self) -> None:
        self._sent = True
        self._stderr = b""
        self._job.stream_sent()

    def feed_stdout(self, data: bytes) -> None:
        self.is_logged_in = True
        self._job.feed_stdout(data)

    def feed_stderr(self, data: bytes) -> None:
        self._stderr = (self._stderr + data)[-STDERR_BYTES:]
        self._job.feed_stderr(data)

    def fail(self, error: RuneError) -> None:
        self._job.fail(error)

    def hung_up(self, exit_status: int | None, why: str = "") -> None:
        """Settle the job; a status of ``None`` is that of a session whose master is gone."""
        text = self._said()
        if exit_status is not None and 0 <= exit_status < 255:
            self._job.hung_up(exit_status, why)  # that of the host's shell
        elif self._sent:
            self._job.hung_up(None, lost_reason(text) or why)
        elif exit_status is None:
            name, at = self._config.name, self._config.hostname
            message = f"the kept connection to {name} closed before the script was sent"
            self._job.fail(Unreachable("connection_reset", message, host=at))
        else:
            if self.proxy_log is not None:
                with contextlib.suppress(OSError):
                    text = self._hidden(self.proxy_log.read_bytes()) + text
            self._job.fail(classify(text, exit_status))

    def expire(self) -> None:
        if self._sent or self.is_logged_in or (self.invocation.target.become and self._stderr):
            self._job.expire()
            return
        seconds = time.monotonic() - self._began
        self._job.fail(
            Unreachable(
                "auth_timeout",
                f"{self._config.name} gave no shell within {seconds:.0f} s",
                host=self._config.hostname,
                port=self._config.port,
                ssh_output=self._said()[-OUTPUT_CHARS:],
            )
        )

    def _said(self) -> str:
        """Return what came on stderr. Its first line is left out where that may be half of one."""
        if len(self._stderr) < STDERR_BYTES:
            return self._hidden(self._stderr)
        return self._hidden(self._stderr.partition(b"\n")[2])

    def _hidden(self, data: bytes) -> str:
        """Return the text without the secrets, which is safe to shorten."""
        return redactor_of(self.invocation).bytes(data, cut=True).decode(errors="replace")

    def on_cancel(self, action: Callable[[], None]) -> None:
        self._job.on_cancel(action)

    def _cancel(self) -> None:
        self._cancelled = True
