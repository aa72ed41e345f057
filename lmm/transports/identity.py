"""Which host a target is, as far as that can be known without connecting to it."""

from __future__ import annotations

import socket

from lmm.errors import RequestError
from lmm.model import Target
from lmm.register import kind_of
from lmm.shortage import wanting


def hosts_of(target: Target) -> tuple[str, ...]:
    """Return the names under which the target's host is known; targets that share one are one.

    Looks ssh_config and addresses up, so it may block as connecting may. A host behind a jump
    host is named by the way to it, one behind a ProxyCommand by its name: only the other end can
    look those up.
    """
    kind = kind_of(target.transport)
    if kind.is_here:
        return (target.transport,)
    if kind.is_managed:
        return (f"{target.transport} {target.address}",)
    from lmm.ssh.config import resolve

    try:
        config = resolve(target)
    except RequestError:  # it cannot be connected to either
        return (f"ssh {target.address}",)
    if config.proxy_jump or config.proxy_command:
        way = [f"{hop.hostname}:{hop.port}" for hop in (*config.proxy_jump, config)]
        return (f"ssh {' '.join(way)}",)
    return tuple(f"ssh {address}:{config.port}" for address in _addresses(config.hostname))


def _addresses(hostname: str) -> list[str]:
    try:
        found = socket.getaddrinfo(hostname, None, type=socket.SOCK_STREAM)
    except OSError as error:
        if wanting(error):  # by another name its lock would be another one
            raise
        return [hostname]
    return sorted({str(address[0]) for *_, address in found})
