"""SSH in this process, by paramiko: one kept connection per host, one channel per script."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from lmm.bootstrap import CANCEL, READ, Opening
from lmm.errors import RuneError, Unreachable
from lmm.ssh.config import HostConfig, resolve
from lmm.ssh.connect import connect, connect_shared, hang_up
from lmm.ssh.connection import LOST, Connection, execute
from lmm.ssh.keys import Credentials
from lmm.ssh.library import paramiko
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
        self._idle: dict[Chain, list[Connection]] = {}
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
                execute(channel, opening.command)
                _talk(connection, channel, job, opening)
            finally:
                channel.close()
                if connection.is_active():
                    with self._lock:
                        self._idle.setdefault(chain, []).append(connection)
        except RuneError as error:
            job.fail(error)
        except LOST as error:
            job.hung_up(None, f"the connection was lost: {error}")

    def _open(self, job: Job, chain: Chain) -> tuple[Connection, paramiko.Channel]:
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
                return connection, connection.open_session()
            except paramiko.ChannelException as error:
                connection.close()
                message = f"{host} refused a session: {error.text}"
                raise Unreachable("channel_denied", message, host=host) from None
            except LOST as error:
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
                jump_host.connection = connect_shared(
                    chain[-1], self._credentials, job.on_cancel, parent
                )
            return jump_host.connection

    def close(self) -> None:
        """Hang up everywhere, what goes through a jump host before the jump host."""
        with self._lock:
            found: list[tuple[Chain, paramiko.Transport]] = [
                (chain, one) for chain, idle in self._idle.items() for one in idle
            ]
            found += [(c, j.connection) for c, j in self._jump_hosts.items() if j.connection]
            self._idle, self._jump_hosts = {}, {}
        for hops in sorted({len(chain) for chain, _ in found}, reverse=True):
            hang_up([connection for chain, connection in found if len(chain) == hops])


def _talk(connection: Connection, channel: paramiko.Channel, job: Job, opening: Opening) -> None:
    """Send the stream, feed the job, until it is settled or the channel has ended."""
    cancelled = threading.Event()
    job.on_cancel(cancelled.set)
    is_told = False  # the host, that the job was cancelled
    to_send = opening.first()
    channel.settimeout(0.0)
    while not job.settled:
        if cancelled.is_set() and not is_told:
            is_told = True
            if not _say(CANCEL, channel, job, opening, to_send):
                to_send = b""
                channel.shutdown_write()
        ended = channel.eof_received or channel.closed  # asked before the last data is read
        while channel.recv_ready():
            job.feed_stdout(channel.recv(CHUNK))
        while channel.recv_stderr_ready():
            data = channel.recv_stderr(CHUNK)
            if opening.pending:
                to_send += opening.receive(data)
            job.feed_stderr(data)
        if job.settled:
            break
        if ended:
            _end(connection, channel, job)
            return
        if to_send and channel.send_ready():
            try:
                to_send = to_send[channel.send(to_send[:CHUNK]) :]
            except OSError:
                if not connection.is_active():
                    raise
                to_send = b""  # the far end closed the channel: its exit status tells why
                continue
            if not to_send and not opening.pending:
                job.stream_sent()
        left = job.stop_at - time.monotonic()
        if left <= 0:
            job.expire()
            return
        wait = 0.0 if to_send and channel.send_ready() else left
        connection.read(wait, lambda: job.stop_at)
    _say(READ, channel, job, opening, to_send)


def _say(
    word: bytes, channel: paramiko.Channel, job: Job, opening: Opening, to_send: bytes
) -> bool:
    """Tell a host that keeps a receipt, and so listens, if it has read the whole stream."""
    if not job.invocation.receipt or to_send or opening.pending or channel.eof_sent:
        return False
    try:
        return channel.send(word) == len(word)
    except OSError:  # gone, or not reading: then it goes by the end of its stdin
        return False


def _end(connection: Connection, channel: paramiko.Channel, job: Job) -> None:
    """Settle a job whose channel has ended, by its exit status."""
    with contextlib.suppress(*LOST):
        connection.read_until(channel.status_event.is_set, AFTER_EOF_S)
    status = channel.exit_status if channel.exit_status_ready() else -1
    if status < 0 and not channel.event_ready and connection.is_active():
        host = job.invocation.target.address
        job.fail(Unreachable("channel_denied", f"{host} refused to start a shell", host=host))
    job.hung_up(status if status >= 0 else None)
