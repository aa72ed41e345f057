from __future__ import annotations

import re
from pathlib import Path

import pytest

from lmm import temporary
from lmm.errors import RequestError
from lmm.model import SecretRef
from lmm.testing import processes
from lom.inventory import files as inventory_files
from lom.inventory.load import find_inventory, load_inventory
from lom.inventory.model import Inventory


def executable(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_a_folder_is_merged_in_the_order_of_names(tmp_path: Path) -> None:
    (tmp_path / "20-gpu.json").write_text('{"targets": {"g": {}}, "defaults": {"user": "late"}}')
    (tmp_path / "10-web.yml").write_text(
        "defaults: {user: early, port: 7}\ntargets: {w: {}}\n"
        "groups: {all-of-us: {targets: [w], vars: {a: 1, b: 1}}}"
    )
    (tmp_path / "30-more.yaml").write_text(
        "groups: {all-of-us: {targets: [g], vars: {b: 2}}, x: {groups: [all-of-us]}}"
    )
    executable(tmp_path / "40-dynamic", """#!/bin/sh\necho '{"targets": {"d": {}}}'\n""")
    (tmp_path / "README.md").write_text("no inventory")
    (tmp_path / ".hidden.yaml").write_text("broken: [")
    (tmp_path / "folder").mkdir()
    inventory = load_inventory([tmp_path, tmp_path / "10-web.yml"])
    assert list(inventory.targets) == ["w", "g", "d"]
    assert inventory.groups == {"all-of-us": ("w", "g"), "x": ("w", "g")}
    assert inventory.targets["w"].vars == {"a": 1, "b": 2}
    assert (inventory.targets["d"].user, inventory.targets["d"].port) == ("late", 7)
    assert [Path(source).name for source in inventory.sources] == [
        "10-web.yml",
        "20-gpu.json",
        "30-more.yaml",
        "40-dynamic",
    ]


def test_a_target_in_two_files_is_refused_naming_both(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("targets: {x: {}}")
    (tmp_path / "b.yaml").write_text("targets: {x: {}}")
    with pytest.raises(RequestError) as caught:
        load_inventory([tmp_path / "a.yaml", tmp_path / "b.yaml"])
    assert caught.value.message == (
        f"{tmp_path}/b.yaml:1: target 'x' is already defined in {tmp_path}/a.yaml @ $.targets.x"
    )
    assert caught.value.data["file"] == f"{tmp_path}/b.yaml"
    assert caught.value.data["field"] == "$.targets.x"


def test_faults_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("targets: {x: {port: 0}}\ngroups: {g: {targets: [b]}}")
    (tmp_path / "b.yaml").write_text("targets: {b: {}")
    (tmp_path / "c.json").write_text('{"targets": {"y": {}, "y": {}}}')
    with pytest.raises(RequestError) as caught:
        load_inventory([tmp_path, tmp_path / "d.yaml"])
    found = caught.value.data["validation_errors"]
    assert [one.split(":")[0] for one in found] == [
        f"{tmp_path}/{n}" for n in ("a.yaml", "b.yaml", "c.json", "d.yaml")
    ]
    assert caught.value.message.endswith("(and 3 more)")


def test_no_path_is_an_empty_inventory() -> None:
    assert load_inventory([]) == Inventory()


def test_paths_in_a_file_start_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "inventory.yaml").write_text(
        "targets: {a: {ssh: {identity_files: [id], passphrase: 'file:p'}}}"
    )
    (tmp_path / "link.yaml").symlink_to("far/inventory.yaml")
    ssh = load_inventory(tmp_path / "link.yaml").targets["a"].ssh
    assert ssh.identity_files == (f"{tmp_path}/far/id",)
    assert ssh.passphrase == SecretRef(f"file:{tmp_path}/far/p")


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("#!/bin/sh\necho no cloud today >&2\nexit 3\n", "exit status 3 and said: no cloud today"),
        ("#!/bin/sh\nprintf '\\033[31mred' >&2\nexit 1\n", "and said: ?[31mred @ $"),
        ("#!/bin/sh\nexit 1\n", "exit status 1 and nothing on stderr"),
        ("#!/bin/sh\necho '{\"targets\": {}'\n", "the inventory: "),
        ("#!/bin/sh\necho '[]'\n", "not an object"),
        ("#!/bin/sh\n:\n", "the inventory: "),
        ('#!/bin/sh\necho \'{"targets": {"a": {}, "a": {}}}\'\n', "'a' stands twice"),
        ("#!/no/such/interpreter\n", "cannot run it: No such file or directory"),
        ("targets: {}\n", "cannot run it: Exec format error; a script starts with #!"),
        ("#!/bin/sh\nsleep 100 & sleep 100\n", "did not end within 0.5 s"),
        ("#!/bin/sh\nexec >&-\nsleep 100\n", "did not end within 0.5 s"),
        ("#!/bin/sh\nwhile :; do echo 0123456789; done\n", "printed more than 64 MiB"),
    ],
)
def test_an_executable_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, expected: str
) -> None:
    limit = 30.0 if "sleep" not in script else 0.5
    monkeypatch.setattr(inventory_files, "EXECUTABLE_TIMEOUT_S", limit)
    monkeypatch.setattr(inventory_files, "MAX_BYTES", 100_000)
    file = executable(tmp_path / "dynamic", script)
    with pytest.raises(RequestError) as caught:
        load_inventory(file)
    assert caught.value.reason == "inventory_invalid"
    assert expected in caught.value.message


