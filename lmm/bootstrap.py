"""Turns an invocation into what a host's shell reads on stdin, and its output back into parts.

Sans-IO: bytes in, bytes out. The host's half is ``bootstrap.sh`` and ``kill.sh``, with
``receipt.sh`` and ``follow.sh`` where a receipt is wanted.

That shell is ``bash -c HEAD``. It reads all of the stream as data, by length, and evaluates only
what it has recognised: whatever else reads from stdin before it or beside it, no shell of RUNE's
ever reads a script there.
"""

from __future__ import annotations

import functools
import math
import re
import secrets
import shlex
from collections.abc import Callable
from typing import NamedTuple

from lmm import files
from lmm.envelope import encode_message, environment
from lmm.files import shell_functions
from lmm.model import Invocation, OnDisconnect
from lmm.receipts import KEPT_S
from lmm.register import kind_of

NOISE_BYTES = 64 * 1024  # what is kept of the output before the start line, its end
END_LINE_BYTES = 512
PATIENCE_S = 10  # how long the host waits for the word that its end lines were read
# What is said on stdin after the stream; any other byte is taken for CANCEL before the end.
CANCEL, READ = b"c", b"r"
# What follows the nonce; compiled once. A start may name the nonce of the end line.
START_LINE = re.compile(rb" start(?: ([0-9a-f]{32}))?\n")
END_LINE = re.compile(rb" end (\d{1,3}) ([a-z_]{1,32}) ([^\n]*)\n")
# Exit statuses: the shell did not get what was sent; the hello was run by another shell.
EATEN, FOREIGN = 96, 97
NO_FORK = 254  # the status of a bash that could not fork, whatever it was told
# One line without single quote, backslash or exclamation mark, which any login shell can quote.
# Nothing that the host's environment says to bash may reach the bootstrap or the plugin's
# interpreter: -p keeps out functions, BASH_ENV and options, the rest is done here. With a name as
# $0 it says that it is here before anything is sent.
HEAD = (
    "set +o posix; export -n SHELLOPTS BASHOPTS;"
    " unset BASH_ENV ENV BASH_COMPAT CDPATH EXECIGNORE FUNCNEST GLOBIGNORE TMOUT;"
    ' [[ $0 == rune-* ]] && printf %s-here "$0";'
    f' read -r -t 9 w && [[ $w == "exit {FOREIGN} # "* ]] && read -r -t 9 rune_word n'
    ' && [[ $w == *" $rune_word" ]] && printf rune-%s-ready "$rune_word"'
    ' && LC_ALL=C IFS= read -rN "$n" h && { [[ $h == *"# $rune_word"? ]] && eval "$h";'
    # a shell that the login starts after this one would run what is left
    ' while IFS= read -r -t 2 w; do [[ $w == *"$rune_word" ]] && break; done; };'
    f" exit {EATEN}"
)


class Stream(NamedTuple):
    """What HEAD is to read, in order. ``shared`` is equal for all targets of a plugin.

    ``head`` is the hello and the call. By the hello, two lines with ``word``, HEAD knows that
    nobody else has read; a shell other than bash that takes them for commands ends with FOREIGN.
    HEAD answers with ``ready``, in which ``word`` stands as nothing that was sent has it. ``word``
    ends the call and the stream as well: where bytes are missing they do not end so.
    """

    head: bytes
    shared: bytes
    tail: bytes
    word: str = ""

    @property
    def hello(self) -> bytes:
        return b"".join(self.head.splitlines(keepends=True)[:2])

    @property
    def body(self) -> bytes:
        return self.whole()[len(self.hello) :]

    @property
    def ready(self) -> bytes:
        return f"rune-{self.word}-ready".encode()

    def whole(self) -> bytes:
        return self.head + self.shared + self.tail


def build_stream(invocation: Invocation, nonce: str) -> Stream:
    """Return what HEAD is to read: call, bootstrap and plugin, variables and payload.

    For an inquiry the call and functions are all.
    """
    names = _names(invocation)
    if invocation.inquiry:
        words = [nonce, invocation.receipt or "", *_receipt_times(invocation)]
        words += ["kill"][: invocation.inquiry.kill]
        return _stream(f"rune_ask {shlex.join(words)}", _shared(names, b""))
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
    values = b"".join(value for _, value in variables)
    call = f"{_receipt(invocation)}rune_main {shlex.join(arguments)}"
    return _stream(call, _shared(names, sent.body), values + payload)


class _Shared(NamedTuple):
    """Functions and a plugin: ``read`` reads the functions, if they come whole."""

    read: str
    content: bytes


@functools.lru_cache(maxsize=4)
def _shared(names: tuple[str, ...], content: bytes) -> _Shared:
    mark = secrets.token_hex(16)  # that nobody's parameters can hold
    functions = shell_functions(*names) + f"#{mark}\n".encode()
    read = f'LC_ALL=C IFS= read -rN {len(functions)} s && [[ $s == *"#{mark}"? ]]'
    return _Shared(f'{read} && eval "$s"', functions + content)


