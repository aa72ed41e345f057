"""Checks the chain that ``lom.admission.audit.chain`` wrote, and reads its records."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from lmm import filelock
from lmm.regular import open_regular
from lom.admission.audit.chain import GENESIS, HEAD_SUFFIX, Link, parse_line, read_head


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a line of a file; ``line`` counts from 1, None: with its end."""

    file: str
    line: int | None
    why: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found: the number of lines, the last hash, and every fault."""

    lines: int
    last_hash: str | None
    faults: tuple[Fault, ...]
    anchored: bool


def verify(paths: Sequence[str], expect: str | None = None) -> Report:
    """Check files that are one chain, the oldest first; ``expect`` is a hash that must be in it.

    Raises OSError if a file cannot be read.
    """
    faults: list[Fault] = []
    last = Link(0, "", GENESIS)
    count = 0
    end = paths[-1]
    hashes_met: set[str] = set()
    for path in paths:
        stream, size, head = _snapshot(path)
        with stream:
            for number, raw in enumerate(_lines_up_to(stream, size), 1):
                count += 1
                link, why = _examine(raw, last)
                if why:
                    faults.append(Fault(path, number, why))
                last = link or last
                if link and (link.hash == expect or (head and link.hash == head.hash)):
                    hashes_met.add(link.hash)
    if head and head.seq > last.seq:
        faults.append(Fault(end, None, f"{head.seq - last.seq} line(s) are missing at the end"))
    elif head and head.hash not in hashes_met:
        faults.append(
            Fault(end, None, f"line {head.seq} is not the one that {end}{HEAD_SUFFIX} names")
        )
    if expect is not None and expect not in hashes_met:
        faults.append(Fault(end, None, f"no line has the hash {expect}"))
    return Report(count, last.hash if last.seq else None, tuple(faults), head is not None)


def read(path: str) -> Iterator[dict[str, Any]]:
    """Yield the records of a file; what is no line of a log is left out, for ``verify`` to name.

    Raises OSError if it cannot be read.
    """
    stream, size, _ = _snapshot(path)
    with stream:
        for raw in _lines_up_to(stream, size):
            if parse_line(raw.removesuffix(b"\n")) is not None:
                yield json.loads(raw)


# -- inside ------------------------------------------------------------------------------------


def _examine(raw: bytes, last: Link) -> tuple[Link | None, str | None]:
    """Return a line's link, None if it is broken, and what is wrong with it."""
    if not raw.endswith(b"\n"):
        return None, "it is cut off"
    link = parse_line(raw[:-1])
    if link is None:
        return None, "it is not as it was written"
    if link.seq == last.seq + 1:
        return link, None if link.prev == last.hash else "it does not follow the line before it"
    if link.seq > last.seq + 1:
        return link, f"{link.seq - last.seq - 1} line(s) before it are missing"
    return link, f"it has number {link.seq} and stands after number {last.seq}"


def _snapshot(path: str) -> tuple[BinaryIO, int, Link | None]:
    """Open a file to read it; return it, its size and its head between two lines' writing."""
    stream = open(open_regular(path, os.O_RDONLY), "rb")  # noqa: SIM115 - the caller closes it
    try:
        descriptor = stream.fileno()
        filelock.lock(descriptor, shared=True)
        found = os.fstat(descriptor)
        size, head = found.st_size, read_head(path, found)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    except BaseException:
        stream.close()
        raise
    return stream, size, head


def _lines_up_to(stream: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0 and (raw := stream.readline()):
        yield raw
        size -= len(raw)
