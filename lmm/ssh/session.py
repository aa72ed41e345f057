"""A session over a connection: one program on the host, its input, output and exit status.

The channel of RFC 4254, sections 5 and 6. paramiko has one too, made for programs of several
threads: its locks, events and pipes were a sixth of what a script over a kept connection costs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from lmm.ssh.library import Message, common

WINDOW = 2 * 1024 * 1024  # bytes that the host may send before it hears that they were taken
PACKET = 32 * 1024  # the largest piece of data; RFC 4253, 6.1
_STDERR = 1  # SSH_EXTENDED_DATA_STDERR

# What concerns one session. That somebody wants to open a channel to here (90) is paramiko's.
KINDS = frozenset(
    {
        common.MSG_CHANNEL_OPEN_SUCCESS,
        common.MSG_CHANNEL_OPEN_FAILURE,
        common.MSG_CHANNEL_WINDOW_ADJUST,
        common.MSG_CHANNEL_DATA,
        common.MSG_CHANNEL_EXTENDED_DATA,
        common.MSG_CHANNEL_EOF,
        common.MSG_CHANNEL_CLOSE,
        common.MSG_CHANNEL_REQUEST,
        common.MSG_CHANNEL_SUCCESS,
        common.MSG_CHANNEL_FAILURE,
    }
)


@dataclass(slots=True, eq=False)
class Session:
    """For the thread that reads the connection. ``number`` is the channel's on this side, ``say``
    sends a message.

    ``refusal`` is why the host opened no session, ``granted`` whether it has started the command,
    ``room`` how many bytes it takes now. Sending raises what the connection raises when it is lost.
    """

    number: int
    say: Callable[[Message], None]
    is_open: bool = False
    refusal: str | None = None
    granted: bool | None = None
    exit_status: int | None = None
    eof_received: bool = False
    closed: bool = False  # by the host
    eof_sent: bool = False
    room: int = 0
    _theirs: int = 0  # the channel's number on that side
    _packet: int = 0
    _stdout: list[bytes] = field(default_factory=list)
    _stderr: list[bytes] = field(default_factory=list)
    _untold: int = 0  # bytes taken of which the host has not heard
    _close_sent: bool = False

    # -- what is said --------------------------------------------------------------------------

    def open(self) -> None:
        """Ask for the session."""
        request = _message(common.cMSG_CHANNEL_OPEN)
        request.add_string("session")
        request.add_int(self.number)
        request.add_int(WINDOW)
        request.add_int(PACKET)
        self.say(request)

    def execute(self, command: str) -> None:
        """Ask for the command; ``granted`` has the answer when it has come."""
        request = self._request(common.cMSG_CHANNEL_REQUEST)
        request.add_string("exec")
        request.add_boolean(True)
        request.add_string(command)
        self.say(request)

    def send(self, data: bytes | memoryview) -> int:
        """Send to the command's stdin as much as there is room for; return how many bytes."""
        piece = bytes(data[: min(self.room, self._packet)])
        if self.closed or self.eof_sent or not piece:
            return 0
        self.room -= len(piece)
        message = self._request(common.cMSG_CHANNEL_DATA)
        message.add_string(piece)
        self.say(message)
        return len(piece)

    def send_eof(self) -> None:
        """End the command's stdin."""
        if not self.eof_sent and not self._close_sent:
            self.eof_sent = True
            self.say(self._request(common.cMSG_CHANNEL_EOF))

    def close(self) -> None:
        """End the session; what the host still says of it is passed over."""
        if self.is_open and not self._close_sent:
            self._close_sent = True
            self.say(self._request(common.cMSG_CHANNEL_CLOSE))

    def take(self) -> tuple[bytes, bytes]:
        """Return what has come on stdout and on stderr since the last time."""
        out, err = b"".join(self._stdout), b"".join(self._stderr)
        self._stdout.clear()
        self._stderr.clear()
        self._make_room(len(out) + len(err))
        return out, err

    def _make_room(self, taken: int) -> None:
        self._untold += taken
        if self._untold > WINDOW // 8 and not self.closed and not self._close_sent:
            message = self._request(common.cMSG_CHANNEL_WINDOW_ADJUST)
            message.add_int(self._untold)
            self._untold = 0
            self.say(message)

    def _request(self, kind: bytes) -> Message:
        message = _message(kind)
        message.add_int(self._theirs)
        return message

    # -- what is heard -------------------------------------------------------------------------

    def hear(self, kind: int, message: Message) -> None:
        """Take a message of one of ``KINDS``, read up to the channel's number."""
        if kind == common.MSG_CHANNEL_DATA:
            self._stdout.append(message.get_binary())
        elif kind == common.MSG_CHANNEL_EXTENDED_DATA:
            code, data = message.get_int(), message.get_binary()
            if code == _STDERR:
                self._stderr.append(data)
            else:
                self._make_room(len(data))
        elif kind == common.MSG_CHANNEL_WINDOW_ADJUST:
            self.room += message.get_int()
        elif kind == common.MSG_CHANNEL_OPEN_SUCCESS:
            self._theirs, self.room = message.get_int(), message.get_int()
            self._packet = min(message.get_int(), PACKET)
            self.is_open = True
        elif kind == common.MSG_CHANNEL_OPEN_FAILURE:
            message.get_int()
            self.refusal = message.get_text()
        elif kind == common.MSG_CHANNEL_REQUEST:
            self._asked(message)
        elif kind in (common.MSG_CHANNEL_SUCCESS, common.MSG_CHANNEL_FAILURE):
            self.granted = kind == common.MSG_CHANNEL_SUCCESS
        elif kind == common.MSG_CHANNEL_EOF:
            self.eof_received = True
        else:
            self.closed = True
            self.close()

    def _asked(self, message: Message) -> None:
        """Note the exit status; say no to all else, as sshd asks to see whether we are there."""
        what, wants_answer = message.get_text(), message.get_boolean()
        if what == "exit-status":
            self.exit_status = message.get_int()
        if wants_answer and not self._close_sent:
            self.say(self._request(common.cMSG_CHANNEL_FAILURE))


def _message(kind: bytes) -> Message:
    message = Message()
    message.add_byte(kind)
    return message
