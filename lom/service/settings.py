"""The settings that this process runs with, and the folders whose files it obeys."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from lom.documents.places import home
from lom.settings.load import load_settings
from lom.settings.values import Settings


def settings_in_force(flags: Mapping[str, Any], *, unchecked: bool = False) -> Settings:
    """Return the settings of this process, by its environment, folder and home.

    A flag that is None or ``()`` was not given. ``unchecked`` files are obeyed as far as they go.
    Raises RequestError (``config_invalid``, ``untrusted_path``).
    """
    from pathlib import Path

    return load_settings(flags, os.environ, Path.cwd(), home(), unchecked=unchecked)


def settings_without_files(flags: Mapping[str, Any]) -> Settings:
    """Return the settings that flags and defaults alone make."""
    from pathlib import Path

    nowhere = Path(os.devnull)
    return load_settings(flags, {}, nowhere, nowhere, unchecked=True)


def trusted_folders() -> list[str]:
    """Return the folders of which files are obeyed though others can change them."""
    from lom.documents.trust import trusted_folders

    return list(trusted_folders())


def set_trusted(folder: str, trusted: bool) -> str:
    """Put a folder on the list of those that are trusted, or take it off; return its path.

    Raises RequestError.
    """
    from lom.documents.trust import distrust, trust

    return str(trust(folder) if trusted else distrust(folder))
