"""Verdicts on hosts: planted slow ones are found, ordinary ones left alone, too little is said."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm.contract import spec_validator
from lmm.errors import RequestError
from lom.fleet.groups import check_metrics, with_metrics
from lom.fleet.report import baseline_metrics
from lom.ledger.measurements import Baseline, Measurement

from .conftest import ABOUT, FACTS, fleet, host, metric, past, report, verdicts

STEADY = [100.0, 100.4, 99.6, 100.2, 99.8]


def steady(count: int, **given: Any) -> list[Measurement]:
    """Return hosts that differ by less than anyone would mind."""
    return [
        host(f"n{i}", metric([x * (1 + 0.001 * (i % 5)) for x in STEADY], **given))
        for i in range(count)
    ]


def baseline_of(hosts: list[Measurement]) -> Baseline:
    metrics = tuple(baseline_metrics(hosts))
    return Baseline("first", "gpu.gemm", "r0", "2026-01-01T00:00:00.0Z", "ops", metrics)


def found(document: Any, target: str) -> Any:
    return next(one for one in document["hosts"] if one["target"] == target)


# -- slow --------------------------------------------------------------------------------------


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_planted_slow_hosts_are_found_and_named(better: str) -> None:
    document = report(fleet(200, {17: 0.15, 90: 0.2}, better=better))
    assert spec_validator("fleet_v1").violations(document) == []
    slow = [name for name, verdict in verdicts(document).items() if verdict == "slow"]
    assert {"n17", "n90"} <= set(slow)
    assert len(slow) <= 8  # 1 % is 2
    one = found(document, "n90")
    assert one["confidence"] == "high"
    assert one["q_value"] < 1e-6
    assert ("below" if better == "higher" else "above") in one["reason"]
    assert "gemm" in one["reason"]
    assert "TFLOP/s, z " in one["reason"]
    assert one["metrics"][0]["peers"]["worse_percent"] > 10


def test_a_host_that_is_better_is_no_finding() -> None:
    document = report(fleet(40, {3: -0.2}))
    assert verdicts(document)["n3"] == "ok"
    assert found(document, "n3")["metrics"][0]["peers"]["z"] < -5


def test_less_than_two_percent_is_no_finding_however_sure() -> None:
    for worse, verdict in ((0.015, "ok"), (0.03, "slow")):
        hosts = steady(40)
        hosts[5] = host("n5", metric([x * (1.002 - worse) for x in STEADY]))
        document = report(hosts)
        assert verdicts(document)["n5"] == verdict
        assert found(document, "n5")["metrics"][0]["peers"]["z"] > 2.4


def test_a_slow_half_cannot_hide_a_slow_host() -> None:
    """The median and its deviation hold with many contaminated hosts; mean and sd would not."""
    document = report(fleet(100, dict.fromkeys(range(15), 0.3)))
    assert all(verdicts(document)[f"n{number}"] == "slow" for number in range(15))


def test_one_metric_of_many_makes_a_host_slow() -> None:
    names = [f"m{number}" for number in range(8)]
    hosts = []
    for i, base in enumerate(fleet(60)):
        assert base.measured
        samples = [base.measured.metrics[0].center * x / 100 for x in STEADY]
        worse = {"m5": 0.8} if i == 9 else {}
        metrics = [metric([x * worse.get(n, 1) for x in samples], n) for n in names]
        hosts.append(host(f"n{i}", *metrics))
    document = report(hosts)
    one = found(document, "n9")
    assert one["verdict"] == "slow"
    assert one["reason"].startswith("m5 ")
    assert [m["name"] for m in one["metrics"] if m["verdict"] == "slow"] == ["m5"]


def test_counts_of_which_nearly_all_are_zero() -> None:
    hosts = [
        host(f"n{i}", metric([6.0] * 5 if i == 3 else [0.0] * 5, "ecc", unit="1", better="lower"))
        for i in range(30)
    ]
    document = report(hosts)
    assert verdicts(document)["n3"] == "slow"
    assert document["summary"]["ok"] == 29
    assert found(document, "n3")["metrics"][0]["peers"]["worse_percent"] is None
    assert "6 is above the group's median 0" in found(document, "n3")["reason"]


def test_all_the_same_value_is_ok() -> None:
    for value in (0.0, 7.0, -7.0, 1e300, 5e-324):
        document = report([host(f"n{i}", metric([value] * 5)) for i in range(8)])
        assert set(verdicts(document).values()) == {"ok"}


# -- groups, invalid, nothing ------------------------------------------------------------------


def test_hosts_are_compared_only_with_their_like() -> None:
    fast, old = fleet(30), fleet(30, better="higher")
    halves = []
    for i, one in enumerate(old):
        assert one.measured
        samples = [one.measured.metrics[0].center / 2 * x / 100 for x in STEADY]
        halves.append(host(f"old{i}", metric(samples), facts={**FACTS, "sku": "H100"}))
    document = report([*fast, *halves])
    assert document["summary"]["slow"] <= 3
    assert [group["hosts"] for group in document["groups"]] == [30, 30]
    assert [group["facts"]["sku"] for group in document["groups"]] == ["H100", "H200"]
    assert document["remarks"] == []


def test_another_plugin_is_another_group() -> None:
    hosts = [replace(one, plugin=f"p{i % 2}") for i, one in enumerate(steady(12))]
    assert [group["plugin"] for group in report(hosts)["groups"]] == ["p0", "p1"]


def test_a_result_that_calls_itself_invalid_is_never_slow() -> None:
    hosts = fleet(30)
    busy = metric([x / 3 for x in STEADY])
    hosts[4] = host("n4", busy, valid=False, invalid_reasons=["GPU 2 was busy"])
    hosts[5] = host("n5", busy, valid=False)
    document = report(hosts)
    assert verdicts(document)["n4"] == verdicts(document)["n5"] == "invalid"
    assert "GPU 2 was busy" in found(document, "n4")["reason"]
    assert document["groups"][0]["hosts"] == 28
    assert document["groups"][0]["metrics"][0]["lowest"] > 500


def test_hosts_without_numbers_are_listed() -> None:
    hosts = [
        *steady(6),
        Measurement("gone", "unreachable", "gpu-gemm", None),
        Measurement("mute", "ok", "gpu-gemm", None),
        Measurement("late", "not_started", None, None),
    ]
    document = report(hosts)
    assert document["summary"]["no_data"] == 3
    assert found(document, "gone")["reason"] == "no result to compare: unreachable"
    assert found(document, "mute")["reason"] == "its result has no metric"
    assert spec_validator("fleet_v1").violations(document) == []


def test_what_a_reader_must_know_of_groups() -> None:
    clocks = [host(f"c{i}", metric(STEADY), facts={**FACTS, "clocks": i}) for i in range(7)]
    unknown = host("u", metric(STEADY), 7, facts=None)
    remarks = "\n".join(report([*clocks, unknown])["remarks"])
    assert "8 hosts in 8 groups of fewer than 5: too few" in remarks
    assert "what splits the hosts into 8 groups: clocks" in remarks
    assert "u did not tell sku and driver_version" in remarks
    assert "1 host gave metrics that have not the form" in remarks


# -- too few -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "verdict"), [(1, "too_few"), (4, "too_few"), (5, "ok")])
def test_few_hosts(count: int, verdict: str) -> None:
    document = report(steady(count))
    assert set(verdicts(document).values()) == {verdict}
    if verdict == "too_few":
        words = f"only {count} host{'s' if count > 1 else ''} to compare in its group, at least 5"
        assert words in found(document, "n0")["reason"]
        assert document["groups"][0]["metrics"][0]["median"] is None
    assert spec_validator("fleet_v1").violations(document) == []


def test_few_samples() -> None:
    hosts = steady(10)
    hosts[2] = host("n2", metric([50.0, 50.0]))
    hosts[3] = host("n3", {**metric([50.0]), "samples": []})
    document = report(hosts)
    assert verdicts(document)["n2"] == verdicts(document)["n3"] == "too_few"
    assert "only 2 samples, at least 3" in found(document, "n2")["reason"]
    assert "only 1 sample, at least 3" in found(document, "n3")["reason"]
    assert document["groups"][0]["metrics"][0]["median"] == pytest.approx(100, rel=0.01)


# -- drift -------------------------------------------------------------------------------------


def test_a_host_that_is_as_its_group_but_not_as_it_was_has_drifted() -> None:
    hosts = steady(4)
    earlier = past(hosts, [1.0, 1.002, 0.998, 1.001, 1.0, 0.999])
    assert set(verdicts(report(hosts, earlier)).values()) == {"too_few"}
    hosts[1] = host("n1", metric([x * 0.9 for x in STEADY]))
    document = report(hosts, earlier)
    assert verdicts(document) == {
        "n0": "too_few",
        "n1": "drifted",
        "n2": "too_few",
        "n3": "too_few",
    }
    one = found(document, "n1")
    assert "below the median of its own earlier runs 100.1 TFLOP/s" in one["reason"]
    assert one["metrics"][0]["history"]["runs"] == 6
    assert one["metrics"][0]["history"]["worse_percent"] == pytest.approx(10, abs=0.2)
    assert one["confidence"] == "high"
    assert spec_validator("fleet_v1").violations(document) == []


def test_two_earlier_runs_are_too_few() -> None:
    hosts = steady(8)
    earlier = past(hosts, [1.3, 1.3])
    document = report(hosts, earlier)
    assert set(verdicts(document).values()) == {"ok"}
    assert found(document, "n0")["metrics"][0]["history"] == {
        "runs": 2,
        "center": pytest.approx(130, rel=0.01),
        "worse_percent": None,
        "z": None,
        "p_value": None,
    }


def test_drift_from_a_baseline() -> None:
    baseline = baseline_of(steady(20))
    hosts = steady(20)
    assert set(verdicts(report(hosts, {}, baseline)).values()) == {"ok"}
    slower = [host(one.target, metric([x * 0.9 for x in STEADY])) for one in hosts]
    document = report(slower, {}, baseline)
    assert set(verdicts(document).values()) == {"drifted"}
    assert "below the baseline's 100.2 TFLOP/s" in found(document, "n0")["reason"]
    assert document["groups"][0]["metrics"][0]["baseline"]["hosts"] == 20
    assert document["baseline"] == "first"
    assert spec_validator("fleet_v1").violations(document) == []


def test_a_baseline_of_few_hosts_is_too_few() -> None:
    document = report(fleet(20, dict.fromkeys(range(20), 0.4)), {}, baseline_of(fleet(4)))
    assert document["summary"]["drifted"] == 0
    assert found(document, "n0")["metrics"][0]["baseline"]["z"] is None


def test_a_baseline_of_other_facts_says_what_differs() -> None:
    baseline = baseline_of(steady(20))
    changed = {**FACTS, "driver_version": "570"}
    document = report(
        [host(f"n{i}", metric(STEADY), facts=changed) for i in range(6)], {}, baseline
    )
    [remark] = document["remarks"]
    assert remark.startswith("the baseline first has no hosts like driver_version 570, sku H200")
    assert remark.endswith("nearest: driver_version 560.35 → 570")


# -- only some metrics -------------------------------------------------------------------------


def test_only_the_metrics_that_are_asked_for() -> None:
    hosts = [host(f"n{i}", metric(STEADY), metric(STEADY, "bus")) for i in range(6)]
    check_metrics(hosts, ["bus"], "r1")
    document = report(with_metrics(hosts, ["bus"]))
    assert [one["name"] for one in document["groups"][0]["metrics"]] == ["bus"]
    with pytest.raises(RequestError, match="did you mean 'gemm'") as refusal:
        check_metrics(hosts, ["gem"], "r1")
    assert refusal.value.reason == "unknown_metric"
    with pytest.raises(RequestError, match="it has bus, gemm"):
        check_metrics(hosts, ["zzzzzz"], "r1")
    with pytest.raises(RequestError) as refusal:
        check_metrics([Measurement("n0", "ok", "noop", None)], [], "r1")
    assert refusal.value.reason == "no_metrics"


# -- whatever comes ----------------------------------------------------------------------------

VALUES = st.floats(-1e299, 1e299) | st.sampled_from([0.0, 1.0, 5e-324, -1e299, 1e299, 1e-300])
HOSTS = st.lists(st.lists(VALUES, min_size=1, max_size=6), min_size=1, max_size=12)


def of_samples(
    every: list[list[float]], factor: float = 1.0, better: str = "higher"
) -> list[Measurement]:
    return [
        host(f"n{i}", metric([x * factor for x in samples], better=better))
        for i, samples in enumerate(every)
    ]


@settings(max_examples=150, deadline=None)
@given(HOSTS, st.lists(st.floats(0.1, 10), max_size=5), st.sampled_from(["higher", "lower"]))
def test_every_number_is_finite_and_the_document_fits(
    every: list[list[float]], factors: list[float], better: str
) -> None:
    hosts = of_samples(every, better=better)
    document = report(hosts, past(hosts, factors) if factors else {}, baseline_of(hosts))
    assert spec_validator("fleet_v1").violations(json.loads(json.dumps(document))) == []
    json.dumps(document, allow_nan=False)
    assert sum(document["summary"].values()) == len(hosts)


NEAR = st.floats(50, 150).map(lambda x: round(x, 2))
NEAR_HOSTS = st.lists(st.lists(NEAR, min_size=3, max_size=6), min_size=5, max_size=12)


@settings(max_examples=100, deadline=None)
@given(NEAR_HOSTS, st.integers(-60, 60))
def test_another_unit_changes_no_verdict(every: list[list[float]], power: int) -> None:
    """A factor of a power of two, so that no rounding can tip what stands on the edge."""
    plain, scaled = report(of_samples(every)), report(of_samples(every, 2.0**power))
    assert verdicts(plain) == verdicts(scaled)
    for one, other in zip(plain["hosts"], scaled["hosts"], strict=True):
        assert one["p_value"] == other["p_value"]


@settings(max_examples=100, deadline=None)
@given(st.data(), NEAR_HOSTS)
def test_the_order_of_hosts_does_not_matter(data: Any, every: list[list[float]]) -> None:
    hosts = of_samples(every)
    mixed = data.draw(st.permutations(hosts))
    assert verdicts(report(hosts)) == verdicts(report(mixed))


@settings(max_examples=100, deadline=None)
@given(NEAR_HOSTS, st.integers(0, 4), st.floats(1.0, 5.0))
def test_a_worse_host_never_looks_better(every: list[list[float]], at: int, factor: float) -> None:
    """Its own values divided: its p among the others does not grow, as long as it is the worst."""
    lowest = min(min(one) for one in every) / 2
    every[at] = [lowest] * 5
    worse = [*every]
    worse[at] = [lowest / factor] * 5
    before, after = (found(report(of_samples(one)), f"n{at}") for one in (every, worse))
    assert after["p_value"] <= before["p_value"] or math.isclose(
        after["p_value"], before["p_value"], rel_tol=1e-9
    )


def test_a_healthy_fleet_is_left_alone() -> None:
    """Far from the limit, so that it cannot flake: the benchmark prints the rate itself."""
    counts = Counter(verdicts(report(fleet(500))).values())
    assert counts["slow"] <= 15
    assert counts["ok"] == 500 - counts["slow"]


def test_the_limits_stand_in_the_document() -> None:
    method = report(steady(5))["method"]
    assert method["min_hosts"] == 5
    assert method["false_alarms_per_host"] == pytest.approx(0.01)
    assert ABOUT.items() <= report(steady(5)).items()
