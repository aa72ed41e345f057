"""A manifest is checked whole before its plugin may ever run."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest

from lmm.errors import RequestError
from lom.registry.manifest import RUNTIMES, load_plugin

GOOD: dict[str, Any] = {
    "module_name": "test-one",
    "module_version": "1.2.3",
    "description": "A test",
    "runtime": "bash",
    "entrypoint": "run.sh",
    "capabilities": [
        {
            "action": "test.one",
            "description": "Does nothing",
            "input_schema": {"type": "object"},
            "output_schema": {"type": "object"},
            "risk": "read",
        }
    ],
}


def written(folder: Path, manifest: Any, script: str | bytes | None = "echo\n") -> Path:
    text = manifest if isinstance(manifest, str) else json.dumps(manifest)
    (folder / "plugin.json").write_text(text)
    if script is not None:
        content = script.encode() if isinstance(script, str) else script
        (folder / "run.sh").write_bytes(content)
    return folder


def changed(path: str, value: Any) -> dict[str, Any]:
    manifest = copy.deepcopy(GOOD)
    *parents, last = path.split(".")
    place: Any = manifest
    for part in parents:
        place = place[int(part)] if part.isdigit() else place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return manifest


def test_a_good_one(tmp_path: Path) -> None:
    plugin = load_plugin(written(tmp_path, GOOD), "here")
    assert (plugin.name, plugin.version, plugin.origin) == ("test-one", "1.2.3", "here")
    assert plugin.entrypoint == tmp_path / "run.sh"
    capability = plugin.capability("test.one")
    assert capability is not None
    assert (capability.timeout_s, capability.requires, capability.retry_safe) == (60.0, (), False)
    assert plugin.capability("test.two") is None


@pytest.mark.parametrize(
    ("runtime", "interpreter"),
    [*((name, argv) for name, argv in RUNTIMES.items()), (["python3", "-I"], ("python3", "-I"))],
)
def test_runtimes(tmp_path: Path, runtime: Any, interpreter: tuple[str, ...]) -> None:
    assert (
        load_plugin(written(tmp_path, changed("runtime", runtime)), "x").interpreter == interpreter
    )


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("module_name", None, "module_name"),
        ("module_name", "Bad Name", "$.module_name"),
        ("module_version", "1", "$.module_version"),
        ("runtime", "ruby", "$.runtime"),
        ("runtime", [], "$.runtime"),
        ("entrypoint", "../run.sh", "$.entrypoint"),
        ("entrypoint", "missing.sh", "there is no file missing.sh @ $.entrypoint"),
        ("capabilities", [], "$.capabilities"),
        ("capabilities.0.action", "Bad", "$.capabilities[0].action"),
        ("capabilities.0.risk", "some", "$.capabilities[0].risk"),
        ("capabilities.0.timeout_s", 0, "$.capabilities[0].timeout_s"),
        ("capabilities.0.input_schema", {"type": "objekt"}, "$.capabilities[0].input_schema"),
        ("capabilities.0.output_schema", {"$ref": "http://x/y"}, "$.capabilities[0].output_schema"),
        ("capabilities", GOOD["capabilities"] * 2, "offered twice @ $.capabilities[1].action"),
        ("colour", "red", "colour"),
    ],
)
def test_refusals_name_the_place(tmp_path: Path, path: str, value: Any, words: str) -> None:
    with pytest.raises(RequestError) as refusal:
        load_plugin(written(tmp_path, changed(path, value)), "x")
    assert refusal.value.reason == "manifest_invalid"
    assert words in refusal.value.message
    assert str(tmp_path / "plugin.json") in refusal.value.message


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1, "a": 2}', '{"a": NaN}'])
def test_what_is_not_one_json_object(tmp_path: Path, text: str) -> None:
    with pytest.raises(RequestError) as refusal:
        load_plugin(written(tmp_path, text), "x")
    assert refusal.value.reason == "manifest_invalid"


@pytest.mark.parametrize(
    ("script", "runtime", "words"),
    [("", "bash", "empty"), ("#!/bin/sh\n", "binary", "name its interpreter")],
)
def test_entrypoints(tmp_path: Path, script: str, runtime: str, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        load_plugin(written(tmp_path, changed("runtime", runtime), script), "x")


def test_an_entrypoint_that_leads_out_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "plugin"
    folder.mkdir()
    (tmp_path / "outside").write_text("echo\n")
    os.symlink(tmp_path / "outside", folder / "run.sh")
    with pytest.raises(RequestError, match=r"leads out"):
        load_plugin(written(folder, GOOD, None), "x")


def test_a_built_entrypoint_says_how(tmp_path: Path) -> None:
    (tmp_path / "Makefile").touch()
    with pytest.raises(RequestError, match=r"make -C"):
        load_plugin(written(tmp_path, GOOD, None), "x")
