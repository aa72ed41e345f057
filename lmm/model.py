"""The values that travel through mediation: targets, scripts, invocations, results.

All are frozen; data from outside is checked before it becomes one of these.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from lmm.errors import RequestError
from lmm.regular import read_all, read_regular
from lmm.shortage import wanting

LINE_BYTES = 1000  # of a password: sudo and ssh read up to 1,023 and cut what is longer

# What references were resolved to in this process, for what must hide it and knows no invocation.
RESOLVED: set[str] = set()

JSON = Any  # a value made of dict, list, str, int, float, bool, None


class Outcome(StrEnum):
    """What one invocation came to; the words of the glossary."""

    OK = "ok"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed_out"
    INVALID_OUTPUT = "invalid_output"
    CANCELLED = "cancelled"
    LOST = "lost"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class SecretRef:
    """A reference to a secret: ``env:NAME`` or ``file:PATH``. It never holds the value."""

    reference: str

    def __post_init__(self) -> None:
        kind, _, rest = self.reference.partition(":")
        if kind not in ("env", "file") or not rest:
            raise RequestError(
                "invalid_request",
                "a secret is given by reference, as env:NAME or file:PATH, never as a value",
            )

    def resolve(self) -> str:
        """Return the secret's text, without a byte order mark before it and line ends after it:
        editors and ``echo`` add those.

        Raises RequestError (``secret_unavailable``) naming the reference, never a value.
        """
        return self._resolved(waits=True)

    def _resolved(self, *, waits: bool) -> str:
        text = self._text(waits).removeprefix("\ufeff").rstrip("\r\n")
        RESOLVED.add(text)
        return text

    def line(self) -> str:
        """Return the secret as what is typed at a prompt. Raises RequestError, also for more than
        one line or ``LINE_BYTES``: the rest would be read by something else. No file but a regular
        one will do: a run would wait for who writes to a pipe, once for each target."""
        text = self._resolved(waits=False)
        if re.search("[\r\n\0]", text) or len(text.encode("utf-8", "replace")) > LINE_BYTES:
            raise RequestError(
                "secret_unavailable",
                f"the password or passphrase in {self.reference} is not one line of at most"
                f" {LINE_BYTES} bytes",
                reference=self.reference,
            )
        return text

    def _text(self, waits: bool) -> str:
        kind, _, rest = self.reference.partition(":")
        if kind == "env":
            value = os.environ.get(rest)
            if value is None:
                raise RequestError(
                    "secret_unavailable",
                    f"environment variable {rest} is not set",
                    reference=self.reference,
                )
            return value
        try:
            path = os.path.expanduser(rest)
            if path.startswith("~"):
                raise ValueError("nobody knows whose home ~ is")
            if not waits:
                return read_regular(path).decode("utf-8")
            with open(path, "rb") as stream:
                return read_all(stream).decode("utf-8")
        except (OSError, ValueError) as error:
            if wanting(error):
                raise
            why = getattr(error, "strerror", None) or str(error)
            if isinstance(error, UnicodeDecodeError):  # its text would quote the bytes
                why = "it is not UTF-8"
            raise RequestError(
                "secret_unavailable",
                f"cannot read the secret file {rest}: {why}",
                reference=self.reference,
            ) from None


@dataclass(frozen=True, slots=True)
class Become:
    """Run as another user through sudo; ``password`` is asked for only if sudo asks."""

    user: str = "root"
    password: SecretRef | None = None


@dataclass(frozen=True, slots=True)
class SshSettings:
    """Settings of the ``ssh`` and ``openssh`` transports; durations in seconds.

    ``host_key_policy`` is ``strict`` or ``accept-new``. ``None`` means: as ``~/.ssh/config``
    says, else the default.
    """

    identity_files: tuple[str, ...] = ()
    certificate_file: str | None = None
    password: SecretRef | None = None
    passphrase: SecretRef | None = None
    use_agent: bool = True
    host_key_policy: str | None = None
    known_hosts: tuple[str, ...] = ()
    config_file: str | None = None
    proxy_jump: str | None = None
    connect_timeout_s: float | None = None
    banner_timeout_s: float = 15.0
    auth_timeout_s: float = 20.0
    keepalive_s: float = 15.0
    connect_attempts: int = 3
    persist_s: float = 600.0  # how long a connection of openssh stays after its last script
    options: Mapping[str, str] = field(default_factory=dict)  # extra -o options, openssh only


@dataclass(frozen=True, slots=True)
class SsmSettings:
    """Settings of the ``ssm`` transport. ``None`` means: as the AWS configuration says.

    What is too large or too secret for the service travels through ``s3_bucket``, below
    ``s3_prefix``; without a bucket it is refused. Outputs there are removed after they were read
    unless ``keep_output``.
    """

    region: str | None = None
    profile: str | None = None
    role_arn: str | None = None
    external_id: str | None = None
    s3_bucket: str | None = None
    s3_prefix: str = "rune"
    s3_region: str | None = None
    keep_output: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """A host as RUNE addresses it. ``host`` defaults to ``name``.

    ``seen`` is how an inventory source has just found the agent of an instance (``Online``,
    ``ConnectionLost``, …); ``None`` has the transport ask.
    """

    name: str
    host: str | None = None
    transport: str = "ssh"
    port: int | None = None
    user: str | None = None
    vars: Mapping[str, JSON] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    ssh: SshSettings = SshSettings()
    ssm: SsmSettings = SsmSettings()
    become: Become | None = None
    seen: str | None = None

    @property
    def address(self) -> str:
        return self.host or self.name

    @property
    def secrets(self) -> tuple[SecretRef, ...]:
        """The secrets that the way to the target takes."""
        become = self.become.password if self.become else None
        named = (self.ssh.password, self.ssh.passphrase, become)
        return tuple(one for one in named if one is not None)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one invocation; sizes in bytes, durations in seconds.

    ``grace_s`` is how long past the deadline the host may still answer before the invocation
    counts as lost.
    """

    timeout_s: float = 60.0
    stdout_bytes: int = 16 * 1024 * 1024
    stderr_bytes: int = 1024 * 1024
    grace_s: float = 10.0


