"""Which hosts are compared with each other: those with one plugin and the same facts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lmm.errors import RequestError
from lom.fleet.statistics import MIN_HOSTS
from lom.ledger.measurements import Measurement
from lom.ledger.metrics import Measured, Metric, Series
from lom.names import did_you_mean

WANTED = ("sku", "driver_version")  # without these hosts may be of different kinds
_NAMED = 3  # hosts, in one remark


@dataclass(frozen=True, slots=True)
class HostGroup:
    """Hosts that are compared with each other; ``facts`` is JSON text in one form."""

    plugin: str
    facts: str
    hosts: tuple[Measurement, ...]

    def series(self) -> dict[Series, dict[str, Metric]]:
        """Return each series' metrics by target, in the order of name and labels."""
        found: dict[Series, dict[str, Metric]] = {}
        for host in self.hosts:
            for metric in host.measured.metrics if host.measured else ():
                found.setdefault(metric.series, {})[host.target] = metric
        return dict(sorted(found.items()))


def groups_of(measurements: Iterable[Measurement]) -> list[HostGroup]:
    """Return the groups of what can be compared, the largest first."""
    found: dict[tuple[str, str], list[Measurement]] = {}
    for one in measurements:
        if one.measured is not None and one.measured.invalid is None and one.measured.metrics:
            found.setdefault((one.plugin or "", one.measured.facts), []).append(one)
    groups = [HostGroup(*key, tuple(hosts)) for key, hosts in found.items()]
    return sorted(groups, key=lambda group: (-len(group.hosts), group.plugin, group.facts))


def check_metrics(measurements: Sequence[Measurement], names: Sequence[str], run_id: str) -> None:
    """Make sure that a run measured something, and that each name is one of its metrics.

    Raises RequestError (``no_metrics``, ``unknown_metric``).
    """
    if not any(one.measured for one in measurements):
        raise RequestError(
            "no_metrics",
            f"no target of the run {run_id} measured anything: no result has output_data.metrics",
            run_id=run_id,
        )
    known = {
        metric.series.name
        for one in measurements
        for metric in (one.measured.metrics if one.measured else ())
    }
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f"; it has {', '.join(sorted(known)) or 'none'}"
            raise RequestError(
                "unknown_metric",
                f"the run {run_id} has no metric {name[:80]!r}{hint}",
                field="--metric",
            )


def with_metrics(measurements: Sequence[Measurement], names: Sequence[str]) -> list[Measurement]:
    """Return the measurements with the named metrics alone; as they are if none is named."""

    def chosen(one: Measured) -> Measured:
        kept = tuple(metric for metric in one.metrics if metric.series.name in names)
        return replace(one, metrics=kept)

    if not names:
        return list(measurements)
    return [
        replace(one, measured=chosen(one.measured)) if one.measured else one for one in measurements
    ]


def facts_of(text: str) -> dict[str, Any]:
    """Return facts from their text."""
    return dict(json.loads(text))


def facts_words(text: str) -> str:
    """Return facts for people: ``sku H200, driver_version 560.35``."""
    words = [f"{key} {_plain(value)}" for key, value in facts_of(text).items()]
    return ", ".join(words) or "facts unknown"


def facts_change(before: str, after: str) -> str:
    """Return what differs: ``driver_version 550 → 560``; empty where nothing does."""
    old, new = facts_of(before), facts_of(after)
    return ", ".join(
        f"{key} {_plain(old.get(key, 'unknown'))} → {_plain(new.get(key, 'unknown'))}"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    )


def remarks(groups: Sequence[HostGroup], measurements: Sequence[Measurement]) -> Iterator[str]:
    """Yield what a reader must know of the groups before believing a verdict."""
    small = [group for group in groups if len(group.hosts) < MIN_HOSTS]
    alone = sum(len(group.hosts) for group in small)
    if small:
        yield (
            f"{_count(alone, 'host')} in {_count(len(small), 'group')} of fewer than {MIN_HOSTS}:"
            " too few to be compared with each other"
        )
    if len(small) > 1 and alone > MIN_HOSTS:
        every = [facts_of(group.facts) for group in groups]
        keys = sorted({key for facts in every for key in facts})
        split = [key for key in keys if len({_plain(facts.get(key)) for facts in every}) > 1]
        if split:
            yield f"what splits the hosts into {len(groups)} groups: {', '.join(split)}"
    for group in groups:
        missing = [key for key in WANTED if key not in facts_of(group.facts)]
        if missing:
            yield (
                f"{_names([host.target for host in group.hosts])} did not tell"
                f" {' and '.join(missing)}: they may be of different kinds"
            )
    bad = [one.target for one in measurements if one.measured and one.measured.unread]
    if bad:
        yield (
            f"{_count(len(bad), 'host')} gave metrics that have not the form of the contract, or"
            f" the same one twice; these are left out ({_names(bad)})"
        )


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
