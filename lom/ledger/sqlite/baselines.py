"""Named baselines: what hosts of each kind once measured, kept for comparison beyond their run."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lmm.envelope import timestamp
from lmm.errors import RequestError
from lom.ledger.metrics import Series
from lom.ledger.records import RunRow
from lom.ledger.sqlite.database import connect_writer, faults_of, transaction
from lom.ledger.sqlite.measurements import has_measurements
from lom.ledger.sqlite.reader import LedgerReader
from lom.ledger.sqlite.writer import who
from lom.names import did_you_mean

NAME = re.compile(r"(?!last\Z)[A-Za-z][A-Za-z0-9._-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class BaselineMetric:
    """Center and spread of a series over ``hosts`` hosts with one plugin and the same facts."""

    plugin: str
    facts: str
    series: Series
    center: float
    spread: float
    hosts: int


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was saved under a name, from which run, when and by whom."""

    name: str
    action: str
    run_id: str
    saved_at: str
    who: str
    metrics: tuple[BaselineMetric, ...]


def baselines(ledger: LedgerReader) -> list[Baseline]:
    """Return all baselines, by name."""
    if not has_measurements(ledger):
        return []
    found = []
    for row in ledger.rows("SELECT * FROM baseline ORDER BY name"):
        metrics = ledger.rows("SELECT * FROM baseline_metric WHERE baseline = ?", row["name"])
        found.append(
            Baseline(
                name=row["name"],
                action=row["action"],
                run_id=row["run_id"],
                saved_at=row["saved_at"],
                who=row["who"],
                metrics=tuple(map(_metric, metrics)),
            )
        )
    return found


def find_baseline(ledger: LedgerReader, name: str) -> Baseline:
    """Return the baseline with this name. Raises RequestError (``unknown_baseline``)."""
    known = baselines(ledger)
    for one in known:
        if one.name == name:
            return one
    raise _unknown(ledger.path, name, [one.name for one in known])


def save_baseline(
    path: Path, name: str, run: RunRow, metrics: Sequence[BaselineMetric], *, replace: bool
) -> Baseline:
    """Keep what a run measured under a name.

    Raises RequestError (``invalid_request`` for a name that is none, ``baseline_exists`` unless
    one is to be replaced).
    """
    if not NAME.fullmatch(name):
        raise RequestError(
            "invalid_request",
            f"{name[:80]!r} cannot be the name of a baseline: a letter, then up to 63 letters,"
            " digits, '.', '_' and '-'; `last` is a run",
            field="NAME",
        )
    saved = Baseline(name, run.action, run.run_id, timestamp(), who(), tuple(metrics))
    with _writing(path) as connection:
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
                (name, one.plugin, one.facts, *one.series, one.center, one.spread, one.hosts)
                for one in metrics
            ),
        )
    return saved


def remove_baseline(path: Path, name: str) -> None:
    """Delete a baseline. Raises RequestError (``unknown_baseline``)."""
    with _writing(path) as connection:
        if not connection.execute("DELETE FROM baseline WHERE name = ?", (name,)).rowcount:
            known = connection.execute("SELECT name FROM baseline").fetchall()
            raise _unknown(path, name, [row[0] for row in known])


@contextmanager
def _writing(path: Path) -> Iterator[sqlite3.Connection]:
    with (
        closing(connect_writer(path)) as connection,
        faults_of(path),
        transaction(connection),
    ):
        yield connection


def _metric(row: sqlite3.Row) -> BaselineMetric:
    return BaselineMetric(
        row["plugin"],
        row["facts"],
        Series(row["name"], row["labels"], row["unit"], row["better"]),
        row["center"],
        row["spread"],
        row["hosts"],
    )


def _unknown(path: Path, name: str, known: Sequence[str]) -> RequestError:
    return RequestError(
        "unknown_baseline",
        f"the ledger {path} has no baseline {name[:80]!r}{did_you_mean(name, known)}",
        field="BASELINE",
    )
