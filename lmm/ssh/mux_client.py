"""Asks a ControlMaster of OpenSSH for sessions, for signs of life, and to leave.

A caller learns for certain whether a session was opened: until then nothing that RUNE sends has
reached the host.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from dataclasses import dataclass, field
from io import FileIO
from typing import Self

from lmm.ssh import mux
from lmm.ssh.mux import Packet

ANSWER_S = 2.0  # a master that is well answers within milliseconds, also on a busy machine
OPENED_S = 5.0  # a session takes one round to the host and back
_UCRED = struct.Struct("3i")  # struct ucred of unix(7): process, user, group


class MasterError(Exception):
    """No session came of it; nothing has reached the host's shell."""


class MasterGone(MasterError):
    """Nobody answers at the socket, or no longer."""


class MasterSilent(MasterGone):
    """Somebody took the connection and gave no answer in time."""


class HostSilent(MasterGone):
    """The master answers, the host behind it did not in time."""


class SessionRefused(MasterError):
    """The master said no, in the words that it gave."""


class Abandoned(MasterError):
    """The caller's own wish: its ``wake`` became readable."""


class MuxConnection:
    """A connection to a master of this user, or of root, made at once; the hellos are still to be
    said."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._received = bytearray()
        self._packets: list[Packet] = []
        try:
            # connect itself waits while as many others wait as the master's queue holds
            patience = struct.pack("ll", *divmod(round(ANSWER_S * 1e6), 10**6))
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
            self.socket.connect(path)
            self._check_owner()
        except BlockingIOError:
            self.socket.close()
            raise MasterSilent("it takes no connection") from None
        except OSError as error:
            self.socket.close()
            raise MasterGone(error.strerror) from None

    def _check_owner(self) -> None:
        """Raise PermissionError unless who listens is this user: another would play the host."""
        credentials = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        _, uid, _ = _UCRED.unpack(credentials)
        if uid not in (0, os.geteuid()):
            raise PermissionError(errno.EPERM, f"it belongs to the user with id {uid}")

    def send(self, *packets: Packet) -> None:
        """Send the packets. Raises MasterGone, MasterSilent."""
        try:
            self.socket.sendall(b"".join(mux.encode(packet) for packet in packets))
        except BlockingIOError:
            raise MasterSilent("it takes no more data") from None
        except OSError as error:
            raise MasterGone(error.strerror) from None

    def receive(self, until: float, wake: int | None = None) -> Packet:
        """Return the next packet. Raises MasterGone, MasterSilent after ``until``, Abandoned."""
        while not self._packets:
            watched = select.poll()
            watched.register(self.socket, select.POLLIN)
            if wake is not None:
                watched.register(wake, select.POLLIN)
            ready = [fd for fd, _ in watched.poll(max(0.0, until - time.monotonic()) * 1000)]
            if wake in ready:
                raise Abandoned("it is no longer wanted")
            if not ready:
                raise MasterSilent("it does not answer")
            if not self.read():
                raise MasterGone("it closed the connection")
        return self._packets.pop(0)

    def read(self) -> bool:
        """Take what has come; return whether more may come. Never blocks. Raises MasterGone."""
        try:
            data = self.socket.recv(4096, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError as error:
            raise MasterGone(error.strerror) from None
        self._received += data
        try:
            self._packets += mux.take_packets(self._received)
        except mux.BadPacket as error:
            raise MasterGone(str(error)) from None
        return bool(data)

    def waiting(self) -> list[Packet]:
        """Return the packets that were read and not yet received."""
        packets, self._packets = self._packets, []
        return packets

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def _check_hello(packet: Packet) -> None:
    if packet != Packet(mux.HELLO, (mux.VERSION,)):
        raise MasterGone(f"it does not speak version {mux.VERSION} of the protocol")


def _answer(packet: Packet, wanted: int) -> tuple[int | bytes, ...]:
    if packet.kind in (mux.PERMISSION_DENIED, mux.FAILURE):
        reason = packet.values[1]
        assert isinstance(reason, bytes)
        raise SessionRefused(reason.decode(errors="replace"))
    if packet.kind != wanted:
        raise MasterGone(f"it answered with {packet.kind:#x}")
    return packet.values


# -- a session ---------------------------------------------------------------------------------


@dataclass(slots=True)
class MuxSession:
    """A shell on the host: the near ends of its pipes, unbuffered, and how it ended.

    ``status`` is its exit status, ``None`` while it runs and where it ended without one: by a
    signal or with the connection. Leaving the block ends a session that still runs.
    """

    connection: MuxConnection
    stdin: FileIO
    stdout: FileIO
    stderr: FileIO
    status: int | None = None
    _gone: bool = field(default=False, init=False)

    @property
    def sign(self) -> int:
        return self.connection.socket.fileno()

    def gone(self) -> bool:
        """Whether the shell or the master has ended. Never blocks."""
        if not self._gone:
            try:
                self._gone = not self.connection.read()
            except MasterGone:
                self._gone = True
            for packet in self.connection.waiting():
                if packet.kind == mux.EXIT_MESSAGE:
                    status = packet.values[1]
                    assert isinstance(status, int)
                    self.status = status
                    self._gone = True
        return self._gone

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in (self.stdin, self.stdout, self.stderr):
            pipe.close()
        self.connection.socket.close()


def open_session(path: str, command: str, *, wake: int, until: float) -> MuxSession:
    """Have the master at ``path`` run ``command`` on its host.

    Returns when the host has opened the session. ``wake`` is a descriptor that becomes readable
    when nobody waits any longer, ``until`` an instant (``time.monotonic``). Raises MasterGone and
    what derives from it, SessionRefused, Abandoned, OSError for want of descriptors.
    """
    connection = MuxConnection(path)
    pipes: list[int] = []
    try:
        request = (mux.REQUEST, b"", 0, 0, 0, 0, mux.NO_ESCAPE, b"", command.encode())
        connection.send(Packet(mux.HELLO, (mux.VERSION,)), Packet(mux.NEW_SESSION, request))
        for number in range(3):
            ends = os.pipe()
            far = ends[0] if number == 0 else ends[1]
            pipes.append(ends[1] if number == 0 else ends[0])
            try:
                socket.send_fds(connection.socket, [b"\0"], [far])
            except OSError as error:
                raise MasterGone(error.strerror) from None
            finally:
                os.close(far)
        _check_hello(connection.receive(min(until, time.monotonic() + ANSWER_S), wake))
        try:
            answer = connection.receive(min(until, time.monotonic() + OPENED_S), wake)
        except MasterSilent:
            raise HostSilent("the host opened no session") from None
        _answer(answer, mux.SESSION_OPENED)
    except BaseException:
        connection.socket.close()
        for pipe in pipes:
            os.close(pipe)
        raise
    stdin, stdout, stderr = pipes
    return MuxSession(
        connection,
        FileIO(stdin, "wb"),
        FileIO(stdout, "rb"),
        FileIO(stderr, "rb"),
    )


# -- what else a master is asked ---------------------------------------------------------------


def pid_of(path: str) -> int:
    """Return the process id of the master. Raises MasterGone and what derives from it."""
    with MuxConnection(path) as connection:
        connection.send(Packet(mux.HELLO, (mux.VERSION,)), Packet(mux.ALIVE_CHECK, (mux.REQUEST,)))
        until = time.monotonic() + ANSWER_S
        _check_hello(connection.receive(until))
        _, pid = _answer(connection.receive(until), mux.ALIVE)
    assert isinstance(pid, int)
    return pid


def stop_listening(path: str) -> None:
    """Have the master take no more sessions and leave after its last one.

    It removes its socket by itself. Raises MasterGone and what derives from it, SessionRefused.
    """
    with MuxConnection(path) as connection:
        connection.send(
            Packet(mux.HELLO, (mux.VERSION,)), Packet(mux.STOP_LISTENING, (mux.REQUEST,))
        )
        until = time.monotonic() + ANSWER_S
        _check_hello(connection.receive(until))
        _answer(connection.receive(until), mux.OK)


def ask_to_leave(path: str) -> MuxConnection:
    """Ask the master to end at once, with its sessions; ``has_left`` waits for it.

    Raises MasterGone and what derives from it.
    """
    connection = MuxConnection(path)
    try:
        connection.send(Packet(mux.HELLO, (mux.VERSION,)), Packet(mux.TERMINATE, (mux.REQUEST,)))
    except MasterGone:
        connection.socket.close()
        raise
    return connection


def has_left(connection: MuxConnection, until: float) -> bool:
    """Wait until the master that was asked has left, at most until ``until``; close."""
    with connection:
        try:
            while True:
                connection.receive(until)
        except MasterSilent:
            return False
        except MasterGone:
            return True
