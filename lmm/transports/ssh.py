"""SSH in this process, by paramiko: one kept connection per host, one channel per script."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from lmm import descriptors
from lmm.bootstrap import CANCEL, READ
from lmm.errors import RuneError, Unreachable
from lmm.opening import Opening
from lmm.shortage import wanting
from lmm.ssh.config import HostConfig, resolve
from lmm.ssh.connect import JumpedTransport, connect, hang_up
from lmm.ssh.connection import LOST, Connection
from lmm.ssh.keys import Credentials
from lmm.ssh.library import paramiko
from lmm.ssh.session import Session
from lmm.transports.base import LATE_S, QUIET_S, Job

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
        self._idle_count = 0
        self._jump_hosts: dict[Chain, _JumpHost] = {}
        self._credentials = Credentials()

    def run(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self._run_one(job)

    def _run_one(self, job: Job) -> None:
        try:
            config = resolve(job.invocation.target)
            chain = (*config.proxy_jump, config)
            opening = Opening(job.parts, job.invocation, config.auth_timeout_s)
            connection, session = self._open(job, chain)
            try:
                session.execute(opening.command)
                _talk(connection, session, job, opening)
            finally:
                session.close()
                if connection.is_active():
                    self._keep(chain, connection)
        except RuneError as error:
            job.fail(error)
        except LOST as error:
            if wanting(error):
                raise  # who carries the job knows whether it was sent
            job.hung_up(None, f"the connection was lost: {error}")

    def _open(self, job: Job, chain: Chain) -> tuple[Connection, Session]:
        """Open a session on an idle connection, or on a new one when those have gone stale."""
        host = chain[-1].hostname
        while True:
            with self._lock:
                connection = self._taken(chain) if chain in self._idle else None
            is_new = connection is None
            if connection is None:
                connection = connect(
                    Connection,
                    chain[-1],
                    self._credentials,
                    job.on_cancel,
                    self._parent(job, chain[:-1]),
                )
            try:
                session = connection.start_session()
            except LOST as error:
                connection.close()
                if wanting(error):
                    raise
                if is_new:
                    message = f"{host} closed the connection: {error}"
                    raise Unreachable("connection_reset", message, host=host) from None
                continue
            if session.refusal is None:
                return connection, session
            connection.close()
            message = f"{host} refused a session: {session.refusal}"
            raise Unreachable("channel_denied", message, host=host)

    def _keep(self, chain: Chain, connection: Connection) -> None:
        """Keep a connection for the next script; the host that waits longest loses one for it."""
        surplus = []
        with self._lock:
            self._idle.setdefault(chain, []).append(connection)
            self._idle_count += 1
            while self._idle_count > descriptors.kept(descriptors.limit()):
                surplus.append(self._taken(next(iter(self._idle))))
        hang_up(surplus)

    def _taken(self, chain: Chain) -> Connection:
        """Return an idle connection, which is so no more; with the lock."""
        idle = self._idle[chain]
        connection = idle.pop()
        self._idle_count -= 1
        if not idle:
            del self._idle[chain]
        return connection

    def _parent(self, job: Job, chain: Chain) -> paramiko.Transport | None:
        """Return the connection to the jump host that ends the chain, None for an empty one."""
        if not chain:
            return None
        with self._lock:
            jump_host = self._jump_hosts.setdefault(chain, _JumpHost())
        with jump_host.lock:
            if jump_host.connection is None or not jump_host.connection.is_active():
                parent = self._parent(job, chain[:-1])
                jump_host.connection = connect(
                    JumpedTransport, chain[-1], self._credentials, job.on_cancel, parent
                )
            return jump_host.connection

    def close(self) -> None:
        """Hang up everywhere, what goes through a jump host before the jump host."""
        with self._lock:
            found: list[tuple[Chain, paramiko.Transport]] = [
                (chain, one) for chain, idle in self._idle.items() for one in idle
            ]
            found += [(c, j.connection) for c, j in self._jump_hosts.items() if j.connection]
            self._idle, self._idle_count, self._jump_hosts = {}, 0, {}
        for hops in sorted({len(chain) for chain, _ in found}, reverse=True):
            hang_up([connection for chain, connection in found if len(chain) == hops])


def _talk(connection: Connection, session: Session, job: Job, opening: Opening) -> None:
    """Send the stream, feed the job, until it is settled or the session has ended."""
    cancelled = threading.Event()
    job.on_cancel(cancelled.set)
    is_told = False  # the host, that the job was cancelled
    give_up_at = 0.0  # once time is over
    to_send = memoryview(opening.first())
    while not job.settled:
        if cancelled.is_set() and not is_told:
            is_told = True
            if opening.pending:
                job.expire()
                return
            if not _say(CANCEL, session, job, opening, to_send):
                to_send = memoryview(b"")
                session.send_eof()
        # no data comes after that
        ended = session.eof_received or session.closed or session.granted is False
        out, err = session.take()
        if opening.pending and (out or err):
            to_send = memoryview(bytes(to_send) + opening.receive(out, err))
        if out:
            job.feed_stdout(out)
        if err:
            job.feed_stderr(err)
        if job.settled:
            break
        if ended:
            _end(connection, session, job)
            return
        if to_send and session.room:
            to_send = to_send[session.send(to_send) :]
            if not to_send and not opening.pending:
                job.stream_sent()
        now = time.monotonic()
        is_waiting = bool(to_send) or opening.pending or opening.is_late
        stop_at = opening.give_up_at if is_waiting else job.stop_at
        if now < stop_at:
            wait = 0.0 if to_send and session.room else stop_at - now
            connection.read(wait, lambda: max(opening.give_up_at, job.stop_at) + LATE_S)
            continue
        give_up_at = give_up_at or now + LATE_S
        if now < give_up_at and connection.read(QUIET_S):
            continue
        if job.has_begun or opening.is_late:
            job.expire()
            return
        opening.too_late()
        to_send, give_up_at = memoryview(b""), 0.0
        session.send_eof()
    _say(READ, session, job, opening, to_send)


def _say(word: bytes, session: Session, job: Job, opening: Opening, to_send: memoryview) -> bool:
    """Tell a host that keeps a receipt, and so listens, if it has read the whole stream.

    Without room, or to a session that has ended, nothing is said: then it goes by the end of its
    stdin.
    """
    if not job.invocation.receipt or to_send or opening.pending:
        return False
    return session.send(word) == len(word)


def _end(connection: Connection, session: Session, job: Job) -> None:
    """Settle a job whose session has ended, by its exit status."""

    def is_over() -> bool:
        return session.exit_status is not None or session.closed or session.granted is False

    with contextlib.suppress(*LOST):
        connection.read_until(is_over, AFTER_EOF_S)
    if not session.granted and session.exit_status is None and connection.is_active():
        host = job.invocation.target.address
        job.fail(Unreachable("channel_denied", f"{host} refused to start a shell", host=host))
    job.hung_up(session.exit_status)