def _stream(call: str, shared: _Shared, tail: bytes | None = None) -> Stream:
    word = secrets.token_hex(16)
    line = f"{shared.read} && {{ {call}; exit; }} # {word}\n".encode()
    hello = f"exit {FOREIGN} # {word}\n{word} {len(line)}\n".encode()
    tail = b"" if tail is None else tail + f"{word}\n".encode()
    return Stream(hello + line, shared.content, tail, word)


def _names(invocation: Invocation) -> tuple[str, ...]:
    if invocation.inquiry:
        return "own.sh", "bootstrap.sh", "kill.sh", "receipt.sh", "follow.sh"
    names = ["own.sh", "bootstrap.sh", "kill.sh"]
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
        f"rune_mode={invocation.on_disconnect} rune_key={shlex.quote(invocation.receipt)}"
        f" rune_patience={patience} rune_expiry={expiry}"
        f" rune_most_out={most[0]} rune_most_err={most[1]}; "
    )


def _receipt_times(invocation: Invocation) -> tuple[str, str]:
    """Return how long to wait for READ, and how long from now to keep the receipt, in seconds."""
    patience = PATIENCE_S if kind_of(invocation.target.transport).streams else 0
    return str(patience), str(math.ceil(invocation.limits.timeout_s) + KEPT_S)


class End(NamedTuple):
    """The host's last word: the plugin's exit status, and why it ended.

    ``reason`` is exit, timeout, cancel, disconnect or flood after the plugin ran; missing, short,
    old_bash, no_guard, want (files), no_directory or no_receipt when it never started, taken when
    this stream did not start it. The answer to an inquiry may also be unknown (it never started),
    gone, forgotten.
    """

    status: int
    reason: str
    detail: str = ""


class Frame:
    """One output stream: noise, a start line, the plugin's own bytes, an end line.

    Both lines count only at the start of a line, so the host writes a newline before them, which
    is no part of what was printed. ``body`` takes the plugin's bytes as they come. A frame that is
    ``eager`` passes on the newline of a line that is not empty before it knows whose it is:
    ``has_extra`` if it was the host's. Noise of login profiles is kept in ``noise`` up to a bound,
    the last whole lines of it; what follows the end line is dropped.
    """

    def __init__(self, nonce: str, body: Callable[[bytes], None], *, eager: bool = False) -> None:
        self._marker = _marker(nonce)
        self._body = body
        self._eager = eager
        self._pending = b""  # may be, or begin, a marker
        self._passed = 0  # how much of that was passed on already
        self._last = b""  # the last byte passed on
        self.has_extra = False  # whether the last newline passed on is no part of what was printed
        self.noise = b""
        self.started = False
        self.end: End | None = None

    def feed(self, data: bytes) -> None:
        if self.end is not None:
            return
        data = self._pending + data
        while (at := data.find(self._marker)) >= 0:
            after = at + len(self._marker)
            if not self.started and (start := START_LINE.match(data, after)):
                self._pass_on(data[:at])
                self.started = True
                self._last = b"\n"
                if start[1]:
                    self._marker = _marker(start[1].decode())
                data = data[start.end() :]
            elif end := END_LINE.match(data, after):
                self.has_extra = self._passed > at
                self._pass_on(data[:at])
                self._pending = b""
                status, reason, detail = end.groups()
                self.end = End(int(status), reason.decode(), detail.decode(errors="replace"))
                return
            elif b"\n" not in data[after:] and len(data) - at < END_LINE_BYTES:
                break  # the rest of the line is to come
            else:
                self._pass_on(data[:after])
                data = data[after:]
        hold = at if at >= 0 else _partial(data, self._marker)
        self._pass_on(data[:hold])
        self._pending = data[hold:]
        if self._eager and self.started and self._pending == b"\n" != self._last:
            self._pass_on(b"\n")
            self._passed = 1

    def is_in(self, data: bytes) -> bool:
        """Whether this stream came in another one instead of by itself."""
        return not self.started and self._marker + b" start" in data

    def close(self) -> None:
        """No more bytes will come: hand over what was held back."""
        pending, self._pending = self._pending, b""
        if self.end is None:
            self._pass_on(pending)

    def _pass_on(self, data: bytes) -> None:
        """Hand over what is no marker, but for what was handed over already."""
        data, self._passed = data[self._passed :], max(0, self._passed - len(data))
        if data:
            self._last = data[-1:]
            if self.started:
                self._body(data)
            else:
                self.noise += data
                if len(self.noise) > NOISE_BYTES:  # whole lines: half a secret could not be hidden
                    self.noise = self.noise[-NOISE_BYTES:].partition(b"\n")[2]


def _marker(nonce: str) -> bytes:
    return f"\n##rune-{nonce}".encode()


def _partial(data: bytes, marker: bytes) -> int:
    """Return where a prefix of ``marker`` begins at the end of ``data``, else its length."""
    at = data.find(marker[:1], max(0, len(data) - len(marker) + 1))
    while at >= 0 and not marker.startswith(data[at:]):
        at = data.find(marker[:1], at + 1)
    return at if at >= 0 else len(data)
