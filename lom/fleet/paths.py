"""How hosts went from run to run, as the page plots it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lom.ledger.measurements import History
from lom.ledger.metrics import Series, facts_text

MOST_LINES = 8  # hosts with a line of their own
_WORTH_A_LINE = ("slow", "drifted")


def host_paths(document: Mapping[str, Any], history: History) -> list[list[dict[str, Any]]]:
    """Return for each group and metric of a report how its hosts went, the oldest run first.

    ``times`` are when the runs began, ``low``, ``median`` and ``high`` the 5 %, 50 % and 95 %
    quantiles of the hosts then, ``lines`` the values of single hosts, None where one has none:
    those that the report blames, the worst first, or all of a few.
    """
    hosts = [host for host in document["hosts"] if host["group"] is not None]
    hosts.sort(key=lambda host: (host["verdict"] not in _WORTH_A_LINE, host["p_value"] or 0.0))
    return [
        [
            _paths(document, row, [host for host in hosts if host["group"] == at], history)
            for row in group["metrics"]
        ]
        for at, group in enumerate(document["groups"])
    ]


def _paths(
    document: Mapping[str, Any],
    row: Mapping[str, Any],
    hosts: list[Mapping[str, Any]],
    history: History,
) -> dict[str, Any]:
    series = Series(row["name"], facts_text(row["labels"]), row["unit"], row["better"])
    now = (document["started_at"], document["run_id"])
    values: dict[str, dict[tuple[str, str], float]] = {}
    for host in hosts:
        own = values.setdefault(host["target"], {})
        for one in history.get(host["target"], {}).get(series, []):
            own[one.started_at, one.run_id] = one.metric.center
        for metric in host["metrics"]:
            if all(metric[key] == row[key] for key in ("name", "labels", "unit", "better")):
                own[now] = metric["center"]
    runs = sorted({run for own in values.values() for run in own})
    columns = [[own[run] for own in values.values() if run in own] for run in runs]
    quantiles = [np.quantile(column, (0.05, 0.5, 0.95)).tolist() for column in columns]
    blamed = [host["target"] for host in hosts if host["verdict"] in _WORTH_A_LINE]
    named = blamed if blamed or len(hosts) > MOST_LINES else list(values)
    return {
        "times": [started_at for started_at, _ in runs],
        "low": [low for low, _, _ in quantiles],
        "median": [median for _, median, _ in quantiles],
        "high": [high for _, _, high in quantiles],
        "lines": {name: [values[name].get(run) for run in runs] for name in named[:MOST_LINES]},
    }