@dataclass(frozen=True, slots=True)
class File:
    """A file that is sent: ``path`` is relative to the plugin's directory, of plain names."""

    path: str
    content: bytes
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Script:
    """A plugin's bytes and how the host runs them.

    ``interpreter`` is the argv before the script's path, empty for a compiled binary;
    ``requires`` are commands that must be on the host's PATH; ``files`` are put beside the script.
    What is large is kept by the host (``lmm.files``), unless ``inline``.
    """

    filename: str
    content: bytes
    interpreter: tuple[str, ...] = ("bash",)
    requires: tuple[str, ...] = ()
    files: tuple[File, ...] = ()
    inline: bool = False

    def contents(self) -> dict[str, bytes]:
        """Return all that is sent, by its path."""
        return {self.filename: self.content, **{one.path: one.content for one in self.files}}

    def sha256(self) -> str:
        """Return a hash of all that is sent, in hex; of a lone script that of its bytes."""
        if not self.files:
            return hashlib.sha256(self.content).hexdigest()
        hashes = sorted((p, hashlib.sha256(c).hexdigest()) for p, c in self.contents().items())
        return hashlib.sha256("".join(f"{h}  {p}\n" for p, h in hashes).encode()).hexdigest()


class OnDisconnect(StrEnum):
    """What the host does with a plugin when its connection drops."""

    KILL = "kill"
    CONTINUE = "continue"  # it runs on to its deadline; its result waits in the receipt


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A question to the host instead of a start: what became of this invocation?

    ``age_s`` is how many seconds ago it was started, at least: a host that was rebooted since, or
    has let the receipt expire, cannot know. With ``kill`` what still runs is killed. ``heard`` is
    how many lines of its stderr were told already, by whoever started it.
    """

    age_s: float
    kill: bool = False
    heard: int = 0


@dataclass(frozen=True, slots=True)
class Invocation:
    """One plugin on one target, one attempt: all that mediation needs to know.

    ``message`` is the BPCS input; ``output_schema`` the schema of ``output_data`` (a JSON Schema);
    ``write_only`` are JSON pointers below ``input_parameters`` that must not reach an environment.
    ``receipt`` is the key under which the host keeps what became of it (``lmm.receipts``), ``None``
    for no receipt; without one there is no ``CONTINUE`` and no ``inquiry``.
    Raises RequestError (``invalid_request``).
    """

    run_id: str
    target: Target
    action: str
    plugin: str
    script: Script
    message: Mapping[str, JSON]
    output_schema: Mapping[str, JSON] = field(default_factory=dict)
    write_only: frozenset[str] = frozenset()
    limits: Limits = Limits()
    attempt: int = 1
    receipt: str | None = None
    on_disconnect: OnDisconnect = OnDisconnect.KILL
    inquiry: Inquiry | None = None

    def __post_init__(self) -> None:
        if not self.receipt and (self.inquiry or self.on_disconnect is OnDisconnect.CONTINUE):
            raise RequestError(
                "invalid_request",
                "a plugin that survives its connection needs a receipt @ $.on_disconnect",
                field="$.on_disconnect",
            )


@dataclass(frozen=True, slots=True)
class Result:
    """What one invocation came to, for good. ``error`` is an EPS document, ``None`` when ok."""

    target: str
    outcome: Outcome
    output_data: Mapping[str, JSON] | None = None
    error: Mapping[str, JSON] | None = None
    duration_s: float = 0.0
    attempt: int = 1
    exit_code: int | None = None
    plugin: str | None = None
    stderr: str = ""

    @property
    def ok(self) -> bool:
        return self.outcome is Outcome.OK

    @property
    def problem(self) -> Mapping[str, JSON]:
        """Code, message and data of the error; empty when ok."""
        return self.error["error_data"]["error"] if self.error else {}

    @property
    def reason(self) -> str | None:
        """The stable name of the error; ``None`` when ok."""
        return self.problem["data"]["reason"] if self.error else None

    @property
    def message(self) -> str:
        """The error in words; empty when ok."""
        return self.problem["message"] if self.error else ""
