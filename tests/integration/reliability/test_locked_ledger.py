"""Another process keeps the ledger locked: before the run, and in the middle of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.errors import error_of
from tests.support.waiting import comes_true

from .conftest import Fleet

HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def locked(ledger: Path) -> Iterator[None]:
    """Within, a process of its own has the ledger for itself."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, ledger],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        try:
            assert holder.stdout
            assert holder.stdout.readline() == b"locked\n"
            yield
        finally:
            holder.communicate()


def test_locked_before_the_start(fleet: Fleet) -> None:
    fleet.mixed(6)
    assert fleet.rune("run", "noop").code == 0  # makes the ledger
    with locked(fleet.state / "ledger.sqlite"):
        refused = fleet.run()
    assert refused.code == 2
    error = error_of(refused)
    assert error["data"]["reason"] == "ledger_unavailable"
    assert "another process has kept it locked for 5 s" in error["message"]
    assert fleet.ran == []
    assert len(fleet.rune("runs", "list", "-o", "json").document["runs"]) == 1
    assert fleet.rune("audit", "verify").code == 0


def test_locked_in_the_middle(fleet: Fleet) -> None:
    """Starts wait for the lock; after 5 s the run goes on without, and is written down later."""
    gate = fleet.rune.folder / "gate"
    fleet.plugin(f"[[ $t != n14 ]] || until [[ -e {gate} ]]; do sleep 0.05; done")
    fleet.mixed(15)
    with fleet.rune.start(*fleet.arguments("--concurrency", "3")) as rune:
        assert comes_true(lambda: len(fleet.ran) >= 4)
        with locked(fleet.state / "ledger.sqlite"):
            before = len(fleet.ran)
            assert comes_true(lambda: len(fleet.ran) > before + 3)  # more than were under way
        gate.touch()
        out, err = rune.communicate(timeout=60)
    document = json.loads(out)
    assert rune.returncode == 0
    assert fleet.count(document) == {"ok": 15}
    assert b"incomplete" not in err
    assert fleet.is_quiet()
