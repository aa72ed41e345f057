"""How many files this process may have open, and how many calls of transports fit into that.

A quarter is for connections that are kept between calls, the rest for calls under way, after what
RUNE itself has open: ledger, locks, logs, and a file that is read in between.
"""

from __future__ import annotations

import contextlib
import resource

OWN = 24
_BOUNDLESS = 1 << 20


def limit() -> int:
    """Return how many descriptors this process may have (``ulimit -n``)."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _BOUNDLESS if soft == resource.RLIM_INFINITY else soft


def kept(most: int) -> int:
    """Return how many idle connections may be kept open by a process with ``most`` descriptors."""
    return most // 4


def calls(most: int, each: int) -> int:
    """Return how many calls that take ``each`` descriptors fit into ``most``, at least 1."""
    return max(1, (most - kept(most) - OWN) // each)


def make_room(wanted: int, each: int) -> None:
    """Raise the limit so that ``wanted`` calls fit, as far as this process may raise it.

    Not further: children inherit it, and there are programs that go through all descriptors.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return
    most = (wanted * each + OWN) * 4 // 3 + 4
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    if most > soft:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
