"""A paramiko connection that is read by the thread that waits for it.

paramiko gives each connection a thread that reads, and wakes the one that asked: half of what a
cold host costs is that handing over. Here there is no such thread: whoever waits for an answer
reads packets until it is there. The protocol itself, its keys, ciphers and messages, stays
paramiko's.

A connection is for one thread at a time, as a script has its connection to itself. A jump host is
shared by many and keeps paramiko's thread.
"""

from __future__ import annotations

import math
import select
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from lmm.ssh.library import (
    AuthOnlyHandler,
    Message,
    MessageOrderError,
    Packetizer,
    ServiceRequestingTransport,
    common,
    paramiko,
)
from lmm.ssh.session import KINDS, Session

TICK_S = 0.2  # how long a cancelled job, and a keepalive that is due, may wait to be noticed
STALL_S = 15.0  # how long a packet that has begun may stop coming, or the host stop reading
READ_BYTES = 128 * 1024
BANNER_BYTES = 64 * 1024

# What a connection raises when it is of no more use.
LOST = (paramiko.SSHException, OSError, EOFError)


def _never() -> float:
    return math.inf


class _Wire(Packetizer):
    """Packets over a socket, which is read in blocks and not beyond ``stop_at`` (monotonic).

    A socket with a timeout would be polled before every send. A channel through a jump host is
    waited for by its timeout: its descriptor can miss data.
    """

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        self._sock = sock
        self._poll = None
        self._later: type[OSError] = TimeoutError  # what the socket raises instead of waiting
        if isinstance(sock, socket.socket):
            self._later = BlockingIOError
            sock.setblocking(False)
            self._poll = select.poll()
            self._poll.register(sock, select.POLLIN)
        self._data = b""
        self._at = 0
        self.stop_at: Callable[[], float] = _never

    def has_more(self) -> bool:
        """Return whether something of the next packet was read with the last one."""
        return self._at < len(self._data)

    def has_begun(self, seconds: float) -> bool:
        """Return whether something of the next packet is there, after waiting so long for it."""
        return self.has_more() or self._fill(seconds)

    def _fill(self, seconds: float) -> bool:
        if self._poll is None:
            self._sock.settimeout(seconds)
        elif not self._poll.poll(seconds * 1000):
            return False
        try:
            data = self._sock.recv(READ_BYTES)
        except self._later:
            return False
        if not data:
            raise EOFError("it hung up")
        self._data = self._data[self._at :] + data
        self._at = 0
        return True

    def _check(self, heard_at: float, why: str) -> None:
        if time.monotonic() > min(heard_at + STALL_S, self.stop_at()):
            raise TimeoutError(why)

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:
        heard_at = 0.0
        while len(self._data) - self._at < n:
            if self._fill(TICK_S) or not heard_at:
                heard_at = time.monotonic()
            self._check(heard_at, "it stopped in the middle of a packet")
        found = self._data[self._at : self._at + n]
        self._at += n
        return found

    def readline(self, timeout: float) -> str:
        until = time.monotonic() + timeout
        while (end := self._data.find(b"\n", self._at)) < 0:
            self._fill(TICK_S)
            if time.monotonic() > min(until, self.stop_at()):
                raise TimeoutError("it said nothing")
            if len(self._data) > BANNER_BYTES:
                raise paramiko.SSHException("Invalid banner: the line does not end")
        line = self._data[self._at : end].rstrip(b"\r")
        self._at = end + 1
        return line.decode("utf-8", "replace")

    def write_all(self, out: Any) -> None:
        if self._poll is None:
            self._sock.settimeout(TICK_S)
        heard_at = 0.0
        while out:
            try:
                sent = self._sock.send(out)
            except self._later:
                heard_at = heard_at or time.monotonic()
                self._check(heard_at, "it stopped reading")
                self._await_room()
            else:
                if not sent:  # a channel through a jump host that has ended
                    raise EOFError("it hung up")
                out, heard_at = out[sent:], 0.0

    def _await_room(self) -> None:
        """Wait until more can be sent, reading meanwhile: the host may read only when we do."""
        if self._poll is None:
            self._fill(0)
            self._sock.settimeout(TICK_S)
            return
        either = select.poll()
        either.register(self._sock, select.POLLIN | select.POLLOUT)
        if any(event & ~select.POLLOUT for _, event in either.poll(TICK_S * 1000)):
            self._fill(0)

    # paramiko would start a thread for the time that a handshake may take; ``stop_at`` bounds it.
    def start_handshake(self, timeout: float) -> None: ...
    def handshake_timed_out(self) -> bool:
        return False

    def complete_handshake(self) -> None: ...


