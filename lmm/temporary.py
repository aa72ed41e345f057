"""Temporary files and folders: where nobody else can exchange them, never in the current folder.

Python's own ``tempfile`` takes any ``TMPDIR``, that of another user included, and the current
folder where all others are full.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lmm.errors import RequestError
from lmm.ownership import first_doubt

_BLOCK = 4096  # bytes that a folder must have room for
_FOR_MUCH = ("/var/tmp", "/tmp")


def named() -> list[str]:
    """Return ``TMPDIR`` as a list: empty where it is not set, or would be the current folder's."""
    folder = os.environ.get("TMPDIR", "")
    return [folder] if os.path.isabs(folder) else []


@contextlib.contextmanager
def private_folder(prefix: str) -> Iterator[Path]:
    """Make a folder of the user's alone, which is gone after the block.

    It is in ``TMPDIR``, ``/tmp``, ``/var/tmp`` or ``XDG_RUNTIME_DIR``: in the first that has room,
    where nobody else can exchange it, and preferably one in which programs may be run. Raises
    RequestError (``local_io_error``) if there is none.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    bases = [*named(), "/tmp", "/var/tmp", *([runtime] if os.path.isabs(runtime) else [])]
    failed: dict[str, str] = {}
    chosen = None
    with contextlib.ExitStack() as stack:
        for base in bases:
            if doubt := first_doubt(base, inside=True):
                failed[base] = doubt.why
                continue
            try:
                made = tempfile.TemporaryDirectory(prefix=prefix, dir=base)
                folder = Path(stack.enter_context(made))
                if doubt := first_doubt(folder):  # a base that was removed, and made by another
                    failed[base] = doubt.why
                    continue
                runs_programs = _takes_programs(folder)
            except OSError as error:
                failed[base] = error.strerror or str(error)
                continue
            if runs_programs:
                chosen = folder
                break
            chosen = chosen or folder
        if chosen is None:
            why = "; ".join(f"{base}: {words}" for base, words in failed.items())
            raise RequestError(
                "local_io_error",
                f"no folder takes temporary files ({why}); set TMPDIR to a folder of your own",
            )
        yield chosen


def _takes_programs(folder: Path) -> bool:
    """Whether programs in a folder may be run. Raises OSError where it has no room."""
    probe = folder / "probe"
    descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o700)
    try:
        os.write(descriptor, bytes(_BLOCK))
        return os.access(probe, os.X_OK)
    finally:
        os.close(descriptor)
        probe.unlink()


def roomy() -> list[str]:
    """Return the folders for much: ``TMPDIR``, ``/var/tmp``, which is on a disk where ``/tmp`` is
    in memory, and ``/tmp``."""
    return list(dict.fromkeys([*named(), *_FOR_MUCH]))


def nameless(folders: list[str]) -> tuple[int, str]:
    """Open a new private file that has no name; return it, and the folder it is in.

    It is the first of the folders that has room; it and those before it are taken off the list.
    Without a name nobody can exchange the file. Raises OSError that names all folders.
    """
    failed: dict[str, OSError] = {}
    while folders:
        folder = folders.pop(0)
        try:
            return _nameless_in(folder), folder
        except OSError as error:
            failed[folder] = error
    why = "; ".join(f"{folder}: {error.strerror}" for folder, error in failed.items())
    raise OSError(
        next((error.errno for error in failed.values()), errno.ENOENT),
        f"no folder takes temporary files ({why}); set TMPDIR to one that has room",
    )


def _nameless_in(folder: str) -> int:
    file = None
    with contextlib.suppress(OSError, AttributeError):  # not every file system, nor system, can
        file = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_EXCL | os.O_CLOEXEC, 0o600)
    if file is None:
        path = Path(folder, f".rune-{secrets.token_hex(8)}")
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        path.unlink()
    try:
        os.pwrite(file, bytes(_BLOCK), 0)
        os.ftruncate(file, 0)
    except BaseException:
        os.close(file)
        raise
    return file
