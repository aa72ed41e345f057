"""Opens a shell on a host, also as another user through sudo, and says why there is none.

Sans-IO: bytes in, bytes out. What belongs here: the command, what is sent when before the stream,
and what the host's words mean when its shell never came. The stream is ``bootstrap.py``'s.
"""

from __future__ import annotations

import re
import secrets
import shlex
import time
from collections.abc import Sequence

from lmm.bootstrap import EATEN, FOREIGN, HEAD, NO_FORK, Stream
from lmm.errors import HostError, RuneError, Unreachable
from lmm.model import Become, Invocation, Target

SHELL_S = 20.0  # how long a host may take to give a shell, where no setting says
ECHO_S = 3.0  # the same where somebody else has printed what was for it
LAST_WORDS_S = 2.0  # and then to say why there is none, once its stdin has ended
SEEN_BYTES = 64 * 1024
LINE_CHARS = 200  # of a host's words in a message

_PROMPT = re.compile(r"rune-[0-9a-f]{32}-password:")
_OWN = re.compile(r"rune-[0-9a-f]{32}(?:-password:|-here|-ready)?|exit 97 # [0-9a-f]{32}")
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0a-\x1f\x7f-\x9f]")
# What sudo says beside the point.
_BESIDE = re.compile(r"sudo: (unable to resolve host |error initializing audit plugin )")


def shell_argv(become: Become | None, name: str = "") -> list[str]:
    """Return the command of the shell that reads the stream, through sudo where wanted."""
    shell = ["bash", "--norc", "-p", "-c", HEAD]
    if become is None:
        return shell
    if become.password is None:
        return ["sudo", "-n", "-u", become.user, "--", *shell]
    return ["sudo", "-S", "-p", f"{name}-password:", "-u", become.user, "--", *shell, name]


class Opening:
    """The way into one shell: its command, and what to send when.

    Before the shell has said that it is there, login files, and what they start, may read stdin or
    take its place: they get the stream's hello, which means nothing, and nothing else. A shell
    behind sudo with a password gets the hello when sudo is through, so that neither can be taken
    for the other.

    ``pending`` until the shell is there; ``give_up_at`` (``time.monotonic``) is until when to wait
    for that, and then until when the last byte of the stream must have left. ``is_late`` once time
    is over and nothing has begun.
    """

    def __init__(self, stream: Stream, invocation: Invocation, shell_s: float = SHELL_S) -> None:
        limits, become = invocation.limits, invocation.target.become
        name = f"rune-{secrets.token_hex(16)}"
        self.argv = shell_argv(become, name)
        self.pending = True
        self.is_late = False
        self.give_up_at = 0.0
        self._stream = stream
        self._allowed_s = limits.timeout_s + limits.grace_s
        self._shell_s = min(shell_s, self._allowed_s)
        self._user = become.user if become else ""
        self._password = b""
        self._prompt = self._here = b""
        if become and become.password:
            self._password = become.password.line().encode() + b"\n"
            self._prompt, self._here = f"{name}-password:".encode(), f"{name}-here".encode()
        self._out = self._err = b""

    @property
    def command(self) -> str:
        return shlex.join(self.argv)

    def first(self) -> bytes:
        """Return what to send at once. The time that the host has begins now."""
        self.give_up_at = time.monotonic() + self._shell_s
        return b"" if self._here else self._stream.hello

    def too_late(self) -> None:
        """Take note that stdin was ended: by that whatever reads there ends, and may say why.

        So a shell that lacks what somebody else has read says that it has started nothing.
        """
        self.is_late = True
        self.give_up_at = time.monotonic() + LAST_WORDS_S

    def receive(self, stdout: bytes, stderr: bytes) -> bytes:
        """Take what came; return what to send now.

        Raises Unreachable for a shell that comes too late (``no_shell``) and for a password that
        sudo does not take (``become_failed``).
        """
        if not self.pending:
            return b""
        self._out = (self._out + stdout)[-SEEN_BYTES:]
        self._err = (self._err + stderr)[-SEEN_BYTES:]
        if self._stream.ready in self._out:
            if self.is_late:
                why = f"the host took longer than {self._shell_s:g} s to give a shell"
                raise Unreachable("no_shell", why)
            self.pending = False
            self.give_up_at = time.monotonic() + self._allowed_s
            return self._stream.body
        if self.is_late:
            return b""
        if _is_echoed(self._stream, self._out, self._err):
            self.give_up_at = min(self.give_up_at, time.monotonic() + ECHO_S)
        if self._here and self._here in self._out:
            self._here = self._prompt = b""
            return self._stream.hello
        if self._prompt and self._prompt in self._err:
            said, self._err = self._err.split(self._prompt, 1)
            if not self._password:
                raise Unreachable(
                    "become_failed", _refused(self._user, said.decode("utf-8", "replace"))
                )
            password, self._password = self._password, b""
            return password
        return b""


