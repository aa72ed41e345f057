"""A plugin's other files and libraries go with it: sent, locked, kept by the host, removed."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from lmm.files import INLINE_BYTES

SCRIPT = """\
. "${0%/*}/rune.sh"
rune_param name
rune_put said "$REPLY: $(<"${0%/*}/files/word")"
rune_put large "$(head -c 8 <"${0%/*}/files/model")"
rune_success
"""


@pytest.fixture
def folder(fleet: Any) -> Path:
    """The folder of the plugin t.many, which has a library and two files, one of them large."""
    made: Path = fleet.plugin("t.many", SCRIPT)
    manifest = json.loads((made / "plugin.json").read_text())
    (made / "plugin.json").write_text(json.dumps({**manifest, "lib": ["rune.sh"]}))
    (made / "files").mkdir()
    (made / "files/word").write_text("hello\n")
    (made / "files/model").write_text(secrets.token_hex(4) + "-" * INLINE_BYTES)
    return made


def test_files_are_sent_once_shown_and_removed(
    fleet: Any, folder: Path, sshd: Any, account: Any
) -> None:
    fleet.write("inventory.yaml", sshd.inventory(1, user=account.name))
    for _ in range(2):
        done = fleet("run", "t.many", "-t", "all", "-p", "name=ann", "-o", "json")
        assert done.code == 0, done.document
        assert done.document["results"][0]["output_data"] == {
            "said": "ann: hello",
            "large": (folder / "files/model").read_text()[:8],
        }
    size = (folder / "files/model").stat().st_size
    for command in ("show", "clear"):
        done = fleet("target", "cache", command, "-o", "json")
        assert done.document["results"][0]["output_data"] == {"files": 1, "bytes": size}
    done = fleet("target", "cache", "show", "all", "-o", "json")
    assert done.document["results"][0]["output_data"] == {"files": 0, "bytes": 0}


@pytest.mark.parametrize("file", ["files/word", "files/model", "main.sh"])
def test_a_lock_is_on_all_of_them(fleet: Any, folder: Path, file: str) -> None:
    assert fleet("plugin", "lock").code == 0
    assert fleet("run", "t.many", "-t", "web1", "--dry-run").code == 0
    (folder / file).write_text((folder / file).read_text() + "#")
    done = fleet("run", "t.many", "-t", "web1", "-o", "json")
    assert (done.code, file in done.stderr) == (3, True)
    (folder / "files/more").write_text("x")
    assert "files/more is new" in fleet("run", "t.many", "-t", "web1").stderr


def test_what_cannot_be_sent_is_said_when_it_is_loaded(fleet: Any, folder: Path) -> None:
    def problem() -> str:
        done = fleet("plugin", "check", "plugins/t-many")
        assert done.code == 2
        return str(done.text + done.stderr)

    link = folder / "files/out"
    link.symlink_to("/etc/passwd")
    assert "leads out of the plugin's folder" in problem()
    link.unlink()
    odd = folder / "files/a b"
    odd.touch()
    assert "has a name that not every host takes" in problem()
    odd.unlink()
    manifest = json.loads((folder / "plugin.json").read_text())
    (folder / "plugin.json").write_text(json.dumps({**manifest, "lib": ["rune.rb"]}))
    assert "there is no library rune.rb; known are" in problem()