def test_what_an_executable_leaves_behind_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process of a session of its own, which no kill of the group reaches, with its stdout."""
    monkeypatch.setattr(inventory_files, "EXECUTABLE_TIMEOUT_S", 1.0)
    script = """#!/bin/sh
setsid sh -c 'echo $$ >left; exec sleep 60' &
until [ -s left ]; do sleep 0.01; done
echo '{"targets": {}}'
"""
    file = executable(tmp_path / "dynamic", script)
    try:
        with pytest.raises(RequestError, match="what it started kept its stdout open"):
            load_inventory(file)
    finally:
        left = int((tmp_path / "left").read_text())
        was_alive = processes.is_alive(left)
        processes.end([left])
    assert was_alive  # so that nobody waited for its end


def test_an_executable_that_prints_all_the_time_is_ended_at_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory_files, "EXECUTABLE_TIMEOUT_S", 0.5)
    file = executable(tmp_path / "dynamic", "#!/bin/sh\nwhile :; do echo; sleep 0.01; done\n")
    with pytest.raises(RequestError, match="did not end within"):
        load_inventory(file)


def test_a_temporary_folder_that_is_missing_is_not_the_inventorys_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    file = executable(tmp_path / "tool", '#!/bin/sh\necho \'{"targets": {"a": {}}}\'\n')
    assert list(load_inventory(file).targets) == ["a"]
    monkeypatch.setattr(temporary, "_FOR_MUCH", ())
    with pytest.raises(RequestError) as caught:
        load_inventory(file)
    why = f"cannot run it: no folder takes temporary files ({tmp_path}/missing: No such file"
    assert why in caught.value.message


def test_an_executable_reads_nothing_and_gets_its_own_path(tmp_path: Path) -> None:
    script = '#!/bin/sh\nread -r line && exit 9\necho "{\\"targets\\": {\\"${0##*/}-$#\\": {}}}"\n'
    executable(tmp_path / "tool", script)
    (tmp_path / "link").symlink_to("tool")
    assert list(load_inventory(tmp_path / "link").targets) == ["link-0"]


def test_an_executable_starts_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The current folder may be another user's, and interpreters take code from it."""
    lies, here = tmp_path / "lies", tmp_path / "here"
    lies.mkdir()
    here.mkdir()
    executable(lies / "tool", '#!/bin/sh\necho "{\\"targets\\": {\\"${PWD##*/}\\": {}}}"\n')
    monkeypatch.chdir(here)
    (here / "link").symlink_to(lies / "tool")
    assert list(load_inventory(lies / "tool").targets) == ["lies"]
    assert list(load_inventory("link").targets) == ["lies"]


@pytest.mark.parametrize(
    ("content", "mode", "expected"),
    [
        (b"#!/bin/sh\n", 0o644, "it is a script but not executable; run chmod +x on it"),
        (None, 0, "cannot read it: No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_read(
    tmp_path: Path, content: bytes | None, mode: int, expected: str
) -> None:
    file = tmp_path / "inventory"
    if content is not None:
        file.write_bytes(content)
        file.chmod(mode)
    with pytest.raises(RequestError, match=re.escape(expected)):
        load_inventory(file)


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"the folder holds no \*\.yaml"):
        load_inventory(tmp_path)


def test_data_that_happens_to_be_executable_stays_data(tmp_path: Path) -> None:
    file = executable(tmp_path / "inventory.yaml", "targets: {a: {}}")
    assert list(load_inventory(file).targets) == ["a"]


def test_find_inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert find_inventory(here) == ()
    own = home / ".config" / "rune" / "inventory.yaml"
    own.parent.mkdir(parents=True)
    own.touch()
    assert find_inventory(here) == (own,)
    (here / "inventory").mkdir()
    assert find_inventory(here) == (here / "inventory",)
    (here / "inventory.yaml").touch()
    assert find_inventory(here) == (here / "inventory.yaml",)
    monkeypatch.chdir(here)
    assert find_inventory() == (Path("inventory.yaml"),)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    assert find_inventory(tmp_path) == (own,)