class _Login(AuthOnlyHandler):
    """paramiko's, reading while it waits."""

    def wait_for_response(self, event: Any) -> list[str]:
        connection: Any = self.transport
        try:
            connection.read_until(event.is_set, connection.auth_timeout)
        except TimeoutError:
            raise paramiko.AuthenticationException("Authentication timeout.") from None
        return super().wait_for_response(event)


class Connection(ServiceRequestingTransport):
    """paramiko's transport without its thread; ``read`` takes the thread's place.

    ``start_client``, logging in and ``start_session`` wait by reading; what else of paramiko's
    waits (``renegotiate_keys``, ``open_channel``, …) would wait for ever. All methods raise one of
    LOST when the connection is of no more use; it is closed then.
    """

    packetizer: _Wire

    # paramiko's inside, as the ``run`` of its thread uses it; a test says what a release changes
    active: bool
    auth_handler: Any
    kex_engine: Any
    _check_banner: Callable[[], None]
    _enforce_strict_kex: Callable[[int], None]
    _expect_packet: Callable[[int], None]
    _expected_packet: tuple[int, ...]
    _handler_table: Mapping[int, Callable[[Message], None]]
    _send_kex_init: Callable[[], None]
    _service_userauth_accepted: bool

    def __init__(self, sock: Any) -> None:
        super().__init__(sock, packetizer_class=_Wire)
        self._keepalive_s = math.inf
        self._keepalive_at = math.inf
        self._sessions: dict[int, Session] = {}  # until the host has closed them
        self._session_count = 0  # sessions so far: their numbers are those below

    def _filter_algorithm(self, kind: str) -> tuple[str, ...]:
        """Return what is preferred as it is: paramiko asks sixteen times for each connection."""
        preferred: tuple[str, ...] = getattr(self, f"_preferred_{kind}")
        return preferred

    # -- what paramiko's thread would do ---------------------------------------------------------

    def start(self) -> None:
        """Shake hands, here and now: ``start_client`` calls this, and then waits no more."""
        until = time.monotonic() + self.handshake_timeout
        try:
            self.packetizer.stop_at = lambda: until
            self.packetizer.write_all(f"{self.local_version}\r\n".encode())
            self._check_banner()
            self._send_kex_init()
            self._expect_packet(common.MSG_KEXINIT)
        except Exception as error:
            raise self._lost(error) from None
        self.read_until(lambda: self.initial_kex_done, until - time.monotonic())

    def read_until(self, done: Callable[[], bool], seconds: float) -> None:
        """Read until ``done``. Raises TimeoutError, and closes, when that takes longer."""
        until = time.monotonic() + seconds
        self.packetizer.stop_at = lambda: until
        try:
            while not done():
                self._read(TICK_S)
                if time.monotonic() >= until and not done():
                    raise TimeoutError("it did not answer in time")
        except Exception as error:
            raise self._lost(error) from None
        self.packetizer.stop_at = _never

    def read(self, seconds: float, stop_at: Callable[[], float] = _never) -> bool:
        """Handle what has come; return False if nothing has after so many seconds.

        Raises TimeoutError, and closes, for one that is not complete at ``stop_at`` (monotonic).
        """
        self.packetizer.stop_at = stop_at
        try:
            if not self._read(min(seconds, TICK_S)):
                return False
            while self.packetizer.has_more():
                self._read(0)
            return True
        except Exception as error:
            raise self._lost(error) from None

    def _read(self, seconds: float) -> bool:
        if self.packetizer.need_rekey() and not self.in_kex:
            self._send_kex_init()
        if not self.packetizer.has_begun(seconds):
            self._keep_alive()
            return False
        self._keepalive_at = math.inf
        self._handle(*self.packetizer.read_message())
        return True

    def _handle(self, kind: int, message: Message) -> None:
        """Give a packet to whom it is for, in the order and with the checks of paramiko's run."""
        if kind == common.MSG_DISCONNECT:
            message.get_int()
            raise paramiko.SSHException(f"it disconnected: {message.get_text()}")
        if kind in (common.MSG_IGNORE, common.MSG_DEBUG):
            self._enforce_strict_kex(kind)
            return
        expected = self._expected_packet
        if expected:
            if kind not in expected:
                raise MessageOrderError(f"packet {kind} came instead of {expected}")
            self._expected_packet = ()
            if 30 <= kind <= 41:  # these belong to the method of the key exchange
                self.kex_engine.parse_next(kind, message)
                return
        if kind in KINDS:
            self._hear(kind, message)
        elif kind in self._handler_table:
            self._handler_table[kind](message)
        elif self.auth_handler and kind in (login := self.auth_handler._handler_table):
            login[kind](message)
        elif kind != common.MSG_UNIMPLEMENTED:
            answer = Message()
            answer.add_byte(common.cMSG_UNIMPLEMENTED)
            answer.add_int(message.seqno)
            self._send_message(answer)

    def _hear(self, kind: int, message: Message) -> None:
        number = message.get_int()
        if number >= self._session_count:
            raise paramiko.SSHException(f"a packet came for channel {number}: there is none")
        session = self._sessions.get(number)
        if session is None:
            return
        session.hear(kind, message)
        if session.closed or session.refusal is not None:
            self._sessions.pop(number, None)

    def _lost(self, error: Exception) -> Exception:
        """Close, and return what to raise: one of LOST, also where a packet made no sense."""
        self.close()
        return error if isinstance(error, LOST) else paramiko.SSHException(f"nonsense: {error!r}")

    # -- sessions --------------------------------------------------------------------------------

    def start_session(self) -> Session:
        """Return a session that the host has opened, or refused."""
        session = Session(self._session_count, self._send_user_message)
        self._sessions[session.number] = session
        self._session_count += 1
        session.open()
        self.read_until(lambda: session.is_open or session.refusal is not None, self.auth_timeout)
        return session

    # -- waiting, elsewhere in paramiko ----------------------------------------------------------

    def ensure_session(self) -> None:
        """Ask for leave to log in, once."""
        if self.auth_handler is None:
            request = Message()
            request.add_byte(common.cMSG_SERVICE_REQUEST)
            request.add_string("ssh-userauth")
            self._send_message(request)
            self.read_until(lambda: self._service_userauth_accepted, self.auth_timeout)
            self.auth_handler = self.get_auth_handler()

    def get_auth_handler(self) -> AuthOnlyHandler:
        return _Login(self)

    def _send_user_message(self, data: Message) -> None:
        """Send what no key exchange may be under way for."""
        if not self.active:
            return
        if not self.clear_to_send.is_set():
            self.read_until(self.clear_to_send.is_set, self.clear_to_send_timeout)
        self._send_message(data)

    def _send_message(self, data: Message) -> None:
        try:
            self.packetizer.send_message(data)
        except Exception as error:
            raise self._lost(error) from None

    def set_keepalive(self, interval: float) -> None:
        """Say something after so many seconds of silence, 0 for never."""
        self._keepalive_s = interval or math.inf

    def _keep_alive(self) -> None:
        now = time.monotonic()
        if self._keepalive_at == math.inf:
            self._keepalive_at = now + self._keepalive_s
        elif now >= self._keepalive_at and not self.in_kex:
            self._keepalive_at = now + self._keepalive_s
            self.global_request("keepalive@openssh.com", wait=False)
