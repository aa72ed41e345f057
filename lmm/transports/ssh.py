"""SSH in this process, by paramiko: one kept connection per host, one channel per script."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import paramiko

from lmm.bootstrap import Opening
from lmm.errors import RuneError, Unreachable
from lmm.ssh.config import HostConfig, resolve
from lmm.ssh.connect import connect, hang_up
from lmm.ssh.keys import Credentials
from lmm.transports.base import Job

CHUNK = 64 * 1024
AFTER_EOF_S = 5.0  # how long after the end of output the exit status may still be on its way

Chain = tuple[HostConfig, ...]  # the jump hosts on the way and the host itself


@dataclass(slots=True)
class _JumpHost:
    """The connection to a jump host, shared by all that go through it; one thread opens it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    connection: paramiko.Transport | None = None


class SshTransport:
    """Keeps connections until ``close``. A script has its connection to itself while it runs, so
    that a server's limit on sessions never counts; afterwards the next one takes it over."""

    name: ClassVar[str] = "ssh"
    batch_size: ClassVar[int] = 1

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[Chain, list[paramiko.Transport]] = {}
        self._jump_hosts: dict[Chain, _JumpHost] = {}
        self._credentials = Credentials()

    def run(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self._run_one(job)

    def _run_one(self, job: Job) -> None:
        try:
            config = resolve(job.invocation.target)
            chain = (*config.proxy_jump, config)
            opening = Opening(job.stream, job.invocation.target.become)
            connection, channel = self._open(job, chain)
            try:
                channel.exec_command(opening.command)
                _talk(channel, job, opening)
            finally:
                channel.close()
                if connection.is_active():
                    with self._lock:
                        self._idle.setdefault(chain, []).append(connection)
        except RuneError as error:
            job.fail(error)
        except (paramiko.SSHException, OSError, EOFError) as error:
            job.hung_up(None, f"the connection was lost: {error}")

    def _open(self, job: Job, chain: Chain) -> tuple[paramiko.Transport, paramiko.Channel]:
        """Open a session on an idle connection, or on a new one when those have gone stale."""
        host = chain[-1].hostname
        while True:
            with self._lock:
                idle = self._idle.get(chain)
                connection = idle.pop() if idle else None
            is_new = connection is None
            if connection is None:
                connection = connect(
                    chain[-1], self._credentials, job.on_cancel, self._parent(job, chain[:-1])
                )
            try:
                return connection, connection.open_session(timeout=chain[-1].auth_timeout_s)
            except paramiko.ChannelException as error:
                connection.close()
                message = f"{host} refused a session: {error.text}"
                raise Unreachable("channel_denied", message, host=host) from None
            except (paramiko.SSHException, OSError, EOFError) as error:
                connection.close()
                if is_new:
                    message = f"{host} closed the connection: {error}"
                    raise Unreachable("connection_reset", message, host=host) from None

    def _parent(self, job: Job, chain: Chain) -> paramiko.Transport | None:
        """Return the connection to the jump host that ends the chain, None for an empty one."""
        if not chain:
            return None
        with self._lock:
            jump_host = self._jump_hosts.setdefault(chain, _JumpHost())
        with jump_host.lock:
            if jump_host.connection is None or not jump_host.connection.is_active():
                parent = self._parent(job, chain[:-1])
                jump_host.connection = connect(chain[-1], self._credentials, job.on_cancel, parent)
            return jump_host.connection

    def close(self) -> None:
        """Hang up everywhere, what goes through a jump host before the jump host."""
        with self._lock:
            found = [(chain, one) for chain, idle in self._idle.items() for one in idle]
            found += [(c, j.connection) for c, j in self._jump_hosts.items() if j.connection]
            self._idle, self._jump_hosts = {}, {}
        for hops in sorted({len(chain) for chain, _ in found}, reverse=True):
            hang_up([connection for chain, connection in found if len(chain) == hops])


class _Bell(threading.Event):
    """Rings when a channel has something to say. paramiko's own file descriptor for that can
    miss data when both output streams fill at once: it is cleared without a lock."""

    def __init__(self, channel: paramiko.Channel) -> None:
        super().__init__()
        channel.in_buffer.set_event(self)
        channel.in_stderr_buffer.set_event(self)

    def clear(self) -> None:
        """Do nothing: paramiko calls this when one of the two streams has run out of data."""

    def reset(self) -> None:
        super().clear()


def _talk(channel: paramiko.Channel, job: Job, opening: Opening) -> None:
    """Send the stream, feed the job, until it is settled or the channel has ended."""
    bell = _Bell(channel)
    cancelled = threading.Event()

    def cancel() -> None:
        cancelled.set()
        bell.set()

    job.on_cancel(cancel)
    to_send = opening.first()
    channel.settimeout(0.0)
    while not job.settled:
        bell.reset()
        if cancelled.is_set() and not channel.eof_sent:
            to_send = b""
            channel.shutdown_write()
        ended = channel.eof_received or channel.closed  # asked before the last data is read
        busy = False
        while channel.recv_ready():
            busy = True
            job.feed_stdout(channel.recv(CHUNK))
        while channel.recv_stderr_ready():
            busy = True
            data = channel.recv_stderr(CHUNK)
            if opening.pending:
                to_send += opening.receive(data)
            job.feed_stderr(data)
        if to_send and channel.send_ready():
            busy = True
            try:
                to_send = to_send[channel.send(to_send[:CHUNK]) :]
            except TimeoutError:  # no window after all
                continue
            except OSError:  # the far end closed the channel: its exit status tells why
                to_send = b""
                continue
            if not to_send and not opening.pending:
                job.stream_sent()
        if busy:
            continue
        if ended:
            channel.status_event.wait(AFTER_EOF_S)
            status = channel.exit_status if channel.exit_status_ready() else -1
            job.hung_up(status if status >= 0 else None)
            return
        now = time.monotonic()
        if now >= job.stop_at:
            job.expire()
            return
        bell.wait(min(job.stop_at - now, 0.02 if to_send else 60.0))
