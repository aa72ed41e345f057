"""What this machine lacks, told from the errors that Python raises then."""

from __future__ import annotations

import errno

import pytest

from lmm.shortage import broken, wanting


@pytest.mark.parametrize(
    ("error", "lacking"),
    [
        (MemoryError(), "memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory"),
        (RuntimeError("can't allocate lock"), "memory"),  # of threading.Lock()
        (RuntimeError("can't start new thread"), "threads (ulimit -u, ulimit -v)"),
        (OSError(errno.EMFILE, "Too many open files"), "file descriptors (ulimit -n)"),
        (OSError(errno.EPIPE, "Broken pipe"), None),
        (RuntimeError("dictionary changed size during iteration"), None),
    ],
    ids=str,
)
def test_want_of_something_is_told_from_other_faults(error: Exception, lacking: str | None) -> None:
    assert wanting(error) == lacking
    for was_sent in (False, True):
        reason = "connection_lost" if was_sent else "local_resources"
        found = broken(error, "web1", was_sent=was_sent)
        assert found.reason == (reason if lacking else "internal_error")
