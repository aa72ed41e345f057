"""Reads the ledger, also while other processes write it; it can change nothing."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmm.errors import RequestError
from lmm.model import Outcome
from lom.ledger.processes import is_alive
from lom.ledger.records import INTERRUPTED, RUNNING, UNFINISHED, UNKNOWN, WAITING, RunRow, TargetRow
from lom.ledger.sqlite.database import connect_reader, faults_of
from lom.ledger.sqlite.rows import is_waiting, process_of, shown_key
from lom.render.lazily import Lazily

if TYPE_CHECKING:
    from lom.ledger.sqlite.measurements import SqliteMeasurements

_EVENTS_AT_ONCE = 1000


class SqliteReader:
    """A ``LedgerReader`` of the file; one that does not exist yet has no runs.

    With an ``asker`` other people's runs are not there: ``runs`` and ``find`` leave them out.

    Opening and reading raise RequestError (``ledger_corrupt``, ``ledger_newer``,
    ``ledger_unavailable``).
    """

    def __init__(self, path: Path, asker: str | None = None) -> None:
        self.path = path
        self._asker = asker
        self._connection = connect_reader(path)
        if self._connection is not None:
            self._connection.row_factory = sqlite3.Row

    def __enter__(self) -> SqliteReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def runs(
        self, *, limit: int | None = None, action: str | None = None, status: str | None = None
    ) -> list[RunRow]:
        found: list[RunRow] = []
        below = None
        while limit is None or len(found) < limit:
            rows = self.rows(
                "SELECT * FROM run WHERE (?1 IS NULL OR number < ?1)"
                " AND (?2 IS NULL OR action = ?2) AND (?3 IS NULL OR status IS ?3)"
                " AND (finished_at IS NULL OR NOT ?4) AND (?5 IS NULL OR who = ?5)"
                " ORDER BY number DESC LIMIT 100",
                below,
                action,
                None if status in UNFINISHED else status,
                status in UNFINISHED,
                self._asker,
            )
            runs = [self._run(row) for row in rows]
            found += [run for run in runs if status in (None, run.status)]
            if len(rows) < 100:
                break
            below = rows[-1]["number"]
        return found[:limit]

    def find(self, name: str) -> RunRow:
        if name == "last":
            found = self.rows(
                "SELECT * FROM run WHERE ?1 IS NULL OR who = ?1 ORDER BY number DESC LIMIT 1",
                self._asker,
            )
            if not found:
                raise RequestError("unknown_run", f"the ledger {self.path} has no runs")
            return self._run(found[0])
        found = self.rows(
            "SELECT * FROM run WHERE substr(run_id, 1, ?1) = ?2 AND (?3 IS NULL OR who = ?3)"
            " ORDER BY run_id LIMIT 4",
            len(name),
            name,
            self._asker,
        )
        exact = [row for row in found if row["run_id"] == name]
        if len(exact or found) == 1:
            return self._run((exact or found)[0])
        if found:
            ids = ", ".join(row["run_id"] for row in found)
            raise RequestError("unknown_run", f"more than one run begins with {name!r}: {ids}")
        raise RequestError("unknown_run", f"the ledger {self.path} has no run {name!r}")

    def refreshed(self, run: RunRow) -> RunRow | None:
        rows = self.rows("SELECT * FROM run WHERE number = ?", run.number)
        return self._run(rows[0]) if rows and rows[0]["run_id"] == run.run_id else None

    def targets(self, run: RunRow) -> list[TargetRow]:
        rows = self.rows(
            "SELECT name, transport, plugin, CASE WHEN outcome IS NOT NULL THEN 'done'"
            " WHEN started_at IS NOT NULL THEN 'started' ELSE 'not_started' END,"
            " started_at, outcome, attempt FROM target LEFT JOIN result USING (run, position)"
            " WHERE run = ? ORDER BY position",
            run.number,
        )
        return [TargetRow(*row) for row in rows]

    def results(self, run: RunRow) -> Lazily[dict[str, Any]]:
        """Return the results that the ledger has now, in the order of the plan.

        Each is read when it is asked for, as long as the ledger is open; raises RequestError
        (``unknown_run``) if the run was pruned meanwhile.
        """
        rows = self.rows("SELECT position FROM result WHERE run = ? ORDER BY position", run.number)

        def read(position: int) -> dict[str, Any]:
            query = "SELECT document FROM result WHERE run = ? AND position = ?"
            found = self.rows(query, run.number, position)
            if not found:
                words = f"the run {run.run_id} has changed while it was read"
                raise RequestError("unknown_run", words, run_id=run.run_id)
            document: dict[str, Any] = json.loads(found[0]["document"])
            return document

        return Lazily([row["position"] for row in rows], read)

    def document(self, run: RunRow) -> dict[str, Any]:
        """Return the result document (``specs/result_v1.json``) of a run that has one.

        Of any other what there is (``specs/runs_v1.json``): results, and the names of the targets
        that were ``started``, of which nobody knows how they ended, and ``not_started``.
        """
        document = self.document_to_read(run)
        return {**document, "results": list(document["results"])}

    def document_to_read(self, run: RunRow) -> dict[str, Any]:
        document = {
            "run_id": run.run_id,
            "action": run.action,
            "status": run.status,
            "started_at": run.started_at,
            "finished_at": run.finished_at,
            "summary": run.summary,
        }
        with self._one_look():
            results = self.results(run)
            left = [target for target in self.targets(run) if target.state != "done"]
        if run.finished and run.gap is None:
            return {**document, "results": results}
        return {
            **document,
            "incomplete": run.gap or f"the run is {run.status}",
            "started": [target.name for target in left if target.state == "started"],
            "not_started": [target.name for target in left if target.state == "not_started"],
            "results": results,
        }

    def events(self, run: RunRow, after: int = 0) -> Iterator[dict[str, Any]]:
        while True:
            rows = self.rows(
                "SELECT seq, time, kind, name, data FROM event"
                " LEFT JOIN target ON target.run = event.run AND target.position = event.target"
                " WHERE event.run = ? AND seq > ? ORDER BY seq LIMIT ?",
                run.number,
                after,
                _EVENTS_AT_ONCE,
            )
            for row in rows:
                event = {
                    "run_id": run.run_id,
                    "seq": row["seq"],
                    "time": row["time"],
                    "kind": row["kind"],
                }
                if row["name"] is not None:
                    event["target"] = row["name"]
                event["data"] = json.loads(row["data"] or self._finished(run, row["seq"]))
                yield event
                del event  # it may be large, and the next is read only when it is asked for
            if len(rows) < _EVENTS_AT_ONCE:
                return
            after = rows[-1]["seq"]

    def _finished(self, run: RunRow, seq: int) -> str:
        """Return the data of an event that is a target's result."""
        found = self.rows(
            "SELECT coalesce(data, document) FROM event LEFT JOIN result"
            " ON result.run = event.run AND result.position = event.target"
            " WHERE event.run = ? AND seq = ?",
            run.number,
            seq,
        )
        return str(found[0][0]) if found else "null"

    def changes(self) -> int:
        rows = self.rows("PRAGMA data_version")
        return int(rows[0][0]) if rows else 0

    @property
    def measured(self) -> SqliteMeasurements:
        from lom.ledger.sqlite.measurements import SqliteMeasurements

        return SqliteMeasurements(self, self.path, self.rows)

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """Return the rows that a query finds; for the package's own modules."""
        if self._connection is None:
            return []
        with faults_of(self.path):
            try:
                return self._connection.execute(query, values).fetchall()
            except (OverflowError, UnicodeEncodeError):  # no ledger holds such a value
                return []

    # -- inside --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _one_look(self) -> Iterator[None]:
        """Within, all that is read is of one moment."""
        self.rows("BEGIN")
        try:
            yield
        finally:
            self.rows("COMMIT")

    def _run(self, row: sqlite3.Row) -> RunRow:
        status = row["status"]
        if is_waiting(row):
            status = WAITING
        elif row["finished_at"] is None:
            alive = is_alive(process_of(row))
            status = RUNNING if alive else UNKNOWN if alive is None else INTERRUPTED
            if alive is False:  # it may have finished between the two looks
                row = self.rows("SELECT * FROM run WHERE number = ?", row["number"])[0]
                status = row["status"] or status
        return RunRow(
            number=row["number"],
            run_id=row["run_id"],
            action=row["action"],
            request=json.loads(row["request"]),
            secret_params=tuple(json.loads(row["secret_params"])),
            options=json.loads(row["options"]),
            version=row["version"],
            who=row["who"],
            host=row["host"],
            pid=row["pid"],
            started_at=row["started_at"],
            finished_at=row["finished_at"],
            status=status,
            summary=json.loads(row["summary"]) if row["summary"] else self._summary(row["number"]),
            exit_code=row["exit_code"],
            gap=row["gap"],
            cancel_requested_at=row["cancel_requested_at"],
            targets=row["targets"],
            plan_hash=row["plan_hash"],
            approved_by=row["approved_by"] and tuple(json.loads(row["approved_by"])),
            # a file that nobody has written since has no such column
            idempotency_key=shown_key(dict(row).get("idempotency_key")),
        )

    def _summary(self, number: int) -> dict[str, int]:
        """Count the outcomes so far."""
        rows = self.rows(
            "SELECT outcome, count(*) FROM result WHERE run = ? GROUP BY outcome", number
        )
        return dict.fromkeys(map(str, Outcome), 0) | {row[0]: row[1] for row in rows}
