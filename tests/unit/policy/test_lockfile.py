"""Locked plugins: what is locked, what differs, and that the bytes compared are the bytes sent."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmm.errors import PolicyDenied, RequestError
from lom import Orchestrator
from lom.registry.lockfile import (
    Locked,
    check_locked,
    difference,
    files_of,
    locked,
    read_lock,
    write_lock,
)
from lom.registry.manifest import Plugin, load_plugin
from lom.settings.policy.values import Safeguards
from lom.settings.values import Settings
from tests.support.plugins import manifest_of

SCRIPT = 'echo \'{"payload":{"result":"success","output_data":{"answer":"%s"}}}\'\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "plugins" / "one"
    place.mkdir(parents=True)
    (place / "plugin.json").write_text(json.dumps(manifest_of("t.one")))
    (place / "main.sh").write_text(SCRIPT % "good")
    return place


@pytest.fixture
def lock(folder: Path, tmp_path: Path) -> str:
    path = tmp_path / "lock.json"
    plugin = load_plugin(folder, "test")
    write_lock(path, {plugin.name: locked(plugin, files_of(plugin))})
    return str(path)


@pytest.fixture
def rune(folder: Path, lock: str) -> Iterator[Orchestrator]:
    safeguards = Safeguards(locks=(lock,), audit=())
    settings = Settings(safeguards=lambda: safeguards, ledger=False)
    with Orchestrator(plugin_paths=[folder.parent], settings=settings) as made:
        yield made


def answer(rune: Orchestrator, plan: Any) -> Any:
    run = rune.start(plan)
    [result] = list(run)
    assert result.output_data is not None, result.error
    return result.output_data["answer"]


def test_a_locked_plugin_runs(rune: Orchestrator) -> None:
    assert answer(rune, rune.plan("t.one")) == "good"


@pytest.mark.parametrize("name", ["main.sh", "plugin.json"])
def test_one_changed_byte_is_refused(rune: Orchestrator, folder: Path, name: str) -> None:
    text = (folder / name).read_text()
    (folder / name).write_text(text + "\n")
    with pytest.raises(PolicyDenied, match=f"{name} has changed") as caught:
        rune.start(rune.plan("t.one"))
    assert caught.value.reason == "plugin_not_locked"


def test_files_that_are_not_sent_may_change(rune: Orchestrator, folder: Path) -> None:
    (folder / "README.md").write_text("new")
    assert answer(rune, rune.plan("t.one")) == "good"


def test_a_plugin_that_is_not_in_the_lock_is_refused(rune: Orchestrator) -> None:
    with pytest.raises(PolicyDenied, match="it is not in the lock file"):
        rune.start(rune.plan("noop"))


def test_what_was_compared_is_what_is_sent(
    rune: Orchestrator, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is exchanged right after the comparison; the bytes that ran are the locked ones."""
    import lom.registry.lockfile

    compare = lom.registry.lockfile.check_locked

    def compare_then_exchange(*given: Any) -> Any:
        found = compare(*given)
        (folder / "main.sh").write_text(SCRIPT % "evil")
        return found

    monkeypatch.setattr(lom.registry.lockfile, "check_locked", compare_then_exchange)
    assert answer(rune, rune.plan("t.one")) == "good"
    with pytest.raises(PolicyDenied, match=r"main\.sh has changed"):
        rune.start(rune.plan("t.one"))


def test_a_manifest_that_is_put_back_after_it_was_read_does_not_help(
    rune: Orchestrator, folder: Path
) -> None:
    """What is compared is what the plan was made from, not what lies there now."""
    good = (folder / "plugin.json").read_text()
    (folder / "plugin.json").write_text(good.replace('"bash"', '["bash", "-x"]'))
    plan = rune.plan("t.one")
    (folder / "plugin.json").write_text(good)
    with pytest.raises(PolicyDenied, match=r"plugin\.json has changed"):
        rune.start(plan)


def test_every_lock_must_agree(folder: Path, lock: str, tmp_path: Path) -> None:
    plugin = load_plugin(folder, "test")
    sent = [(plugin, {"main.sh": plugin.entrypoint.read_bytes()})]
    other = tmp_path / "other.json"
    write_lock(other, {})
    assert check_locked([lock], sent) is None
    refused = check_locked([lock, str(other)], sent)
    assert refused is not None
    assert refused.data == {"plugin": "t-one", "file": str(other)}


def test_a_lock_is_written_whole_and_keeps_its_mode(lock: str, folder: Path) -> None:
    os.chmod(lock, 0o640)
    before = read_lock(lock)
    write_lock(lock, {**before, "x": Locked("2.0.0", {"a": "0" * 64})})
    assert os.stat(lock).st_mode & 0o777 == 0o640
    assert read_lock(lock) == {**before, "x": Locked("2.0.0", {"a": "0" * 64})}
    assert sorted(os.listdir(os.path.dirname(lock))) == ["lock.json", "plugins"]


def test_a_lock_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="cannot write the lock file"):
        write_lock(tmp_path / "no" / "lock.json", {})


A, B = "a" * 64, "b" * 64


@pytest.mark.parametrize(
    ("wanted", "found", "why"),
    [
        (Locked("1", {"x": A}), Locked("2", {"x": A}), None),
        (Locked("1", {"x": A}), Locked("1", {"x": B}), "x has changed"),
        (Locked("1", {"x": A}), Locked("1", {"y": A}), "x is gone, y is new"),
        (None, Locked("1", {"x": A}), "it is not in the lock file"),
        (Locked("1", {"x": A}), None, "there is no such plugin"),
    ],
)
def test_how_a_plugin_differs(wanted: Locked | None, found: Locked | None, why: str | None) -> None:
    assert difference(wanted, found) == why


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lock"),
        ("[]", "lock"),
        ("{}", r"\$\.version"),
        ('{"version": 2, "plugins": {}}', r"\$\.version"),
        ('{"version": 1, "plugins": []}', r"\$\.plugins"),
        ('{"version": 1, "plugins": {"a": {}}}', r"\$\.plugins\.a"),
        ('{"version": 1, "plugins": {"a": {"version": "1", "files": {}}}}', r"\$\.plugins\.a"),
        (
            '{"version": 1, "plugins": {"a": {"version": "1", "files": {"x": "AB"}}}}',
            r"\$\.plugins\.a\.files\.x",
        ),
        ('{"version": 1, "version": 1, "plugins": {}}', "version"),
    ],
)
def test_a_lock_that_is_none_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "lock.json"
    path.write_text(text)
    with pytest.raises(RequestError, match=words) as caught:
        read_lock(path)
    assert caught.value.reason == "config_invalid"
    assert str(path) in caught.value.message


def test_a_lock_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="`rune plugin lock` writes one"):
        read_lock(tmp_path / "nowhere.json")


def test_the_manifest_is_kept_as_it_was_read(folder: Path) -> None:
    plugin: Plugin = load_plugin(folder, "test")
    assert plugin.manifest == (folder / "plugin.json").read_bytes()
