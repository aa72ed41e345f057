"""Temporary folders are where nobody else can exchange them, and never the current folder."""

from __future__ import annotations

import ast
import os
import tempfile
from pathlib import Path

import pytest

from lmm.temporary import nameless, private_folder, roomy
from lmm.transports.local import own_places
from tests.support.mounts import ROOT, run_mounted


def test_a_folder_of_ones_own_is_taken_and_removed() -> None:
    with private_folder("rune-x-") as folder:
        assert folder.parent == Path(os.environ["TMPDIR"])
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "file").touch()
    assert not folder.exists()


@pytest.mark.parametrize("named", ["", ".", "tmp"])
def test_no_relative_name_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", named)
    with private_folder("rune-x-") as folder:
        assert folder.parent == Path("/tmp")
    descriptor, _ = nameless(roomy())
    assert not os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(tmp_path))
    os.close(descriptor)


def spoil_mode(folder: Path) -> None:
    folder.chmod(0o777)


def spoil_owner(folder: Path) -> None:
    os.chown(folder, 65534, 65534)


def spoil_above(folder: Path) -> None:
    os.chown(folder.parent, 65534, 65534)


@pytest.mark.needs_root
@pytest.mark.parametrize("spoil", [spoil_mode, spoil_owner, spoil_above])
def test_a_folder_that_others_can_change_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: object
) -> None:
    folder = tmp_path / "far" / "tmp"
    folder.mkdir(parents=True)
    before = folder.stat().st_mtime_ns
    assert callable(spoil)
    spoil(folder)
    monkeypatch.setenv("TMPDIR", str(folder))
    with private_folder("rune-x-") as made:
        assert made.parent == Path("/tmp")
    assert folder.stat().st_mtime_ns == before


def test_a_shared_folder_with_the_sticky_bit_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o1777)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with private_folder("rune-x-") as folder:
        assert folder.parent == tmp_path


@pytest.mark.parametrize("missing", ["gone", "gone/below", "link"])
def test_a_folder_that_others_could_make_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    tmp_path.chmod(0o1777)
    (tmp_path / "link").symlink_to("gone")
    for name in ("TMPDIR", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / missing))
    assert own_places() == {}
    with private_folder("rune-x-") as folder:
        assert folder.parent == Path("/tmp")


@pytest.mark.needs_root
def test_a_folder_that_another_makes_anew_meanwhile_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a cleaner of /tmp has removed it."""
    folder = tmp_path / "tmp"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("TMPDIR", str(folder))
    make = tempfile.mkdtemp

    def made_late(suffix: str | None, prefix: str, dir: str) -> str:
        if dir == str(folder):
            folder.rmdir()
            folder.mkdir()
            os.chown(folder, 65534, 65534)
        return make(suffix, prefix, dir)

    monkeypatch.setattr(tempfile, "mkdtemp", made_late)
    with private_folder("rune-x-") as made:
        assert made.parent == Path("/tmp")
    assert folder.stat().st_uid == 65534
    assert list(folder.iterdir()) == []


PROGRAM = """
import os, subprocess, sys
from lmm.errors import RequestError
from lmm.temporary import private_folder
with private_folder("rune-x-"):
    pass
subprocess.run(["bash", "-c", "mount -t tmpfs t /mnt; " + sys.argv[1]], check=True)
os.chdir("/mnt")
try:
    with private_folder("rune-x-") as folder:
        print(folder.parent)
except RequestError as error:
    print(error.reason, error.message)
print(os.listdir("."))
"""


def on_a_machine_with(mounts: str) -> list[str]:
    """Return what PROGRAM says where other file systems lie over /tmp and /var/tmp, and the
    current folder has room."""
    done = run_mounted(PROGRAM, mounts)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


FULL = "mount -t tmpfs -o size=8k,mode=1777 t {0}; ! head -c 1M /dev/zero 2>/dev/null >{0}/fill"
NO_PROGRAMS = "mount -t tmpfs -o noexec,mode=1777 t {0}"


@pytest.mark.needs_root
def test_where_all_are_full_it_is_not_the_current_folder() -> None:
    said, here = on_a_machine_with(f"{FULL.format('/tmp')}; {FULL.format('/var/tmp')}")
    assert said.startswith("local_io_error no folder takes temporary files (/tmp: No space left")
    assert "/var/tmp: No space left on device" in said
    assert here == "[]"


@pytest.mark.needs_root
def test_a_folder_in_which_programs_may_be_run_is_preferred() -> None:
    closed, other = NO_PROGRAMS.format("/tmp"), NO_PROGRAMS.format("/var/tmp")
    assert on_a_machine_with(closed) == ["/var/tmp", "[]"]
    assert on_a_machine_with(f"{closed}; {other}") == ["/tmp", "[]"]


def test_nothing_of_ours_asks_python_where() -> None:
    """``tempfile`` is told the folder, or not used: by itself it takes any ``TMPDIR``."""
    for path in [*(ROOT / "lmm").rglob("*.py"), *(ROOT / "lom").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("tempfile."):
                told = "dir" in {word.arg for word in node.keywords}
                assert told or "testing" in path.parts, (path, ast.unparse(node))
