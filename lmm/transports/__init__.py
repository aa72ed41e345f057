"""Ways to reach targets. Each module holds one; nothing here knows actions, plugins or policies."""

from __future__ import annotations

import threading
from importlib import import_module

from lmm.errors import RequestError
from lmm.model import Target
from lmm.transports.base import Job, Transport

__all__ = ["TRANSPORTS", "Job", "Transport", "TransportPool", "advice"]

# name -> module and class, imported when the first target needs it
TRANSPORTS = {
    "local": ("lmm.transports.local", "LocalTransport"),
    "ssh": ("lmm.transports.ssh", "SshTransport"),
    "openssh": ("lmm.transports.openssh", "OpensshTransport"),
}


class TransportPool:
    """The transports in use, each made once; their connections live until ``close``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[str, Transport] = {}

    def get(self, name: str) -> Transport:
        """Return the transport. Raises RequestError for a name that there is none of."""
        with self._lock:
            if name not in self._made:
                if name not in TRANSPORTS:
                    known = ", ".join(TRANSPORTS)
                    raise RequestError(
                        "invalid_request", f"there is no transport {name!r}; known are {known}"
                    )
                module, attribute = TRANSPORTS[name]
                self._made[name] = getattr(import_module(module), attribute)()
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
