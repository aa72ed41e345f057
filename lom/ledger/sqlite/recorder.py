"""Writes the record of one run while it goes on: one thread, many changes in one commit.

The threads of a run hand over what happened and go on. Only before a script may start do they
wait, until the commit that says so; those that wait at the same time share one.

When the file cannot be written the run goes on: what was handed over is kept and tried again
every second, until it is too much or the run ends. ``problem`` then says what is missing.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from lmm.envelope import timestamp
from lmm.threads import started
from lom.ledger.metrics import measured_of
from lom.ledger.processes import LEFT, this_process
from lom.ledger.sqlite.database import identity, is_damage, transaction, why

APART_S = 0.005  # between two commits under load: most that a start waits for others to share one
LINGER_S = 0.02  # how long results and events wait for others to share a commit with
POLL_S = 0.5  # how often another process's wish to cancel is looked for
RETRY_S = 1.0
ROWS_AT_ONCE = 100
TEXT_AT_ONCE = 1024 * 1024  # characters of results
VALUES_AT_ONCE = 999  # as SQLite before 3.32 has it
MOST_PENDING = 20_000  # changes; with more the run waits, or the record is given up

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


@dataclass(frozen=True, slots=True)
class _Result:
    """A target's result: the rows that it becomes, and what gives its document as JSON."""

    row: tuple[Any, ...]
    text: Callable[[], str]
    measured: tuple[Any, ...] | None
    metrics: Sequence[tuple[Any, ...]]


@dataclass(slots=True)
class _Changes:
    """What one commit writes; ``settled`` is set when it was written, or could not be.

    It is ``awaited`` when somebody waits for that.
    """

    starts: list[str] = field(default_factory=list)
    results: list[_Result] = field(default_factory=list)
    events: list[Mapping[str, Any]] = field(default_factory=list)
    awaited: bool = False
    settled: threading.Event = field(default_factory=threading.Event)

    def __len__(self) -> int:
        return len(self.starts) + len(self.results) + len(self.events)


