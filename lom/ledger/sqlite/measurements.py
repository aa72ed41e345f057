"""Reads what is compared: a run's measurements, its hosts' earlier ones, and baselines."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lmm.errors import RequestError
from lom.ledger.measurements import (
    EARLIER_RUNS,
    Baseline,
    BaselineMetric,
    History,
    Measurement,
    PastMetric,
)
from lom.ledger.metrics import Measured, Metric, Series
from lom.ledger.records import RunRow
from lom.names import did_you_mean

if TYPE_CHECKING:
    from lom.ledger.store import LedgerReader


class SqliteMeasurements:
    """The ``Measurements`` of an open ledger. ``rows`` returns those that a query finds."""

    def __init__(
        self, ledger: LedgerReader, path: Path, rows: Callable[..., list[sqlite3.Row]]
    ) -> None:
        self._ledger = ledger
        self._path = path
        self._rows = rows

    @property
    def _is_kept(self) -> bool:
        """Whether the file has the tables; one that an older RUNE wrote has not yet."""
        query = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'baseline_metric'"
        return bool(self._rows(query))

    def of_run(self, run: RunRow) -> list[Measurement]:
        targets = self._ledger.targets(run)
        found: dict[str, Measured] = {}
        if self._is_kept:
            metrics: dict[int, list[Metric]] = {}
            for row in self._rows("SELECT * FROM metric WHERE run = ?", run.number):
                metrics.setdefault(row["position"], []).append(_metric(row))
            for row in self._rows("SELECT * FROM measured WHERE run = ?", run.number):
                found[row["target"]] = Measured(
                    facts=row["facts"],
                    invalid=row["invalid"] and tuple(json.loads(row["invalid"])),
                    metrics=tuple(metrics.get(row["position"], ())),
                    unread=row["unread"],
                )
        return [
            Measurement(
                target.name, target.outcome or target.state, target.plugin, found.get(target.name)
            )
            for target in targets
        ]

    def history(self, run: RunRow, most: int = EARLIER_RUNS) -> History:
        found: dict[str, dict[Series, list[PastMetric]]] = {}
        if self._is_kept:
            for row in self._rows(_HISTORY, run.number, run.action, most):
                past = PastMetric(row["run_id"], row["started_at"], _metric(row))
                of_host = found.setdefault(row["target"], {})
                of_host.setdefault(past.metric.series, []).append(past)
        return found

    def run_before(self, run: RunRow) -> RunRow | None:
        if not self._is_kept:
            return None
        query = (
            "SELECT run_id FROM run WHERE number < ? AND action = ?"
            " AND number IN (SELECT run FROM metric) ORDER BY number DESC LIMIT 1"
        )
        rows = self._rows(query, run.number, run.action)
        return self._ledger.find(rows[0]["run_id"]) if rows else None

    def baselines(self) -> list[Baseline]:
        if not self._is_kept:
            return []
        query = "SELECT * FROM baseline_metric WHERE baseline = ?"
        return [
            Baseline(
                name=row["name"],
                action=row["action"],
                run_id=row["run_id"],
                saved_at=row["saved_at"],
                who=row["who"],
                metrics=tuple(map(_baseline_metric, self._rows(query, row["name"]))),
            )
            for row in self._rows("SELECT * FROM baseline ORDER BY name")
        ]

    def find_baseline(self, name: str) -> Baseline:
        known = {baseline.name: baseline for baseline in self.baselines()}
        if name not in known:
            raise no_baseline(self._path, name, list(known))
        return known[name]


def no_baseline(path: Path, name: str, known: Sequence[str]) -> RequestError:
    """Return what to raise (``unknown_baseline``) for a name that no baseline has."""
    return RequestError(
        "unknown_baseline",
        f"the ledger {path} has no baseline {name[:80]!r}{did_you_mean(name, known)}",
        field="BASELINE",
    )


_HISTORY = """
WITH earlier AS (
  SELECT was.run, was.position, was.target, run.run_id, run.started_at,
    row_number() OVER (PARTITION BY now.position ORDER BY was.run DESC) AS back
  FROM measured AS now
  JOIN measured AS was ON was.target = now.target AND was.plugin = now.plugin
    AND was.facts = now.facts AND was.run < now.run AND was.invalid IS NULL
  JOIN run ON run.number = was.run AND run.action = ?2
  WHERE now.run = ?1
)
SELECT earlier.target, earlier.run_id, earlier.started_at, metric.* FROM earlier
JOIN metric USING (run, position) WHERE back <= ?3 ORDER BY run
"""


def _metric(row: sqlite3.Row) -> Metric:
    return Metric(_series(row), row["value"], row["center"], row["error"], row["samples"])


def _baseline_metric(row: sqlite3.Row) -> BaselineMetric:
    return BaselineMetric(
        row["plugin"], row["facts"], _series(row), row["center"], row["spread"], row["hosts"]
    )


def _series(row: sqlite3.Row) -> Series:
    return Series(row["name"], row["labels"], row["unit"], row["better"])
