"""What a process that was killed leaves beside the ledger is in no reader's way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lmm.testing import Account
from lom.ledger.sqlite.database import connect_reader, connect_writer
from lom.ledger.sqlite.reader import SqliteReader
from lom.ledger.sqlite.writer import SqliteLedger
from tests.accounts import as_user
from tests.scale import repeats

from .conftest import Begin, facts

# Killed in a transaction that has begun to change the file, which its journal can undo.
HALF_MADE = """\
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("CREATE TABLE run (text)")
for _ in range(100):
    connection.execute("INSERT INTO run VALUES (?)", ("x" * 500,))
os.kill(os.getpid(), signal.SIGKILL)
"""
# Written and not yet brought from the -wal file into the ledger.
WRITTEN = """\
import os, signal, sys
from pathlib import Path
from lom.ledger.sqlite.writer import SqliteLedger
from tests.unit.ledger.conftest import facts
recorder = SqliteLedger(Path(sys.argv[1])).begin(facts("r2"), lambda: None)
recorder.starting(["n0"])
os.kill(os.getpid(), signal.SIGKILL)
"""
READ = """\
import sys
from pathlib import Path
from lom.ledger.sqlite.reader import SqliteReader
with SqliteReader(Path(sys.argv[1])) as ledger:
    print([run.run_id for run in ledger.runs()])
"""
ROOT = Path(__file__).resolve().parents[3]


def killed(code: str, path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code, str(path)], env=env)
    assert done.returncode == -9


def read_as(account: Account, path: Path) -> str:
    """Return what another user, who may only read, sees."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": "/tmp", "HOME": str(account.home)}
    argv = [*as_user(account), sys.executable, "-c", READ, str(path)]
    done = subprocess.run(argv, env=env, capture_output=True, text=True)
    return done.stdout.strip() or done.stderr


def opened(path: Path, account: Account) -> Path:
    """Return a copy of the ledger's folder that the account may read."""
    place = account.home / path.parent.parent.name
    shutil.copytree(path.parent, place)
    place.chmod(0o755)
    for file in place.iterdir():
        file.chmod(0o644)
    return place / path.name


def test_a_ledger_that_was_half_made(path: Path) -> None:
    path.parent.mkdir()
    path.touch(0o600)
    killed(HALF_MADE, path)
    assert Path(f"{path}-journal").exists()
    with SqliteReader(path) as reader:
        assert reader.runs() == []
    assert not Path(f"{path}-journal").exists()
    SqliteLedger(path).begin(facts(), lambda: None).close()


def test_many_make_it_at_once(path: Path) -> None:
    """None takes what another is just making for a database of something else, or for locked."""
    meet = threading.Barrier(8)

    def work(number: int) -> None:
        meet.wait(30)
        if number % 2:
            connect_writer(path).close()
        elif found := connect_reader(path):
            found.close()

    with ThreadPoolExecutor(8) as pool:
        for _ in range(repeats(40)):
            shutil.rmtree(path.parent, ignore_errors=True)
            list(pool.map(work, range(8)))


def test_killed_at_any_moment_of_the_first_run(path: Path) -> None:
    """Whatever there is after the kill can be read at once."""
    code = WRITTEN.replace('recorder.starting(["n0"])', "recorder.close()")
    for number in range(repeats(6)):
        shutil.rmtree(path.parent, ignore_errors=True)
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen([sys.executable, "-c", code, str(path)], env=env) as process:
            seen = 0
            while process.poll() is None and seen <= number % 3:
                seen = len(list(path.parent.glob("*")))
            process.kill()
        with SqliteReader(path) as reader:
            assert [run.run_id for run in reader.runs()] in ([], ["r2"])


def test_half_made_and_only_to_be_read(path: Path, account: Account) -> None:
    path.parent.mkdir()
    path.touch(0o600)
    killed(HALF_MADE, path)
    assert read_as(account, opened(path, account)) == "[]"


@pytest.mark.parametrize("left", ["-wal and -shm", "-wal alone"])
def test_not_yet_in_the_file_and_only_to_be_read(
    path: Path, account: Account, begin: Begin, left: str
) -> None:
    begin().finish({"finished_at": "2026-01-01T00:00:00Z", "status": "ok", "summary": {}}, 0)
    killed(WRITTEN, path)
    there = opened(path, account)
    if left == "-wal alone":
        Path(f"{there}-shm").unlink()
    before = sorted(there.parent.iterdir())
    assert read_as(account, there) == "['r2', 'r1']"
    assert sorted(there.parent.iterdir()) == before
