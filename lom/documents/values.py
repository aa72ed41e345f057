"""Single values of the files that people write; functions raise ValueError with words for them."""

from __future__ import annotations

import os
from pathlib import Path


def line(value: str) -> str:
    """Refuse what is not one line of text."""
    if not value.isprintable():
        raise ValueError("one line of text is needed")
    return value


def path(value: str, folder: Path) -> str:
    """Return a path as it is from ``folder``, with ``~`` expanded."""
    if not line(value):
        raise ValueError("a path is needed")
    return str(folder / os.path.expanduser(value))
