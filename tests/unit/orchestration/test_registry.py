"""Where plugins are found, which hides which, and which one serves a target."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lmm.errors import RequestError
from lom.registry.files import bundled_plugins
from lom.registry.places import default_registry
from lom.registry.registry import PluginPlace, Registry


def add(place: Path, name: str, version: str = "1.0.0", **capability: Any) -> Path:
    folder = place / name
    folder.mkdir(parents=True)
    offer = {
        "action": "test.go",
        "description": "x",
        "input_schema": {},
        "output_schema": {},
        "risk": "read",
        **capability,
    }
    manifest = {
        "module_name": name,
        "module_version": version,
        "description": "x",
        "runtime": "bash",
        "entrypoint": "run.sh",
        "capabilities": [offer],
    }
    (folder / "plugin.json").write_text(json.dumps(manifest))
    (folder / "run.sh").write_text("true\n")
    return folder


@pytest.fixture
def strong(tmp_path: Path) -> Path:
    return tmp_path / "strong"


@pytest.fixture
def weak(tmp_path: Path) -> Path:
    return tmp_path / "weak"


def registry(*places: Path) -> Registry:
    return Registry(PluginPlace(place.name, place) for place in places)


def test_an_earlier_place_hides_the_same_name(strong: Path, weak: Path) -> None:
    add(strong, "one", "1.0.0")
    add(weak, "one", "2.0.0")
    found = registry(strong, weak)
    assert [(p.name, p.origin) for p in found.plugins] == [("one", "strong")]
    assert [(p.version, p.origin) for p in found.shadowed] == [("2.0.0", "weak")]


def test_broken_ones_are_listed_and_never_chosen(strong: Path) -> None:
    (add(strong, "one") / "run.sh").unlink()
    found = registry(strong)
    (broken,) = found.broken
    assert (broken.directory, broken.origin) == (strong / "one", "strong")
    assert "run.sh" in broken.error.message
    with pytest.raises(RequestError, match=r"the only plugin for test\.go is broken: .*run\.sh"):
        found.choose("test.go", {})


@pytest.mark.parametrize("rest", [0, 1, 40, 90, None])
def test_a_manifest_that_is_cut_off_is_named(strong: Path, rest: int | None) -> None:
    add(strong, "one")
    file = add(strong, "two", action="t.do") / "plugin.json"
    content = file.read_bytes()
    file.unlink()
    if rest is None:
        file.symlink_to("nowhere")
    else:
        file.write_bytes(content[:rest])
    with pytest.raises(RequestError, match=rf"no action 't\.do'.* cannot be read: {file}:"):
        registry(strong).choose("t.do", {})


def test_a_manifest_that_is_a_pipe_is_not_waited_for(strong: Path) -> None:
    (strong / "two").mkdir(parents=True)
    os.mkfifo(strong / "two" / "plugin.json")
    with pytest.raises(RequestError, match="it is no file"):
        registry(strong).choose("t.do", {})


def test_broken_ones_that_cannot_be_read_are_named(strong: Path) -> None:
    add(strong, "one")
    file = add(strong, "two", action="t.do") / "plugin.json"
    file.write_bytes(file.read_text().encode("utf-16"))
    words = rf"no action 't\.do'.*cannot be read: {file}: the file is UTF-16"
    with pytest.raises(RequestError, match=words) as refusal:
        registry(strong).choose("t.do", {})
    assert refusal.value.reason == "unknown_action"


@pytest.mark.parametrize(
    ("need", "value", "fits"),
    [
        ("ver=1.10", 1.1, True),
        ("ver=1.10", "1.1", False),
        ("ver=true", True, True),
        ("ver=True", True, False),
        ("ver=2", 2.0, True),
    ],
)
def test_facts_are_compared_as_selectors_compare(
    strong: Path, need: str, value: Any, fits: bool
) -> None:
    add(strong, "one", requires=[need])
    if fits:
        assert registry(strong).choose("test.go", {"ver": value}).plugin.name == "one"
    else:
        with pytest.raises(RequestError, match=r"no plugin for test\.go fits"):
            registry(strong).choose("test.go", {"ver": value})


def test_unknown_action_names_the_nearest(strong: Path) -> None:
    add(strong, "one")
    with pytest.raises(RequestError, match=r"did you mean 'test\.go'") as refusal:
        registry(strong).choose("test.goo", {})
    assert refusal.value.reason == "unknown_action"


def test_a_place_may_be_one_plugin(strong: Path) -> None:
    add(strong, "one")
    assert registry(strong / "one").actions() == ["test.go"]


@pytest.mark.parametrize(
    ("target_vars", "chosen"),
    [
        ({"gpu_vendor": "nvidia"}, "nvidia"),
        ({"gpu_vendor": "amd"}, "amd"),
        ({"gpu_vendor": "intel"}, None),
        ({}, "amd"),  # nothing known: the order of names decides among equals
        ({"platform": "linux/arm64", "gpu_vendor": "amd"}, None),
        ({"platform": "linux", "gpu_vendor": "amd"}, "amd"),
    ],
)
def test_facts_decide(strong: Path, target_vars: dict[str, str], chosen: str | None) -> None:
    for vendor in ("nvidia", "amd"):
        add(strong, vendor, requires=[f"gpu_vendor={vendor}", "ls"], platforms=["linux/x86_64"])
    if chosen is None:
        with pytest.raises(RequestError) as refusal:
            registry(strong).choose("test.go", target_vars)
        assert refusal.value.reason == "no_plugin_fits"
    else:
        choice = registry(strong).choose("test.go", target_vars)
        assert choice.plugin.name == chosen
        assert choice.why


def test_what_speaks_for_a_plugin_counts_before_its_place(strong: Path, weak: Path) -> None:
    add(strong, "general", "9.0.0")
    add(weak, "special", requires=["sku=h200"])
    found = registry(strong, weak)
    assert found.choose("test.go", {"sku": "h200"}).plugin.name == "special"
    assert found.choose("test.go", {}).plugin.name == "general"


def test_a_fact_that_is_not_known_weakens(strong: Path, weak: Path) -> None:
    add(strong, "special", "9.0.0", requires=["sku=h200"])
    add(weak, "general")
    found = registry(strong, weak)
    assert found.choose("test.go", {}).plugin.name == "general"
    assert found.choose("test.go", {"sku": "h200"}).plugin.name == "special"


def test_the_place_counts_before_the_version(strong: Path, weak: Path) -> None:
    """Also between two places of the same kind."""
    add(strong, "one", "1.0.0")
    add(weak, "two", "2.0.0")
    assert default_registry([strong, weak]).choose("test.go", {}).plugin.name == "one"
    assert default_registry([weak, strong]).choose("test.go", {}).plugin.name == "two"


def test_the_name_decides_at_last(strong: Path) -> None:
    add(strong, "zebra")
    add(strong, "ant")
    choice = registry(strong).choose("test.go", {})
    assert choice.plugin.name == "ant"
    assert choice.why == "the best of 2 that fit: strong, version 1.0.0"


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1.0.0", "1.0.1"),
        ("1.9.0", "1.10.0"),
        ("1.0.0-rc.1", "1.0.0"),
        ("1.0.0-rc.2", "1.0.0-rc.10"),
        ("1.0.0-alpha", "1.0.0-beta"),
        ("1.0.0-1", "1.0.0-alpha"),
    ],
)
def test_the_newer_version_wins(strong: Path, older: str, newer: str) -> None:
    add(strong, "a", older)
    add(strong, "b", newer)
    assert registry(strong).choose("test.go", {}).plugin.version == newer


def test_the_places_and_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(config))
    extra, project = tmp_path / "extra", tmp_path / "project"
    for place, version in (
        (extra, "4.0.0"),
        (project / "plugins", "3.0.0"),
        (config / "rune" / "plugins", "2.0.0"),
    ):
        add(place, "noop", version, action="noop")
    found = default_registry([extra], project)
    origins = [p.origin for p in (*found.plugins, *found.shadowed) if p.name == "noop"]
    assert origins == ["plugin path", "project", "user", "bundled"]


def test_in_the_checkout_nothing_is_listed_twice() -> None:
    assert default_registry(cwd=bundled_plugins().parent).shadowed == []


def test_a_plugin_path_that_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(RequestError) as refusal:
        default_registry([tmp_path / "nowhere"])
    assert refusal.value.reason == "config_invalid"


def test_packages_offer_plugins_by_entry_point(tmp_path: Path) -> None:
    """A third-party package in a process of its own: a good one and one that cannot be loaded."""
    add(tmp_path / "acme_plugins", "acme", action="acme.go")
    (tmp_path / "acme_plugins" / "__init__.py").touch()
    info = tmp_path / "acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[rune.plugins]\nacme = acme_plugins\nbad = acme_missing\n"
    )
    code = (
        "from lom.registry.places import default_registry as d\nr = d()\n"
        "print([p.origin for p in r.plugins if p.name == 'acme'],"
        " [(b.origin, 'acme_missing' in b.error.message) for b in r.broken if 'bad' in b.origin])"
    )
    root = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['package acme'] [('package bad', True)]"


def test_bundled_manifests_are_good() -> None:
    found = Registry([PluginPlace("bundled", bundled_plugins())])
    assert [str(b.directory.name) for b in found.broken] in ([], ["noop-c"])
    assert {"host.info", "host.exec", "gpu.info", "service.restart", "logs.gather", "noop"} <= set(
        found.actions()
    )
