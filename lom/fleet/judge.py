"""Compares the hosts of one group: with each other, with their own past, with a baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lom.fleet.groups import HostGroup
from lom.fleet.statistics import (
    MIN_HOSTS,
    MIN_RUNS,
    MIN_SAMPLES,
    Deviation,
    Yardstick,
    against_past,
    against_saved,
    among_peers,
    between_runs,
    detectable,
    deviation,
)
from lom.ledger.measurements import BaselineMetric, History, PastMetric
from lom.ledger.metrics import Metric, Series


@dataclass(frozen=True, slots=True)
class Beside:
    """A metric beside a yardstick: ``deviation`` is None where there is too little to judge.

    ``count`` are the hosts of the group, the host's earlier runs, or the hosts of the baseline.
    """

    center: float
    count: int
    deviation: Deviation | None


@dataclass(slots=True)
class MetricStanding:
    """One metric of one host beside its yardsticks.

    ``few`` says of what there was too little to judge; ``verdict`` is the judgement.
    """

    metric: Metric
    peers: Beside | None = None
    history: Beside | None = None
    baseline: Beside | None = None
    few: str | None = None
    verdict: str = "ok"


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """One series over a group: ``yardstick`` and ``detectable`` are None for too few hosts."""

    series: Series
    values: Mapping[str, float]
    yardstick: Yardstick | None
    detectable: float | None
    baseline: BaselineMetric | None


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of one group."""

    group: HostGroup
    rows: list[SeriesRow] = field(default_factory=list)
    standings: dict[str, list[MetricStanding]] = field(default_factory=dict)


def judge(group: HostGroup, history: History, baseline: Sequence[BaselineMetric]) -> Judged:
    """Compare the group's hosts in every series they have."""
    saved = {
        one.series: one
        for one in baseline
        if (one.plugin, one.facts) == (group.plugin, group.facts)
    }
    judged = Judged(group, standings={host.target: [] for host in group.hosts})
    every = group.series()
    for series, metrics in every.items():
        fit = {name: one for name, one in metrics.items() if one.samples >= MIN_SAMPLES}
        errors = [one.error for one in fit.values() if one.error is not None]
        values = [one.center for one in fit.values()]
        yardstick = among_peers(values, errors) if len(values) >= MIN_HOSTS else None
        judged.rows.append(
            SeriesRow(
                series,
                {name: one.center for name, one in metrics.items()},
                yardstick,
                detectable(yardstick, len(every)) if yardstick else None,
                saved.get(series),
            )
        )
        past = {name: history.get(name, {}).get(series, []) for name in metrics}
        pasts = _pasts(past, errors)
        for name, metric in metrics.items():
            standing = MetricStanding(metric, few=_few(metric, len(values)))
            enough = metric.samples >= MIN_SAMPLES
            if yardstick:
                standing.peers = _beside(metric, yardstick, enough, MIN_HOSTS)
            if past[name]:
                standing.history = _beside(metric, pasts[name], enough, MIN_RUNS)
            if series in saved:
                one = saved[series]
                kept = against_saved(one.center, one.spread, one.hosts, errors)
                standing.baseline = _beside(metric, kept, enough, MIN_HOSTS)
            judged.standings[name].append(standing)
    return judged


def _pasts(
    past: Mapping[str, Sequence[PastMetric]], errors: Sequence[float]
) -> dict[str, Yardstick]:
    """Return each host's yardstick; how much a host varies from run to run is learnt from all."""
    centers = {name: [one.metric.center for one in runs] for name, runs in past.items() if runs}
    spread, steps = between_runs([one for one in centers.values() if len(one) >= MIN_RUNS])
    return {name: against_past(one, spread, steps, errors) for name, one in centers.items()}


def _beside(metric: Metric, yardstick: Yardstick, enough: bool, least: int) -> Beside:
    judged = enough and yardstick.count >= least
    found = deviation(metric.center, metric.error, metric.series.better, yardstick)
    return Beside(yardstick.center, yardstick.count, found if judged else None)


def _few(metric: Metric, hosts: int) -> str | None:
    if metric.samples < MIN_SAMPLES:
        return f"{_some(metric.samples, 'sample')}, at least {MIN_SAMPLES} are needed"
    if hosts < MIN_HOSTS:
        what = f"{_some(hosts, 'host')} to compare in its group"
        return f"{what}, at least {MIN_HOSTS} are needed"
    return None


def _some(number: int, noun: str) -> str:
    return f"only {number} {noun}{'' if number == 1 else 's'}"
