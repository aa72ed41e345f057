"""The yardstick: bytes to hosts by libssh2 in threads, and nothing else.

It checks no host key, waits for no shell and validates nothing.
"""

from __future__ import annotations

import secrets
import socket
import time
from pathlib import Path

from common import MOST_BYTES, Job, retried, serve_by_threads
from ssh2.session import Session

sessions: dict[str, tuple[socket.socket, Session]] = {}


def log_in(job: Job, host: str) -> tuple[socket.socket, Session]:
    sock = socket.create_connection((host, job.port), job.host_timeout_s)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        session = Session()
        session.set_timeout(int(job.host_timeout_s * 1000))
        session.handshake(sock)
        session.userauth_publickey_fromfile(job.user, job.key)
    except BaseException:
        sock.close()
        raise
    return sock, session


def ask(job: Job, host: str) -> str:
    if host not in sessions:
        sessions[host] = retried(lambda: log_in(job, host))
    until = time.monotonic() + job.host_timeout_s
    channel = sessions[host][1].open_session()
    channel.execute(job.command)
    stream = Path(job.input).read_bytes()
    channel.write(stream.replace(b"0" * 32, secrets.token_hex(16).encode()))  # its own directory
    answer = b""
    while b" end " not in answer and len(answer) < MOST_BYTES:
        size, data = channel.read()
        if size < 0 or (size == 0 and channel.eof()):
            break
        answer += data
        if time.monotonic() > until:
            return f"no whole answer within {job.host_timeout_s:g} s"
    if b" end " not in answer:
        answer += channel.read_stderr()[1]  # its last words
    channel.close()
    return job.fault(answer.decode(errors="replace"))


serve_by_threads(ask)
