"""Reads what runs measured: of one run, of its hosts' earlier runs, and of the run before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lom.ledger.metrics import Measured, Metric, Series
from lom.ledger.records import RunRow
from lom.ledger.sqlite.reader import LedgerReader

EARLIER_RUNS = 20  # of a host, the newest ones: its history


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one target of a run measured; ``measured`` is None where it measured nothing.

    ``state`` is the outcome, or ``started`` or ``not_started`` where there is no result yet.
    """

    target: str
    state: str
    plugin: str | None
    measured: Measured | None


@dataclass(frozen=True, slots=True)
class Earlier:
    """A metric of an earlier run of the same action on the same host, with the same facts."""

    run_id: str
    started_at: str
    metric: Metric


History = Mapping[str, Mapping[Series, list[Earlier]]]


def has_measurements(ledger: LedgerReader) -> bool:
    """Tell whether the file has the tables; one that an older RUNE wrote has not yet."""
    query = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'baseline_metric'"
    return bool(ledger.rows(query))


def measurements(ledger: LedgerReader, run: RunRow) -> list[Measurement]:
    """Return what the run's targets measured, in the order of its plan."""
    targets = ledger.targets(run)
    found: dict[str, Measured] = {}
    if has_measurements(ledger):
        metrics: dict[int, list[Metric]] = {}
        for row in ledger.rows("SELECT * FROM metric WHERE run = ?", run.number):
            metrics.setdefault(row["position"], []).append(_metric(row))
        for row in ledger.rows("SELECT * FROM measured WHERE run = ?", run.number):
            found[row["target"]] = Measured(
                facts=row["facts"],
                invalid=row["invalid"] and tuple(json.loads(row["invalid"])),
                metrics=tuple(metrics.get(row["position"], ())),
                unread=row["unread"],
            )
    return [
        Measurement(one.name, one.outcome or one.state, one.plugin, found.get(one.name))
        for one in targets
    ]


def history(ledger: LedgerReader, run: RunRow, most: int = EARLIER_RUNS) -> History:
    """Return what the run's hosts measured before it, by target and series, the oldest first.

    Of the same action and plugin, with the same facts, as far as it could be compared: of each
    host the ``most`` newest.
    """
    found: dict[str, dict[Series, list[Earlier]]] = {}
    if has_measurements(ledger):
        for row in ledger.rows(_HISTORY, run.number, run.action, most):
            earlier = Earlier(row["run_id"], row["started_at"], _metric(row))
            of_host = found.setdefault(row["target"], {})
            of_host.setdefault(earlier.metric.series, []).append(earlier)
    return found


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


def run_before(ledger: LedgerReader, run: RunRow) -> RunRow | None:
    """Return the newest earlier run of the same action that measured something."""
    if not has_measurements(ledger):
        return None
    query = (
        "SELECT run_id FROM run WHERE number < ? AND action = ?"
        " AND number IN (SELECT run FROM metric) ORDER BY number DESC LIMIT 1"
    )
    rows = ledger.rows(query, run.number, run.action)
    return ledger.find(rows[0]["run_id"]) if rows else None


def _metric(row: Any) -> Metric:
    return Metric(
        Series(row["name"], row["labels"], row["unit"], row["better"]),
        row["value"],
        row["center"],
        row["error"],
        row["samples"],
    )
