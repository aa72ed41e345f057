"""Opens and reads files that somebody names, in folders where others can put something else.

What is there may be a pipe, at whose other end nobody is, or have no end.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import IO

MOST_BYTES = 64 * 1024 * 1024  # some 400,000 hashed host keys
_AT_ONCE = 64 * 1024  # as much is reserved for each read, however small the file is


def open_regular(path: str, flags: int, mode: int = 0o600) -> int:
    """Open a regular file; never wait for whoever opens the other end of a pipe. Raises OSError."""
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY, mode)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is not a regular file", path)


def read_all(stream: IO[bytes]) -> bytes:
    """Return the rest of a file. Raises OSError, EFBIG for one of more than ``MOST_BYTES``."""
    data = bytearray()
    while more := stream.read(_AT_ONCE):  # None: a pipe that has nothing now
        data += more
        if len(data) > MOST_BYTES:
            raise OSError(errno.EFBIG, "it is larger than 64 MiB")
    return bytes(data)


def read_regular(path: str) -> bytes:
    """Return what is in a regular file, without waiting. Raises OSError (see ``read_all``)."""
    with open(open_regular(path, os.O_RDONLY), "rb") as stream:
        return read_all(stream)
