"""Turns an invocation into what ``bash -s`` reads on stdin, and its output back into parts.

Sans-IO: bytes in, bytes out. The host's half is ``bootstrap.sh``, with ``receipt.sh`` and
``follow.sh`` where a receipt is wanted. Opening a shell, also as another user through sudo, is
here too because every shell transport does it alike.
"""

from __future__ import annotations

import functools
import math
import re
import secrets
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from lmm import files
from lmm.envelope import encode_message, environment
from lmm.errors import Unreachable
from lmm.files import shell_functions
from lmm.model import Become, Invocation, OnDisconnect
from lmm.receipts import KEPT_S

NOISE_BYTES = 64 * 1024  # what is kept of the output before the start line
END_LINE_BYTES = 512
PATIENCE_S = 10  # how long the host waits for the word that its end lines were read
# What is said on stdin after the stream; any other byte is taken for CANCEL before the end.
CANCEL, READ = b"c", b"r"
END_LINE = re.compile(rb"(\d+) (\w+) ?([^\n]*)\n")  # what follows the nonce; compiled once


class Stream(NamedTuple):
    """What ``bash -s`` is to read, in order. ``shared`` is equal for all targets of a plugin."""

    head: bytes
    shared: bytes
    tail: bytes

    def whole(self) -> bytes:
        return b"".join(self)


def build_stream(invocation: Invocation, nonce: str) -> Stream:
    """Return what ``bash -s`` is to read: call, bootstrap and plugin, variables and payload.

    For an inquiry the call and functions are all. A receipt's nonce is its key.
    """
    names = _names(invocation)
    functions = shell_functions(*names)
    read = f'LC_ALL=C IFS= read -rN {len(functions)} s; eval "$s"; '
    if invocation.inquiry:
        words = [nonce, *_receipt_times(invocation), *["kill"][: invocation.inquiry.kill]]
        return Stream(f"{read}rune_ask {shlex.join(words)}; exit\n".encode(), functions, b"")
    script, sent = invocation.script, files.sent(invocation.script)
    text = files.is_text(sent.content)
    variables = environment(invocation.message, invocation.write_only)
    payload = encode_message(invocation.message)
    arguments = [
        nonce,
        secrets.token_hex(16),
        f"{invocation.limits.timeout_s:.3f}",
        script.filename,
        "text" if text else "bytes",
        str(len(sent.content)),
        str(len(payload)),
        str(len(script.requires)),
        *script.requires,
        str(len(sent.words)),
        *sent.words,
        str(len(variables)),
        *(word for name, value in variables for word in (name, str(len(value)))),
        *script.interpreter,
    ]
    first = f"{read}{_receipt(invocation)}rune_main {shlex.join(arguments)}; exit\n"
    values = b"".join(value for _, value in variables)
    return Stream(first.encode(), _shared(names, sent.body), values + payload)


@functools.lru_cache(maxsize=4)
def _shared(names: tuple[str, ...], content: bytes) -> bytes:
    return shell_functions(*names) + content


def _names(invocation: Invocation) -> tuple[str, ...]:
    if invocation.inquiry:
        return "bootstrap.sh", "receipt.sh", "follow.sh"
    names = ["bootstrap.sh"]
    if invocation.receipt:
        names.append("receipt.sh")
    if invocation.on_disconnect is OnDisconnect.CONTINUE:
        names.append("follow.sh")
    if files.sent(invocation.script).words:
        names.append("files.sh")
    return tuple(names)


def _receipt(invocation: Invocation) -> str:
    """Return the assignments that have a receipt kept, empty where none is wanted."""
    if not invocation.receipt:
        return ""
    patience, expiry = _receipt_times(invocation)
    limits = invocation.limits
    # A little more than what is allowed: whoever reads it then says that it is too large.
    most = (limits.stdout_bytes + 2 * END_LINE_BYTES, limits.stderr_bytes + 2 * END_LINE_BYTES)
    return (
        f"rune_mode={invocation.on_disconnect} rune_patience={patience} rune_expiry={expiry}"
        f" rune_most_out={most[0]} rune_most_err={most[1]}; "
    )


def _receipt_times(invocation: Invocation) -> tuple[str, str]:
    """Return how long to wait for READ, and how long from now to keep the receipt, in seconds."""
    patience = 0 if invocation.target.transport == "ssm" else PATIENCE_S  # it carries no word
    return str(patience), str(math.ceil(invocation.limits.timeout_s) + KEPT_S)


