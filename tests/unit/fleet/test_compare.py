"""What changed from one run to the next, and beside a baseline."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm.contract import spec_validator
from lom.fleet.compare import compare_baseline, compare_runs
from lom.fleet.report import baseline_metrics
from lom.ledger.measurements import Baseline, Measurement

from .conftest import ABOUT, FACTS, fleet, host, metric, verdicts

STEADY = [100.0, 100.4, 99.6, 100.2, 99.8]
WITH = {"baseline": None, "run_id": "r0", "at": "2026-01-01T00:00:00.0Z"}


def compared(before: list[Measurement], after: list[Measurement]) -> Any:
    document = compare_runs({**ABOUT, "with": WITH}, before, after)
    assert spec_validator("fleet_v1").violations(json.loads(json.dumps(document))) == []
    return document


def times(factor: float, **given: Any) -> Measurement:
    return host("n0", metric([x * factor for x in STEADY], **given))


@pytest.mark.parametrize(
    ("factor", "better", "verdict"),
    [
        (0.9, "higher", "worse"),
        (0.9, "lower", "better"),
        (1.1, "higher", "better"),
        (1.1, "lower", "worse"),
        (0.985, "higher", "same"),  # sure, and too little to matter
        (1.0, "higher", "same"),
    ],
)
def test_a_change_has_a_direction(factor: float, better: str, verdict: str) -> None:
    document = compared([times(1, better=better)], [times(factor, better=better)])
    [one] = document["hosts"]
    assert one["verdict"] == verdict
    assert one["metrics"][0]["change_percent"] == pytest.approx(100 * (factor - 1))
    assert document["summary"][verdict] == 1


def test_noise_is_no_change() -> None:
    noisy = [70.0, 130.0, 90.0, 110.0, 100.0]
    [one] = compared([times(1)], [host("n0", metric([x * 0.95 for x in noisy]))])["hosts"]
    assert one["verdict"] == "same"
    assert one["metrics"][0]["p_value"] > 0.05


def test_few_samples_are_said_to_be_few() -> None:
    for pair in (
        [times(1), host("n0", metric([50.0]))],
        [host("n0", metric([50.0] * 2)), times(1)],
    ):
        [one] = compared(pair[:1], pair[1:])["hosts"]
        assert one["verdict"] == "too_few"
        assert "at least 3 are needed" in one["reason"]
        assert one["metrics"][0]["change_percent"] is not None


def test_what_is_missing_on_one_side_is_said() -> None:
    before = [times(1), host("busy", metric(STEADY), valid=False, invalid_reasons=["busy"])]
    after = [
        host("n0", metric(STEADY, "other")),
        host("busy", metric(STEADY)),
        host("new", metric(STEADY)),
        Measurement("gone", "unreachable", "gpu-gemm", None),
    ]
    document = compared(before, after)
    reasons = {one["target"]: one["reason"] for one in document["hosts"]}
    assert set(verdicts(document).values()) == {"missing"}
    assert reasons == {
        "n0": "it has no metric that the other has, too",
        "busy": "before: not fit to be compared: busy",
        "new": "it is not in the run before",
        "gone": "no result to compare: unreachable",
    }


def test_facts_that_changed_are_said() -> None:
    now = host("n0", metric(STEADY), facts={**FACTS, "driver_version": "570", "mig": "2x 3g"})
    [one] = compared([times(1)], [now])["hosts"]
    assert one["facts_changed"] == "driver_version 560.35 → 570, mig unknown → 2x 3g"
    assert one["facts_changed"] in one["reason"]


def test_a_fleet_in_which_nothing_changed_stays_the_same() -> None:
    random = np.random.default_rng(11)

    def run() -> list[Measurement]:
        every = 600 * (1 + random.normal(0, 0.02, (300, 10)))
        return [host(f"n{i}", metric(samples.tolist())) for i, samples in enumerate(every)]

    assert compared(run(), run())["summary"]["same"] >= 297


def test_beside_a_baseline() -> None:
    kept = tuple(baseline_metrics(fleet(30)))
    first = Baseline("first", "gpu.gemm", "r0", WITH["at"] or "", "ops", kept)
    hosts = fleet(30, {3: 0.2, 4: -0.2})
    hosts.append(host("new", metric(STEADY), facts={"sku": "B200"}))
    hosts.append(host("few", metric([500.0])))
    about = {**ABOUT, "with": {**WITH, "baseline": "first"}}
    document = compare_baseline(about, first, hosts)
    assert spec_validator("fleet_v1").violations(json.loads(json.dumps(document))) == []
    found = verdicts(document)
    assert (found["n3"], found["n4"], found["new"], found["few"]) == (
        "worse",
        "better",
        "missing",
        "too_few",
    )
    assert document["summary"]["same"] >= 26
    small = Baseline("first", "gpu.gemm", "r0", "", "ops", tuple(baseline_metrics(fleet(4))))
    assert set(verdicts(compare_baseline(about, small, fleet(6))).values()) == {"too_few"}


VALUES = st.floats(-1e299, 1e299) | st.sampled_from([0.0, 5e-324, 1.0, -1e299])
SAMPLES = st.lists(VALUES, min_size=1, max_size=6)


@settings(max_examples=200, deadline=None)
@given(SAMPLES, SAMPLES)
def test_every_number_is_finite(before: list[float], after: list[float]) -> None:
    document = compared([host("n0", metric(before))], [host("n0", metric(after))])
    json.dumps(document, allow_nan=False)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(50, 150), min_size=3, max_size=8), st.integers(-40, 40))
def test_another_unit_changes_nothing(samples: list[float], power: int) -> None:
    pairs = [
        (
            [host("n0", metric([x * f for x in STEADY]))],
            [host("n0", metric([x * f for x in samples]))],
        )
        for f in (1.0, 2.0**power)
    ]
    plain, scaled = (compared(*pair)["hosts"][0] for pair in pairs)
    assert plain["verdict"] == scaled["verdict"]
    assert plain["metrics"][0]["p_value"] == scaled["metrics"][0]["p_value"]
