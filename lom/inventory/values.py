"""Single values of an inventory: what each kind may be, and what it becomes.

Each function raises ValueError with the words for people. Texts are given as ``str``; what else may
stand in the place of one is for ``schema`` to say.
"""

from __future__ import annotations

import re
from pathlib import Path

from lmm.errors import RequestError
from lmm.model import JSON, SecretRef
from lom.documents.values import path

DAY_S = 86400
PORTS = (1, 65535)
CONNECT_ATTEMPTS = (1, 100)


def word(value: str) -> str:
    """Refuse what could be taken for an option or for two words on a command line."""
    if not value or value.startswith("-") or not value.isprintable() or " " in value:
        raise ValueError("a text without spaces that does not start with '-' is needed")
    return value


def host(value: str) -> str:
    """Take the brackets off an address."""
    if "@" in value:
        raise ValueError("a host holds no '@'; write the user under user")
    if re.fullmatch(r"(\[.*\]|[^:]*):\d+", value):  # an IPv6 address has two colons at least
        raise ValueError("a host holds no port; write it under port")
    return word(value[1:-1] if value[:1] == "[" and value[-1:] == "]" else value)


def config_file(value: str, folder: Path) -> str:
    """Return the path of an ssh_config; ``none``, as for ``ssh -F``, is no file."""
    return "none" if value.lower() == "none" else path(value, folder)


def secret(value: JSON, folder: Path) -> SecretRef:
    """Return a reference to a secret, its file as it is from ``folder``."""
    try:
        reference = SecretRef(value if isinstance(value, str) else "").reference
    except RequestError as error:
        raise ValueError(error.message) from None
    kind, _, rest = reference.partition(":")
    return SecretRef(f"file:{path(rest, folder)}") if kind == "file" else SecretRef(reference)


def become(value: JSON) -> JSON:
    """``true`` and a user's name are short for the mapping, ``false`` takes it back."""
    if isinstance(value, str) and value.lower() in ("yes", "no", "on", "off"):
        raise ValueError(f"{value} is a text here; write true or false, or the name of a user")
    if value is True:
        return {}
    if value is False:
        return None
    return {"user": value} if isinstance(value, str) else value


def option(value: JSON) -> JSON:
    """Return an option of ssh as text, where it is given as a truth value or a whole number."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if isinstance(value, int) else value
