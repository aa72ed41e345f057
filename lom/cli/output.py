"""What the command line writes: stdout for what was asked, stderr for people."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable

from lmm.errors import InternalError
from lom.render.write import write_all

STDOUT, STDERR = 1, 2
_written = 0


class ReaderGone(Exception):
    """Whoever read our stdout has closed it, as ``head`` does when it has seen enough."""


def write_stdout(data: bytes) -> None:
    """Write to stdout at once. Raises ReaderGone, or InternalError when it cannot be written."""
    global _written
    try:
        _written += len(data)  # before: what interrupts the writing is told by no second document
        write_all(STDOUT, data)
    except BrokenPipeError:
        raise ReaderGone from None
    except OSError as error:
        raise InternalError("local_io_error", f"cannot write to stdout: {error.strerror}") from None


def written() -> int:
    """Return how many bytes of answers this process has begun to write."""
    return _written


def write_pieces(pieces: Iterable[bytes]) -> None:
    """Write to stdout what comes, piece by piece. Raises as ``write_stdout`` does."""
    for piece in pieces:
        write_stdout(piece)


def flush_stdout() -> None:
    """Write out what click has printed. Raises as ``write_stdout`` does."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_stdout()
        raise InternalError("local_io_error", f"cannot write to stdout: {error.strerror}") from None


def write_stderr(text: str) -> None:
    """Write text for people; a closed stderr loses it."""
    with contextlib.suppress(OSError):
        write_all(STDERR, text.encode("utf-8", "backslashreplace"))


def discard_stdout() -> None:
    """Let nothing that is still buffered for the vanished reader raise again at exit."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
