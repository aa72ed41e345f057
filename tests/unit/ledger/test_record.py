"""What a recorder is told is in the ledger when it says so, and reads back as it was."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lmm.envelope import timestamp
from lmm.errors import RequestError
from lom.ledger.sqlite.reader import SqliteReader
from lom.ledger.sqlite.writer import SqliteLedger

from .conftest import Begin, ended, event, facts, result


def states(path: Path, run: str = "last") -> dict[str, str]:
    with SqliteReader(path) as ledger:
        return {one.name: one.state for one in ledger.targets(ledger.find(run))}


def test_file_and_folder_are_private(path: Path, begin: Begin) -> None:
    before = os.umask(0)
    try:
        begin().starting(["n0"])
        modes = {one.name: one.stat().st_mode & 0o777 for one in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert set(modes) == {"ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"}
    assert set(modes.values()) == {0o600}


def test_a_file_that_was_opened_up_is_closed_again(path: Path, begin: Begin) -> None:
    begin().close()
    path.chmod(0o644)
    begin(run_id="r2")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_start_is_durable_when_it_is_said_to_be(path: Path, begin: Begin) -> None:
    recorder = begin()
    assert states(path) == {"n0": "not_started", "n1": "not_started", "n2": "not_started"}
    assert recorder.starting(["n0", "n2"])
    assert states(path) == {"n0": "started", "n1": "not_started", "n2": "started"}


def test_many_threads_share_commits(path: Path, begin: Begin) -> None:
    recorder = begin(targets=400)
    seen: list[str] = []

    def start(part: range) -> None:
        for number in part:
            assert recorder.starting([f"n{number}"])
            seen.append(f"n{number}")

    threads = [threading.Thread(target=start, args=(range(i, 400, 40),)) for i in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(states(path).values()) == {"started"}
    assert len(seen) == 400


def test_results_and_events_read_back_as_they_were(path: Path, begin: Begin) -> None:
    recorder = begin()
    odd: Any = {"n": 1e-7, "big": 2**70, "text": "\u2028 ü \x00 \ud800", "deep": [[{}], None, True]}
    done = result("n1", "failed", output_data=odd, error={"x": 1}, stderr="log\n")
    told = [
        event(1, "run.started", action="noop", targets=3),
        event(2, "target.started", "n1", plugin="noop"),
        event(3, "log", "n1", message="häß"),
        {**event(4, "target.finished", "n1"), "data": done},
        event(5, "run.finished", status="ok"),
    ]
    recorder.starting(["n1"])
    recorder.result(done)
    for one in told:
        recorder.event(one)
    recorder.finish(ended(ok=1), 7)
    with SqliteReader(path) as ledger:
        run = ledger.find("r1")
        assert list(ledger.events(run)) == told
        assert list(ledger.events(run, 3)) == told[3:]
        assert ledger.results(run) == [done]
        assert (run.status, run.exit_code, run.summary, run.gap) == ("ok", 7, {"ok": 1}, None)
        assert ledger.document(run)["results"] == [done]
        target = ledger.targets(run)[1]
    assert (target.state, target.outcome, target.attempt) == ("done", "failed", 1)


def test_a_run_that_is_not_finished_tells_what_is_known(path: Path, begin: Begin) -> None:
    recorder = begin()
    recorder.starting(["n0", "n1"])
    recorder.result(result("n0"))
    recorder.starting([])  # waits for the commit
    with SqliteReader(path) as ledger:
        run = ledger.find("last")
        document = ledger.document(run)
    assert run.status == document["status"] == "running"
    assert run.summary["ok"] == 1
    assert document["started"] == ["n1"]
    assert document["not_started"] == ["n2"]
    assert [one["target"] for one in document["results"]] == ["n0"]


def test_a_run_whose_process_is_gone_is_interrupted(path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from tests.unit.ledger.conftest import facts\n"
        "from lom.ledger.sqlite.writer import SqliteLedger\n"
        "SqliteLedger(Path(sys.argv[1])).begin(facts(), lambda: None).starting(['n0']); os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], cwd=Path(__file__).parents[3])
    assert done.returncode == 9
    with SqliteReader(path) as ledger:
        assert [run.status for run in ledger.runs()] == ["interrupted"]
    assert states(path) == {"n0": "started", "n1": "not_started", "n2": "not_started"}


@pytest.mark.parametrize(
    ("column", "value", "status"),
    [
        ("pid_started", 1, "interrupted"),  # the id was given to another process
        ("boot_id", "another", "interrupted"),
        ("pid_space", "pid:[1]", "unknown"),  # a container's: cannot be seen from here
        pytest.param("pid", os.getpid(), "running", id="its own id"),
    ],
)
def test_how_a_process_is_told_to_live(
    path: Path, begin: Begin, column: str, value: Any, status: str
) -> None:
    begin()
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE run SET {column} = ?", (value,))
    connection.close()
    with SqliteReader(path) as ledger:
        assert [run.status for run in ledger.runs()] == [status]
        assert len(ledger.runs(status=status)) == 1
        assert ledger.runs(status="ok") == []


def test_runs_are_found_by_id_beginning_and_last(path: Path, begin: Begin) -> None:
    for name in ("20260101T000000Z-aa", "20260101T000000Z-ab", "20260102T000000Z-aa"):
        begin(run_id=name).finish(ended(), 0)
    with SqliteReader(path) as ledger:
        assert ledger.find("last").run_id == "20260102T000000Z-aa"
        assert ledger.find("20260102").run_id == "20260102T000000Z-aa"
        assert ledger.find("20260101T000000Z-aa").run_id == "20260101T000000Z-aa"
        ambiguous = ("20260101", "-aa, 20260101T000000Z-ab")
        for name, words in (ambiguous, ("7", "no run '7'"), ("\udcff", r"no run '\\udcff'")):
            with pytest.raises(RequestError, match=words) as refusal:
                ledger.find(name)
            assert refusal.value.reason == "unknown_run"
        assert [run.run_id[-2:] for run in ledger.runs(limit=2)] == ["aa", "ab"]
        assert ledger.runs(action="other") == []
        assert list(ledger.events(ledger.find("last"), after=2**64)) == []


def test_where_there_is_no_ledger_there_are_no_runs(path: Path) -> None:
    with SqliteReader(path) as ledger:
        assert ledger.runs() == []
        with pytest.raises(RequestError, match="has no runs"):
            ledger.find("last")
    assert not path.parent.exists()


def test_another_process_asks_to_cancel(path: Path, begin: Begin) -> None:
    asked = threading.Event()
    recorder = begin(asked.set)
    assert not asked.wait(0.01)
    assert SqliteLedger(path).request_cancel("r1")
    assert asked.wait(10)
    recorder.finish(ended(), 130)
    assert not SqliteLedger(path).request_cancel("r1")
    with SqliteReader(path) as ledger:
        assert ledger.find("r1").cancel_requested_at


def test_pruning_spares_live_and_new_runs_and_gives_room_back(path: Path, begin: Begin) -> None:
    old = timestamp(datetime.now(UTC) - timedelta(days=40))
    live = begin(run_id="live", started_at=old)
    for name, at in (("old1", old), ("old2", old), ("new", timestamp())):
        recorder = begin(run_id=name, started_at=at)
        recorder.result(result("n0", output_data={"x": "y" * 500_000}))
        recorder.event(event(1, "target.finished", "n0"))
        recorder.finish(ended(ok=1), 0)
    before = timestamp(datetime.now(UTC) - timedelta(days=30))
    assert SqliteLedger(path).prune(before, keep=2) == ["old1"]
    size = path.stat().st_size
    assert SqliteLedger(path).prune(before) == ["old2"]
    assert path.stat().st_size < size - 400_000
    with SqliteReader(path) as ledger:
        assert [run.run_id for run in ledger.runs()] == ["new", "live"]
    with sqlite3.connect(path) as connection:
        for table in ("target", "result", "event"):
            left = connection.execute(f"SELECT count(DISTINCT run) FROM {table}").fetchone()[0]
            assert left <= 2
    connection.close()
    assert live.starting(["n0"])


def test_a_run_waits_is_approved_and_begins_with_its_id(path: Path, begin: Begin) -> None:
    begin(run_id="r0").finish(ended(), 0)
    SqliteLedger(path).wait(facts("r1"), "hash")
    with SqliteReader(path) as ledger:
        [run] = ledger.runs(status="waiting")
        assert ledger.document(run)["not_started"] == ["n0", "n1", "n2"]
        assert ledger.runs(status="interrupted") == []
    assert (run.run_id, run.plan_hash, run.approved_by) == ("r1", "hash", None)
    with pytest.raises(RequestError, match="UNIQUE"):  # not before it was approved
        begin(run_id="r1")
    SqliteLedger(path).approved("r1", ["alice", "bob"])
    SqliteLedger(path).approved("r1", ["mallory"])
    SqliteLedger(path).approved("r0", ["mallory"])
    recorder = begin(run_id="r1")
    recorder.starting(["n0"])
    with SqliteReader(path) as ledger:
        assert [run.status for run in ledger.runs()] == ["running", "ok"]
        assert ledger.runs(status="waiting") == []
    recorder.finish(ended(ok=1), 0)
    with SqliteReader(path) as ledger:
        run, other = ledger.runs()
    assert (run.status, run.plan_hash, run.approved_by) == ("ok", "hash", ("alice", "bob"))
    assert (other.plan_hash, other.approved_by) == (None, None)
    with pytest.raises(RequestError, match="UNIQUE"):  # nor twice
        begin(run_id="r1")


def test_a_run_that_was_approved_and_never_began_is_interrupted(path: Path) -> None:
    SqliteLedger(path).wait(facts("r1"), "hash")
    SqliteLedger(path).approved("r1", ["alice"])
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE run SET pid_started = 1")
    connection.close()
    with SqliteReader(path) as ledger:
        assert ledger.find("r1").status == "interrupted"


def test_what_waits_is_pruned_by_its_age(path: Path) -> None:
    old = timestamp(datetime.now(UTC) - timedelta(days=40))
    SqliteLedger(path).wait(facts("old", started_at=old), "hash")
    SqliteLedger(path).wait(facts("new"), "hash")
    before = timestamp(datetime.now(UTC) - timedelta(days=30))
    assert SqliteLedger(path).prune(before) == ["old"]


def test_two_processes_begin_at_the_same_time_in_a_new_ledger(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from tests.unit.ledger.conftest import ended, event, facts, result\n"
        "from lom.ledger.sqlite.writer import SqliteLedger\n"
        "name = sys.argv[2]; sys.stdin.read()\n"
        "for turn in range(5):\n"
        "    ledger = SqliteLedger(Path(sys.argv[1]))\n"
        "    made = ledger.begin(facts(f'{name}-{turn}', 50), lambda: None)\n"
        "    for i in range(50):\n"
        "        assert made.starting([f'n{i}'])\n"
        "        made.result(result(f'n{i}'))\n"
        "        made.event(event(i + 1, 'target.finished', f'n{i}'))\n"
        "    made.finish(ended(ok=50), 0)\n"
        "    assert made.problem is None, made.problem\n"
    )
    many = [
        subprocess.Popen(
            [sys.executable, "-c", code, path, str(number)],
            cwd=Path(__file__).parents[3],
            stdin=subprocess.PIPE,
        )
        for number in range(4)
    ]
    for process in many:
        assert process.stdin
        process.stdin.close()  # all go at once
    assert [process.wait(60) for process in many] == [0] * 4
    with SqliteReader(path) as ledger:
        runs = ledger.runs()
        assert len(runs) == 20
        assert {len(ledger.results(run)) for run in runs} == {50}
        assert all([e["seq"] for e in ledger.events(run)] == [*range(1, 51)] for run in runs)