class SqliteRecorder:
    """The ``Recorder`` of a run under way.

    ``on_cancel`` is called once, from a thread of its own, when another process has asked for
    the run to be cancelled. Made by ``SqliteLedger.begin``.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        number: int,
        targets: Sequence[str],
        on_cancel: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._path, self._identity = path, identity(path)
        self._number = number
        self._own = this_process()  # now, as a fault may leave no descriptor to ask by
        self._positions = {name: position for position, name in enumerate(targets)}
        self._on_cancel = on_cancel
        self._changed = threading.Condition()
        self._next = _Changes()
        self._taken = _Changes()  # the newest that the writer has taken
        self._taken.settled.set()
        self._late: list[_Changes] = []  # could not be written yet; the writer's own
        self._finish: tuple[Any, ...] | None = None
        self._closing = False
        self._trouble: str | None = None  # since a write failed, until one succeeds
        self._given_up: str | None = None
        self._cancelling: threading.Thread | None = None
        self._retry_at = 0.0
        self._committed_at = 0.0
        self._poll_at = 0.0
        self._data_version = -1
        self._thread = threading.Thread(target=self._work, name="rune-ledger", daemon=True)
        self._alone = threading.Lock()  # held by who writes where there is no thread for it
        self._is_threaded = started(self._thread)

    # -- what a run tells ----------------------------------------------------------------------

    @property
    def problem(self) -> str | None:
        return self._given_up or self._trouble

    def starting(self, targets: Iterable[str]) -> bool:
        with self._changed:
            self._next.starts += targets
            if self.problem or self._closing:
                return False
        self.settle()
        return self.problem is None

    def settle(self) -> None:
        with self._changed:
            changes = self._next if len(self._next) else self._taken
            if self._closing:
                return
            if changes is self._next:
                changes.awaited = True
                self._changed.notify_all()
        if not self._is_threaded:
            with self._alone:
                if not changes.settled.is_set():
                    self._step()
        changes.settled.wait()

    def result(self, document: Mapping[str, Any], text: Callable[[], str] | None = None) -> None:
        result = self._result(document, text)
        with self._changed:
            self._wait_for_room()
            self._next.results.append(result)
            self._announce()

    def event(self, event: Mapping[str, Any]) -> None:
        with self._changed:
            self._wait_for_room()
            self._next.events.append(event)
            self._announce()

    def finish(self, summary: Mapping[str, Any], exit_code: int | None) -> None:
        self._finish = (
            summary["finished_at"],
            summary["status"],
            _encode(summary["summary"]),
            exit_code,
        )
        self._close()
        if identity(self._path) != self._identity:
            self._give_up(f"{self._path} was moved away, removed or replaced during the run")

    def close(self) -> None:
        self._close()

    def _close(self) -> None:
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._changed.notify_all()
        if self._is_threaded:
            self._thread.join()
        else:
            with self._alone:
                self._work()
        if self._cancelling is not None:
            self._cancelling.join()

    # -- the thread that writes ----------------------------------------------------------------

    def _announce(self) -> None:
        if len(self._next) == 1:
            self._changed.notify_all()

    def _wait_for_room(self) -> None:
        if self._is_threaded:
            self._changed.wait_for(lambda: len(self._next) < MOST_PENDING or self._closing)

    def _work(self) -> None:
        while not self._step():
            pass
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def _step(self) -> bool:
        """Write what there is; return whether that was the last."""
        changes, last = self._take()
        try:
            self._write(changes, last)
            self._poll()
        except Exception as error:  # a run must not hang, nor end, for its record's sake
            self._give_up(f"unexpected {type(error).__name__}: {error}")
        finally:
            changes.settled.set()
        return last

    def _take(self) -> tuple[_Changes, bool]:
        """Wait for changes, as long as sharing a commit is worth, and return them."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or len(self._next), POLL_S)
            if not self._next.awaited:
                self._changed.wait_for(lambda: self._closing or self._next.awaited, LINGER_S)
            early = self._committed_at + APART_S - time.monotonic()
            if early > 0:
                self._changed.wait_for(lambda: self._closing, early)
            self._taken = changes = self._next
            self._next = _Changes()
            self._changed.notify_all()
            return changes, self._closing

    def _write(self, changes: _Changes, last: bool) -> None:
        if self._given_up is None and len(changes):
            self._late.append(changes)
        if self._trouble is None or last or time.monotonic() >= self._retry_at:
            try:
                self._commit(self._late, last)
            except (sqlite3.Error, MemoryError) as error:
                self._trouble = why(error)
                self._retry_at = time.monotonic() + RETRY_S
                if last or is_damage(error):
                    self._give_up(self._trouble)
            else:
                self._trouble = None
                self._late.clear()
                self._committed_at = time.monotonic()
        if sum(map(len, self._late)) > MOST_PENDING:
            self._give_up(self._trouble or "")
        if last and self._given_up:
            with contextlib.suppress(sqlite3.Error):  # so little may still find room
                self._commit([], last)

    def _commit(self, late: Sequence[_Changes], last: bool) -> None:
        if not late and not last:
            return
        starts = [(self._positions[name],) for one in late for name in one.starts]
        results = [result for one in late for result in one.results]
        events = [self._event_row(event) for one in late for event in one.events]
        measured = [one.measured for one in results if one.measured is not None]
        metrics = [row for one in results for row in one.metrics]
        execute = self._connection.execute
        with transaction(self._connection):
            # One statement for many rows: Python gives way to other threads at each.
            for rows in _chunks(starts):
                marks = ", ".join("?" * len(rows))
                execute(
                    "UPDATE target SET started_at = ?, starts = starts + 1"
                    f" WHERE run = ? AND position IN ({marks})",
                    (timestamp(), self._number, *chain.from_iterable(rows)),
                )
            for table, chunks in (
                ("result", _read(results)),
                ("event", _chunks(events)),
                ("measured", _chunks(measured)),
                ("metric", _chunks(metrics)),
            ):
                for rows in chunks:
                    marks = f"({', '.join('?' * len(rows[0]))})"
                    execute(
                        f"INSERT INTO {table} VALUES {', '.join([marks] * len(rows))}",
                        tuple(chain.from_iterable(rows)),
                    )
            if last and self._finish is not None:
                execute(
                    "UPDATE run SET finished_at = ?, status = ?, summary = ?, exit_code = ?,"
                    " gap = ? WHERE number = ?",
                    (*self._finish, self._given_up, self._number),
                )
            elif last:  # the process may live on, but not for this run
                own = self._own
                execute(
                    "UPDATE run SET pid_started = ? WHERE number = ? AND finished_at IS NULL"
                    " AND boot_id = ? AND pid_space = ? AND pid = ? AND pid_started = ?",
                    (LEFT, self._number, own.boot_id, own.pid_space, own.pid, own.started),
                )

    def _result(self, document: Mapping[str, Any], text: Callable[[], str] | None) -> _Result:
        key = (self._number, self._positions[document["target"]])
        row = (*key, document["outcome"], document["attempt"])
        if text is None:
            encoded = _encode(document)
            text = lambda: encoded  # noqa: E731
        found = measured_of(document["output_data"]) if document["outcome"] == "ok" else None
        if found is None:
            return _Result(row, text, None, ())
        invalid = None if found.invalid is None else _encode(found.invalid)
        about = (document["target"], document["plugin"], found.facts, invalid, found.unread)
        metrics = [
            (*key, *one.series, one.value, one.center, one.error, one.samples)
            for one in found.metrics
        ]
        return _Result(row, text, (*key, *about), metrics)

    def _event_row(self, event: Mapping[str, Any]) -> tuple[Any, ...]:
        target = event.get("target")
        return (
            self._number,
            event["seq"],
            event["time"],
            event["kind"],
            None if target is None else self._positions[target],
            None if event["kind"] == "target.finished" else _encode(event["data"]),
        )

    def _give_up(self, reason: str) -> None:
        """Keep nothing more: the record has a gap for good, and says so if it can."""
        self._given_up = self._given_up or reason
        self._late.clear()

    def _poll(self) -> None:
        now = time.monotonic()
        if self._cancelling is not None or now < self._poll_at:
            return
        self._poll_at = now + POLL_S
        with contextlib.suppress(sqlite3.Error):
            version = self._connection.execute("PRAGMA data_version").fetchone()[0]
            if version == self._data_version:
                return
            self._data_version = version
            asked = self._connection.execute(
                "SELECT cancel_requested_at FROM run WHERE number = ?", (self._number,)
            ).fetchone()
            if asked and asked[0]:
                # Not here: what it does may wait for this thread.
                thread = threading.Thread(target=self._on_cancel, name="rune-cancel", daemon=True)
                if started(thread):
                    self._cancelling = thread
                else:
                    self._data_version = -1  # once more, when there may be one


def _chunks(rows: list[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the rows in lists that one statement takes."""
    most = min(ROWS_AT_ONCE, VALUES_AT_ONCE // len(rows[0])) if rows else ROWS_AT_ONCE
    return (rows[at : at + most] for at in range(0, len(rows), most))


def _read(results: Iterable[_Result]) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the rows of results in lists that one statement takes, and memory too."""
    rows: list[tuple[Any, ...]] = []
    size = 0
    for result in results:
        rows.append((*result.row, result.text()))
        size += len(rows[-1][-1])
        if len(rows) == ROWS_AT_ONCE or size >= TEXT_AT_ONCE:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows
