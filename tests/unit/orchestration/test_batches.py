"""How targets are split into batches, and what bounds the start of more of them."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm.errors import HostError, RequestError
from lmm.scope import Scope
from lom.execution.limits import RunLimits, between
from lom.planning.options import RunOptions, Start, count_of
from lom.planning.plan import split

SIZES = st.one_of(st.integers(1, 300).map(str), st.integers(1, 100).map(lambda share: f"{share}%"))


@given(total=st.integers(0, 500), sizes=st.lists(SIZES, min_size=1, max_size=5))
def test_every_target_is_in_one_batch_in_order_and_sizes_are_as_listed(
    total: int, sizes: list[str]
) -> None:
    batches = split(total, ",".join(sizes))
    assert [index for batch in batches for index in batch] == list(range(total))
    assert all(batches)
    wanted = [count_of(size, total, "batch") for size in sizes]
    for number, batch in enumerate(batches[:-1]):
        assert len(batch) == wanted[min(number, len(wanted) - 1)]
    if batches:
        last = wanted[min(len(batches), len(wanted)) - 1]
        assert last is not None
        assert len(batches[-1]) <= last


@pytest.mark.parametrize(
    ("total", "sizes", "widths"),
    [
        (20, "1,10%,100%", [1, 2, 17]),
        (10, "1,2", [1, 2, 2, 2, 2, 1]),
        (5, " 2 , 1 ", [2, 1, 1, 1]),
        (3, "10", [3]),
        (0, "1,2", []),
        (4, None, [4]),
    ],
)
def test_sizes(total: int, sizes: str | None, widths: list[int]) -> None:
    assert [len(batch) for batch in split(total, sizes)] == widths


@pytest.mark.parametrize("sizes", ["", "1,", "0", "1,0%", "a", "1;2", "-1", "101%"])
def test_sizes_that_are_none(sizes: str) -> None:
    with pytest.raises(RequestError, match=r"@ \$\.batch"):
        split(10, sizes)


def test_nothing_starts_after_too_many_failures() -> None:
    limits = RunLimits(1, None)
    limits.count_failure()
    assert limits.refusal() is None
    limits.count_failure()
    refusal = limits.refusal()
    assert refusal
    assert refusal.reason == "max_failures_reached"
    assert limits.cut(60) == 60


def test_nothing_starts_after_the_deadline_which_cuts_what_is_longer() -> None:
    limits = RunLimits(None, 1000)
    assert limits.refusal() is None
    assert 990 < limits.cut(5000) <= 1000
    assert limits.cut(5) == 5
    late = RunLimits(None, 0.001)
    time.sleep(0.002)
    refusal = late.refusal()
    assert refusal
    assert refusal.reason == "run_deadline_passed"


def test_no_answer_is_waited_for_once_the_run_is_cancelled() -> None:
    scope, answered = Scope(), threading.Event()

    def confirm(question: str) -> bool:
        scope.cancel()
        return answered.wait(30)

    limits = RunLimits(None, None)
    between(RunOptions(confirm_between=True), Start(confirm=confirm), limits, scope, "on?")
    assert limits.refusal() is not None
    answered.set()


def test_a_confirmation_that_breaks_is_a_no() -> None:
    limits = RunLimits(None, None)
    hooked: list[object] = []
    before, threading.excepthook = threading.excepthook, hooked.append
    try:
        between(
            RunOptions(confirm_between=True),
            Start(confirm=lambda question: bool(1 / 0)),
            limits,
            Scope(),
            "on?",
        )
    finally:
        threading.excepthook = before
    refusal = limits.refusal()
    assert isinstance(refusal, HostError)
    assert refusal.reason == "batch_not_confirmed"
