"""Opens one authenticated SSH connection, and tells each way it can fail apart."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from lmm.errors import GREETING, Unreachable
from lmm.shortage import check_descriptors, wanting
from lmm.ssh.agent import OnCancel
from lmm.ssh.config import HostConfig
from lmm.ssh.connection import LOST
from lmm.ssh.keys import Credentials
from lmm.ssh.known_hosts import KnownHosts, add
from lmm.ssh.library import paramiko
from lmm.ssh.login import authenticate, dropped, fail

# Post-quantum and finite-field exchanges cost several times the CPU of curve25519
# (docs/decisions/ssh-algorithms.md); they stay on offer behind it.
FIRST_KEX = "curve25519-sha256@libssh.org"
# They check and decrypt a packet in one call; paramiko compares a MAC byte by byte in Python.
FIRST_CIPHERS = "-gcm@"
# What OpenSSH's own client does not offer either (ssh_config(5), Ciphers and MACs, 9.2).
WEAK = ("-cbc", "-md5", "-96")

PROXY_GRACE_S = 1.0  # from TERM to KILL, for a proxy command that outlives its connection

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # else it prints tracebacks

T = TypeVar("T", bound=paramiko.Transport)


def connect(
    kind: Callable[[Any], T],
    config: HostConfig,
    credentials: Credentials,
    on_cancel: OnCancel,
    parent: paramiko.Transport | None = None,
) -> T:
    """Return an authenticated connection, through ``parent`` where that is a jump host.

    ``kind`` is ``Connection``, or ``JumpedTransport`` for a jump host: many threads may use that at
    once. Raises Unreachable with the reason that fits; nothing is left open then.
    """
    connecting = [True]  # a cancel breaks off the attempt, but no connection that others may use

    def while_connecting(action: Callable[[], None]) -> None:
        on_cancel(lambda: action() if connecting else None)

    sock = _socket(config, while_connecting, parent)
    transport: T | None = None
    try:
        transport = kind(sock)
        known = KnownHosts.load(config.known_hosts)
        _handshake(config, transport, known)
        _check_host_key(config, transport, known, while_connecting)
        authenticate(config, transport, credentials, while_connecting)
    except BaseException:
        if transport is not None:
            transport.close()
        sock.close()
        raise
    finally:
        connecting.clear()
    transport.set_keepalive(max(1, round(config.keepalive_s)) if config.keepalive_s else 0)
    return transport


class JumpedTransport(paramiko.Transport):
    """paramiko's, whose thread dies with a traceback when the jump host's channel is gone."""

    def run(self) -> None:
        with contextlib.suppress(*LOST):
            super().run()


def hang_up(connections: Sequence[paramiko.Transport]) -> None:
    """Close connections, waking all their threads first: one by one would wait for each."""
    for connection in connections:
        if isinstance(connection, JumpedTransport):
            connection.active = False  # type: ignore[attr-defined]
            with contextlib.suppress(AttributeError, *LOST):
                connection.sock.shutdown(socket.SHUT_RDWR)
    for connection in connections:
        with contextlib.suppress(*LOST):
            connection.close()


# -- TCP ---------------------------------------------------------------------------------------


def _socket(config: HostConfig, on_cancel: OnCancel, parent: paramiko.Transport | None) -> Any:
    """Return a socket to the host, or a channel that is one through the jump host."""
    if parent is not None:
        where = (config.hostname, config.port)
        try:
            channel = parent.open_channel(
                "direct-tcpip", where, ("127.0.0.1", 0), timeout=config.connect_timeout_s
            )
        except LOST as error:
            if wanting(error):
                raise
            raise fail(
                "proxy_failed",
                config,
                f"the jump host could not connect to {config.hostname}:{config.port}: {error}",
            ) from None
        on_cancel(channel.close)
        return channel
    sock = _proxy(config) if config.proxy_command else _tcp(config, on_cancel)
    on_cancel(lambda: _shut(sock))
    return sock


class _Proxy(socket.socket):
    """The near end of a proxy command, which ends when this is closed."""

    process: subprocess.Popen[bytes]

    def close(self) -> None:
        super().close()
        self.process.terminate()
        try:
            self.process.wait(PROXY_GRACE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _proxy(config: HostConfig) -> socket.socket:
    near, far = socket.socketpair()
    sock = _Proxy(fileno=near.detach())
    with far:
        try:
            sock.process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {config.proxy_command}"],
                stdin=far.fileno(),
                stdout=far.fileno(),
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            socket.socket.close(sock)
            if wanting(error):
                raise
            raise fail("proxy_failed", config, f"cannot start the proxy command: {error}") from None
    return sock


def _tcp(config: HostConfig, on_cancel: OnCancel) -> socket.socket:
    until = time.monotonic() + config.connect_timeout_s
    try:
        found = socket.getaddrinfo(config.hostname, config.port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        check_descriptors()
        temporary = getattr(error, "errno", None) == socket.EAI_AGAIN
        raise fail(
            "temporary_dns_failure" if temporary else "dns_failure",
            config,
            f"cannot resolve {config.hostname}: {getattr(error, 'strerror', None) or error}",
        ) from None
    problem: OSError | None = None
    for family, kind, proto, _, address in found:
        sock = socket.socket(family, kind, proto)
        on_cancel(lambda sock=sock: _shut(sock))  # type: ignore[misc]
        try:
            sock.settimeout(max(0.001, until - time.monotonic()))
            sock.connect(address)
            _tune(sock, config)
        except OSError as error:
            sock.close()
            if wanting(error) and not isinstance(error, BlockingIOError):
                raise
            problem = error
        else:
            return sock
    raise _tcp_error(config, problem or OSError("no address"))


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _tune(sock: socket.socket, config: HostConfig) -> None:
    """Send at once, and notice a dead peer: keepalive traffic must be acknowledged in time."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if config.keepalive_s and hasattr(socket, "TCP_USER_TIMEOUT"):
        milliseconds = int(config.keepalive_s * 3000)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)


