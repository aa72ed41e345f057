"""The formulas against the libraries, and how often verdicts are wrong in simulated fleets."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.outliers import Fleet, shares
from lom.fleet.statistics import (
    ALPHA,
    FLOOR,
    MOST_Z,
    adjusted,
    against_past,
    against_saved,
    among_peers,
    between_runs,
    change_chance,
    detectable,
    deviation,
)
from lom.ledger.metrics import summarize


def test_the_yardstick_is_the_median_and_the_normal_mad() -> None:
    values = np.random.default_rng(1).normal(100, 5, 50).tolist()
    found = among_peers(values, [])
    mad = float(stats.median_abs_deviation(values, scale="normal"))
    assert found.center == pytest.approx(float(np.median(values)))
    assert found.spread == pytest.approx(mad * 50 / 49.2)
    assert found.scale == found.spread
    assert found.freedom == 49


def test_the_floor_is_half_a_percent_or_the_samples_own_error() -> None:
    assert among_peers([100.0] * 9, []).scale == pytest.approx(100 * FLOOR)
    assert among_peers([100.0] * 9, [0.1, 0.1, 0.1]).scale == pytest.approx(100 * FLOOR)
    assert among_peers([100.0] * 9, [1.0, 2.0, 90.0]).scale == pytest.approx(2.0)
    assert against_saved(100.0, 0.0, 10_000, []).scale == pytest.approx(100 * FLOOR, rel=1e-3)


def test_a_noisy_host_needs_to_be_further_off() -> None:
    yardstick = among_peers([99.0, 100.0, 101.0, 100.5, 99.5], [])
    calm, noisy = (deviation(90.0, error, "higher", yardstick) for error in (0.5, 20.0))
    assert calm.p < 0.001
    assert noisy.p > 0.1
    assert calm.fraction == noisy.fraction == pytest.approx(0.1)


def test_p_is_that_of_students_t() -> None:
    yardstick = among_peers(np.random.default_rng(2).normal(100, 1, 30).tolist(), [])
    found = deviation(97.0, None, "higher", yardstick)
    assert found.z == pytest.approx((yardstick.center - 97) / yardstick.scale)
    assert found.p == pytest.approx(float(stats.t.sf(found.z, 29)))
    other = deviation(97.0, None, "lower", yardstick)
    assert other.z == pytest.approx(-found.z)
    assert other.p == pytest.approx(1 - found.p)


def test_nothing_divides_by_nothing() -> None:
    zero = among_peers([0.0] * 6, [])
    assert deviation(0.0, None, "higher", zero).p == 0.5
    assert deviation(-1.0, None, "higher", zero).z == MOST_Z
    assert deviation(-1.0, None, "higher", zero).fraction is None
    assert detectable(zero, 1) is None
    assert between_runs([]) == (0.0, 0)
    assert between_runs([[5.0]]) == (0.0, 0)
    assert change_chance((0.0, 0.0, 5), (0.0, 0.0, 5)) == (0.0, 1.0)
    assert change_chance((0.0, 0.0, 5), (1.0, 0.0, 5))[1] < 1e-4


def test_the_spread_between_runs_is_that_of_the_noise_not_of_a_drift() -> None:
    random = np.random.default_rng(3)
    histories = [
        (500 + 20 * random.normal() + 0.1 * np.arange(12) + random.normal(0, 4, 12)).tolist()
        for _ in range(200)
    ]
    spread, steps = between_runs(histories)
    assert steps == 200 * 11
    assert spread == pytest.approx(4, rel=0.1)
    yardstick = against_past([100.0, 101.0, 99.0], spread, steps, [])
    assert yardstick.center == 100
    assert yardstick.scale == pytest.approx(spread * math.sqrt(1 + math.pi / 6))


def test_a_change_is_judged_as_by_yuens_test() -> None:
    random = np.random.default_rng(4)
    before, after = random.normal(100, 3, 10), random.normal(103, 4, 15)
    summaries = ((*summarize(one.tolist()), len(one)) for one in (before, after))
    t, p = change_chance(*summaries)
    found = stats.ttest_ind(after, before, equal_var=False, trim=0.2)
    assert t == pytest.approx(float(found.statistic))
    assert p == pytest.approx(float(found.pvalue))


def test_rates_are_benjamini_and_hochbergs() -> None:
    assert adjusted([]) == []
    assert adjusted([0.01, 0.02, 0.5]) == pytest.approx([0.03, 0.03, 0.5])


def test_detectable_is_what_is_found_in_95_percent() -> None:
    yardstick = among_peers(np.random.default_rng(5).normal(100, 1, 200).tolist(), [])
    fraction = detectable(yardstick, 1)
    assert fraction is not None
    random = np.random.default_rng(6)
    values = 100 * (1 - fraction) + random.normal(0, yardstick.scale, 4000)
    found = [deviation(value, None, "higher", yardstick).p <= ALPHA for value in values]
    assert np.mean(found) == pytest.approx(0.95, abs=0.02)


# The rates themselves are printed by the benchmark; these margins are far from what it prints.


@pytest.mark.parametrize(("slow", "least"), [(0.05, 0.85), (0.10, 1.0)])
def test_planted_hosts_are_found_and_others_left_alone(slow: float, least: float) -> None:
    random = np.random.default_rng(20260101)
    found, blamed = shares(Fleet(200, 10, slow), 60, random)
    assert found.statistic >= least
    assert blamed.statistic <= 0.013


@pytest.mark.parametrize(("hosts", "metrics"), [(8, 1), (20, 6)])
def test_small_fleets_and_many_metrics_raise_no_more_alarms(hosts: int, metrics: int) -> None:
    random = np.random.default_rng(20260101)
    _, blamed = shares(Fleet(hosts, 10, 0, metrics), 1200 // hosts, random)
    assert blamed.statistic <= 0.02
