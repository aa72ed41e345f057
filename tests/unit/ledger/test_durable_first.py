"""No script is sent to a target before the ledger has, for good, that it may have started."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from lmm.model import Target
from lmm.transports import TransportPool
from lom import Inventory, Orchestrator, Run
from lom.ledger.records import RunFacts
from lom.ledger.sqlite.reader import SqliteReader
from lom.ledger.sqlite.recorder import SqliteRecorder
from lom.ledger.sqlite.writer import SqliteLedger
from lom.planning.scripts import load_scripts
from lom.settings.values import Settings

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
    with SqliteReader(path) as ledger:
        assert ledger.targets(ledger.find("r1"))[0].state == "started"


def test_a_run_sends_nothing_before(tmp_path: Path) -> None:
    """While another process holds the lock the plugin has not run; afterwards it does."""
    path, ran = tmp_path / "ledger.sqlite", tmp_path / "ran"
    targets = {name: Target(name, transport="local") for name in ("a", "b")}
    locks: list[sqlite3.Connection] = []

    class Locked(SqliteLedger):
        """Another process takes the lock when the run is written down and nothing else is."""

        def begin(self, facts: RunFacts, on_cancel: Callable[[], None]) -> SqliteRecorder:
            recorder = super().begin(facts, on_cancel)
            locks.append(sqlite3.connect(path, isolation_level=None))
            locks[0].execute("BEGIN IMMEDIATE")
            return recorder

    with Orchestrator(Inventory(targets=targets)) as rune, closing(TransportPool()) as pool:
        plan = rune.plan("host.exec", "all", {"command": f"echo x >> {ran}"})
        with (
            Run(plan, load_scripts(plan), pool, ledger=Locked(path)) as run,
            closing(locks[0]) as other,
        ):
            assert not threading.Event().wait(A_WHILE_S)
            assert not ran.exists()
            other.close()
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
    with SqliteReader(tmp_path / "state" / "ledger.sqlite") as ledger:
        assert [run.status for run in ledger.runs()] == ["ok"]
