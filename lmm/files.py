"""How a plugin's files come to a host: small ones with every start, large ones once.

A file above ``INLINE_BYTES`` is kept on the host under its SHA-256. A start only names it; a host
that has not kept it says so instead of starting anything, and gets it by an invocation of its own.
The host's half is ``files.sh``.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from lmm.envelope import build_message
from lmm.model import File, Invocation, Limits, OnDisconnect, Script

SHELL_FILES = ("own.sh", "bootstrap.sh", "kill.sh", "receipt.sh", "follow.sh", "files.sh")
INLINE_BYTES = 256 * 1024  # above this a file is kept by the host
BYTES_PER_S = 256 * 1024  # slower lines than this are given up on
TEXT_BYTES = 256 * 1024  # above this, and for bytes with NUL, `head -c` is the faster reader


@functools.cache
def shell_functions(*names: str) -> bytes:
    """Return shell files without comments and indentation: they are sent for every invocation."""
    return b"".join(map(_functions, names))


@functools.cache
def _functions(name: str) -> bytes:
    text = Path(__file__).with_name(name).read_text(encoding="ascii")
    lines = (line.strip() for line in text.splitlines())
    return "".join(f"{line}\n" for line in lines if line and not line.startswith("#")).encode()


def is_text(content: bytes) -> bool:
    """Whether the host's shell can read these bytes without starting a process."""
    return b"\0" not in content and 0 < len(content) <= TEXT_BYTES


class SentFile(NamedTuple):
    """A script on its way: the part of its own bytes, what is said of its files, all bytes."""

    content: bytes
    words: tuple[str, ...]
    body: bytes


@functools.lru_cache(maxsize=8)
def sent(script: Script) -> SentFile:
    """Return what of a script is sent with every start."""
    large = kept(script)
    words: list[str] = []
    for file in large:
        words += [file.path, "kept", _sha256(file.content), _mode(file)]
    small = [file for file in script.files if file not in large]
    for file in small:
        kind = "text" if is_text(file.content) else "bytes"
        words += [file.path, kind, str(len(file.content)), _mode(file)]
    is_kept = any(file.path == script.filename for file in large)
    content = b"" if is_kept else script.content
    return SentFile(content, tuple(words), b"".join([content, *(file.content for file in small)]))


def kept(script: Script) -> list[File]:
    """Return the files that hosts keep."""
    if script.inline:
        return []
    everything = (File(script.filename, script.content, not script.interpreter), *script.files)
    return [file for file in everything if len(file.content) > INLINE_BYTES]


def upload(invocation: Invocation, file: File) -> Invocation:
    """Return the invocation that has the host keep a file of another's plugin."""
    script = _keeping(file.content)
    timeout = 60.0 + len(file.content) / BYTES_PER_S
    message = build_message(
        action=invocation.action,
        target=invocation.target.name,
        run_id=invocation.run_id,
        input_parameters={},
        timeout_s=timeout,
        attempt=invocation.attempt,
        trace_id=invocation.message["observability"]["trace_id"],
    )
    return replace(
        invocation,
        script=script,
        message=message,
        output_schema={},
        write_only=frozenset(),
        limits=Limits(timeout_s=timeout),
        receipt=None,
        on_disconnect=OnDisconnect.KILL,
    )


@functools.lru_cache(maxsize=8)
def _keeping(content: bytes) -> Script:
    functions = shell_functions("own.sh", "files.sh").decode()
    call = f'{functions}rune_keep "$0" {_sha256(content)}'
    needs = ("sha256sum", "cp", "mv", "sort", "stat")
    return Script("file", content, ("bash", "-c", call), needs, inline=True)


def _mode(file: File) -> str:
    return "x" if file.executable else "-"


@functools.lru_cache(maxsize=64)
def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
