"""The transports that there are: RUNE's own, and those that installed packages add.

A package adds one by an entry point of the group ``rune.transports``: its name is the transport's,
and it leads to a ``Kind``. Packages are looked through only for a name that is none of RUNE's.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from lmm.errors import RequestError

ENTRY_POINTS = "rune.transports"
AUTO = "auto"  # not a transport: ssh or openssh, as ``lmm.transports.with_transport`` finds


class Kind(NamedTuple):
    """What is known of a transport before it is imported.

    ``descriptors`` is how many one call has open at most, those of the processes that it starts
    aside. It ``streams`` if what is sent late (a cancel, the end of stdin) reaches the host.
    ``is_here`` for this machine; ``is_managed`` where a service knows the target by the id of its
    instance, which is no address for others.
    """

    module: str
    attribute: str
    descriptors: int = 4
    streams: bool = True
    is_here: bool = False
    is_managed: bool = False


_OWN = {
    "local": Kind("lmm.transports.local", "LocalTransport", descriptors=8, is_here=True),
    "ssh": Kind("lmm.transports.ssh", "SshTransport"),
    "openssh": Kind("lmm.transports.openssh", "OpensshTransport", descriptors=10),
    "ssm": Kind(
        *("lmm.transports.ssm", "SsmTransport"), descriptors=24, streams=False, is_managed=True
    ),
}


def names() -> tuple[str, ...]:
    """Return the names of all transports, RUNE's own first."""
    return (*_OWN, *(name for name in _added() if name not in _OWN))


def choices() -> tuple[str, ...]:
    """Return what a target or a run may ask for: the transports, and ``AUTO``."""
    return (*names(), AUTO)


def is_choice(name: str) -> bool:
    """Whether ``choices`` has it; of a name that is RUNE's packages are not asked."""
    return name == AUTO or name in _OWN or name in _added()


def kind_of(name: str) -> Kind:
    """Return what is known of a transport. Raises RequestError for a name that there is none of."""
    if kind := _OWN.get(name) or _added().get(name):
        return kind
    known = ", ".join(names())
    raise RequestError("invalid_request", f"there is no transport {name!r}; known are {known}")


@functools.cache
def _added() -> dict[str, Kind]:
    from importlib.metadata import entry_points

    return {found.name: found.load() for found in entry_points(group=ENTRY_POINTS)}
