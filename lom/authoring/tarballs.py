"""Unpacks tarballs from anywhere: bounded in bytes, files, headers, depth and time.

``tarfile`` alone reads a member's name or its extended header into memory, whatever its size, and
so do its formats for sparse files. Here it gets a file of bounded size and may read only so much
of it to make one member. Nothing but reading is left to it: its ``filter="data"`` is missing before
Python 3.11.4, and asks ``os.path.realpath``, which many Pythons let a long path of links deceive
(CVE-2025-4517). Here names alone decide, and all links are made last: until then there is none that
a file could be written through.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

MOST_BYTES = 64 * 1024 * 1024  # of a plugin; more than any run should send to its hosts
MOST_FILES = 10_000  # and folders
MOST_S = 60.0
HEADER_BYTES = 64 * 1024  # of one member: its block, extended headers, long names, sparse maps
DEEPEST = 32  # folders within each other
LONGEST = 1000  # bytes of a path, or of where a link leads
XZ_MEMORY = 128 * 1024 * 1024  # more than `xz -9` asks for

_AT_ONCE = 64 * 1024
_EXPANDED = MOST_BYTES + MOST_FILES * 2048  # with the headers and padding of ordinary members


class TooLarge(ValueError):
    """It holds more than a plugin may; the text says what."""


class Unsafe(ValueError):
    """It holds what could lead out of the folder, or is no file, folder or link; the text says
    what."""


def unpack(path: Path, place: Path) -> str:
    """Unpack a tarball, compressed or not, into the new folder ``place``; return the SHA-256 of its
    bytes.

    Raises TooLarge, Unsafe, tarfile.TarError, EOFError, OSError, RecursionError, ValueError and
    zlib.error.
    """
    place.mkdir(mode=0o700)
    with path.open("rb") as file, tempfile.TemporaryFile(dir=place.parent) as expanded:
        source = _Source(file)
        room = _EXPANDED
        for data in _expanded(source):
            room -= len(data)
            if room < 0:
                raise TooLarge(f"more than {MOST_BYTES // 1024**2} MiB")
            expanded.write(data)
        while source.read(_AT_ONCE):
            pass
        expanded.seek(0)
        with _Archive(fileobj=_Reader(expanded)) as archive:
            tree = _Tree(place)
            for member in _members(archive, source):
                tree.add(archive, member)
            tree.link()
        return source.sha256.hexdigest()


class _Source:
    """The file as it is, read once: what is unpacked is what was hashed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._until = time.monotonic() + MOST_S
        self._room = MOST_BYTES
        self.sha256 = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        self.check_time()
        data = self._file.read(size if 0 <= size < _AT_ONCE else _AT_ONCE)
        self._room -= len(data)
        if self._room < 0:
            raise TooLarge(f"more than {MOST_BYTES // 1024**2} MiB")
        self.sha256.update(data)
        return data

    def check_time(self) -> None:
        if time.monotonic() > self._until:
            raise TooLarge(f"what takes longer than {MOST_S:.0f} s to unpack")


def _expanded(source: _Source) -> Iterator[bytes]:
    """Yield what the file holds, decompressed by what its first bytes say."""
    first = source.read(6)
    whole = _Prefixed(first, source)
    if first.startswith(b"\x1f\x8b"):
        import gzip

        with gzip.GzipFile(fileobj=whole) as file:
            yield from iter(lambda: file.read(_AT_ONCE), b"")
    elif first.startswith(b"BZh"):
        import bz2

        with bz2.BZ2File(whole) as file:
            yield from iter(lambda: file.read(_AT_ONCE), b"")
    elif first == b"\xfd7zXZ\x00":
        yield from _from_xz(whole)
    else:
        yield from iter(lambda: whole.read(_AT_ONCE), b"")


def _from_xz(source: io.RawIOBase) -> Iterator[bytes]:
    """Decompress streams of xz, which may ask for any amount of memory."""
    import lzma

    try:
        data = source.read(_AT_ONCE)
        while data:
            decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)
            while not decoder.eof:
                yield decoder.decompress(data, _AT_ONCE)
                data = b""
                if decoder.needs_input and not decoder.eof:
                    data = source.read(_AT_ONCE) or b""
                    if not data:
                        raise EOFError("it ends too early")
            data = (decoder.unused_data or source.read(_AT_ONCE) or b"").lstrip(b"\0")
    except lzma.LZMAError as error:
        raise ValueError(str(error)) from None


