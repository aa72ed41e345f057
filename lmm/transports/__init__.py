"""Ways to reach targets. Each module holds one; nothing here knows actions, plugins or policies."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module

from lmm.errors import RequestError
from lmm.model import Target
from lmm.register import AUTO, kind_of
from lmm.transports.base import Job, Transport

__all__ = [
    "Job",
    "Transport",
    "TransportPool",
    "advice",
    "config_files",
    "disconnect",
    "with_transport",
]


class TransportPool:
    """The transports in use, each made once; their connections live until ``close``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[str, Transport] = {}

    def get(self, name: str) -> Transport:
        """Return the transport. Raises RequestError for a name that there is none of."""
        with self._lock:
            if name not in self._made:
                kind = kind_of(name)
                self._made[name] = getattr(import_module(kind.module), kind.attribute)()
            return self._made[name]

    def close(self) -> None:
        with self._lock:
            made, self._made = self._made, {}
        for transport in made.values():
            transport.close()


def advice(target: Target) -> str | None:
    """Say that another transport would serve the target better, and why; None if not.

    Raises RequestError for settings that cannot hold.
    """
    if target.transport != "ssh":
        return None
    from lmm.ssh.config import needs_openssh

    why = needs_openssh(target)
    return why and f"It may need transport: openssh: {why}."


def config_files(named: str) -> list[str]:
    """Return what decides what an ``ssh.config_file`` says: itself, what it includes, the folders
    of these, as far as it is valid."""
    from lmm.ssh.configfile import files_of

    return files_of(named)


def with_transport(target: Target, wanted: str | None = None) -> Target:
    """Return the target with the transport that it goes over: the wanted one, else its own.

    ``auto`` is ``openssh`` for a target that needs it, or whose connection an earlier run has
    left open, and ``ssh`` for all others; what is local or managed by ssm stays that.
    """
    name = wanted or target.transport
    if name == AUTO:
        name = (
            _automatic(target) if target.transport in (AUTO, "ssh", "openssh") else target.transport
        )
    return target if name == target.transport else replace(target, transport=name)


def _automatic(target: Target) -> str:
    from lmm.ssh.config import needs_openssh
    from lmm.ssh.masters import is_live

    try:
        return "openssh" if needs_openssh(target) or is_live(target) else "ssh"
    except RequestError:
        return "ssh"  # which says what is wrong when the target's turn comes


def disconnect(targets: Sequence[Target] | None = None) -> tuple[int, int]:
    """End the connections that ``openssh`` keeps for other processes, to these targets or all.

    What runs over them ends, too. Returns how many have ended and how many gave no answer and
    were put out of reach.
    """
    from lmm.ssh.masters import disconnect

    return disconnect(targets)
