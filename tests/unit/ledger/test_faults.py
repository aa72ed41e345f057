"""A ledger that cannot be used is refused and left alone; one that fails later stops no run."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from lmm.errors import RequestError
from lom.ledger.sqlite import database, recorder
from lom.ledger.sqlite.reader import SqliteReader
from lom.ledger.sqlite.schema import STEPS, migrate, user_version
from lom.ledger.sqlite.writer import SqliteLedger

from .conftest import Begin, ended, event, facts, result


def damage(path: Path) -> None:
    """Overwrite all pages but the first."""
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(data)


def foreign(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE accounts (id)")
    connection.close()


def newer(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {len(STEPS) + 1}")
    connection.close()


@pytest.mark.parametrize(
    ("spoil", "reason", "words"),
    [
        (
            lambda path: path.write_bytes(b"not a database " * 600),
            "ledger_corrupt",
            "not a database",
        ),
        (damage, "ledger_corrupt", "malformed"),
        (foreign, "ledger_corrupt", "something else"),
        (newer, "ledger_newer", "newer RUNE"),
    ],
)
def test_a_file_that_is_none_is_refused_and_left_as_it_is(
    path: Path, begin: Begin, spoil: Callable[[Path], None], reason: str, words: str
) -> None:
    begin().finish(ended(), 0)
    spoil(path)
    path.chmod(0o600)
    before = path.read_bytes()
    with pytest.raises(RequestError, match=words) as refusal:
        SqliteLedger(path).begin(facts("r2"), lambda: None)
    assert refusal.value.reason == reason
    assert str(path) in refusal.value.message
    with pytest.raises(RequestError) as refusal, SqliteReader(path) as ledger:
        ledger.runs()
    assert refusal.value.reason == reason
    assert path.read_bytes() == before


def test_no_folder_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match="/file: File exists") as refusal:
        SqliteLedger(tmp_path / "file" / "ledger.sqlite").begin(facts(), lambda: None)
    assert refusal.value.reason == "ledger_unavailable"


def test_a_folder_stands_where_the_file_should(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(RequestError, match="cannot be opened") as refusal:
        SqliteLedger(path).begin(facts(), lambda: None)
    assert refusal.value.reason == "ledger_unavailable"


def test_locked_for_long_before_the_start(
    path: Path, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin().finish(ended(), 0)
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(RequestError, match="another process has kept it locked") as refusal:
        begin(run_id="r2")
    assert refusal.value.reason == "ledger_unavailable"
    other.close()
    with SqliteReader(path) as ledger:
        assert [run.run_id for run in ledger.runs()] == ["r1"]


def test_locked_for_a_while_in_the_middle_loses_nothing(
    path: Path, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    monkeypatch.setattr(recorder, "RETRY_S", 0.05)
    recording = begin()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert not recording.starting(["n0"])
    assert not recording.starting(["n1"])  # at once, the run goes on
    recording.result(result("n0"))
    recording.event(event(1, "target.finished", "n0"))
    assert recording.problem
    assert "locked" in recording.problem
    other.execute("COMMIT")
    recording.finish(ended(ok=1), 0)
    other.close()
    assert recording.problem is None
    with SqliteReader(path) as ledger:
        run = ledger.find("r1")
        assert (run.status, run.gap) == ("ok", None)
        assert [one.state for one in ledger.targets(run)] == ["done", "started", "not_started"]
        assert len(list(ledger.events(run))) == 1


def test_locked_to_the_end_is_a_run_without_end(
    path: Path, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    recording = begin()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    recording.result(result("n0"))
    recording.finish(ended(ok=1), 0)
    other.close()
    assert recording.problem
    with SqliteReader(path) as ledger:
        assert ledger.results(ledger.find("r1")) == []


def test_what_is_too_much_to_keep_leaves_a_gap_that_is_told(
    path: Path, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    monkeypatch.setattr(recorder, "RETRY_S", 0.0)
    monkeypatch.setattr(recorder, "MOST_PENDING", 10)
    recording = begin()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for seq in range(1, 40):  # never waits for good, though nothing can be written
        recording.event(event(seq, message="x"))
    other.execute("COMMIT")
    other.close()
    recording.finish(ended(ok=3), 0)
    with SqliteReader(path) as ledger:
        run = ledger.find("r1")
        document = ledger.document(run)
    assert recording.problem
    assert run.status == "ok"
    assert run.gap == recording.problem
    assert document["incomplete"] == run.gap
    assert document["not_started"] == ["n0", "n1", "n2"]


def test_a_flood_of_events_waits_for_the_writer(
    path: Path, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "MOST_PENDING", 50)
    recording = begin()
    for seq in range(1, 2001):
        recording.event(event(seq, message="x"))
    recording.finish(ended(), 0)
    assert recording.problem is None
    with SqliteReader(path) as ledger:
        assert [e["seq"] for e in ledger.events(ledger.find("r1"))] == [*range(1, 2001)]


def test_damage_while_it_is_written_ends_the_record_not_the_run(path: Path, begin: Begin) -> None:
    recording = begin()
    other = sqlite3.connect(path)
    other.execute("DROP TABLE event")
    other.close()
    recording.event(event(1))
    recording.starting(["n0"])
    recording.finish(ended(ok=1), 0)
    assert recording.problem
    assert "no such table" in recording.problem


@pytest.mark.parametrize("have", range(len(STEPS) + 1))
def test_an_older_file_is_migrated_with_its_data(path: Path, begin: Begin, have: int) -> None:
    """From each version there was to one that comes after the newest."""
    later = (*STEPS, "ALTER TABLE run ADD COLUMN note TEXT; UPDATE run SET note = 'new'")
    path.parent.mkdir()
    connection = sqlite3.connect(path, isolation_level=None)
    if have:
        migrate(connection, STEPS[:have])
        connection.close()
        recording = begin()
        recording.result(result("n0"))
        recording.finish(ended(ok=1), 0)
        connection = sqlite3.connect(path, isolation_level=None)
    migrate(connection, later)
    assert user_version(connection) == len(STEPS) + 1
    assert connection.execute("SELECT run_id, note FROM run").fetchall() == [("r1", "new")] * min(
        have, 1
    )
    assert connection.execute("SELECT count(*) FROM result").fetchone() == (min(have, 1),)
    migrate(connection, later)  # once is enough
    connection.close()


def test_runs_written_before_there_were_approvals_are_kept(path: Path) -> None:
    path.parent.mkdir()
    old = sqlite3.connect(path, isolation_level=None)
    migrate(old, STEPS[:1])
    made = facts("old")
    row = {
        "run_id": made.run_id,
        "action": made.action,
        "request": json.dumps(made.request),
        "secret_params": '["/token"]',
        "options": "{}",
        "version": "0",
        "who": "ops",
        "host": "bastion",
        "boot_id": "another",
        "pid_space": "pid:[1]",
        "pid": 7,
        "pid_started": 1,
        "started_at": made.started_at,
        "targets": 1,
        "finished_at": made.started_at,
        "status": "ok",
        "summary": '{"ok": 1}',
        "exit_code": 0,
    }
    marks = ", ".join("?" * len(row))
    old.execute(f"INSERT INTO run ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))
    old.execute("INSERT INTO target VALUES (1, 0, 'n0', 'local', 'noop', NULL)")
    document = json.dumps(result("n0"))
    old.execute("INSERT INTO result VALUES (1, 0, 'ok', 1, ?)", (document,))
    old.close()

    SqliteLedger(path).prepare()
    with SqliteReader(path) as ledger:
        [run] = ledger.runs()
        assert ledger.results(run) == [result("n0")]
    assert (run.run_id, run.who, run.status, run.exit_code) == ("old", "ops", "ok", 0)
    assert (run.secret_params, run.plan_hash, run.approved_by) == (("/token",), None, None)


def test_a_migration_that_fails_changes_nothing(path: Path, begin: Begin) -> None:
    begin().finish(ended(), 0)
    connection = sqlite3.connect(path, isolation_level=None)
    wrong = (*STEPS, "ALTER TABLE run ADD COLUMN note TEXT; no SQL")
    with pytest.raises(sqlite3.OperationalError), database.transaction(connection):
        migrate(connection, wrong)
    assert user_version(connection) == len(STEPS)
    connection.execute("SELECT * FROM run").fetchone()
    with pytest.raises(sqlite3.OperationalError, match="note"):
        connection.execute("SELECT note FROM run")
    connection.close()


def test_a_ledger_of_the_version_before_is_read_and_upgraded(path: Path, begin: Begin) -> None:
    """The file was recorded with that version; who only reads leaves it as it is."""
    path.parent.mkdir()
    old = sqlite3.connect(path)
    old.executescript(Path(__file__).with_name("version_3.sql").read_text(encoding="utf-8"))
    assert user_version(old) == 3
    with SqliteReader(path) as ledger:
        before = ledger.document(ledger.find("last"))
        told = list(ledger.events(ledger.find("last")))
    assert user_version(old) == 3
    begin(run_id="new").finish(ended(ok=3), 0)
    assert user_version(old) == len(STEPS)
    old.close()
    with SqliteReader(path) as ledger:
        [new, run] = ledger.runs()
        assert (new.run_id, run.action, run.status, run.exit_code) == ("new", "noop", "ok", 0)
        assert ledger.document(run) == before
        assert [one["outcome"] for one in before["results"]] == ["ok", "ok"]
        assert list(ledger.events(run)) == told
        assert told[-1]["kind"] == "run.finished"


@pytest.mark.parametrize("replaced", [False, True])
def test_a_ledger_that_is_moved_away_during_a_run(path: Path, begin: Begin, replaced: bool) -> None:
    """What is written then is found by nobody: the run says so."""
    run = begin()
    run.starting(["n0"])
    for file in sorted(path.parent.iterdir()):
        file.rename(file.with_name(f"moved-{file.name}"))
    if replaced:
        SqliteLedger(path).prepare()
    run.result(result("n0"))
    run.finish(ended(ok=1), 0)
    assert run.problem is not None
    assert f"{path} was moved away, removed or replaced" in run.problem
