"""Writes named baselines: what hosts of each kind once measured, kept beyond their run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from lmm.envelope import timestamp
from lmm.errors import RequestError
from lom.ledger.measurements import Baseline, BaselineMetric
from lom.ledger.records import RunRow, who
from lom.ledger.sqlite.database import writing
from lom.ledger.sqlite.measurements import no_baseline

NAME = re.compile(r"(?!last\Z)[A-Za-z][A-Za-z0-9._-]{0,63}", re.ASCII)


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
    with writing(path) as connection:
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


def remove_baseline(path: Path, name: str) -> None:
    """Delete a baseline. Raises RequestError (``unknown_baseline``)."""
    with writing(path) as connection:
        if not connection.execute("DELETE FROM baseline WHERE name = ?", (name,)).rowcount:
            known = connection.execute("SELECT name FROM baseline").fetchall()
            raise no_baseline(path, name, [row[0] for row in known])
