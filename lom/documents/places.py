"""Where a user's own files lie, as the XDG base directories say.

A container may run RUNE as a user without a home: then there is no such place, and that is no fault
as long as nothing is wanted from it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

CONFIG = ("XDG_CONFIG_HOME", ".config")
DATA = ("XDG_DATA_HOME", ".local/share")
STATE = ("XDG_STATE_HOME", ".local/state")


def home() -> str | None:
    """Return the home directory; None where HOME is not set and the user has no entry."""
    found = os.path.expanduser("~")
    return None if found == "~" else found


def user_folder(
    kind: tuple[str, str], environ: Mapping[str, str] = os.environ, home: str | None = None
) -> str | None:
    """Return RUNE's folder of a kind, such as ``~/.config/rune``; None where there is no home.

    A variable that holds no absolute path is ignored, as the XDG specification asks.
    """
    variable, below = kind
    shelf = environ.get(variable, "")
    if not shelf.startswith("/"):
        if home is None:
            return None
        shelf = os.path.join(home, below)
    return os.path.join(shelf, "rune")
