"""Names that a surface can offer: actions, targets, groups, parameters, plugins, transports.

Manifests and inventories are read for their names only, unchecked: a completion has a tenth of
a second. Executable inventories are not run, sources are not asked.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lmm.errors import RequestError
from lom.documents.leftovers import is_leftover
from lom.documents.places import CONFIG, DATA, home, user_folder
from lom.documents.trust import is_own
from lom.service.settings import settings_in_force
from lom.settings.values import Settings, is_named, state_folder


def candidates(kind: str, flags: Mapping[str, Any], action: str) -> Mapping[str, str]:
    """Return the names of a kind, each with what there is to say of it.

    Kinds are ``action``, ``plugin``, ``parameter`` (of the ``action``), ``target``, ``transport``,
    ``run`` and ``baseline``. Raises RequestError (``config_invalid``).
    """
    settings = settings_in_force(flags, unchecked=True)
    if kind == "target":
        return dict.fromkeys(_target_names(settings), "")
    if kind in ("run", "baseline"):
        return _recorded(settings, kind)
    if kind == "transport":
        from lmm.register import choices

        return dict.fromkeys(choices(), "")
    manifests = list(_manifests(settings))
    if kind == "action":
        return dict(_actions(manifests))
    if kind == "plugin":
        return {str(one["module_name"]): str(one.get("description", "")) for one in manifests}
    return dict(_parameters(manifests, action))


def _actions(manifests: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    found = {
        str(one["action"]): str(one.get("description", ""))
        for manifest in manifests
        for one in manifest["capabilities"]
    }
    yield from sorted(found.items())


def _parameters(manifests: list[dict[str, Any]], action: str) -> Iterator[tuple[str, str]]:
    for manifest in manifests:
        for one in manifest["capabilities"]:
            if one["action"] == action:
                for name, field in one["input_schema"].get("properties", {}).items():
                    help_text = field.get("description", "") if isinstance(field, dict) else ""
                    yield f"{name}=", str(help_text)


def _manifests(settings: Settings) -> Iterator[dict[str, Any]]:
    for place, found in plugin_places(settings):
        below = [one for one in place.glob("*/plugin.json") if not is_leftover(one.parent.name)]
        for file in (place / "plugin.json", *sorted(below)):
            with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
                if found and not is_own(file):
                    continue
                manifest = json.loads(file.read_bytes())
                _ = manifest["module_name"], [one["action"] for one in manifest["capabilities"]]
                yield manifest


def plugin_places(settings: Settings) -> list[tuple[Path, bool]]:
    """Return the folders of plugins, and which were found, not named; without those of
    third-party packages: asking for these takes longer than all the rest."""
    here = Path(__file__).resolve().parents[1]
    bundled = here / "plugins"
    listed = not is_named(settings, "plugin_path")
    own = (user_folder(kind, home=home()) for kind in (CONFIG, DATA))
    return [
        *((Path(os.path.expanduser(path)), listed) for path in settings.plugin_path),
        (Path.cwd() / "plugins", True),
        *((Path(folder, "plugins"), True) for folder in own if folder),
        (bundled if bundled.is_dir() else here.parent / "plugins", False),
    ]


def inventory_places(settings: Settings) -> list[Path]:
    """Return the inventory of ``lom.inventory.load.find_inventory``, whose module costs 10 ms."""
    if settings.inventory:
        return [Path(path) for path in settings.inventory]
    folder = user_folder(CONFIG, home=home())
    names = ("inventory.yaml", "inventory", *((f"{folder}/inventory.yaml",) if folder else ()))
    return [Path(name) for name in names if Path(name).exists()][:1]


def _target_names(settings: Settings) -> Iterator[str]:
    from lom.inventory.ranges import expand

    yield from ("all", "local")
    named = bool(settings.inventory) and is_named(settings, "inventory")
    for path in inventory_places(settings):
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            if is_leftover(file.name) or not (named or is_own(file)):
                continue
            with contextlib.suppress(OSError, ValueError, AttributeError):
                data = _load(file)
                for section in ("groups", "sources", "targets"):
                    for name in data.get(section) or {}:
                        yield from expand(str(name))


def _recorded(settings: Settings, kind: str) -> dict[str, str]:
    """Return names in the ledger and their actions; none where its folder cannot be told."""
    from lom.ledger import candidates_in

    try:
        return candidates_in(state_folder(settings), kind)
    except RequestError:  # there is no home, or it is somebody else's
        return {}


def _load(file: Path) -> Mapping[str, Any]:
    if file.suffix == ".json":
        return dict(json.loads(file.read_bytes()))
    if file.suffix not in (".yaml", ".yml"):
        return {}
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return dict(yaml.load(file.read_bytes(), Loader=loader) or {})
    except yaml.YAMLError:
        return {}