class _Prefixed(io.RawIOBase):
    """A source, some bytes of which were read already."""

    def __init__(self, first: bytes, source: _Source) -> None:
        self._first = first
        self._source = source

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._first:
            most = len(self._first) if size < 0 else size
            data, self._first = self._first[:most], self._first[most:]
            return data
        return self._source.read(size)


class _Reader(io.RawIOBase):
    """What tarfile reads: as much as it likes of a file's content, but not of a header."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.room: int | None = HEADER_BYTES

    def read(self, size: int = -1) -> bytes:
        if self.room is not None:
            self.room -= size if size >= 0 else HEADER_BYTES + 1
            if self.room < 0:
                raise TooLarge(f"a header of more than {HEADER_BYTES // 1024} KiB")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


class _Archive(tarfile.TarFile):
    def next(self) -> tarfile.TarInfo | None:
        reader: Any = self.fileobj
        reader.room = HEADER_BYTES
        try:
            member = super().next()
        finally:
            reader.room = None
        if member is not None:
            # Their values stand in the member already; tarfile would keep them for all to come.
            member.pax_headers = {}
            self.pax_headers = {}
        return member


_Path = tuple[str, ...]


class _Tree:
    """The folder that is filled. Each path stands in it once, as a folder, a file or a link."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._folders: set[_Path] = {()}
        self._files: set[_Path] = set()
        self._links: dict[_Path, str] = {}

    def add(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """Make a folder, a file or a hard link; note a link. Raises Unsafe, TarError, OSError."""
        path = _path(member.name)
        if member.isdir():
            self._make_folders(path)
            return
        if path in self._folders or path in self._files or path in self._links:
            raise Unsafe(f"{member.name!r} stands in it twice")
        self._make_folders(path[:-1])
        if member.issym():
            self._links[path] = member.linkname
        elif member.islnk():
            goal = _path(member.linkname)
            if goal not in self._files:
                raise Unsafe(f"{member.name!r} is a hard link to no file that stands before it")
            os.link(self._place.joinpath(*goal), self._place.joinpath(*path))
            self._files.add(path)
        elif member.isreg() and (content := archive.extractfile(member)) is not None:
            mode = 0o755 if member.mode & 0o100 else 0o644
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with open(os.open(self._place.joinpath(*path), flags, mode), "wb") as file, content:
                shutil.copyfileobj(content, file)
            self._files.add(path)
        else:
            raise Unsafe(f"{member.name!r} is no file, folder or link")

    def link(self) -> None:
        """Make all links. Raises Unsafe for one that leads out, or over another link."""
        for path, leads in self._links.items():
            if leads.startswith("/") or len(os.fsencode(leads)) > LONGEST:
                raise Unsafe(f"the link {'/'.join(path)!r} leads out of it")
            at = list(path[:-1])
            for part in leads.split("/"):
                if tuple(at) in self._links:
                    raise Unsafe(f"the link {'/'.join(path)!r} leads over another link")
                if part == "..":
                    if not at:
                        raise Unsafe(f"the link {'/'.join(path)!r} leads out of it")
                    at.pop()
                elif part not in ("", "."):
                    at.append(part)
        for path, leads in self._links.items():
            os.symlink(leads, self._place.joinpath(*path))

    def _make_folders(self, path: _Path) -> None:
        for end in range(1, len(path) + 1):
            folder = path[:end]
            if folder in self._files or folder in self._links:
                raise Unsafe(f"{'/'.join(path)!r} lies below what is no folder")
            if folder not in self._folders:
                self._place.joinpath(*folder).mkdir(mode=0o755)
                self._folders.add(folder)


def _path(name: str) -> _Path:
    """Return the parts of a path in the archive, where / is the folder that is filled.

    Raises TooLarge, and Unsafe if it leads out.
    """
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise Unsafe(f"{name!r} leads out of it")
    if len(parts) > DEEPEST or len(os.fsencode(name)) > LONGEST:
        raise TooLarge(f"folders more than {DEEPEST} deep, or a path of more than {LONGEST} bytes")
    return parts


def _members(archive: tarfile.TarFile, source: _Source) -> Iterator[tarfile.TarInfo]:
    """Yield the members as they are read, until there is too much."""
    room, left = MOST_BYTES, MOST_FILES
    paths: set[_Path] = set()
    while (member := archive.next()) is not None:
        source.check_time()
        room, left = room - member.size, left - 1
        parts = _path(member.name)
        paths.update(parts[:end] for end in range(1, len(parts) + 1))
        if room < 0 or left < 0 or len(paths) > MOST_FILES:
            raise TooLarge(f"more than {MOST_BYTES // 1024**2} MiB or {MOST_FILES} files")
        yield member
