"""Fleets that were never there: hosts with metrics, as the ledger would read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lom.fleet.report import fleet_report
from lom.ledger.measurements import History, Measurement, PastMetric
from lom.ledger.metrics import measured_of

ABOUT = {
    "run_id": "20260102T030405Z-9f86d081",
    "action": "gpu.gemm",
    "started_at": "2026-01-02T03:04:05.678Z",
}
FACTS = {"sku": "H200", "driver_version": "560.35"}


def metric(samples: Sequence[float], name: str = "gemm", **more: Any) -> dict[str, Any]:
    """Return a metric as a plugin writes it."""
    value = float(np.median(samples))
    given = {"name": name, "value": value, "unit": "TFLOP/s", "better": "higher"}
    return {**given, "samples": list(samples), **more}


def host(target: str, *metrics: Any, facts: Any = FACTS, **more: Any) -> Measurement:
    """Return what a host measured."""
    data = {"metrics": list(metrics), "facts": facts, **more}
    return Measurement(target, "ok", "gpu-gemm", measured_of(data))


def fleet(count: int = 40, slow: Mapping[int, float] | None = None, **given: Any) -> Any:
    """Return hosts n0, n1, … with 10 samples each; ``slow`` says by which share some are worse.

    The noise is that of the benchmark: 2 % within, 1 % between; the seed is fixed.
    """
    random = np.random.default_rng(7)
    worse = 1 if given.get("better") == "lower" else -1
    hosts = []
    for number in range(count):
        speed = 600 * (1 + random.normal(0, 0.01)) * (1 + worse * (slow or {}).get(number, 0))
        samples = (speed * (1 + random.normal(0, 0.02, 10))).tolist()
        hosts.append(host(f"n{number}", metric(samples, **given)))
    return hosts


def past(hosts: Sequence[Measurement], factors: Sequence[float]) -> History:
    """Return earlier runs in which each host measured so many times what it does now."""
    found: Any = {}
    for one in hosts:
        assert one.measured is not None
        for run, factor in enumerate(factors):
            values = [
                metric([factor * m.center] * 5, better=m.series.better)
                for m in one.measured.metrics
            ]
            [earlier] = host(one.target, *values).measured.metrics  # type: ignore[union-attr]
            entry = PastMetric(f"r{run}", f"2026-01-01T0{run}:00:00.0Z", earlier)
            found.setdefault(one.target, {}).setdefault(earlier.series, []).append(entry)
    return found  # type: ignore[no-any-return]


def report(hosts: Sequence[Measurement], *rest: Any, **given: Any) -> dict[str, Any]:
    """Return the report on hosts, by default without a past."""
    return fleet_report(ABOUT, hosts, *(rest or ({},)), **given)


def verdicts(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the verdicts of a document by target."""
    return {one["target"]: one["verdict"] for one in document["hosts"]}
