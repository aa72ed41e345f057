"""The verdict on each host, with its reason and how sure it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from lom.fleet.judge import Beside, MetricStanding, SeriesRow
from lom.fleet.statistics import ALPHA, ALPHA_DRIFT, Deviation, adjusted
from lom.ledger.measurements import Measurement
from lom.ledger.metrics import Series

VERDICTS = ("slow", "drifted", "ok", "too_few", "invalid", "no_data")
_HIGH, _MEDIUM = 0.01, 0.1  # false discovery rates
_SEEN_HIGH, _SEEN_MEDIUM = 0.05, 0.1  # fractions that would have been found
_NAMED = 3  # metrics, in one reason


@dataclass(frozen=True, slots=True)
class HostVerdict:
    """What is said of one host.

    ``p`` is the probability that an ordinary host looks as bad, over all its metrics (Simes);
    ``q`` the share of such findings in the report that chance alone makes. None where nothing was
    judged.
    """

    target: str
    verdict: str
    reason: str
    confidence: str | None = None
    p: float | None = None
    q: float | None = None


def set_verdicts(standings: Sequence[MetricStanding]) -> tuple[float | None, float | None]:
    """Set the verdict of each of a host's metrics; return p among peers and p of drift.

    Each is the smallest adjusted p: of all metrics of a host that is as the others, or as it was,
    it is below a limit in that share of the runs, however many metrics there are.
    """
    peers = [one.peers.deviation for one in standings if one.peers and one.peers.deviation]
    slow = adjusted([one.p for one in peers])
    every = [drift for one in standings for drift in _drifts(one)]
    beyond = [drift.deviation for drift in every if drift.deviation]
    drifted = adjusted([one.p for one in beyond])
    limit = ALPHA_DRIFT if peers else ALPHA  # together no more than 1 %
    low = {id(one) for one, p in zip(peers, slow, strict=True) if _found(one, p, ALPHA)}
    lower = {id(one) for one, p in zip(beyond, drifted, strict=True) if _found(one, p, limit)}
    for one in standings:
        if one.peers and id(one.peers.deviation) in low:
            one.verdict = "slow"
        elif any(id(drift.deviation) in lower for drift in _drifts(one)):
            one.verdict = "drifted"
        else:
            one.verdict = "too_few" if one.few else "ok"
    return min(slow, default=None), min(drifted, default=None)


def _found(one: Deviation, p: float, limit: float) -> bool:
    return p <= limit and one.matters


def verdict_of(
    target: str,
    standings: Sequence[MetricStanding],
    rows: Sequence[SeriesRow],
    chances: tuple[float | None, float | None],
    rates: tuple[float | None, float | None],
) -> HostVerdict:
    """Return the verdict on a host whose metrics are marked.

    ``chances`` are what ``set_verdicts`` returned, ``rates`` the same as false discovery rates.
    """
    for verdict, at in (("slow", 0), ("drifted", 1)):
        found = [one for one in standings if one.verdict == verdict]
        if found:
            return HostVerdict(
                target,
                verdict,
                _joined([_told(one) for one in sorted(found, key=_badness)]),
                _sure(rates[at]),
                chances[at],
                rates[at],
            )
    judged = [one for one in standings if one.verdict == "ok"]
    if judged:
        mine = {one.metric.series for one in judged}
        seen = [row.detectable for row in rows if row.series in mine and row.detectable]
        few = len(standings) - len(judged)
        words = f"as its group in {len(judged)} metric{'' if len(judged) == 1 else 's'}"
        words += f", too few to judge in {few}" if few else ""
        if seen:
            words += f"; {100 * max(seen):.2g} % worse in any would have been noticed"
        return HostVerdict(target, "ok", words, _seen(seen), chances[0], rates[0])
    words = _joined([f"{series_words(one.metric.series)}: {one.few}" for one in standings])
    return HostVerdict(target, "too_few", words)


def verdict_without_metrics(one: Measurement) -> HostVerdict:
    """Return the verdict on a host that cannot be compared."""
    if one.measured is not None and one.measured.invalid is not None:
        why = "; ".join(one.measured.invalid) or "its plugin gives no reason"
        return HostVerdict(one.target, "invalid", f"not fit to be compared: {why}")
    state = one.state.replace("_", " ")
    words = "its result has no metric" if one.state == "ok" else f"no result to compare: {state}"
    return HostVerdict(one.target, "no_data", words)


def series_words(series: Series) -> str:
    """Return ``gemm{gpu=0,precision=fp16}``."""
    labels = json.loads(series.labels)
    inside = ",".join(f"{key}={value}" for key, value in labels.items())
    return f"{series.name}{{{inside}}}" if inside else series.name


def measure(number: float, unit: str) -> str:
    """Return a number with its unit, ``1`` being none."""
    return f"{number:.4g}" if unit == "1" else f"{number:.4g} {unit}"


def _told(one: MetricStanding) -> str:
    series = one.metric.series
    side = "below" if series.better == "higher" else "above"
    parts = []
    for beside, what in _told_of(one):
        if beside and beside.deviation and beside.deviation.matters:
            part = beside.deviation.fraction
            far = "" if part is None else f"{100 * part:.1f} % "
            center = measure(beside.center, series.unit)
            parts.append(f"{far}{side} {what} {center}, z {beside.deviation.z:.1f}")
    value = measure(one.metric.center, series.unit)
    return f"{series_words(series)} {value} is {' and '.join(parts)}"


def _told_of(one: MetricStanding) -> list[tuple[Beside | None, str]]:
    if one.verdict == "slow":
        return [(one.peers, "the group's median")]
    return [
        (one.history, "the median of its own earlier runs"),
        (one.baseline, "the baseline's"),
    ]


def _drifts(one: MetricStanding) -> list[Beside]:
    return [beside for beside in (one.history, one.baseline) if beside]


def _badness(one: MetricStanding) -> tuple[float, Series]:
    found = [beside.deviation for beside, _ in _told_of(one) if beside and beside.deviation]
    return -max(each.z for each in found), one.metric.series


def _joined(parts: Sequence[str]) -> str:
    more = f"; and {len(parts) - _NAMED} more" if len(parts) > _NAMED else ""
    return "; ".join(parts[:_NAMED]) + more


def _sure(rate: float | None) -> str:
    if rate is None or rate > _MEDIUM:
        return "low"
    return "high" if rate <= _HIGH else "medium"


def _seen(fractions: Sequence[float]) -> str:
    if not fractions or max(fractions) > _SEEN_MEDIUM:
        return "low"
    return "high" if max(fractions) <= _SEEN_HIGH else "medium"
