"""Bytes that may be many: what was added is read back, wherever it is kept."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm import temporary
from lmm.budget import FREE_BYTES, Budget
from lmm.spool import Spool
from tests.support.mounts import run_mounted


@given(
    parts=st.lists(st.binary(max_size=40), max_size=12),
    in_memory=st.integers(0, 100),
    sealed=st.booleans(),
    at=st.integers(0, 300),
    size=st.integers(0, 300),
)
def test_what_was_added_is_read_back(
    parts: list[bytes], in_memory: int, sealed: bool, at: int, size: int
) -> None:
    spool = Spool(in_memory, sealed=sealed)
    places = [(spool.add(part), part) for part in parts]
    whole = b"".join(parts)
    assert spool.read() == whole
    assert spool.size == len(whole)
    assert spool.read(at, size) == whole[at : at + size]
    assert all(spool.read(begin, len(part)) == part for begin, part in places)
    spool.close()


def files() -> set[str]:
    """Return the open files of this process that have no name."""
    found = set()
    for one in Path("/proc/self/fd").iterdir():
        try:
            name = os.readlink(one)
        except FileNotFoundError:
            continue
        if name.endswith("(deleted)"):
            found.add(f"{one} {name}")
    return found


def test_the_file_has_no_name_and_is_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = files()
    spool = Spool(3, sealed=True)
    spool.add(b"abc")
    assert files() == before
    spool.add(b"a secret that a plugin has printed")
    (mine,) = files() - before
    path = mine.split()[0]
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.stat(path).st_nlink == 0
    assert list(tmp_path.iterdir()) == []
    assert b"secret" not in Path(path).read_bytes()
    spool.close()
    assert files() == before


def test_folders_that_take_nothing_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    monkeypatch.setattr(temporary, "_FOR_MUCH", (str(tmp_path / "gone"),))
    spool = Spool(3)
    spool.add(b"abc")
    for _ in range(2):
        with pytest.raises(OSError, match=r"missing: No such file.*; .*gone: No such file"):
            spool.add(b"d")
    assert spool.read() == b"abc"
    monkeypatch.setattr(temporary, "_FOR_MUCH", (str(tmp_path),))
    spool.add(b"d")
    assert spool.read() == b"abcd"
    spool.close()


PROGRAM = """
import os, subprocess, sys
from lmm.spool import Spool
spool = Spool(0, sealed=True)
spool.add(b"x")
spool.read()
spool.close()
subprocess.run(["bash", "-ec", sys.argv[1]], check=True)
os.environ["TMPDIR"] = "/mnt"
spool, parts = Spool(0, sealed=True), [os.urandom(20_000) for _ in range(20)]
places = [spool.add(part) for part in parts]
assert spool.read() == b"".join(parts)
assert all(spool.read(at, len(part)) == part for at, part in zip(places, parts))
assert spool.read(10_000, 100_000) == b"".join(parts)[10_000:110_000]
files = [os.readlink(f"/proc/self/fd/{one}") for one in os.listdir("/proc/self/fd")[:-1]]
print(*sorted(os.path.dirname(one) for one in files if "(deleted)" in one))
spool.close()
"""


@pytest.mark.needs_root
@pytest.mark.parametrize(
    ("mounts", "used"),
    [
        ("mount -t tmpfs -o size=64k t /mnt", "/mnt /var/tmp"),
        ("mount -t tmpfs -o size=4k t /mnt; echo >/mnt/fill", "/var/tmp"),
        ("mount -t tmpfs -o nr_inodes=1 t /mnt", "/var/tmp"),
        ("for i in /mnt /var/tmp; do mount -t tmpfs -o size=64k t $i; done", "/mnt /tmp /var/tmp"),
    ],
    ids=["becomes full", "is full", "no inodes", "two become full"],
)
def test_where_a_folder_is_full_the_next_one_is_taken(mounts: str, used: str) -> None:
    done = run_mounted(PROGRAM, mounts)
    assert done.stdout.strip() == used, done.stderr


def test_shares_of_a_budget_never_add_up_to_more() -> None:
    budget, lock = Budget(3 * FREE_BYTES), threading.Lock()
    taken, most = 0, 0

    def work(size: int) -> None:
        nonlocal taken, most
        for _ in range(20):
            with budget.share(size):
                with lock:
                    taken += size
                    most = max(most, taken)
                with lock:
                    taken -= size

    sizes = [FREE_BYTES + 1, 2 * FREE_BYTES, 9 * FREE_BYTES] * 4
    threads = [threading.Thread(target=work, args=(size,)) for size in sizes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 9 * FREE_BYTES  # alone
    assert taken == 0
