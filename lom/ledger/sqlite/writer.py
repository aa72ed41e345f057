"""The ledger as those see it who change it: runs that begin, wishes to cancel, pruning."""

from __future__ import annotations

import json
import platform
import re
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lmm.envelope import timestamp
from lmm.errors import RequestError
from lom.ledger.processes import is_alive, this_process
from lom.ledger.records import Earlier, Keep, RunFacts, RunRow, who
from lom.ledger.sqlite.database import connect_writer, faults_of, transaction, writing
from lom.ledger.sqlite.reader import SqliteReader
from lom.ledger.sqlite.recorder import SqliteRecorder
from lom.ledger.sqlite.resuming import take_up
from lom.ledger.sqlite.rows import is_waiting, key_of, process_of

if TYPE_CHECKING:
    from lom.ledger.measurements import Baseline, BaselineMetric

_T = TypeVar("_T")
_BASELINE = re.compile(r"(?!last\Z)[A-Za-z][A-Za-z0-9._-]{0,63}", re.ASCII)  # a name of one
_FREED_AT_ONCE = 256  # pages; other writers wait no longer than this takes


class SqliteLedger:
    """The ledger's file, a ``Ledger``; each call opens it, and makes or migrates it where needed.

    Its new runs are the ``asker``'s; None: those of the user of the operating system. All raise
    RequestError (``ledger_corrupt``, ``ledger_newer``, ``ledger_unavailable``); a file that is
    refused stays as it is.
    """

    def __init__(self, path: Path, asker: str | None = None) -> None:
        self.path = path
        self._asker = asker

    def prepare(self) -> None:
        connect_writer(self.path).close()

    def reader(self) -> SqliteReader:
        return SqliteReader(self.path, self._asker)

    def begin(self, facts: RunFacts, on_cancel: Callable[[], None]) -> SqliteRecorder:
        names = [name for name, *_ in facts.targets]
        connection, number = self._open(lambda connection: _insert(connection, facts, self._asker))
        return SqliteRecorder(connection, self.path, number, names, on_cancel)

    def resume(
        self, run_id: str, on_cancel: Callable[[], None], keep: Keep, *, unseen: bool
    ) -> tuple[SqliteRecorder, Earlier]:
        connection, (number, names, earlier) = self._open(
            lambda connection: take_up(connection, run_id, keep, unseen)
        )
        return SqliteRecorder(connection, self.path, number, names, on_cancel), earlier

    def wait(self, facts: RunFacts, plan_hash: str) -> None:
        with writing(self.path) as connection:
            _insert(connection, facts, self._asker, plan_hash)

    def approved(self, run_id: str, users: Sequence[str]) -> None:
        with writing(self.path) as connection:
            connection.execute(
                "UPDATE run SET approved_by = ? WHERE run_id = ? AND plan_hash IS NOT NULL"
                " AND approved_by IS NULL",
                (json.dumps(users), run_id),
            )

    def check_key(self, run_id: str, key: str | None) -> None:
        with closing(connect_writer(self.path)) as connection, faults_of(self.path):
            _check_key(connection, run_id, self._asker, key)

    def request_cancel(self, run_id: str) -> bool:
        with writing(self.path) as connection:
            changed = connection.execute(
                "UPDATE run SET cancel_requested_at = coalesce(cancel_requested_at, ?)"
                " WHERE run_id = ? AND finished_at IS NULL",
                (timestamp(), run_id),
            )
            return changed.rowcount > 0

    def prune(self, older_than: str, keep: int = 0) -> list[str]:
        if not self.path.exists():
            return []
        with closing(connect_writer(self.path)) as connection, faults_of(self.path):
            connection.row_factory = sqlite3.Row
            rows = connection.execute(
                "SELECT * FROM run WHERE started_at < ? AND number NOT IN"
                " (SELECT number FROM run ORDER BY number DESC LIMIT ?) ORDER BY number",
                (older_than, keep),
            ).fetchall()
            pruned = []
            for row in rows:
                unfinished = row["finished_at"] is None and not is_waiting(row)
                if unfinished and is_alive(process_of(row)) is not False:
                    continue
                with transaction(connection):
                    connection.execute("DELETE FROM run WHERE number = ?", (row["number"],))
                pruned.append(row["run_id"])
            _shrink(connection)
            return pruned

    def save_baseline(
        self, name: str, run: RunRow, metrics: Sequence[BaselineMetric], *, replace: bool
    ) -> Baseline:
        from lom.ledger.measurements import Baseline

        if not _BASELINE.fullmatch(name):
            raise RequestError(
                "invalid_request",
                f"{name[:80]!r} cannot be the name of a baseline: a letter, then up to 63 letters,"
                " digits, '.', '_' and '-'; `last` is a run",
                field="NAME",
            )
        saved = Baseline(name, run.action, run.run_id, timestamp(), who(), tuple(metrics))
        with writing(self.path) as connection:
            if replace:
                connection.execute("DELETE FROM baseline WHERE name = ?", (name,))
            elif connection.execute("SELECT 1 FROM baseline WHERE name = ?", (name,)).fetchone():
                raise RequestError(
                    "baseline_exists", f"there is a baseline {name!r} already", field="NAME"
                )
            about = (saved.name, saved.action, saved.run_id, saved.saved_at, saved.who)
            connection.execute("INSERT INTO baseline VALUES (?, ?, ?, ?, ?)", about)
            connection.executemany(
                "INSERT INTO baseline_metric VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (
                        *(name, metric.plugin, metric.facts, *metric.series),
                        *(metric.center, metric.spread, metric.hosts),
                    )
                    for metric in metrics
                ),
            )
        return saved

    def remove_baseline(self, name: str) -> None:
        from lom.ledger.sqlite.measurements import no_baseline

        with writing(self.path) as connection:
            if not connection.execute("DELETE FROM baseline WHERE name = ?", (name,)).rowcount:
                known = connection.execute("SELECT name FROM baseline").fetchall()
                raise no_baseline(self.path, name, [row[0] for row in known])

    def _open(self, work: Callable[[sqlite3.Connection], _T]) -> tuple[sqlite3.Connection, _T]:
        """Do work in a transaction; return the connection, still open, and what came of it."""
        connection = connect_writer(self.path)
        try:
            with faults_of(self.path), transaction(connection):
                done = work(connection)
        except BaseException:
            connection.close()
            raise
        return connection, done


