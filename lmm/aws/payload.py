"""Turns bootstrap streams into one script for AWS Systems Manager, and what it prints back.

Sans-IO. Up to 50 instances get the same script: what their streams share is in it once, what
differs for each is picked on the host by its instance id (``agent.sh``). All of it is compressed
and in base64, so that the service expands nothing in it and shows nothing of it in clear.
"""

from __future__ import annotations

import base64
import binascii
import functools
import gzip
import hashlib
import re
import shlex
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lmm.bootstrap import Stream

INSTANCES = 50  # SendCommand: most instance ids in one call
# A document is at most 64 KB with its parameters filled in; the rest is AWS-RunShellScript itself.
SCRIPT_CHARS = 60_000
STDOUT_CHARS = 24_000  # GetCommandInvocation: from this length on StandardOutputContent is cut
LISTED_CHARS = 2_500  # ListCommandInvocations: Output of a plugin
BOUNDLESS_CHARS = 2**40
MOST_BYTES = 32 * 1024 * 1024  # that a reply may unpack to which is short enough to be listed
SLACK_BYTES = 256 * 1024  # noise and frame lines around the plugin's own output


@functools.cache
def _functions() -> str:
    text = Path(__file__).with_name("agent.sh").read_text(encoding="ascii")
    lines = (line.strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("#"))


def compressed(data: bytes) -> bytes:
    """Return what the host gets of ``data``; equal data gives equal bytes."""
    return gzip.compress(data, mtime=0)


def inline(packed: bytes) -> str:
    """Return the shell command that writes what was packed, carried in the script itself."""
    return f"printf %s {base64.b64encode(packed).decode()} | base64 -d | gzip -dc"


def fetched(url: str) -> str:
    """Return the shell command that writes what was packed and lies behind ``url``."""
    return f"rune_fetch {shlex.quote(url)} | gzip -dc"


@dataclass(frozen=True, slots=True)
class ReplyLimits:
    """How much may come back: characters of the whole reply, bytes of each output stream."""

    reply_chars: int
    stdout_bytes: int
    stderr_bytes: int


def unique_part(streams: Mapping[str, Stream]) -> bytes:
    """Return what differs between the instances' streams, one after the other."""
    return b"".join(stream.head + stream.tail for stream in streams.values())


def build_script(
    nonce: str,
    streams: Mapping[str, Stream],
    shared: str,
    unique: str,
    shell_command: str,
    limits: ReplyLimits,
) -> str:
    """Return the script for the instances, by id; ``shared`` and ``unique`` are shell commands.

    It begins under whatever ``sh`` is and goes on in bash.
    """
    words = [nonce, str(limits.reply_chars), str(limits.stdout_bytes + SLACK_BYTES)]
    words += [str(limits.stderr_bytes + SLACK_BYTES), shell_command]
    at = 0
    for instance, stream in streams.items():
        words += [instance, str(at), str(len(stream.head)), str(len(stream.tail))]
        at += len(stream.head) + len(stream.tail)
    return "\n".join(
        (
            '[ "${RUNE_SSM-}" ] || { command -v bash >/dev/null 2>&1 && RUNE_SSM=1 exec bash "$0"',
            f"echo '##rune-ssm {nonce} missing bash'; exit 1; }}",
            "unset RUNE_SSM",
            _functions(),
            f"rune_shared() {{ {shared}; }}",
            f"rune_unique() {{ {unique}; }}",
            f"rune_carry {shlex.join(words)}",
        )
    )


@dataclass(frozen=True, slots=True)
class ReplyStreams:
    """Both output streams of the shell, whole and verified."""

    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, slots=True)
class Truncated:
    """The reply begins here and has ``chars`` characters in all."""

    chars: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """The script did not get as far as an answer."""

    reason: str
    detail: str


Reply = ReplyStreams | Truncated | Refusal | None


def most_chars(most: int) -> int:
    """Return how many characters a reply may have whose streams have ``most`` bytes."""
    return most * 3 // 2 + 64 * 1024


def read_reply(text: str, nonce: str, most: int = MOST_BYTES) -> Reply:
    """Return what the script says in its output, None if that holds no word of it.

    A reply that is not whole, or does not match its checksum, is truncated. One that unpacks to
    more than ``most`` bytes is unpacked a byte further: more than an invocation may answer.
    """
    line = re.search(rf"^##rune-ssm {nonce} (\w+) ?(.*)$", text, re.MULTILINE)
    if not line:
        return None
    if line[1] != "ok":
        return Refusal(line[1], line[2].strip())
    size = "([0-9]{1,15})"
    fields = re.fullmatch(f"{size} {size} ([0-9a-f]{{64}}) {size}", line[2].strip())
    if not fields:
        return None
    length = int(fields[4])
    body = text[line.end() + 1 :][:length]
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        data = unpacker.decompress(base64.b64decode(body, validate=True), most + 1)
    except (binascii.Error, zlib.error):
        data = b""
    cut = int(fields[1])
    if cut + int(fields[2]) > most < len(data):
        return ReplyStreams(data[:cut], data[cut:])
    if (
        unpacker.eof
        and len(data) == cut + int(fields[2])
        and hashlib.sha256(data).hexdigest() == fields[3]
    ):
        return ReplyStreams(data[:cut], data[cut:])
    return Truncated(line.end() + 2 + length)
