"""Reads what a result says for comparison: metrics, facts, and whether it is fit to be compared.

Plugins promise the form of ``specs/common.json``, their schemas need not hold them to it: what has
another form is counted and left out. Pure, and without a library, as a run pays for it.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

TRIM = 0.2  # of the samples, at either end
MOST = 1e300  # a number beyond it is no measurement, and its spread may be no double
_TRIMMED_FROM = 5  # samples: of fewer, a fifth is less than one
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,127}", re.ASCII)
_UNIT = re.compile("[^\x00-\x20\x7f\ud800-\udfff]{1,32}")

_canonical = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode


class Series(NamedTuple):
    """What two numbers must share to be compared; ``labels`` is a JSON object in one form."""

    name: str
    labels: str
    unit: str
    better: str

    def document(self) -> dict[str, Any]:
        """Return it as fields of a document."""
        return {**self._asdict(), "labels": json.loads(self.labels)}


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of a result.

    ``value`` is the plugin's. ``center`` is what is compared: the trimmed mean of the samples, the
    median of 3 or 4, else the value. ``error`` is the standard error of ``center`` in the same
    unit, None where there are fewer than 3 samples.
    """

    series: Series
    value: float
    center: float
    error: float | None
    samples: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What a result says for comparison.

    ``facts`` is a JSON object in one form, ``invalid`` the reasons why the result is not to be
    compared, None if it is. ``unread`` counts metrics that are not of the contract's form.
    """

    facts: str
    invalid: tuple[str, ...] | None
    metrics: tuple[Metric, ...]
    unread: int


def measured_of(output_data: Mapping[str, Any]) -> Measured | None:
    """Return what ``output_data`` says for comparison, None if it is no measurement."""
    given = output_data.get("metrics")
    invalid = output_data.get("valid") is False
    if not isinstance(given, list) and not invalid:
        return None
    read = [_metric(one) for one in given] if isinstance(given, list) else []
    found = [metric for metric in read if metric is not None]
    times = Counter(metric.series for metric in found)
    # Of two with one identity nobody knows which is meant.
    metrics = tuple(metric for metric in found if times[metric.series] == 1)
    return Measured(
        facts=facts_text(output_data.get("facts")),
        invalid=tuple(_reasons(output_data.get("invalid_reasons"))) if invalid else None,
        metrics=metrics,
        unread=len(read) - len(metrics),
    )


def facts_text(facts: Any) -> str:
    """Return the facts as JSON in one form; null is as unknown as what is left out."""
    if not isinstance(facts, Mapping):
        return "{}"
    return _canonical({key: value for key, value in facts.items() if value is not None})


def summarize(samples: Sequence[float]) -> tuple[float, float]:
    """Return the trimmed mean of at least 5 samples and its standard error, in their unit.

    A fifth is cut off at either end; the error is Yuen's (1974), from the winsorized variance. Of
    3 or 4 samples: their median, and 1.2533 (the square root of half pi) times the standard error
    of the mean.
    """
    number = len(samples)
    most = size_of(max(map(abs, samples)))
    ordered = [x / most for x in sorted(samples)]
    cut = int(TRIM * number)
    if number < _TRIMMED_FROM:
        center = (ordered[(number - 1) // 2] + ordered[number // 2]) / 2
        return most * center, most * math.sqrt(math.pi / 2 * _variance(ordered) / number)
    kept = number - 2 * cut
    center = math.fsum(ordered[cut : number - cut]) / kept
    winsorized = [min(max(x, ordered[cut]), ordered[number - cut - 1]) for x in ordered]
    error = math.sqrt((number - 1) * _variance(winsorized) / (kept * (kept - 1)))
    return most * center, most * error


def size_of(most: float) -> float:
    """Return the power of two next above a number, 1 for 0.

    Divided by it nothing is rounded, and squares of the greatest numbers do not overflow.
    """
    return 2.0 ** math.frexp(most)[1] if most else 1.0


def _variance(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.fsum((x - mean) ** 2 for x in values) / (len(values) - 1)


def _metric(given: Any) -> Metric | None:
    if not isinstance(given, Mapping):
        return None
    name, unit, better = (given.get(key) for key in ("name", "unit", "better"))
    labels = given.get("labels", {})
    value = _number(given.get("value"))
    samples = given.get("samples", [])
    if not (
        isinstance(name, str)
        and _NAME.fullmatch(name)
        and isinstance(unit, str)
        and _UNIT.fullmatch(unit)
        and better in ("higher", "lower")
        and isinstance(labels, Mapping)
        and all(isinstance(label, str) for label in labels.values())
        and value is not None
        and isinstance(samples, list)
    ):
        return None
    numbers = [_number(one) for one in samples]
    known = [one for one in numbers if one is not None]
    if len(known) < len(numbers):
        return None
    series = Series(name, _canonical(dict(labels)), unit, better)
    if len(known) < 3:
        return Metric(series, value, value, None, max(1, len(known)))
    return Metric(series, value, *summarize(known), len(known))


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if abs(number) <= MOST else None


def _reasons(given: Any) -> Iterator[str]:
    for one in given if isinstance(given, list) else []:
        if isinstance(one, str):
            yield one
