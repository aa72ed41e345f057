"""A file of JSON lines that each carry the hash of the one before.

A line is ``{"seq":N,"prev":HASH,…,"hash":HASH}``: ``hash`` is the SHA-256 of all bytes before
``,"hash"``, ``prev`` the ``hash`` of the line before, in the first line zeros. Beside the file
stands ``FILE.head`` with number and hash of the last line, so that lines cut from the end are
missed. Whoever may write both files can still make a new chain; what was copied elsewhere cannot
be made again. ``lom.admission.audit.verify`` checks a chain.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from lmm import filelock
from lmm.regular import open_regular

GENESIS = "0" * 64
HEAD_SUFFIX = ".head"
_LEAST = 150  # bytes of a line: two hashes and their names
_LOOKS = (64 * 1024, 1024 * 1024)  # bytes at the end of a log in which its last line is sought
# Bytes of a line: it is found though one that was cut off stands behind it.
_MOST = max(_LOOKS) // 2
_LINE = re.compile(
    rb'(\{"seq":([1-9][0-9]{0,17}),"prev":"([0-9a-f]{64})".*),"hash":"([0-9a-f]{64})"\}', re.DOTALL
)
_HEAD = re.compile(rb'\{"seq":([1-9][0-9]{0,17}),"hash":"([0-9a-f]{64})"\}\n')


class Link(NamedTuple):
    """A line's place in the chain."""

    seq: int
    prev: str
    hash: str


def append(path: str, record: Mapping[str, Any]) -> Link:
    """Append one line, whole and on disk when this returns; processes take turns.

    Raises OSError: the file cannot be opened, locked within 10 s, or written; the line would be so
    long that the next one would not find it; or the file ends in so much else that only a head
    could tell the last line, and there is none.
    """
    with _locked(path) as descriptor:
        size = os.fstat(descriptor).st_size
        last, complete = _last_link(descriptor, size)
        head = read_head(path, os.fstat(descriptor))
        # Lines were moved or cut away, and the gap must stay visible; or one has a number that it
        # cannot have, after which no further one could be read back.
        if head and (last is None or not head.seq <= last.seq <= head.seq + size // _LEAST):
            last = head
        if last is None and size > max(_LOOKS):
            why = f"no line of a log is in its last {max(_LOOKS)} bytes"
            raise OSError(errno.EINVAL, f"{why}, and no {path}{HEAD_SUFFIX} has the last one")
        link, line = _line(record, last)
        if len(line) > _MOST:
            why = f"a line has at most {_MOST} bytes, this one has {len(line)}"
            raise OSError(errno.EMSGSIZE, why)
        filelock.append(descriptor, line if complete else b"\n" + line)
        os.fsync(descriptor)
        with contextlib.suppress(OSError):  # an old head is still true
            _write_head(path, link, os.fstat(descriptor))
    return link


# -- lines -------------------------------------------------------------------------------------


def _line(record: Mapping[str, Any], last: Link | None) -> tuple[Link, bytes]:
    seq, prev = (last.seq + 1, last.hash) if last else (1, GENESIS)
    document = {"seq": seq, "prev": prev, **record}
    body = json.dumps(document, separators=(",", ":"), allow_nan=False).encode("ascii")[:-1]
    digest = hashlib.sha256(body).hexdigest()
    return Link(seq, prev, digest), body + b',"hash":"' + digest.encode() + b'"}\n'


def parse_line(line: bytes) -> Link | None:
    """Return the link of a line that is whole and as it was written, else None."""
    found = _LINE.fullmatch(line)
    if not found or hashlib.sha256(found[1]).hexdigest().encode() != found[4]:
        return None
    return Link(int(found[2]), found[3].decode(), found[4].decode())


def _last_link(descriptor: int, size: int) -> tuple[Link | None, bool]:
    """Return the last unbroken line's link and whether the file ends with a whole line.

    Who shares a log can append what is no line: all others wait while that is looked through.
    """
    complete = size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"
    for most in _LOOKS:
        at = max(0, size - most)
        lines = os.pread(descriptor, most, at).split(b"\n")
        # What stands before the first line break may go on further up.
        for line in reversed(lines if at == 0 else lines[1:]):
            link = parse_line(line)
            if link:
                return link, complete
    return None, complete


# -- the file and its head ---------------------------------------------------------------------


@contextlib.contextmanager
def _locked(path: str) -> Iterator[int]:
    """Open the file, made if need be, and hold its lock."""
    descriptor = filelock.open_locked(path)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", path)
        yield descriptor
    finally:
        os.close(descriptor)  # gives the lock back


def read_head(path: str, log: os.stat_result) -> Link | None:
    """Return number and hash of the last line as ``FILE.head`` has them, None if it does not.

    One that is neither of the ``log``'s owner nor of root nor of this user does not count.
    """
    try:
        with _head(path, log, os.O_RDONLY) as descriptor:
            found = _HEAD.fullmatch(os.read(descriptor, 200))
    except OSError:
        return None
    return Link(int(found[1]), "", found[2].decode()) if found else None


def _write_head(path: str, link: Link, log: os.stat_result) -> None:
    text = f'{{"seq":{link.seq},"hash":"{link.hash}"}}\n'.encode()
    with _head(path, log, os.O_WRONLY | os.O_CREAT) as descriptor:
        os.pwrite(descriptor, text, 0)  # in place: the folder may be closed to new files
        os.ftruncate(descriptor, len(text))


@contextlib.contextmanager
def _head(path: str, log: os.stat_result, flags: int) -> Iterator[int]:
    flags |= os.O_NOFOLLOW
    descriptor = open_regular(path + HEAD_SUFFIX, flags, stat.S_IMODE(log.st_mode))
    try:
        if os.fstat(descriptor).st_uid not in (log.st_uid, 0, os.geteuid()):
            raise PermissionError(errno.EPERM, "it is somebody else's", path + HEAD_SUFFIX)
        yield descriptor
    finally:
        os.close(descriptor)
