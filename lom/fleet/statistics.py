"""The statistics: a robust yardstick, how far a value lies from it, and how sure that is.

Every number that leaves here is finite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from lom.ledger.metrics import TRIM, size_of

# False alarms per host, 1 % together: slow beside its group, and drifted from what it was.
ALPHA = 0.009
ALPHA_DRIFT = 0.001
MIN_HOSTS = 5
MIN_SAMPLES = 3
MIN_RUNS = 3
MIN_EFFECT = 0.02  # of the center: less is no finding, however sure it is
FLOOR = 0.005  # of the center: no spread is taken for smaller
MOST_Z = 1e6
POWER = 0.95

_MEDIAN_VARIANCE = math.pi / 2  # of a median, times the number, in variances of a normal value


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What a value is compared with.

    ``spread`` is that of the values, in their unit; ``scale`` the same but no smaller than the
    floor, and greater by what the center itself is uncertain where it is no part of what is
    compared. ``freedom`` are the degrees of freedom of Student's t.
    """

    center: float
    spread: float
    scale: float
    freedom: float
    count: int


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far a value lies from a yardstick, positive where it is worse.

    ``fraction`` is of the center, None for a center of 0; ``p`` is the probability that a value
    as bad or worse is chance alone.
    """

    fraction: float | None
    z: float
    p: float

    @property
    def matters(self) -> bool:
        """Whether it is as large as MIN_EFFECT; of a center of 0 every deviation is."""
        return self.z > 0 and (self.fraction is None or self.fraction >= MIN_EFFECT)


def among_peers(values: Sequence[float], errors: Sequence[float]) -> Yardstick:
    """Return the yardstick of hosts that are compared with each other.

    Center is the median; spread the median absolute deviation as a normal standard deviation,
    times n/(n - 0.8), as it falls short in small groups (Croux and Rousseeuw 1992). ``errors``
    are the standard errors of the values that have one.
    """
    most, scaled = _scaled(values)
    center = float(np.median(scaled))
    spread = float(stats.median_abs_deviation(scaled, scale="normal"))
    if spread == 0 == center:  # most values are 0: no floor stands for a spread
        spread = math.sqrt(math.pi / 2) * float(np.mean(np.abs(scaled)))
    count = len(scaled)
    spread *= count / (count - 0.8)
    return Yardstick(
        center=most * center,
        spread=most * spread,
        scale=max(most * spread, _floor(most * center, errors)),
        freedom=max(1, count - 1),
        count=count,
    )


def against_saved(center: float, spread: float, count: int, errors: Sequence[float]) -> Yardstick:
    """Return the yardstick of a baseline over ``count`` hosts."""
    scale = max(spread, _floor(center, errors)) * math.sqrt(1 + _MEDIAN_VARIANCE / count)
    return Yardstick(center, spread, scale, max(1, count - 1), count)


def between_runs(histories: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Return the spread from run to run of a host, pooled over hosts, and the steps it is from.

    1.0484 times the median size of the step between a host's successive runs: the estimate of
    control charts by the median moving range, which a slow drift hardly touches.
    """
    most = _scaled([value for one in histories for value in one])[0]
    steps = [np.abs(np.diff(np.asarray(one, dtype=float) / most)) for one in histories]
    sizes = np.concatenate(steps) if steps else np.empty(0)
    if not sizes.size:
        return 0.0, 0
    # |x - y| of two normal values is sqrt(2) times |x|, whose median is the normal's 3rd quartile.
    unit = math.sqrt(2) * float(special.ndtri(0.75))
    return most * float(np.median(sizes)) / unit, int(sizes.size)


def against_past(
    earlier: Sequence[float], spread: float, steps: int, errors: Sequence[float]
) -> Yardstick:
    """Return the yardstick of one host's earlier runs, given the spread of ``between_runs``.

    Half as many degrees of freedom as steps, since each run but the ends is in two.
    """
    most, scaled = _scaled(earlier)
    center = most * float(np.median(scaled))
    scale = max(spread, _floor(center, errors)) * math.sqrt(1 + _MEDIAN_VARIANCE / len(earlier))
    return Yardstick(center, spread, scale, max(1.0, steps / 2), len(earlier))


def deviation(value: float, error: float | None, better: str, yardstick: Yardstick) -> Deviation:
    """Return how much worse a value is than a yardstick, whose scale its own error may exceed."""
    most = size_of(max(abs(value), abs(yardstick.center)))
    worse = (yardstick.center / most - value / most) * (1 if better == "higher" else -1)
    scale = max(yardstick.scale, error or 0.0) / most
    z = worse / scale if abs(worse) < MOST_Z * scale else math.copysign(MOST_Z, worse)
    z = 0.0 if worse == 0 else z
    part = abs(yardstick.center) / most
    fraction = worse / part if part > 1e-9 else None
    return Deviation(fraction, z, float(special.stdtr(yardstick.freedom, -z)))


def adjusted(chances: Sequence[float]) -> list[float]:
    """Return p values as false discovery rates (Benjamini and Hochberg), in their order.

    The smallest is that of Simes' test of all together.
    """
    if len(chances) < 2:
        return list(chances)
    return [float(p) for p in stats.false_discovery_control(chances)]


def detectable(yardstick: Yardstick, tests: int) -> float | None:
    """Return the fraction by which a host must be worse to be found in 95 % of runs.

    For one of ``tests`` metrics in which it alone is slow; None for a center of 0.
    """
    if yardstick.center == 0:
        return None
    threshold = -float(special.stdtrit(yardstick.freedom, ALPHA / tests))
    steps = threshold + float(special.ndtri(POWER))
    fraction = steps * (yardstick.scale / abs(yardstick.center))
    return max(fraction, MIN_EFFECT) if math.isfinite(fraction) else None


def change_chance(
    before: tuple[float, float, int], after: tuple[float, float, int]
) -> tuple[float, float]:
    """Return t and the two-sided p of a change between two (center, error, samples).

    Yuen's test (1974) of trimmed means with Welch's degrees of freedom; no error is taken for
    smaller than the floor of its center allows.
    """
    most = size_of(max(abs(before[0]), abs(after[0]), before[1], after[1]))
    parts = []
    for center, error, samples in (before, after):
        least = FLOOR * abs(center) / most / math.sqrt(samples)
        kept = samples - 2 * int(TRIM * samples)
        parts.append((max(error / most, least) ** 2, max(1, kept - 1)))
    variance = sum(one for one, _ in parts)
    worse = after[0] / most - before[0] / most
    if variance == 0 or worse == 0:
        return 0.0, 1.0 if worse == 0 else 0.0
    freedom = 1 / sum((one / variance) ** 2 / kept for one, kept in parts)
    t = worse / math.sqrt(variance)
    return max(-MOST_Z, min(MOST_Z, t)), 2 * float(special.stdtr(freedom, -abs(t)))


def _scaled(values: Sequence[float]) -> tuple[float, np.ndarray]:
    """Return the size of the greatest value and the values as parts of it."""
    array = np.asarray(values, dtype=float)
    most = size_of(float(np.max(np.abs(array), initial=0.0)))
    return most, array / most


def _floor(center: float, errors: Sequence[float]) -> float:
    known = float(np.median(errors)) if len(errors) else 0.0
    return max(FLOOR * abs(center), known)
