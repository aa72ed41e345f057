"""The document of ``rune fleet report`` (``specs/fleet_v1.json``), made from what was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lom.fleet.groups import HostGroup, facts_change, facts_of, facts_words, groups_of, remarks
from lom.fleet.judge import Beside, Judged, MetricStanding, SeriesRow, judge
from lom.fleet.statistics import (
    ALPHA,
    ALPHA_DRIFT,
    MIN_EFFECT,
    MIN_HOSTS,
    MIN_RUNS,
    MIN_SAMPLES,
    Yardstick,
    adjusted,
    among_peers,
)
from lom.fleet.verdicts import (
    VERDICTS,
    HostVerdict,
    set_verdicts,
    verdict_of,
    verdict_without_metrics,
)
from lom.ledger.measurements import Baseline, BaselineMetric, History, Measurement

METHOD = {
    "false_alarms_per_host": round(ALPHA + ALPHA_DRIFT, 6),
    "min_hosts": MIN_HOSTS,
    "min_samples": MIN_SAMPLES,
    "min_runs": MIN_RUNS,
    "min_effect_percent": 100 * MIN_EFFECT,
}


def fleet_report(
    about: Mapping[str, Any],
    measurements: Sequence[Measurement],
    history: History,
    baseline: Baseline | None = None,
) -> dict[str, Any]:
    """Return the report on a run; ``about`` are its id, action and start."""
    groups = groups_of(measurements)
    judged = [judge(group, history, baseline.metrics if baseline else ()) for group in groups]
    place = {name: at for at, one in enumerate(judged) for name in one.standings}
    verdicts = _verdicts(judged)
    hosts = []
    for one in measurements:
        at = place.get(one.target)
        standings = judged[at].standings[one.target] if at is not None else []
        verdict = verdicts.get(one.target) or verdict_without_metrics(one)
        hosts.append(_host(verdict, at, standings))
    counts = Counter(host["verdict"] for host in hosts)
    notes = [*remarks(groups, measurements), *_baseline_remarks(groups, baseline)]
    return {
        **about,
        "baseline": baseline and baseline.name,
        "method": METHOD,
        "summary": {verdict: counts[verdict] for verdict in VERDICTS},
        "remarks": notes,
        "groups": [_group(one) for one in judged],
        "hosts": hosts,
    }


def baseline_metrics(measurements: Sequence[Measurement]) -> list[BaselineMetric]:
    """Return what a run's groups come to, to be saved as a baseline.

    A group of fewer than 5 hosts is saved, too: what is compared with it is then too few.
    """
    found = []
    for group in groups_of(measurements):
        for series, metrics in group.series().items():
            fit = [one for one in metrics.values() if one.samples >= MIN_SAMPLES]
            if fit:
                errors = [one.error for one in fit if one.error is not None]
                yardstick = among_peers([one.center for one in fit], errors)
                numbers = (yardstick.center, yardstick.spread, yardstick.count)
                found.append(BaselineMetric(group.plugin, group.facts, series, *numbers))
    return found


def _verdicts(judged: Sequence[Judged]) -> dict[str, HostVerdict]:
    chances = {
        name: set_verdicts(standings) for one in judged for name, standings in one.standings.items()
    }
    rates: list[dict[str, float]] = []
    for at in (0, 1):
        known = [(name, p) for name, pair in chances.items() if (p := pair[at]) is not None]
        names = [name for name, _ in known]
        rates.append(dict(zip(names, adjusted([p for _, p in known]), strict=True)))
    return {
        name: verdict_of(
            name, standings, one.rows, chances[name], (rates[0].get(name), rates[1].get(name))
        )
        for one in judged
        for name, standings in one.standings.items()
    }


def _baseline_remarks(groups: Sequence[HostGroup], baseline: Baseline | None) -> Iterator[str]:
    """Yield which groups the baseline does not know, and what differs from one that it does."""
    if baseline is None:
        return
    known = {(one.plugin, one.facts) for one in baseline.metrics}
    for group in groups:
        if (group.plugin, group.facts) in known:
            continue
        words = f"the baseline {baseline.name} has no hosts like {facts_words(group.facts)}"
        near = [facts_change(facts, group.facts) for name, facts in known if name == group.plugin]
        yield words + (f"; nearest: {min(near, key=lambda one: (len(one), one))}" if near else "")


def _host(
    verdict: HostVerdict, group: int | None, standings: Sequence[MetricStanding]
) -> dict[str, Any]:
    return {
        "target": verdict.target,
        "group": group,
        "verdict": verdict.verdict,
        "confidence": verdict.confidence,
        "reason": verdict.reason,
        "p_value": verdict.p,
        "q_value": verdict.q,
        "metrics": [_standing(one) for one in standings],
    }


def _standing(one: MetricStanding) -> dict[str, Any]:
    return {
        **one.metric.series.document(),
        "value": one.metric.value,
        "center": one.metric.center,
        "error": one.metric.error,
        "samples": one.metric.samples,
        "verdict": one.verdict,
        "too_few": one.few,
        "peers": _beside(one.peers, "hosts"),
        "history": _beside(one.history, "runs"),
        "baseline": _beside(one.baseline, "hosts"),
    }


def _beside(one: Beside | None, noun: str) -> dict[str, Any] | None:
    if one is None:
        return None
    found = one.deviation
    return {
        noun: one.count,
        "center": one.center,
        "worse_percent": None if found is None else _percent(found.fraction),
        "z": found and found.z,
        "p_value": found and found.p,
    }


def _group(one: Judged) -> dict[str, Any]:
    return {
        "plugin": one.group.plugin,
        "facts": facts_of(one.group.facts),
        "hosts": len(one.group.hosts),
        "metrics": [_row(row) for row in one.rows],
    }


def _row(row: SeriesRow) -> dict[str, Any]:
    yardstick: Yardstick | None = row.yardstick
    spread = yardstick.spread / abs(yardstick.center) if yardstick and yardstick.center else None
    saved = row.baseline
    return {
        **row.series.document(),
        "hosts": len(row.values),
        "median": yardstick and yardstick.center,
        "spread": yardstick and yardstick.spread,
        "spread_percent": _percent(spread),
        "lowest": min(row.values.values()),
        "highest": max(row.values.values()),
        "detectable_percent": _percent(row.detectable),
        "baseline": saved and {"center": saved.center, "hosts": saved.hosts},
    }


def _percent(fraction: float | None) -> float | None:
    """Return a fraction as a percentage, None where it is too large for a number."""
    return None if fraction is None or abs(fraction) > 1e300 else 100 * fraction
