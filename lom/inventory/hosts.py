"""Hosts given straight in a selector: ``ops@10.0.0.1:2222``, ``ssh://host``, ``[::1]:22``,
``i-0123456789abcdef0``."""

from __future__ import annotations

import re
from dataclasses import replace

from lmm.aws.names import is_instance_id
from lmm.errors import RequestError
from lmm.model import Target
from lom.inventory.model import Inventory
from lom.names import LOCAL, did_you_mean, is_host_name, shown

_USER = re.compile(r"[A-Za-z0-9_.\\+$%][A-Za-z0-9_.\\+$%@-]*")
_WITH_PORT = re.compile(r"(\[.*\]|[^:\[\]]*)(?::([^:]*))?")


def ad_hoc_target(word: str, inventory: Inventory) -> Target:
    """Return the target for a word that the inventory does not have; its name is the word.

    With targets in the inventory the word must show that it means a host: by a user, a port, the
    scheme ``ssh://``, an address, as the id of an AWS instance, or as ``localhost``. The
    inventory's defaults apply. Raises RequestError (``unknown_target``, ``selector_invalid``).
    """
    if word in (LOCAL, "localhost"):
        return Target(word, transport="local", vars=inventory.defaults.vars)
    scheme, separator, rest = word.rpartition("://")
    rest = rest.removesuffix("/") if separator else rest
    if separator and scheme != "ssh":
        raise _invalid(word, "the only scheme is ssh://")
    user, at, host = rest.rpartition("@")
    port: str | None = None
    if not _is_address(host):
        found = _WITH_PORT.fullmatch(host)
        if not found:
            raise _invalid(word, "write an IPv6 address with a port as [::1]:22")
        host, port = found[1], found[2]
    explicit = bool(separator or at or port is not None or _is_address(host))
    instance = not explicit and is_instance_id(host)
    explicit = explicit or instance
    if not explicit and (inventory.targets or not is_host_name(host)):
        names = [*inventory.targets, *inventory.groups]
        raise RequestError(
            "unknown_target",
            f"there is no target or group {shown(word)}{did_you_mean(word, names)}",
            name=word,
        )
    if host.startswith("[") and not _is_address(host):
        raise _invalid(word, "no IPv6 address stands in the brackets")
    if not (_is_address(host) or is_host_name(host)):
        raise _invalid(word, "no host name or address stands there")
    if at and not _USER.fullmatch(user):
        raise _invalid(word, "the user before '@' is empty or has a character that it may not")
    defaults = inventory.defaults
    # A host named by its address is reached, never replaced by this machine.
    usual = "ssm" if instance else "auto" if defaults.transport == "auto" else "ssh"
    return replace(
        defaults,
        name=word,
        host=host.strip("[]"),
        user=user or defaults.user,
        port=_port(word, port) if port is not None else defaults.port,
        transport="openssh" if defaults.transport == "openssh" else usual,
    )


def _port(word: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise _invalid(word, "a port is a number from 1 to 65535")
    return int(text)


def _is_address(text: str) -> bool:
    import ipaddress

    try:
        ipaddress.ip_address(text[1:-1] if text[:1] == "[" and text[-1:] == "]" else text)
    except ValueError:
        return False
    return True


def _invalid(word: str, why: str) -> RequestError:
    return RequestError("selector_invalid", f"{shown(word)} is not a host: {why}", name=word)