def _is_echoed(stream: Stream, *outputs: bytes) -> bool:
    """Whether somebody printed the hello: a terminal, or who reads in the shell's place."""
    word = stream.word.encode()
    return any(word in text.replace(stream.ready, b"") for text in outputs)


def _refused(user: str, said: str) -> str:
    """Return what a second prompt means: sudo says something in between if the first was wrong."""
    if said.strip():
        return f"sudo did not accept the password to become {user}"
    return f"sudo asks for a second factor, or the password again, to become {user}"


def not_started(
    target: Target, stream: Stream, status: int | None, stdout: str, stderr: str
) -> RuneError:
    """Return why a shell has started nothing: its exit status, or None if its time was over, and
    what the host said meanwhile.

    The reason is ``stdin_taken``, ``become_failed`` or ``no_shell`` where the shell never came,
    else ``connection_reset`` or ``bootstrap_failed``.
    """
    lines = _lines(stderr, stream) or _lines(stdout, stream)
    last = f": {lines[-1]}" if lines else ""
    output = "\n".join(lines)
    if status == FOREIGN:
        what = "the login files of the host start another shell, which reads what is for RUNE's"
        return Unreachable("stdin_taken", what + last, shell_output=output)
    is_here = stream.ready.decode() in stdout
    if status == EATEN or (not is_here and _is_echoed(stream, stdout.encode(), stderr.encode())):
        what = "something on the host, such as its login files, has read from RUNE's input"
        if status == EATEN and not lines:
            what += ", or taken its output"
        return Unreachable("stdin_taken", what + last, shell_output=output)
    if is_here:
        if status is None:
            why = "the host's shell took no more before all of it was sent"
            return Unreachable("connection_reset", why)
        why = f"the host's shell ended with status {status} before the plugin started"
        if status == NO_FORK and not lines:
            why = "the host's shell can start no process: see `ulimit -u` there"
        return HostError("bootstrap_failed", why + last, shell_output=output)
    if target.become:
        why = _sudo(target.become, stderr, lines, stream)
        return Unreachable("become_failed", why, shell_output=output)
    why = "the host gave no shell in time"
    if status is not None:
        why = f"the login shell ended with status {status} before RUNE's was there"
    return Unreachable("no_shell", why + last, shell_output=output)


def _sudo(become: Become, stderr: str, lines: Sequence[str], stream: Stream) -> str:
    """Return what sudo says to the point: its first words after the password was given."""
    *before, after = _PROMPT.split(stderr)
    answer = _lines(after, stream) if before else []
    own = [line for line in answer or lines if not _BESIDE.match(line)]
    questions = [line for line in own if line.endswith(":")]
    if before and not answer:
        return f"sudo took the password to become {become.user}, and no shell came of it"
    if become.password and questions and not own[0].startswith("sudo:"):
        what = "sudo asks for more than the password" if before else "sudo asks in words of its own"
        return f"{what}: {questions[0]}"
    named = own[:1] if answer else [line for line in own if line.startswith("sudo:")][:1]
    told = (named or own[-1:] or [""])[0]
    if "sudo" in told:
        return told
    return f"sudo gave no shell as {become.user}" + (f": {told}" if told else "")


def _lines(text: str, stream: Stream) -> list[str]:
    """Return the host's own lines, without RUNE's words and control characters."""
    text = _OWN.sub("", text.replace(HEAD, "…"))
    lines = (_CONTROL.sub("", line).strip() for line in text.splitlines())
    return [line[:LINE_CHARS] for line in lines if line and stream.word not in line]
