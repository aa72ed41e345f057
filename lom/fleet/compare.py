"""The document of ``rune runs compare`` (``specs/fleet_v1.json``): two runs, or one and a baseline.

Per host and metric the change, and whether it is more than the noise of the samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lom.fleet.groups import facts_change
from lom.fleet.statistics import (
    MIN_EFFECT,
    MIN_HOSTS,
    MIN_SAMPLES,
    Deviation,
    adjusted,
    against_saved,
    change_chance,
    deviation,
)
from lom.fleet.verdicts import measure, series_words, verdict_without_metrics
from lom.ledger.measurements import Baseline, Measurement
from lom.ledger.metrics import Measured, Metric, Series

FALSE_DISCOVERIES = 0.05  # share of the changes called better or worse that chance may make
VERDICTS = ("worse", "better", "same", "too_few", "missing")
_NAMED = 3  # metrics, in one reason


@dataclass(slots=True)
class _Change:
    """One metric of one host, before and after; ``p`` is None where it cannot be judged."""

    series: Series
    before: float | None
    after: float | None
    samples: tuple[int | None, int | None]
    p: float | None = None
    few: str | None = None
    verdict: str = "missing"

    @property
    def fraction(self) -> float | None:
        if not self.before or self.after is None:
            return None
        change = self.after / abs(self.before) - (1 if self.before > 0 else -1)
        return change if abs(change) < 1e300 else None


def compare_runs(
    about: Mapping[str, Any], before: Sequence[Measurement], after: Sequence[Measurement]
) -> dict[str, Any]:
    """Return what changed from one run to the next, for each target of the later one."""
    old = {one.target: one for one in before}
    hosts = []
    for now in after:
        was = old.get(now.target)
        then = was.measured if was else None
        why = _unfit(now) or (_unfit(was, "before: ") if was else "it is not in the run before")
        changes = [] if why else list(_changes(then, now.measured))
        changed = facts_change(then.facts, now.measured.facts) if then and now.measured else ""
        hosts.append((now.target, why, changed, changes))
    return _document(about, hosts)


def compare_baseline(
    about: Mapping[str, Any], baseline: Baseline, after: Sequence[Measurement]
) -> dict[str, Any]:
    """Return how each target of a run differs from the hosts like it that a baseline is of."""
    kept = {(one.plugin, one.facts, one.series): one for one in baseline.metrics}
    like = {(one.plugin, one.facts) for one in baseline.metrics}
    hosts: list[tuple[str, str | None, str, list[_Change]]] = []
    for now in after:
        why, changes = _unfit(now), []
        if not why and now.measured:
            if (now.plugin, now.measured.facts) not in like:
                why = f"the baseline {baseline.name} has no hosts with its facts"
            for metric in () if why else now.measured.metrics:
                saved = kept.get((now.plugin or "", now.measured.facts, metric.series))
                one = _Change(
                    metric.series,
                    saved.center if saved else None,
                    metric.center,
                    (None, metric.samples),
                )
                if saved:
                    one.few = _few_samples(metric)
                    if saved.hosts < MIN_HOSTS:
                        one.few = (
                            f"only {saved.hosts} of {MIN_HOSTS} hosts needed are in the baseline"
                        )
                    errors = [metric.error] if metric.error is not None else []
                    yardstick = against_saved(saved.center, saved.spread, saved.hosts, errors)
                    found = deviation(metric.center, metric.error, metric.series.better, yardstick)
                    one.p = None if one.few else _two_sided(found)
                changes.append(one)
        hosts.append((now.target, why, "", changes))
    return _document(about, hosts)


def _changes(then: Measured | None, now: Measured | None) -> Iterator[_Change]:
    olds = {one.series: one for one in then.metrics} if then else {}
    news = {one.series: one for one in now.metrics} if now else {}
    for series in sorted({*olds, *news}):
        old, new = olds.get(series), news.get(series)
        change = _Change(
            series,
            old.center if old else None,
            new.center if new else None,
            (old.samples if old else None, new.samples if new else None),
        )
        if old and new:
            change.few = _few_samples(old) or _few_samples(new)
            if old.error is not None and new.error is not None:
                pair = ((one.center, one.error or 0.0, one.samples) for one in (old, new))
                change.p = change_chance(*pair)[1]
        yield change


def _document(
    about: Mapping[str, Any], hosts: Sequence[tuple[str, str | None, str, list[_Change]]]
) -> dict[str, Any]:
    judged = [one for *_, changes in hosts for one in changes if one.p is not None]
    rates = adjusted([one.p for one in judged if one.p is not None])
    for one, rate in zip(judged, rates, strict=True):
        one.verdict = _verdict(one, rate)
    for *_, changes in hosts:
        for one in changes:
            one.verdict = "too_few" if one.few else one.verdict
    told = [_host(*host) for host in hosts]
    counts = Counter(host["verdict"] for host in told)
    return {
        **about,
        "method": {
            "false_discoveries": FALSE_DISCOVERIES,
            "min_samples": MIN_SAMPLES,
            "min_change_percent": 100 * MIN_EFFECT,
        },
        "summary": {verdict: counts[verdict] for verdict in VERDICTS},
        "hosts": told,
    }


def _verdict(one: _Change, rate: float) -> str:
    if rate > FALSE_DISCOVERIES or one.before is None or one.after is None:
        return "same"
    if one.fraction is not None and abs(one.fraction) < MIN_EFFECT:
        return "same"
    return "better" if (one.after > one.before) == (one.series.better == "higher") else "worse"


def _host(
    target: str, why: str | None, facts_changed: str, changes: Sequence[_Change]
) -> dict[str, Any]:
    verdict = next((v for v in VERDICTS if any(one.verdict == v for one in changes)), "missing")
    named = [one for one in changes if one.verdict == verdict]
    words = why or _reason(verdict, named, len(changes))
    return {
        "target": target,
        "verdict": verdict,
        "reason": words + (f" (facts differ: {facts_changed})" if facts_changed else ""),
        "facts_changed": facts_changed or None,
        "metrics": [_metric(one) for one in changes],
    }


def _reason(verdict: str, named: Sequence[_Change], number: int) -> str:
    if verdict == "same":
        return f"no change beyond the noise in {len(named)} of {number} metrics"
    if verdict == "missing":
        return "it has no metric that the other has, too"
    if verdict == "too_few":
        parts = [f"{series_words(one.series)}: {one.few}" for one in named]
    else:
        named = sorted(named, key=lambda one: -abs(one.fraction or 1e300))
        parts = [_moved(one) for one in named]
    more = f"; and {len(parts) - _NAMED} more" if len(parts) > _NAMED else ""
    return "; ".join(parts[:_NAMED]) + more


def _moved(one: _Change) -> str:
    change = "" if one.fraction is None else f" {100 * one.fraction:+.1f} %"
    unit = one.series.unit
    values = f"{measure(one.before or 0.0, '1')} to {measure(one.after or 0.0, unit)}"
    return f"{series_words(one.series)}{change}, {values}"


def _metric(one: _Change) -> dict[str, Any]:
    return {
        **one.series.document(),
        "before": one.before,
        "after": one.after,
        "samples_before": one.samples[0],
        "samples_after": one.samples[1],
        "change_percent": None if one.fraction is None else 100 * one.fraction,
        "verdict": one.verdict,
        "too_few": one.few,
        "p_value": one.p,
    }


def _unfit(one: Measurement, when: str = "") -> str | None:
    if one.measured is not None and one.measured.invalid is None and one.measured.metrics:
        return None
    return when + verdict_without_metrics(one).reason


def _few_samples(metric: Metric) -> str | None:
    if metric.samples >= MIN_SAMPLES:
        return None
    some = f"only {metric.samples} sample{'' if metric.samples == 1 else 's'}"
    return f"{some}, at least {MIN_SAMPLES} are needed"


def _two_sided(found: Deviation) -> float:
    return min(1.0, 2 * min(found.p, 1 - found.p))
