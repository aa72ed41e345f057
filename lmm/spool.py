"""Keeps bytes that may be many: the first in memory, the rest in a file without a name."""

from __future__ import annotations

import os
import secrets
import threading
import weakref
from collections.abc import Callable
from typing import NamedTuple

from lmm.temporary import nameless, roomy

READ_AT_ONCE = 1024 * 1024


class _Part(NamedTuple):
    """A file, and which of the bytes that are in files is the first in it."""

    begin: int
    file: int
    folder: str
    close: Callable[[], object]


class Spool:
    """Bytes in the order in which they were added. Its methods may be called from any thread.

    What does not fit into ``in_memory`` bytes goes to a private file without a name
    (``lmm.temporary``), so it ends with the process in any case; where its folder is full, what
    comes then goes to one in the next folder. If it is ``sealed`` it is encrypted with a key that
    only this object has: for what may hold secrets.
    """

    def __init__(self, in_memory: int, *, sealed: bool = False) -> None:
        self._in_memory = in_memory
        self._memory = bytearray()
        self._parts: list[_Part] = []
        self._folders: list[str] = []  # that were not tried yet
        self._key = secrets.token_bytes(32) if sealed else None
        self._lock = threading.Lock()
        self.size = 0

    def add(self, data: bytes) -> int:
        """Append bytes; return where they begin. Raises OSError, and then nothing was added."""
        with self._lock:
            at = self.size
            if not self._parts and at + len(data) <= self._in_memory:
                self._memory += data
            else:
                self._write(data, at - len(self._memory))
            self.size = at + len(data)
            return at

    def read(self, at: int = 0, size: int | None = None) -> bytes:
        """Return ``size`` bytes from ``at`` on, by default all. Raises OSError."""
        with self._lock:
            end = self.size if size is None else min(at + size, self.size)
            kept = len(self._memory)
            if end <= kept:
                return bytes(self._memory[at:end])
            found = self._memory[at:kept]
            begin = max(at - kept, 0)
            found += self._read(begin, end - kept - begin)
            return bytes(found)

    def close(self) -> None:
        """Keep nothing more."""
        with self._lock:
            self._memory = bytearray()
            self.size = 0
            for part in self._parts:
                part.close()
            self._parts = []

    # -- inside --------------------------------------------------------------------------------

    def _write(self, data: bytes, at: int) -> None:
        sealed = self._sealed(data, at)
        if not self._parts:
            self._folders = roomy()
            self._begin(at)
        while True:
            part = self._parts[-1]
            try:
                _put(part.file, sealed, at - part.begin)
                return
            except OSError as error:
                error.filename = part.folder
                if not self._folders:
                    raise
            self._begin(at)

    def _begin(self, at: int) -> None:
        file, folder = nameless(self._folders)
        self._parts.append(_Part(at, file, folder, weakref.finalize(self, os.close, file)))

    def _read(self, at: int, size: int) -> bytearray:
        found = bytearray()
        while size > len(found):
            here, end = at + len(found), at + size
            for part in reversed(self._parts):
                if part.begin <= here:
                    break
                end = min(end, part.begin)
            more = os.pread(part.file, min(end - here, READ_AT_ONCE), here - part.begin)
            if not more:
                raise OSError("a temporary file has become shorter")
            found += self._sealed(more, here)
        return found

    def _sealed(self, data: bytes, at: int) -> bytes:
        """Return bytes of the file as they are there, and those from there as they were."""
        if self._key is None:
            return data
        from cryptography.hazmat.primitives.ciphers import Cipher
        from cryptography.hazmat.primitives.ciphers.algorithms import AES
        from cryptography.hazmat.primitives.ciphers.modes import CTR

        block, begun = divmod(at, 16)
        cipher = Cipher(AES(self._key), CTR(block.to_bytes(16, "big"))).encryptor()
        cipher.update(bytes(begun))
        return cipher.update(data)


def _put(file: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, at)
        at, view = at + written, view[written:]
