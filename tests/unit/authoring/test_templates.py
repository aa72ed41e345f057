"""A new plugin passes at once, in every language whose tools are here."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from lmm.errors import RequestError
from lom.authoring.review import review
from lom.authoring.templates import LANGUAGES, build, write_plugin
from lom.registry.manifest import load_plugin
from tests.support.tools import need
from tests.unit.authoring.conftest import findings


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_passes_at_once(language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if compiler := LANGUAGES[language].compiler:
        need(compiler)
    monkeypatch.setenv("GOCACHE", str(tmp_path / "cache"))
    if "RUSTUP_HOME" not in os.environ:  # rustup looks for its tools below HOME, now another one
        monkeypatch.setenv("RUSTUP_HOME", f"{pwd.getpwuid(os.getuid()).pw_dir}/.rustup")
    folder = tmp_path / "t-new"
    files = write_plugin(folder, "t-new", language)
    assert build(folder, language) is None
    assert {file.name for file in files} >= {"plugin.json", "README.md", "three.json"}
    plugin = load_plugin(folder, "checked")
    assert plugin.capabilities[0].action == "t.new"
    assert {one.status for one in review(plugin)} == {"ok"}
    found = findings(folder)
    assert {name for name, one in found.items() if one.status != "ok"} == {"secrets"}, found


def test_words_are_filled_in(tmp_path: Path) -> None:
    write_plugin(tmp_path / "x", "x", "bash", "acme.count", 'Counts "all"\\')
    plugin = load_plugin(tmp_path / "x", "checked")
    assert (plugin.name, plugin.description) == ("x", 'Counts "all"\\')
    assert plugin.capabilities[0].action == "acme.count"
    texts = [file.read_text() for file in (tmp_path / "x").rglob("*") if file.is_file()]
    assert not [text for text in texts if "@NAME@" in text or "@ACTION@" in text]
    assert os.access(tmp_path / "x" / "main.sh", os.X_OK)


@pytest.mark.parametrize(
    ("name", "action", "told"),
    [
        ("Disk", None, "NAME: 'Disk' does not match"),
        ("../x", None, "NAME:"),
        ("x", "Disk Free", "--action: 'Disk Free' does not match"),
    ],
)
def test_names_that_the_contract_refuses(
    tmp_path: Path, name: str, action: str | None, told: str
) -> None:
    with pytest.raises(RequestError) as refusal:
        write_plugin(tmp_path / "new", name, "bash", action)
    assert told in refusal.value.message
    assert not (tmp_path / "new").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    write_plugin(tmp_path / "x", "x", "bash")
    with pytest.raises(RequestError, match="already there"):
        write_plugin(tmp_path / "x", "x", "python")
    assert not (tmp_path / "x" / "main.py").exists()


def test_what_is_not_built_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_plugin(tmp_path / "x", "x", "c")
    with pytest.raises(RequestError, match="it is built: run `make -C"):
        load_plugin(tmp_path / "x", "checked")
    (tmp_path / "x" / "main.c").write_text("no C\n")
    assert "main.c:1:1: error:" in str(build(tmp_path / "x", "c"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert build(tmp_path / "x", "c") == "make and cc not found on this machine"


@pytest.mark.needs_root
def test_nothing_is_written_or_built_in_a_folder_of_another(tmp_path: Path) -> None:
    """Who owns it can exchange the Makefile before `make` reads it."""
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(RequestError, match="belongs to nobody") as caught:
        write_plugin(tmp_path / "t-new", "t-new", "c")
    assert caught.value.reason == "untrusted_path"
    assert list(tmp_path.iterdir()) == []
    os.chown(tmp_path, 0, 0)
    tmp_path.chmod(0o1777)  # as /tmp: what one makes there stays one's own
    assert write_plugin(tmp_path / "t-new", "t-new", "c")
