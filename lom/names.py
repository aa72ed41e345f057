"""What names of targets and groups may be, and the nearest name for one that is unknown."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lmm.errors import shortened

RESERVED = frozenset({"all", "and", "not", "or"})  # words of the selector language
LOCAL = "local"  # the target that is always there: this machine

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}")


def name_fault(name: str) -> str | None:
    """Return what is wrong with ``name`` as the name of a target or a group, else None."""
    if name in RESERVED:
        return f"{name!r} is a word of the selectors; choose another name"
    if not _NAME.fullmatch(name):
        return (
            f"{shown(name)} is not a name: letters, digits, '_', '-' and '.', "
            "starting with a letter, digit or '_'"
        )
    return None


def is_host_name(text: str) -> bool:
    """Whether ``text`` can be the name of a host (an address without colons is one, too)."""
    return bool(_NAME.fullmatch(text))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'NAME'?`` for the nearest of ``known``, else an empty string."""
    from difflib import get_close_matches

    by_lower = {name.lower(): name for name in known}
    near = get_close_matches(word[:100].lower(), by_lower, n=1)
    return f"; did you mean {by_lower[near[0]]!r}?" if near else ""


def shown(text: str, width: int = 60) -> str:
    """Return ``text`` quoted for a message: one line, no control characters, cut to ``width``."""
    return repr(shortened(text, width))
