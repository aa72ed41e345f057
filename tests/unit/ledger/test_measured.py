"""What results say for comparison is recorded with them, read back, and pruned with their run."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lmm.envelope import timestamp
from lmm.errors import RequestError
from lom.ledger.measurements import (
    BaselineMetric,
)
from lom.ledger.metrics import Series, measured_of, summarize
from lom.ledger.sqlite.reader import SqliteReader
from lom.ledger.sqlite.schema import STEPS, migrate
from lom.ledger.sqlite.writer import SqliteLedger

from .conftest import Begin, ended, facts, result

GEMM = {"name": "gemm", "value": 612.0, "unit": "TFLOP/s", "better": "higher"}
SAMPLES = st.floats(-1e6, 1e6).map(lambda x: round(x, 3))


def measured(*metrics: Any, **more: Any) -> dict[str, Any]:
    return {"metrics": list(metrics), **more}


# -- pure --------------------------------------------------------------------------------------


@given(st.lists(SAMPLES, min_size=5, max_size=40))
def test_the_center_is_the_librarys_trimmed_mean(samples: list[float]) -> None:
    center, error = summarize(samples)
    size = max(1.0, *map(abs, samples))
    assert center == pytest.approx(stats.trim_mean(samples, 0.2), abs=1e-9 * size)
    assert error >= 0


@pytest.mark.parametrize("number", [5, 10, 25])
def test_the_error_is_the_librarys(number: int) -> None:
    samples = np.random.default_rng(number).normal(100, 3, number).tolist()
    found = stats.mstats.trimmed_stde(samples, limits=(0.2, 0.2))
    yuen = ((number - 1) / (0.6 * number - 1) * 0.6) ** 0.5  # (1974): h (h - 1) in place of h n
    assert summarize(samples)[1] == pytest.approx(float(found) * yuen, rel=1e-9)


@pytest.mark.parametrize(
    ("samples", "center"),
    [([3.0, 1.0, 2.0], 2.0), ([4.0, 1.0, 2.0, 100.0], 3.0), ([1e300] * 6, 1e300), ([0.0] * 5, 0.0)],
)
def test_few_and_extreme_samples(samples: list[float], center: float) -> None:
    assert summarize(samples)[0] == pytest.approx(center)


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        7,
        {},
        {**GEMM, "value": "612"},
        {**GEMM, "value": True},
        {**GEMM, "value": 10**400},
        {**GEMM, "value": 2e300},
        {**GEMM, "better": "faster"},
        {**GEMM, "unit": ""},
        {**GEMM, "unit": "\ud800"},
        {**GEMM, "name": "two words"},
        {**GEMM, "labels": {"gpu": 0}},
        {**GEMM, "labels": ["gpu"]},
        {**GEMM, "samples": [1, None]},
        {**GEMM, "samples": 7},
        {key: value for key, value in GEMM.items() if key != "unit"},
    ],
)
def test_what_has_another_form_is_counted_and_left_out(wrong: Any) -> None:
    found = measured_of(measured(wrong, {**GEMM, "name": "other"}))
    assert found is not None
    assert [one.series.name for one in found.metrics] == ["other"]
    assert found.unread == 1


def test_of_two_with_one_identity_none_is_taken() -> None:
    twice = [{**GEMM, "labels": {"a": "1", "b": "2"}}, {**GEMM, "labels": {"b": "2", "a": "1"}}]
    found = measured_of(measured(*twice, GEMM, {**GEMM, "labels": {"a": "1"}}))
    assert found is not None
    assert [one.series.labels for one in found.metrics] == ["{}", '{"a":"1"}']
    assert found.unread == 2


def test_what_is_no_measurement() -> None:
    for data in ({}, {"metrics": "none"}, {"valid": True}, {"valid": None, "facts": {"a": 1}}):
        assert measured_of(data) is None


def test_facts_have_one_form_and_null_is_unknown() -> None:
    one = measured_of(measured(facts={"sku": "H200", "mig": None, "clocks": 1980}))
    other = measured_of(measured(facts={"clocks": 1980, "sku": "H200"}))
    assert one is not None
    assert one == other
    assert one.facts == '{"clocks":1980,"sku":"H200"}'
    unknowns: list[Any] = [None, [], "H200", {}, {"sku": None}]
    for unknown in unknowns:
        found = measured_of(measured(facts=unknown))
        assert found is not None
        assert found.facts == "{}"


def test_a_result_may_call_itself_invalid() -> None:
    found = measured_of(measured(GEMM, valid=False, invalid_reasons=["busy", 7, "hot"]))
    assert found is not None
    assert found.invalid == ("busy", "hot")
    found = measured_of({"valid": False})
    assert found is not None
    assert found.invalid == ()


# -- in the ledger -----------------------------------------------------------------------------


def recorded(begin: Begin, run_id: str, outputs: Sequence[Any], **given: Any) -> None:
    """Record a run in which the targets answered so."""
    recorder = begin(run_id=run_id, targets=len(outputs), **given)
    for number, output in enumerate(outputs):
        recorder.result(result(f"n{number}", output_data=output))
    recorder.finish(ended(ok=len(outputs)), 0)
    assert recorder.problem is None


def test_metrics_read_back(path: Path, begin: Begin) -> None:
    samples = [600.0, 610.0, 615.0, 620.0, 900.0]
    gemm = {**GEMM, "samples": samples, "labels": {"gpu": "\ud800ü"}}
    hot = {"valid": False, "invalid_reasons": ["\ud800"]}
    recorded(begin, "r1", [measured(gemm, 7, facts={"sku": "H200"}), hot, {}, {"metrics": []}])
    with SqliteReader(path) as ledger:
        found = [one.measured for one in ledger.measured.of_run(ledger.find("r1"))]
        assert ledger.results(ledger.find("r1"))[1]["output_data"] == hot
    assert found[2] is None
    assert found[0] == measured_of(measured(gemm, 7, facts={"sku": "H200"}))
    assert found[0] is not None
    [metric] = found[0].metrics
    assert (metric.value, metric.center, metric.samples) == (612.0, 615.0, 5)
    assert found[1] is not None
    assert found[1].invalid == ("\ud800",)
    assert found[3] is not None
    assert found[3].metrics == ()


def test_only_results_that_are_ok_measure(path: Path, begin: Begin) -> None:
    recorder = begin(targets=3)
    recorder.result(result("n0", "failed", output_data=None, error={"x": 1}))
    recorder.starting(["n1"])
    recorder.finish(ended(failed=1), 7)
    with SqliteReader(path) as ledger:
        found = ledger.measured.of_run(ledger.find("r1"))
    assert [(one.state, one.measured) for one in found] == [
        ("failed", None),
        ("started", None),
        ("not_started", None),
    ]


def test_one_commit_takes_many_metrics(path: Path, begin: Begin) -> None:
    many = [{**GEMM, "labels": {"gpu": str(number)}} for number in range(1500)]
    recorded(begin, "r1", [measured(*many)])
    with SqliteReader(path) as ledger:
        [one] = ledger.measured.of_run(ledger.find("r1"))
    assert one.measured is not None
    assert len(one.measured.metrics) == 1500


def test_history_is_of_the_same_action_plugin_and_facts(path: Path, begin: Begin) -> None:
    h200, h100 = {"sku": "H200"}, {"sku": "H100"}

    def gemm(value: float, **more: Any) -> dict[str, Any]:
        return measured({**GEMM, "value": value}, **{"facts": h200, **more})

    for number in range(5):
        recorded(begin, f"old{number}", [gemm(number), gemm(100 + number)])
    recorded(begin, "invalid", [gemm(900, valid=False)])
    recorded(begin, "h100", [gemm(901, facts=h100)])
    recorded(begin, "other", [gemm(902)], action="other")
    recorded(begin, "now", [gemm(5), gemm(105, facts=h100)])
    recorded(begin, "later", [gemm(903)])
    with SqliteReader(path) as ledger:
        now = ledger.find("now")
        found = ledger.measured.history(now)
        three = ledger.measured.history(now, most=3)
        before = ledger.measured.run_before(now)
        assert ledger.measured.run_before(ledger.find("old0")) is None
        assert ledger.measured.run_before(ledger.find("other")) is None
    assert before is not None
    assert before.run_id == "h100"
    series = Series("gemm", "{}", "TFLOP/s", "higher")
    assert [one.metric.value for one in found["n0"][series]] == [0, 1, 2, 3, 4]
    assert [one.run_id for one in three["n0"][series]] == ["old2", "old3", "old4"]
    assert list(found) == ["n0"]


def test_pruning_takes_metrics_and_leaves_baselines(path: Path, begin: Begin) -> None:
    recorded(begin, "r1", [measured(GEMM)])
    series = Series("gemm", "{}", "TFLOP/s", "higher")
    kept = BaselineMetric("noop", "{}", series, 612.0, 6.0, 64)
    with SqliteReader(path) as ledger:
        saved = SqliteLedger(path).save_baseline("first", ledger.find("r1"), [kept], replace=False)
    assert SqliteLedger(path).prune(timestamp().replace("20", "30", 1)) == ["r1"]
    with sqlite3.connect(path) as connection:
        for table in ("measured", "metric"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    connection.close()
    with SqliteReader(path) as ledger:
        assert ledger.measured.find_baseline("first") == saved
    SqliteLedger(path).remove_baseline("first")
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM baseline_metric").fetchone() == (0,)
    connection.close()


def test_baselines_have_names_of_their_own(path: Path, begin: Begin) -> None:
    recorded(begin, "r1", [measured(GEMM)])
    series = Series("gemm", "{}", "TFLOP/s", "higher")
    kept = BaselineMetric("noop", "{}", series, 612.0, 6.0, 64)
    with SqliteReader(path) as ledger:
        run = ledger.find("r1")
    SqliteLedger(path).save_baseline("first", run, [kept], replace=False)
    with pytest.raises(RequestError, match="already") as refusal:
        SqliteLedger(path).save_baseline("first", run, [], replace=False)
    assert refusal.value.reason == "baseline_exists"
    SqliteLedger(path).save_baseline("first", run, [], replace=True)
    for name in ("", "last", "2026", "a b", "a" * 65, "ä"):
        with pytest.raises(RequestError, match="name of a baseline"):
            SqliteLedger(path).save_baseline(name, run, [kept], replace=True)
    with SqliteReader(path) as ledger:
        assert [(one.name, one.metrics) for one in ledger.measured.baselines()] == [("first", ())]
        with pytest.raises(RequestError, match="did you mean 'first'") as refusal:
            ledger.measured.find_baseline("frist")
    assert refusal.value.reason == "unknown_baseline"
    with pytest.raises(RequestError, match="did you mean 'first'"):
        SqliteLedger(path).remove_baseline("frist")


def test_a_file_from_before_there_were_metrics(path: Path, begin: Begin) -> None:
    """It is read as it is, by who may not change it, and migrated by who writes."""
    path.parent.mkdir()
    old = sqlite3.connect(path, isolation_level=None)
    migrate(old, STEPS[:2])
    made = facts("old", 1)
    columns = "run_id, action, request, secret_params, options, version, who, host, boot_id"
    texts = (made.run_id, made.action, json.dumps(made.request), "[]", "{}", "0", "a", "b", "c")
    old.execute(
        f"INSERT INTO run ({columns}, pid_space, pid, pid_started, started_at, targets)"
        f" VALUES ({', '.join('?' * 14)})",
        (*texts, "d", 1, 1, made.started_at, 1),
    )
    old.execute("INSERT INTO target VALUES (1, 0, 'n0', 'local', 'noop', NULL)")
    document = json.dumps(result("n0", output_data=measured(GEMM)))
    old.execute("INSERT INTO result VALUES (1, 0, 'ok', 1, ?)", (document,))
    old.close()
    with SqliteReader(path) as ledger:
        run = ledger.find("old")
        assert [one.measured for one in ledger.measured.of_run(run)] == [None]
        assert ledger.measured.history(run) == {}
        assert ledger.measured.baselines() == []
        assert ledger.measured.run_before(run) is None
    recorded(begin, "new", [measured(GEMM)])
    with SqliteReader(path) as ledger:
        assert [one.measured for one in ledger.measured.of_run(ledger.find("old"))] == [None]
        [one] = ledger.measured.of_run(ledger.find("new"))
        assert one.measured is not None
        assert ledger.results(ledger.find("old"))[0]["output_data"] == measured(GEMM)
