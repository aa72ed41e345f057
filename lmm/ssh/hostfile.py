"""One known_hosts file: its lines parsed once and indexed by name, as OpenSSH matches them.

Judging a key and writing the file belong to ``known_hosts``.
"""

from __future__ import annotations

import base64
import binascii
import errno
import hashlib
import os
import threading
from dataclasses import dataclass
from functools import cached_property

from lmm.errors import Unreachable
from lmm.regular import open_regular, read_all
from lmm.shortage import wanting
from lmm.ssh.patterns import MAX_PATTERN, match_list

SALT_BYTES = 20
_LEAST_KEY = 80  # characters of an Ed25519 key with its type, the shortest that there is
_BLANK = " \t"
# Types that OpenSSH 8 to 10 can read; a line of another type is passed over.
_KEY_TYPES = frozenset(
    {
        "ssh-ed25519",
        "ssh-rsa",
        "ssh-dss",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    }
)


@dataclass(frozen=True)
class Line:
    """A line of a known_hosts file that holds a key, or what ought to be one."""

    file: str
    number: int
    marker: str  # "", @revoked or @cert-authority
    hosts: str
    rest: str

    @cached_property
    def key(self) -> tuple[str, bytes] | None:
        """The key as (type, blob); ``None`` where OpenSSH would pass over the line."""
        # The type ends at a blank of either kind; bsd-base64 skips other white space.
        words = self.rest.replace("\t", " ").split(" ")
        key_type, text = words[0], next((word for word in words[1:] if word), "")
        if key_type not in _KEY_TYPES:
            return None
        try:
            blob = base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            return None
        return (key_type, blob) if _parts(blob)[:1] == [key_type.encode()] else None

    @property
    def place(self) -> str:
        return f"{self.file}:{self.number}"


def _parts(blob: bytes) -> list[bytes]:
    """Split a key blob into its length-prefixed parts ([] where they do not fill it)."""
    parts: list[bytes] = []
    at = 0
    while at < len(blob):
        end = at + 4 + int.from_bytes(blob[at : at + 4], "big")
        if at + 4 > len(blob) or end > len(blob):
            return []
        parts.append(blob[at + 4 : end])
        at = end
    return parts


class HostFile:
    """One parsed file. ``add`` may be called while other threads look up."""

    def __init__(self, path: str, data: bytes) -> None:
        self._path = path
        self._names: dict[str, list[Line]] = {}
        self._hashed: list[tuple[bytes, bytes, bytes, Line]] = []
        self._patterns: list[Line] = []
        self._found: dict[str, list[Line]] = {}
        self._count = 0
        for raw in data.split(b"\n")[: -1 if data.endswith(b"\n") or not data else None]:
            self.add(raw)

    def add(self, raw: bytes) -> None:
        """Take in the file's next line."""
        self._count += 1
        line = _parse_line(self._path, self._count, raw)
        if line is None:
            return
        if line.hosts.startswith("|"):
            salt, digest = _hashed_name(line.hosts)
            if digest:
                self._hashed.append((*_hmac_pads(salt), digest, line))
        elif any(sign in line.hosts for sign in "*?!") or len(line.hosts) >= MAX_PATTERN:
            self._patterns.append(line)
        else:
            for name in set(line.hosts.split(",")):
                self._names.setdefault(name, []).append(line)
        self._found = {}  # last, so that no answer from before stays in it

    def lookup(self, name: str) -> list[Line]:
        """Return the lines whose names fit, in the order of the file."""
        memo = self._found
        if name not in memo:
            message = name.encode("latin-1")
            found = list(self._names.get(name, ()))
            found += [line for line in self._patterns if match_list(name, line.hosts)]
            sha1 = hashlib.sha1
            found += [
                line
                for inner, outer, digest, line in self._hashed
                if sha1(outer + sha1(inner + message).digest()).digest() == digest
            ]
            memo[name] = sorted(found, key=lambda line: line.number)
        return memo[name]


def _parse_line(path: str, number: int, raw: bytes) -> Line | None:
    """Return the line's parts, ``None`` for a comment and for what OpenSSH passes over."""
    text = raw.partition(b"\0")[0].decode("latin-1").lstrip(_BLANK)
    if not text or text.startswith("#"):
        return None
    marker = ""
    if text.startswith("@"):
        # hostfile.c looks for a space first: a tab ends a marker only where no space follows
        marker, _, text = text.partition(" " if " " in text else "\t")
        text = text.lstrip(_BLANK)
        if marker not in ("@revoked", "@cert-authority") or text.startswith("@"):
            return None
    end = min(at for at in (text.find(" "), text.find("\t"), len(text)) if at >= 0)
    hosts, rest = text[:end], text[end:].lstrip(_BLANK)
    if not hosts or len(rest) < _LEAST_KEY or rest.startswith("#"):
        return None
    if not hosts.startswith("|"):  # case counts in the base64 of a hashed name
        hosts = hosts.encode("latin-1").lower().decode("latin-1")
    return Line(path, number, marker, hosts, rest)


def _hashed_name(hosts: str) -> tuple[bytes, bytes]:
    """Return salt and digest of ``|1|salt|digest``; both empty where that is malformed."""
    words = hosts.split("|")
    if len(words) != 4 or words[1] != "1":
        return b"", b""
    try:
        salt, digest = (base64.b64decode(word, validate=True) for word in words[2:])
    except (binascii.Error, ValueError):
        return b"", b""
    return (salt, digest) if len(salt) == SALT_BYTES else (b"", b"")


_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


def _hmac_pads(key: bytes) -> tuple[bytes, bytes]:
    """Return what HMAC-SHA1 (RFC 2104) hashes first: half the time of ``hmac.digest`` later.

    Debian hashes every name, so that each look-up costs one HMAC for each line of the file.
    """
    block = key.ljust(64, b"\0")
    return block.translate(_INNER), block.translate(_OUTER)


_lock = threading.Lock()
_cache: dict[str, tuple[tuple[int, ...], HostFile]] = {}


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)


def load_file(path: str) -> HostFile:
    """Return the file's contents, parsed once for as long as it stays the same.

    A file that is missing or cannot be read counts as empty, as in OpenSSH, and so does a pipe.
    Raises Unreachable (``local_io_error``) for one of more than 64 MiB.
    """
    try:
        # Without the lock: the threads of a fleet would queue up behind each other's system calls.
        cached = _cache.get(path)
        if cached and cached[0] == _stamp(os.stat(path)):
            return cached[1]
        with open(open_regular(path, os.O_RDONLY), "rb") as stream, _lock:
            stamp = _stamp(os.fstat(stream.fileno()))
            cached = _cache.get(path)
            if cached is None or cached[0] != stamp:
                cached = _cache[path] = (stamp, HostFile(path, read_all(stream)))
            return cached[1]
    except OSError as error:
        if error.errno == errno.EFBIG:  # what it says of revoked keys must not be passed over
            why = f"cannot read the host keys in {path}: {error.strerror}"
            raise Unreachable("local_io_error", why, file=path) from None
        if wanting(error):  # of this machine: the host's key may well stand there
            raise
        return HostFile(path, b"")


def note_added(path: str, before: os.stat_result, after: os.stat_result, raw: bytes) -> None:
    """Take in a line that was just appended, so that a fleet's keys come without reading again."""
    with _lock:
        cached = _cache.get(path)
        if cached and cached[0] == _stamp(before):
            cached[1].add(raw)
            _cache[path] = (_stamp(after), cached[1])
