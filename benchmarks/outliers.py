"""How many slow hosts a fleet report finds, and how many it blames wrongly: simulated fleets.

Usage: python -m benchmarks.outliers [--trials N] [--seed N]

Each host has a speed of its own (1 % standard deviation between hosts); each sample of it is 2 %
noise (within). ``planted``: one host is made slower by that much, its own deviation on top, so
that a host that is 5 % slow may be anything from 3 to 7 % below the median. ``exactly``: that host
is as much below the fleet as said, without a deviation of its own. Everything is judged by the
code that makes the report, from the samples to the verdict. ``found`` is the share of trials in
which the planted host is blamed, ``false alarms`` the share of all other hosts that are, with a
95 % Wilson interval; ``healthy`` the same in fleets in which no host is slow.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest

from lom.fleet.report import fleet_report
from lom.ledger.measurements import Measurement, PastMetric
from lom.ledger.metrics import Measured, Metric, Series, summarize

BETWEEN, WITHIN = 0.01, 0.02
ABOUT = {"run_id": "simulated", "action": "gpu.bench", "started_at": "2026-01-01T00:00:00Z"}


@dataclass(frozen=True)
class Fleet:
    """What is simulated: ``slow`` is a fraction, 0 for a healthy fleet."""

    hosts: int
    samples: int
    slow: float
    metrics: int = 1
    exactly: bool = False
    runs: int = 0


def speeds(fleet: Fleet, random: np.random.Generator) -> Any:
    """Return what each host really does: 1 is the fleet's center."""
    own = 1 + random.normal(0, BETWEEN, fleet.hosts)
    if fleet.slow:
        own[0] = (1 if fleet.exactly else own[0]) * (1 - fleet.slow)
    return own


def measured(speed: float, fleet: Fleet, random: np.random.Generator) -> tuple[Metric, ...]:
    """Return what one host measures in one run."""
    found = []
    for number in range(fleet.metrics):
        samples = (600 * speed * (1 + random.normal(0, WITHIN, fleet.samples))).tolist()
        series = Series(f"metric{number}", "{}", "TFLOP/s", "higher")
        found.append(Metric(series, samples[0], *summarize(samples), fleet.samples))
    return tuple(found)


def trial(fleet: Fleet, random: np.random.Generator) -> list[str]:
    """Return the verdict on each host of one simulated run; the planted one is the first."""
    own = speeds(fleet, random)
    facts = '{"driver_version":"560","sku":"H200"}'
    hosts, history = [], {}
    for number, speed in enumerate(own):
        name = f"n{number:03}"
        metrics = measured(speed, fleet, random)
        hosts.append(Measurement(name, "ok", "bench", Measured(facts, None, metrics, 0)))
        # Before, the planted host was like any other.
        before = 1 + random.normal(0, BETWEEN) if number == 0 and fleet.slow else speed
        for run in range(fleet.runs):
            for metric in measured(before, fleet, random):
                of_host = history.setdefault(name, {})
                earlier = PastMetric(f"r{run}", ABOUT["started_at"], metric)
                of_host.setdefault(metric.series, []).append(earlier)
    report = fleet_report(ABOUT, hosts, history)
    return [host["verdict"] for host in report["hosts"]]


def shares(fleet: Fleet, trials: int, random: np.random.Generator) -> tuple[Any, Any]:
    """Return the tests of how many planted hosts were found, and how many others blamed."""
    found = blamed = 0
    for _ in range(trials):
        hits = [one in ("slow", "drifted") for one in trial(fleet, random)]
        found += hits[0]
        blamed += sum(hits[1:] if fleet.slow else hits)
    others = trials * (fleet.hosts - bool(fleet.slow))
    return binomtest(found, trials), binomtest(blamed, others)


def line(fleet: Fleet, trials: int, random: np.random.Generator) -> str:
    """Return one row of the table."""
    found, blamed = shares(fleet, trials, random)
    cells = [f"{fleet.hosts:5} {fleet.samples:7} {fleet.metrics:7} {trials:6}"]
    if fleet.slow:
        kind = "exactly" if fleet.exactly else "planted"
        cells.append(f"{kind} {100 * fleet.slow:2.0f} %  {_interval(found)}")
    else:
        cells.append(f"{'healthy':32}")
    return f"{'  '.join(cells)}  {_interval(blamed, 2)}"


def _interval(test: Any, digits: int = 1) -> str:
    between = test.proportion_ci(method="wilson")
    low, share, high = (100 * x for x in (between.low, test.statistic, between.high))
    return f"{share:6.{digits}f} % ({low:.{digits}f} to {high:.{digits}f})"


# With how many times --trials each fleet is simulated. The second is the one that matters most.
PEERS = (
    (1.0, Fleet(200, 10, 0)),
    (2.0, Fleet(200, 10, 0.05)),
    (0.5, Fleet(200, 10, 0.03)),
    (0.5, Fleet(200, 10, 0.10)),
    (0.5, Fleet(200, 5, 0)),
    (0.5, Fleet(200, 5, 0.05)),
    (0.5, Fleet(200, 20, 0.05)),
    (0.5, Fleet(200, 5, 0.05, exactly=True)),
    (0.5, Fleet(200, 10, 0.05, exactly=True)),
    (0.1, Fleet(200, 10, 0, metrics=8)),
    (0.1, Fleet(200, 10, 0.05, metrics=8)),
    *((1.0, Fleet(hosts, 10, slow)) for hosts in (50, 20, 8, 5) for slow in (0, 0.03, 0.05, 0.10)),
)
PAST = tuple((0.2, Fleet(hosts, 10, slow, runs=5)) for hosts in (200, 20, 4) for slow in (0, 0.05))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=20260101)
    given = parser.parse_args()
    random = np.random.default_rng(given.seed)
    began = time.perf_counter()
    print(f"noise: {100 * WITHIN:g} % within a host, {100 * BETWEEN:g} % between hosts;", end=" ")
    print(f"seed {given.seed}")
    for title, fleets in (
        ("slow beside the other hosts", PEERS),
        ("slow or drifted, with 5 earlier runs of each host (of 4 hosts: drifted alone)", PAST),
    ):
        print(f"\n{title}")
        print("hosts samples metrics trials  slow host   found                  false alarms")
        for times, fleet in fleets:
            print(line(fleet, max(1, round(times * given.trials)), random), flush=True)
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
