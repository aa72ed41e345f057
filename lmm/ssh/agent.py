"""Asks an ssh-agent for keys and signatures: in time, and within bounds whoever it is."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable

from lmm.errors import Unreachable
from lmm.ssh.config import HostConfig
from lmm.ssh.library import Message, paramiko

OnCancel = Callable[[Callable[[], None]], None]

MOST_REPLY_BYTES = 256 * 1024  # MAX_AGENT_REPLY_LEN of authfd.c
MOST_BLOB = 16 * 1024  # ssh takes RSA keys of up to 16384 bits; larger ones cost seconds to read
MOST_KEYS = 2048  # MAX_AGENT_IDENTITIES of authfd.c
LOOK_S = 0.2  # how often time is looked at while the agent takes no connection
_LIST, _LISTED = b"\x0b", 12  # SSH_AGENTC_REQUEST_IDENTITIES, SSH_AGENT_IDENTITIES_ANSWER


class SshAgent(paramiko.agent.AgentSSH):
    """An agent as one login asks it: it takes one question at a time.

    All together it has ``auth_timeout_s``, and ends with a cancel.
    """

    def __init__(self, path: str, config: HostConfig, on_cancel: OnCancel) -> None:
        super().__init__()
        self._path = path
        self._config = config
        self._until = time.monotonic() + config.auth_timeout_s
        self._cancelled = threading.Event()
        self._socket = socket.socket(socket.AF_UNIX)
        on_cancel(self._cancel)

    def close(self) -> None:
        self._socket.close()

    def get_keys(self) -> tuple[paramiko.AgentKey, ...]:
        """Return the keys that it has. Raises SSHException, and Unreachable (``auth_timeout``)."""
        try:
            self._connect()
        except TimeoutError:
            raise self._late() from None
        except OSError:  # as ssh does: an agent that is not there has no keys
            return ()
        kind, answer = self._send_message(Message(_LIST))
        count = answer.get_int()
        if kind != _LISTED or count > MOST_KEYS:
            raise paramiko.SSHException(f"the ssh-agent at {self._path} names no keys")
        found = []
        for _ in range(count):
            blob, _comment = answer.get_binary(), answer.get_binary()
            if len(blob) > MOST_BLOB:
                continue
            with contextlib.suppress(paramiko.SSHException, ValueError):  # it is of an unknown kind
                found.append(paramiko.AgentKey(self, blob))
        return tuple(found)

    def _connect(self) -> None:
        """Connect. While as many wait as its queue holds, connect itself would wait for ever."""
        for_a_look = struct.pack("ll", 0, round(LOOK_S * 1e6))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, for_a_look)
        while True:
            with contextlib.suppress(BlockingIOError):
                self._socket.connect(self._path)
                return
            self._left()

    def _send_message(self, question: Message) -> tuple[int, Message]:
        """Return the kind of the answer, and the answer. An AgentKey calls it, too, to sign."""
        text = question.asbytes()
        try:
            self._socket.settimeout(self._left())
            self._socket.sendall(struct.pack(">I", len(text)) + text)
            (size,) = struct.unpack(">I", self._received(4))
            if not 0 < size <= MOST_REPLY_BYTES:
                raise paramiko.SSHException(f"the ssh-agent at {self._path} answers {size} bytes")
            answer = self._received(size)
        except TimeoutError:
            raise self._late() from None
        except OSError as error:
            raise paramiko.SSHException(f"lost the ssh-agent at {self._path}: {error}") from None
        return answer[0], Message(answer[1:])

    def _received(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            self._socket.settimeout(self._left())
            more = self._socket.recv(size - len(data))
            if not more:
                raise ConnectionResetError("it hung up")
            data += more
        return bytes(data)

    def _left(self) -> float:
        """Return the seconds that are left. Raises TimeoutError if there are none, and
        ConnectionAbortedError after a cancel."""
        if self._cancelled.is_set():
            raise ConnectionAbortedError("cancelled")
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _late(self) -> Unreachable:
        config = self._config
        return Unreachable(
            "auth_timeout",
            f"the ssh-agent at {self._path} did not answer within {config.auth_timeout_s:g} s",
            host=config.hostname,
            port=config.port,
        )

    def _cancel(self) -> None:
        self._cancelled.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
