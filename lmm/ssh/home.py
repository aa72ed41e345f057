"""The home directory as OpenSSH knows it: from the password database, not from ``$HOME``."""

from __future__ import annotations

import functools
import os
import pwd


@functools.cache
def home() -> str:
    """Return this user's home directory; ``$HOME`` only where the user has no entry."""
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return os.path.expanduser("~")


def expand_home(path: str) -> str:
    """Replace a leading ``~`` or ``~user``; other paths stay as they are."""
    if path == "~" or path.startswith("~/"):
        return home() + path[1:]
    return os.path.expanduser(path)