def _tcp_error(config: HostConfig, error: OSError) -> Unreachable:
    where = f"{config.hostname}:{config.port}"
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        seconds = config.connect_timeout_s
        return fail("connect_timeout", config, f"{where} did not answer within {seconds:g} s")
    if error.errno == errno.ECONNREFUSED:
        return fail("connection_refused", config, f"{where} refused the connection")
    if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EADDRNOTAVAIL):
        return fail("no_route", config, f"no route to {where}: {error.strerror}")
    return fail("connection_reset", config, f"connecting to {where} failed: {error}")


# -- SSH ---------------------------------------------------------------------------------------


def _handshake(config: HostConfig, transport: paramiko.Transport, known: KnownHosts) -> None:
    options = transport.get_security_options()
    options.kex = tuple(sorted(options.kex, key=lambda name: name != FIRST_KEX))
    options.ciphers = tuple(
        sorted(_strong(options.ciphers), key=lambda name: FIRST_CIPHERS not in name)
    )
    options.digests = _strong(options.digests)
    kinds = known.preferred_types(config.key_host, config.key_port)
    options.key_types = tuple(sorted(options.key_types, key=lambda name: _rank(name, kinds)))
    transport.banner_timeout = transport.handshake_timeout = config.banner_timeout_s
    transport.auth_timeout = config.auth_timeout_s
    began = time.monotonic()
    try:
        transport.start_client(timeout=config.banner_timeout_s)
    except paramiko.SSHException as error:
        raise _handshake_error(config, transport, error, time.monotonic() - began) from None
    except (OSError, EOFError) as error:
        if wanting(error):
            raise
        if isinstance(error, TimeoutError):
            raise fail("banner_timeout", config, _slow(config)) from None
        raise dropped(config, error, **_phase(transport)) from None
    if not transport.initial_kex_done:
        raise fail("banner_timeout", config, _slow(config))


def _strong(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in names if not any(word in name for word in WEAK))


def _rank(name: str, known: Sequence[str]) -> int:
    base = "ssh-rsa" if name.startswith("rsa-sha2") else name
    return known.index(base) if base in known else len(known)


def _slow(config: HostConfig) -> str:
    where = f"{config.hostname}:{config.port}"
    return f"{where} did not complete the SSH handshake within {config.banner_timeout_s:g} s"


def _phase(transport: paramiko.Transport) -> dict[str, str]:
    """Return ``GREETING`` where the host has not greeted yet."""
    return {} if transport.remote_version else GREETING


def _handshake_error(
    config: HostConfig, transport: paramiko.Transport, error: paramiko.SSHException, seconds: float
) -> Unreachable:
    if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
        return fail("key_exchange_failed", config, f"{config.hostname}: {error}")
    if seconds >= config.banner_timeout_s:
        return fail("banner_timeout", config, _slow(config))
    if "protocol banner" in str(error) and "Invalid" in str(error):
        return fail("key_exchange_failed", config, f"{config.hostname} does not speak SSH")
    return dropped(config, error, **_phase(transport))


def _check_host_key(
    config: HostConfig, transport: paramiko.Transport, known: KnownHosts, on_cancel: OnCancel
) -> None:
    key = transport.get_remote_server_key()
    try:
        known.check(config.key_host, config.key_port, key.get_name(), key.asbytes())
    except Unreachable as error:
        accept = config.host_key_policy == "accept-new" and config.user_known_hosts
        if error.reason != "host_key_unknown" or not accept:
            raise
        cancelled = threading.Event()
        on_cancel(cancelled.set)
        add(
            config.user_known_hosts[0],
            config.key_host,
            config.key_port,
            key.get_name(),
            key.asbytes(),
            hash_names=config.hash_known_hosts,
            cancelled=cancelled,
        )
