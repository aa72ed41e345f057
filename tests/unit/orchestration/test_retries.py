"""Which results are tried again, when, and that each target still ends in one result."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm.contract import spec_validator
from lmm.errors import ConnectionLost, OutputError, PluginFailed, RuneError, TimedOut, Unreachable
from lmm.failures import failed_result
from lmm.model import Outcome, Result
from lom.execution.retries import LONGEST_WAIT_S, is_worth_retrying, wait_s

from .conftest import Batched, Played, Stage

ERRORS: dict[str, RuneError | None] = {
    "ok": None,
    "unreachable": Unreachable("connection_refused", "refused"),
    "failed": PluginFailed("plugin_failed", "no", details={"code": 3, "message": "no"}),
    "timed_out": TimedOut("timed_out", "too slow"),
    "invalid_output": OutputError("output_not_json", "what?"),
    "lost": ConnectionLost("connection_lost", "gone"),
}
SAFE_ONLY = ("failed", "timed_out", "invalid_output", "lost")


def result(outcome: Outcome, **own: Any) -> Result:
    error = PluginFailed("plugin_failed", "no", details={"code": 3, "message": "no", **own})
    ids = {"trace_id": "1" * 32, "span_id": "1" * 16}
    return failed_result(
        error, target="t", action="a", plugin="p", observability=ids, outcome=outcome
    )


@given(outcome=st.sampled_from(Outcome), retry_safe=st.booleans())
def test_what_never_started_is_always_tried_again_the_rest_only_where_it_is_safe(
    outcome: Outcome, retry_safe: bool
) -> None:
    expected = outcome == "unreachable" or (retry_safe and outcome in SAFE_ONLY)
    assert is_worth_retrying(result(outcome), retry_safe) is expected


@pytest.mark.parametrize(
    ("own", "expected"), [({}, True), ({"retryable": True}, True), ({"retryable": False}, False)]
)
def test_a_plugin_may_decline(own: dict[str, Any], expected: bool) -> None:
    assert is_worth_retrying(result(Outcome.FAILED, **own), retry_safe=True) is expected
    assert not is_worth_retrying(result(Outcome.FAILED, **own), retry_safe=False)


@given(first=st.floats(0.001, 10_000), retry=st.integers(1, 2000))
def test_waits_double_up_to_a_bound(first: float, retry: int) -> None:
    longest = max(LONGEST_WAIT_S, first)
    least = min(first * 2 ** min(retry - 1, 100), longest)
    assert least <= wait_s(first, retry) <= least + first


@given(
    script=st.lists(
        st.lists(st.sampled_from(sorted(ERRORS)), min_size=5, max_size=5), min_size=1, max_size=8
    ),
    retries=st.integers(0, 4),
    retry_safe=st.booleans(),
    concurrency=st.integers(1, 4),
    batched=st.booleans(),
)
def test_each_target_ends_in_the_result_of_its_last_attempt(
    tmp_path_factory: pytest.TempPathFactory,
    script: list[list[str]],
    retries: int,
    retry_safe: bool,
    concurrency: int,
    batched: bool,
) -> None:
    plays = {f"t{number}": outcomes for number, outcomes in enumerate(script)}
    stage = Stage(tmp_path_factory.getbasetemp())
    transport = (Batched if batched else Played)(
        lambda name, number: ERRORS[plays[name][number - 1]]
    )
    run = stage.start(
        transport,
        list(plays),
        retry_safe=retry_safe,
        retries=retries,
        retry_wait_s=0.001,
        concurrency=concurrency,
    )
    found = {one.target: (str(one.outcome), one.attempt) for one in run}
    expected = {}
    for name, outcomes in plays.items():
        again = ["unreachable", *(SAFE_ONLY if retry_safe else ())]
        last = next(n for n, outcome in enumerate(outcomes) if outcome not in again or n == retries)
        expected[name] = (outcomes[last], last + 1)
    assert found == expected
    assert len(stage.told(run, "target.finished")) == len(plays)
    retried = [(e["target"], e["data"]["outcome"]) for e in stage.told(run, "target.retrying")]
    assert sorted(retried) == sorted(
        (name, outcome)
        for name, outcomes in plays.items()
        for outcome in outcomes[: expected[name][1] - 1]
    )
    started = [(e["target"], e["data"]["attempt"]) for e in stage.told(run, "target.started")]
    assert sorted(started) == sorted(
        (name, number + 1) for name, (_, attempts) in expected.items() for number in range(attempts)
    )
    events = stage.events[run.run_id]
    assert [v for event in events for v in spec_validator("event_v1").violations(event)] == []


def test_a_target_that_comes_back_stands_behind_those_that_wait(stage: Stage) -> None:
    due = threading.Event()

    def play(name: str, number: int) -> RuneError | None:
        if name == "a":
            due.wait(0.1)  # longer than the wait for the retry
        return ERRORS["unreachable"] if name == "bad" and number == 1 else None

    transport = Played(play)
    run = stage.start(
        transport, ["bad", "a", "b", "c"], concurrency=1, retries=1, retry_wait_s=0.01
    )
    assert all(one.ok for one in run)
    assert transport.started == ["bad", "a", "b", "c", "bad"]


def test_a_wait_holds_nobody_up_and_a_cancel_ends_it(stage: Stage) -> None:
    finished: list[str] = []
    others = threading.Event()

    def on_event(event: dict[str, Any]) -> None:
        if event["kind"] == "target.finished":
            finished.append(event["target"])
            if len(finished) == 3:
                others.set()

    transport = Played(lambda name, number: ERRORS["lost" if name == "bad" else "ok"])
    run = stage.start(
        transport,
        ["bad", "a", "b", "c"],
        on_event=on_event,
        retry_safe=True,
        concurrency=1,
        retries=9,
        retry_wait_s=600.0,
    )
    assert others.wait(20)
    assert sorted(finished) == ["a", "b", "c"]
    run.cancel()
    assert {one.target: str(one.outcome) for one in run}["bad"] == "lost"
    assert transport.started.count("bad") == 1


def test_no_retry_is_waited_for_beyond_the_deadline(stage: Stage) -> None:
    transport = Played(lambda name, number: ERRORS["unreachable"])
    run = stage.start(transport, ["a"], retries=3, retry_wait_s=60.0, deadline_s=30.0)
    assert [(str(one.outcome), one.attempt) for one in run] == [("unreachable", 1)]


def test_only_final_failures_count(stage: Stage) -> None:
    """Three targets fail once, one for good: with at most one failure all are carried out."""
    transport = Played(
        lambda name, number: ERRORS["unreachable" if number == 1 or name == "bad" else "ok"]
    )
    run = stage.start(
        transport,
        ["a", "b", "bad", "c"],
        concurrency=1,
        retries=1,
        retry_wait_s=0.001,
        max_failures="1",
    )
    assert sorted(str(one.outcome) for one in run) == ["ok", "ok", "ok", "unreachable"]


def test_what_had_failed_once_is_no_longer_tried_after_too_many_failures(stage: Stage) -> None:
    """The second target fails for good while the first one waits: the first keeps its result."""
    transport = Played(lambda name, number: ERRORS["unreachable" if name == "a" else "failed"])
    run = stage.start(
        transport, ["a", "b", "c"], concurrency=1, retries=5, retry_wait_s=0.3, max_failures="0"
    )
    found = {one.target: (str(one.outcome), one.attempt) for one in run}
    assert found == {"a": ("unreachable", 1), "b": ("failed", 1), "c": ("skipped", 0)}
