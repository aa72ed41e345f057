"""Where plugins are searched: folders of the call, the project, the user, packages, RUNE itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmm.errors import RequestError
from lom.documents.places import CONFIG, DATA, home, user_folder
from lom.registry.files import bundled_plugins
from lom.registry.registry import BrokenPlugin, PluginPlace, Registry

ENTRY_POINTS = "rune.plugins"


def installed_plugins() -> Path | None:
    """Return the folder that `rune plugin install` puts plugins into, None without a home."""
    folder = user_folder(DATA, home=home())
    return Path(folder, "plugins") if folder else None


def default_registry(
    extra_paths: Sequence[str | Path] = (),
    cwd: Path | None = None,
    *,
    found: Sequence[str | Path] = (),
) -> Registry:
    """Return the registry over the places that are searched, the strongest first.

    ``extra_paths`` (``--plugin-path``, ``RUNE_PLUGIN_PATH``), ``./plugins``,
    ``~/.config/rune/plugins``, what `rune plugin install` has put into
    ``~/.local/share/rune/plugins``, third-party packages, RUNE's own. ``found`` are those of the
    first that stand in a file, and were not named for this call. Where others were, a ``./plugins``
    that is not the user's own is left out; else reading it is an error (``untrusted_path``).
    """
    packages, broken = _packages()
    config, installed = user_folder(CONFIG, home=home()), installed_plugins()
    paths = [
        PluginPlace("plugin path", Path(os.path.expanduser(one)), one in found)
        for one in extra_paths
    ]
    named = [os.path.realpath(one.path) for one in paths if not one.found]
    project = PluginPlace(
        "project", (cwd or Path.cwd()) / "plugins", found=True, yields=bool(named)
    )
    places = [
        *paths,
        *([project] if os.path.realpath(project.path) not in named else []),
        *([PluginPlace("user", Path(config, "plugins"), found=True)] if config else []),
        *([PluginPlace("installed", installed, found=True)] if installed else []),
        *packages,
    ]
    bundled = bundled_plugins()
    others = [place for place in places if place.path.resolve() != bundled.resolve()]
    for place in others[: len(extra_paths)]:
        if place.origin == "plugin path" and not os.access(place.path / ".", os.R_OK | os.X_OK):
            why = f"the plugin path {place.path} is no folder that can be read"
            raise RequestError("config_invalid", why, field="plugin_path")
    return Registry([*others, PluginPlace("bundled", bundled)], broken)


def _packages() -> tuple[list[PluginPlace], list[BrokenPlugin]]:
    """Return the plugin folders that installed packages offer by entry point.

    An entry point of the group ``rune.plugins`` names a package whose folder holds plugins, a
    path, or a function that returns one.
    """
    if not any(map(_offers_plugins, sys.path)):
        return [], []
    from importlib.metadata import entry_points

    places, broken = [], []
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda one: one.name):
        origin = f"package {point.name}"
        try:
            found: Any = point.load()
            found = found() if callable(found) else found
            path = found if isinstance(found, str | Path) else found.__path__[0]
            places.append(PluginPlace(origin, Path(path)))
        except Exception as error:  # another's package must not break RUNE
            problem = RequestError(
                "manifest_invalid", f"the entry point {point.value} cannot be loaded: {error}"
            )
            broken.append(BrokenPlugin(Path(point.value), origin, problem))
    return places, broken


def _offers_plugins(folder: str) -> bool:
    """Whether a package installed there may have our entry points. importlib.metadata would say
    for certain, but costs more than all other start-up work of a local run."""
    try:
        names = [name for name in os.listdir(folder or ".") if name.endswith("-info")]
    except OSError:
        return False
    for name in names:
        try:
            with open(os.path.join(folder, name, "entry_points.txt"), "rb") as stream:
                if f"[{ENTRY_POINTS}]".encode() in stream.read():
                    return True
        except OSError:
            continue
    return False