def _check_key(
    connection: sqlite3.Connection, run_id: str, asker: str | None, key: str | None
) -> None:
    """Raise RequestError (``idempotency_key_used``) if another run of the asker's has the key."""
    found = connection.execute(
        "SELECT run_id FROM run WHERE idempotency_key = ? AND run_id != ?",
        (key_of(asker, key), run_id),
    ).fetchone()
    if found:
        raise RequestError(
            "idempotency_key_used",
            f"the idempotency key {key!r} is that of the run {found[0]}",
            run_id=found[0],
        )


def _insert(
    connection: sqlite3.Connection,
    facts: RunFacts,
    asker: str | None,
    plan_hash: str | None = None,
) -> int:
    """Insert a run and its targets; one that waited and was approved is taken over."""
    _check_key(connection, facts.run_id, asker, facts.idempotency_key)
    process = this_process()
    approved_by = None
    if plan_hash is None:
        waited = connection.execute(
            "SELECT number, plan_hash, approved_by FROM run"
            " WHERE run_id = ? AND approved_by IS NOT NULL AND finished_at IS NULL",
            (facts.run_id,),
        ).fetchone()
        if waited:
            number, plan_hash, approved_by = waited
            connection.execute("DELETE FROM run WHERE number = ?", (number,))
    row = {
        "run_id": facts.run_id,
        "action": facts.action,
        "request": json.dumps(facts.request),
        "secret_params": json.dumps(sorted(facts.secret_params)),
        "options": json.dumps(facts.options),
        "version": facts.version,
        "who": asker or who(),
        "host": platform.node(),
        "boot_id": process.boot_id,
        "pid_space": process.pid_space,
        "pid": process.pid,
        "pid_started": process.started,
        "started_at": facts.started_at,
        "targets": len(facts.targets),
        "plan_hash": plan_hash,
        "approved_by": approved_by,
        "idempotency_key": key_of(asker, facts.idempotency_key),
    }
    marks = ", ".join("?" * len(row))
    inserted = connection.execute(
        f"INSERT INTO run ({', '.join(row)}) VALUES ({marks})", tuple(row.values())
    )
    number = inserted.lastrowid
    assert number is not None
    connection.executemany(
        "INSERT INTO target (run, position, name, transport, plugin) VALUES (?, ?, ?, ?, ?)",
        ((number, position, *target) for position, target in enumerate(facts.targets)),
    )
    return number


def _shrink(connection: sqlite3.Connection) -> None:
    """Give free pages back in steps, so that a run that is being recorded is not held up."""
    while (free := _free_pages(connection)) > 0:
        connection.execute(f"PRAGMA incremental_vacuum({_FREED_AT_ONCE})").fetchall()
        if _free_pages(connection) >= free:
            return
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _free_pages(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA freelist_count").fetchone()[0])
