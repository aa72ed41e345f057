"""Keeps bytes that may be many: the first in memory, the rest in a file without a name."""

from __future__ import annotations

import os
import secrets
import threading
import weakref
from collections.abc import Callable

from lmm.temporary import nameless

READ_AT_ONCE = 1024 * 1024


class Spool:
    """Bytes in the order in which they were added. Its methods may be called from any thread.

    What does not fit into ``in_memory`` bytes goes to a private file without a name
    (``lmm.temporary``), so it ends with the process in any case. If it is ``sealed`` it is
    encrypted with a key that only this object has: for what may hold secrets.
    """

    def __init__(self, in_memory: int, *, sealed: bool = False) -> None:
        self._in_memory = in_memory
        self._memory = bytearray()
        self._file: int | None = None
        self._close: Callable[[], object] | None = None
        self._key = secrets.token_bytes(32) if sealed else None
        self._lock = threading.Lock()
        self.size = 0

    def add(self, data: bytes) -> int:
        """Append bytes; return where they begin. Raises OSError, and then nothing was added."""
        with self._lock:
            at = self.size
            if self._file is None and at + len(data) <= self._in_memory:
                self._memory += data
            else:
                if self._file is None:
                    self._file = nameless()
                    self._close = weakref.finalize(self, os.close, self._file)
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
            if self._close is not None:
                self._close()
            self._close = self._file = None

    # -- inside --------------------------------------------------------------------------------

    def _write(self, data: bytes, at: int) -> None:
        assert self._file is not None
        view = memoryview(self._sealed(data, at))
        while view:
            written = os.pwrite(self._file, view, at)
            at, view = at + written, view[written:]

    def _read(self, at: int, size: int) -> bytearray:
        assert self._file is not None
        found = bytearray()
        while size > len(found):
            more = os.pread(self._file, min(size - len(found), READ_AT_ONCE), at + len(found))
            if not more:
                raise OSError("a temporary file has become shorter")
            found += self._sealed(more, at + len(found))
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
