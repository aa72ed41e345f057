"""Writes bytes whole: to a descriptor, whatever state the other end left it in, or to a file."""

from __future__ import annotations

import os
import secrets
import select
import stat


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of ``data``, waiting where the descriptor does not block. Raises OSError."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


def write_file(path: str, data: bytes) -> None:
    """Write a file, or into a device, a pipe or one's own link. Raises OSError.

    In a folder of another user a name may lead to any file: so a file is made anew and put in its
    place, also of another's link. It keeps the permissions of a file of one's own.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        found = None
    is_file = found is not None and stat.S_ISREG(found.st_mode)
    if found and not is_file and found.st_uid in (0, os.geteuid()):
        with open(path, "wb") as stream:
            stream.write(data)
        return
    new = f"{path}.{secrets.token_hex(8)}"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with open(descriptor, "wb") as stream:
            stream.write(data)
            if found and is_file and found.st_uid == os.geteuid():
                os.fchmod(descriptor, found.st_mode & 0o777)
        os.replace(new, path)
    except BaseException:
        os.unlink(new)
        raise
