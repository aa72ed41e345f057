"""Completion looks where the registry and the inventory look."""

from __future__ import annotations

from pathlib import Path

import pytest

from lom.inventory.load import find_inventory
from lom.registry.places import default_registry
from lom.service.candidates import inventory_places, plugin_places
from lom.settings.values import Settings


def test_plugins_are_looked_for_in_the_same_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "more").mkdir()
    places = default_registry([tmp_path / "more"]).places
    own = [place for place in places if not place.origin.startswith("package ")]
    found = plugin_places(Settings(plugin_path=(str(tmp_path / "more"),)))
    assert found == [(place.path, place.found) for place in own]


@pytest.mark.parametrize("name", ["inventory.yaml", "inventory", "home", "xdg", "nowhere"])
def test_the_inventory_is_looked_for_in_the_same_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {
        "home": Path("~/.config/rune/inventory.yaml").expanduser(),
        "xdg": tmp_path / "xdg" / "rune" / "inventory.yaml",
        "nowhere": None,
    }
    if name == "xdg":
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    path = places.get(name, tmp_path / name)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name == "inventory" else path.touch()
    found = [path.resolve() for path in inventory_places(Settings())]
    assert found == [path.resolve() for path in find_inventory()]
    assert len(found) == (name != "nowhere")
    assert inventory_places(Settings(inventory=("a", "b"))) == [Path("a"), Path("b")]
