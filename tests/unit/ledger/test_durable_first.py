"""No script is sent to a target before the ledger has, for good, that it may have started."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from lmm.model import Target
from lom import Inventory, Orchestrator
from lom.config import Settings
from lom.ledger import LedgerReader

from .conftest import Begin

A_WHILE_S = 0.3  # far longer than a commit takes; a slow machine can only make the test pass


def test_starting_returns_after_the_commit(path: Path, begin: Begin) -> None:
    recorder, returned = begin(), threading.Event()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    answers: list[bool] = []

    def start() -> None:
        answers.append(recorder.starting(["n0"]))
        returned.set()

    thread = threading.Thread(target=start)
    thread.start()
    assert not returned.wait(A_WHILE_S)
    other.execute("COMMIT")
    other.close()
    thread.join(10)
    assert answers == [True]
    with LedgerReader(path) as ledger:
        assert ledger.targets(ledger.find("r1"))[0].state == "started"


def test_a_run_sends_nothing_before(tmp_path: Path) -> None:
    """While another process holds the lock the plugin has not run; afterwards it does."""
    path, ran = tmp_path / "ledger.sqlite", tmp_path / "ran"
    targets = {name: Target(name, transport="local") for name in ("a", "b")}
    settings = Settings(state_dir=str(tmp_path))
    locks: list[sqlite3.Connection] = []

    def lock(event: dict[str, object]) -> None:
        if event["kind"] == "run.started":
            locks.append(sqlite3.connect(path, isolation_level=None, check_same_thread=False))
            locks[0].execute("BEGIN IMMEDIATE")

    with Orchestrator(Inventory(targets=targets), settings=settings) as rune:
        command = f"echo x >> {ran}"
        with rune.run("host.exec", "all", {"command": command}, on_event=lock) as run:
            assert not threading.Event().wait(A_WHILE_S)
            assert not ran.exists()
            locks[0].close()
            assert [result.ok for result in run] == [True, True]
    assert ran.read_text() == "x\nx\n"
    assert run.ledger_problem is None


def test_a_library_user_can_do_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNE_STATE_DIR", str(tmp_path / "state"))
    with Orchestrator(settings=Settings(ledger=False)) as rune:
        assert [result.ok for result in rune.run("noop")] == [True]
    assert not list(tmp_path.rglob("*.sqlite*"))
    with Orchestrator() as rune:
        assert [result.ok for result in rune.run("noop")] == [True]
    with LedgerReader(tmp_path / "state" / "ledger.sqlite") as ledger:
        assert [run.status for run in ledger.runs()] == ["ok"]
