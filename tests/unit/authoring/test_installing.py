"""Plugins from elsewhere: what is taken, what is refused, and that refusals change nothing."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from lmm.errors import PolicyDenied, RequestError
from lom.authoring import installing, sources
from lom.authoring.installing import install, remove
from lom.registry.installed import RECORDS, change, read_records
from lom.registry.manifest import load_plugin
from lom.registry.places import default_registry, installed_plugins


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "installed"


@pytest.fixture
def folder(write_plugin: Any, tmp_path: Path) -> Path:
    return Path(write_plugin(folder=tmp_path / "source" / "t-plugin"))


def tarball(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, arcname="t-plugin-1.0.0")
    return path


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-C", str(folder), *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def names(place: Path) -> list[str]:
    """What is in the place besides its lock."""
    return sorted(path.name for path in place.iterdir() if path.name != ".lock")


def test_from_a_folder(folder: Path, place: Path) -> None:
    (folder / ".git").mkdir()
    (folder / "__pycache__").mkdir()
    plugin, record = install(str(folder), place)
    assert names(place) == [RECORDS, "t-plugin"]
    assert {path.name for path in plugin.directory.iterdir()} == {"cases", "main.sh", "plugin.json"}
    assert (record.kind, record.source, record.sha256) == ("folder", str(folder), None)
    assert read_records(place) == {"t-plugin": record}
    assert change(plugin, {"t-plugin": record}) is None


def test_from_a_tarball(folder: Path, place: Path, tmp_path: Path) -> None:
    path = tarball(folder, tmp_path / "p.tar.gz")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    _, record = install(str(path), place, sha256=digest.upper())
    assert (record.kind, record.sha256) == ("tarball", digest)
    _, by_tree = install(str(path), place, sha256=record.tree_sha256, replace=True)
    assert by_tree.tree_sha256 == record.tree_sha256


def test_from_a_git_repository(folder: Path, place: Path) -> None:
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "one")
    git(folder, "tag", "v1")
    first = git(folder, "rev-parse", "HEAD")
    (folder / "README.md").write_text("more\n")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "two")
    _, newest = install(f"file://{folder}", place)
    assert newest.commit == git(folder, "rev-parse", "HEAD")
    for reference in ("v1", first):
        plugin, record = install(f"git+{folder}@{reference}", place, replace=True)
        assert (record.kind, record.commit) == ("git", first)
        assert not (plugin.directory / "README.md").exists()
    with pytest.raises(RequestError, match=r"git: .*v9"):
        install(f"file://{folder}@v9", place, replace=True)
    assert read_records(place)["t-plugin"].commit == first


@pytest.mark.parametrize(
    ("text", "url", "reference"),
    [
        ("https://h/o/r.git", "https://h/o/r.git", ""),
        ("https://h/o/r.git@v1.2", "https://h/o/r.git", "v1.2"),
        ("https://me@h/o/r.git", "https://me@h/o/r.git", ""),
        ("https://me@h", "https://me@h", ""),
        ("git@h:o/r.git", "git@h:o/r.git", ""),
        ("git@h:o/r.git@feature/x", "git@h:o/r.git", "feature/x"),
        ("ssh://git@h:22/o/r@main", "ssh://git@h:22/o/r", "main"),
        ("/a/b@c", "/a/b", "c"),
    ],
)
def test_url_and_reference(text: str, url: str, reference: str) -> None:
    assert sources._split(text) == (url, reference)


def test_a_password_is_neither_shown_nor_recorded() -> None:
    assert sources._without_password("https://me:secret@h:8/r.git") == "https://me@h:8/r.git"


def test_what_is_pinned_and_differs_is_refused(folder: Path, place: Path, tmp_path: Path) -> None:
    path = tarball(folder, tmp_path / "p.tar.gz")
    for source in (folder, path):
        with pytest.raises(PolicyDenied, match="is not what --sha256 pins") as denied:
            install(str(source), place, sha256="0" * 64)
        assert denied.value.reason == "plugin_pin_broken"
    assert names(place) == []


def test_one_of_several_is_chosen(write_plugin: Any, place: Path, tmp_path: Path) -> None:
    for name in ("t-one", "t-two"):
        write_plugin(name=name, folder=tmp_path / "many" / "plugins" / name)
    source = str(tmp_path / "many")
    with pytest.raises(RequestError, match=r"t-one, t-two.*--plugin"):
        install(source, place)
    with pytest.raises(RequestError, match="holds no plugin 't-three'"):
        install(source, place, name="t-three")
    install(source, place, name="t-two")
    assert names(place) == [RECORDS, "t-two"]


def test_what_fails_its_check_is_refused(write_plugin: Any, place: Path) -> None:
    with pytest.raises(RequestError, match="fails its check script") as refusal:
        install(str(write_plugin("if true; then\n")), place)
    assert refusal.value.reason == "manifest_invalid"
    assert names(place) == []


@pytest.mark.parametrize("source", ["/nowhere", "plugin.zip", ""])
def test_what_is_no_source(source: str, place: Path) -> None:
    with pytest.raises(RequestError, match="is neither a folder nor"):
        install(source or "nowhere", place)


# -- hostile sources ---------------------------------------------------------------------------


def member(name: str, **fields: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize(
    "info",
    [
        member("../escaped"),
        member("/tmp/escaped"),
        member("t/link", type=tarfile.SYMTYPE, linkname="../../../escaped"),
        member("t/link", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
        member("t/pipe", type=tarfile.FIFOTYPE),
        member("t/device", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
    ],
    ids=["up", "root", "symlink", "hardlink", "pipe", "device"],
)
def test_a_hostile_tarball(info: tarfile.TarInfo, folder: Path, place: Path) -> None:
    path = folder.parent / "hostile.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(folder, arcname="t")
        archive.addfile(info, io.BytesIO())
    before = sorted(folder.parent.parent.rglob("*"))
    if info.name == "/tmp/escaped":  # its root is the folder: it lands within
        install(str(path), place)
        assert not Path("/tmp/escaped").exists()
        return
    with pytest.raises(RequestError, match=r"is refused|cannot unpack"):
        install(str(path), place)
    added = {*folder.parent.parent.rglob("*")} - {*before}
    assert added == {place, place / ".lock"}


def test_a_bomb_is_not_unpacked(folder: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder.parent / "bomb.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, arcname="t")
        archive.addfile(member("t/zeros", size=3_000_000), io.BytesIO(bytes(3_000_000)))
    monkeypatch.setattr(sources, "MOST_BYTES", 2_000_000)
    with pytest.raises(RequestError, match="too much for a plugin"):
        install(str(path), place)
    assert names(place) == []


def test_links_must_stay_inside(folder: Path, place: Path) -> None:
    (folder / "inside").symlink_to("main.sh")
    plugin, _ = install(str(folder), place)
    assert os.readlink(plugin.directory / "inside") == "main.sh"
    (folder / "outside").symlink_to("/etc/passwd")
    with pytest.raises(RequestError, match="leads out of the plugin"):
        install(str(folder), place, replace=True)


def test_a_plugin_folder_must_stay_inside_as_well(folder: Path, place: Path) -> None:
    elsewhere = folder.parent / "elsewhere"
    (elsewhere / "plugins").mkdir(parents=True)
    (elsewhere / "plugins" / "t-plugin").symlink_to(folder)
    git(elsewhere, "init", "--quiet")
    git(elsewhere, "add", ".")
    git(elsewhere, "commit", "--quiet", "-m", "one")
    for source in (f"file://{elsewhere}", str(elsewhere)):
        with pytest.raises(RequestError, match=r"t-plugin in .* is refused: it leads out of there"):
            install(source, place)
    assert names(place) == []


# -- all or nothing ----------------------------------------------------------------------------


def test_another_one_needs_replace(folder: Path, place: Path) -> None:
    _, first = install(str(folder), place)
    (folder / "main.sh").write_text("exit 0 # new\n")
    with pytest.raises(RequestError, match=r"installed already.*--replace"):
        install(str(folder), place)
    assert read_records(place)["t-plugin"] == first
    plugin, second = install(str(folder), place, replace=True)
    assert plugin.entrypoint.read_text() == "exit 0 # new\n"
    assert second.tree_sha256 != first.tree_sha256
    assert names(place) == [RECORDS, "t-plugin"]


def test_a_record_that_cannot_be_written_puts_the_old_one_back(
    folder: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin, _ = install(str(folder), place)
    before = plugin.entrypoint.read_text()
    (folder / "main.sh").write_text("exit 0 # new\n")

    def full(*_: Any) -> None:
        raise RequestError("local_io_error", "no space left on device")

    monkeypatch.setattr(installing, "write_records", full)
    with pytest.raises(RequestError, match="no space"):
        install(str(folder), place, replace=True)
    assert plugin.entrypoint.read_text() == before
    assert names(place) == [RECORDS, "t-plugin"]


def test_remove(folder: Path, place: Path) -> None:
    install(str(folder), place)
    with pytest.raises(RequestError, match="did you mean 't-plugin'"):
        remove("t-plugn", place)
    remove("t-plugin", place)
    assert names(place) == [RECORDS]
    assert read_records(place) == {}


def test_a_change_after_the_installation_is_seen(folder: Path, place: Path) -> None:
    plugin, _ = install(str(folder), place)
    (plugin.directory / "main.sh").chmod(0o755)
    assert change(plugin, read_records(place)) == "its files have changed since it was installed"
    assert change(load_plugin(folder, "x"), {}) == "it was put there by hand"


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 2, "plugins": {}}'])
def test_records_that_cannot_be_read(text: str, folder: Path, place: Path) -> None:
    place.mkdir()
    (place / RECORDS).write_text(text)
    with pytest.raises(RequestError) as refusal:
        install(str(folder), place)
    assert refusal.value.reason == "config_invalid"
    assert names(place) == [RECORDS]


def test_the_registry_finds_what_is_installed(folder: Path, tmp_path: Path) -> None:
    place = installed_plugins()
    assert place is not None
    install(str(folder), place)
    registry = default_registry(cwd=tmp_path)
    (found,) = (one for one in registry.plugins if one.name == "t-plugin")
    assert found.origin == "installed"
    assert registry.choose("t.do", {}).plugin is found
    assert json.loads((place / RECORDS).read_text())["version"] == 1
