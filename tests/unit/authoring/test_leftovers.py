"""Backups of editors, bytecode and version control are no part of whatever folder they lie in."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from lom.authoring import cases, sources, templates
from lom.cli.completion import candidates
from lom.documents import leftovers
from lom.inventory.load import load_inventory
from lom.registry import files as bundle
from lom.registry.files import bundled_plugins, tree_sha256
from lom.registry.manifest import load_plugin
from lom.registry.registry import PluginPlace, Registry

LEFT = ["__pycache__/x.cpython-311.pyc", "x.pyc", "main.sh~", "#x#", ".#x", ".x.swp", ".DS_Store"]
LEFT += [".git/HEAD", ".hg/store", ".svn/entries", "._main.sh", ".main.sh.swo"]
OURS = ["main.sh", "a/b.txt", ".hidden", "x~y", "c#", "git/HEAD", "swp", "x.py"]


def strew(folder: Path, names: list[str]) -> None:
    """Put files that are no text into a folder."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\xa7\x0d\x00")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A plugin that somebody works on."""
    folder = tmp_path / "x"
    templates.write_plugin(folder, "x", "bash")
    (folder / "files").mkdir()
    strew(folder / "files", ["data.bin"])
    return folder


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_what_is_left_over(tmp_path: Path) -> None:
    strew(tmp_path, [*LEFT, *OURS])
    found = [str(path.relative_to(tmp_path)) for path in leftovers.walk(tmp_path)]
    assert {name for name in found if (tmp_path / name).is_file()} == set(OURS)


@pytest.mark.parametrize("language", templates.LANGUAGES)
def test_templates(tmp_path: Path, language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip leaves bytecode beside the templates that it installs."""
    shutil.copytree(bundled_plugins() / "templates", tmp_path / "plugins" / "templates")
    for path in (tmp_path / "plugins" / "templates").iterdir():
        if path.is_dir():
            strew(path, LEFT)
    templates.write_plugin(tmp_path / "clean", "x", language)
    monkeypatch.setattr(templates, "bundled_plugins", lambda: tmp_path / "plugins")
    templates.write_plugin(tmp_path / "made", "x", language)
    assert files(tmp_path / "made") == files(tmp_path / "clean")


def test_what_is_installed_and_its_hash(folder: Path, tmp_path: Path) -> None:
    before = tree_sha256(folder)
    ours = files(folder)
    strew(folder, LEFT)
    assert tree_sha256(folder) == before
    sources.copy_plugin(folder, tmp_path / "copy")
    assert files(tmp_path / "copy") == ours


def test_what_is_sent(folder: Path) -> None:
    strew(folder / "files", LEFT)
    sent = bundle.sources(folder, "main.sh", [])
    assert list(sent) == ["main.sh", "files/data.bin"]


def test_plugins_and_cases(folder: Path) -> None:
    shutil.copytree(folder, folder.parent / "x~")
    shutil.copytree(folder, folder.parent / ".git" / "x")
    assert [one.name for one in Registry([PluginPlace("here", folder.parent)]).plugins] == ["x"]
    plugin = load_plugin(folder, "here")
    ours = cases.case_files(plugin)
    strew(folder / "cases", ["._default.json", ".#default.json"])
    assert cases.case_files(plugin) == ours != []


def test_inventories(tmp_path: Path) -> None:
    place = tmp_path / "inventory"
    place.mkdir()
    (place / "a.yaml").write_text("targets: {web1: {host: 127.0.0.1}}\n", encoding="utf-8")
    script = place / "old.sh~"  # an editor's backup of a script is still executable
    script.write_text(f"#!/bin/sh\n: >{tmp_path}/ran\necho '{{}}'\n", encoding="utf-8")
    os.chmod(script, 0o755)
    strew(place, ["#a.yaml#", ".a.yaml.swp"])
    assert list(load_inventory([place]).targets) == ["web1"]
    assert not (tmp_path / "ran").exists()


def test_completion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import click

    place = tmp_path / "inventory"
    place.mkdir()
    for name, target in (("a.yaml", "web1"), ("a.yaml~", "old1")):
        text = json.dumps({"targets": {target: {}}})
        (place / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    context: Any = click.Context(click.Command("x"))
    told = [one.value for one in candidates("target", context, "")]
    assert "web1" in told
    assert "old1" not in told