@dataclass(frozen=True, slots=True)
class End:
    """The host's last word: the plugin's exit status, and why it ended.

    ``reason`` is exit, timeout, cancel, disconnect or flood after the plugin ran; missing, short,
    old_bash, want (files), no_directory or no_receipt when it never started, taken when this stream
    did not start it. The answer to an inquiry may also be unknown (never started), gone, forgotten.
    """

    status: int
    reason: str
    detail: str = ""


class Frame:
    """One output stream: noise, a start line, the plugin's own bytes, an end line.

    The end line follows the plugin's last byte at once, so nothing is added to what it wrote.
    ``body`` takes the plugin's bytes as they come. Noise of login profiles is kept in ``noise``
    up to a bound; what follows the end line is dropped.
    """

    def __init__(self, nonce: str, body: Callable[[bytes], None]) -> None:
        self._start = f"##rune-{nonce} start\n".encode()
        self._end = f"##rune-{nonce} end ".encode()
        self._body = body
        self._pending = b""
        self.noise = b""
        self.started = False
        self.end: End | None = None

    def feed(self, data: bytes) -> None:
        if self.end is not None:
            return
        data = self._pending + data
        if not self.started:
            at = data.find(self._start)
            if at < 0:
                self._look_for_end(data, self._keep_noise)
                return
            self._keep_noise(data[:at])
            self.started = True
            data = data[at + len(self._start) :]
        self._look_for_end(data, self._body)

    def close(self) -> None:
        """No more bytes will come: hand over what was held back."""
        pending, self._pending = self._pending, b""
        if self.end is None and pending:
            (self._body if self.started else self._keep_noise)(pending)

    def _keep_noise(self, data: bytes) -> None:
        self.noise += data[: NOISE_BYTES - len(self.noise)]

    def _look_for_end(self, data: bytes, take: Callable[[bytes], None]) -> None:
        """Pass on what cannot belong to an end line, hold back what may."""
        at = data.find(self._end)
        if at < 0:
            hold = _partial(data, self._end)
            if not self.started:
                hold = min(hold, _partial(data, self._start))
        else:
            found = END_LINE.match(data, at + len(self._end))
            if found:
                self._pending = b""
                take(data[:at])
                status, reason, detail = found.groups()
                self.end = End(int(status), reason.decode(), detail.decode(errors="replace"))
                return
            hold = at if len(data) - at < END_LINE_BYTES else len(data)
        self._pending = data[hold:]
        if hold:
            take(data[:hold])


def _partial(data: bytes, marker: bytes) -> int:
    """Return where a prefix of ``marker`` begins at the end of ``data``, else its length."""
    at = data.find(marker[:1], max(0, len(data) - len(marker) + 1))
    while at >= 0 and not marker.startswith(data[at:]):
        at = data.find(marker[:1], at + 1)
    return at if at >= 0 else len(data)


class Opening:
    """The way into a shell: its command, and what to send when, also through a sudo prompt.

    With a password nothing is sent until sudo asks or the shell says that it is there, so that
    the password can never be read as a command.
    """

    def __init__(self, stream: bytes, become: Become | None) -> None:
        self._stream = stream
        self._password: bytes | None = None
        self._ready = b""
        self._prompt = b""
        self._seen = b""
        if become is None:
            self.argv = ["bash", "-s"]
        elif become.password is None:
            self.argv = ["sudo", "-n", "-u", become.user, "--", "bash", "-s"]
        else:
            nonce = secrets.token_hex(8)
            prompt, ready = f"rune-{nonce}-password:", f"rune-{nonce}-ready"
            self._prompt, self._ready = prompt.encode(), ready.encode()
            self._password = become.password.resolve().encode() + b"\n"
            say_ready = 'printf "%s\\n" "$0" >&2; exec bash -s'
            self.argv = ["sudo", "-S", "-p", prompt, "-u", become.user, "--"]
            self.argv += ["bash", "-c", say_ready, ready]
            self._user = become.user
        self.pending = self._password is not None

    @property
    def command(self) -> str:
        return shlex.join(self.argv)

    def first(self) -> bytes:
        """Return what to send at once."""
        return b"" if self.pending else self._stream

    def receive(self, stderr: bytes) -> bytes:
        """Take what came on stderr; return what to send now. Raises Unreachable (become_failed)."""
        if not self.pending:
            return b""
        self._seen = (self._seen + stderr)[-NOISE_BYTES:]
        if self._ready in self._seen:
            self.pending = False
            return self._stream
        if self._prompt in self._seen:
            if self._password is None:
                raise Unreachable(
                    "become_failed", f"sudo did not accept the password to become {self._user}"
                )
            self._seen = self._seen.split(self._prompt, 1)[1]
            password, self._password = self._password, None
            return password
        return b""
