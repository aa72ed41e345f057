"""Many runs in one process: no more calls at once than agreed, and each run has its turns."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from lom.execution.slots import Slots

from .conftest import Played, Stage


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.001)


def test_a_later_run_has_its_turns_while_an_earlier_one_has_many_targets(stage: Stage) -> None:
    """With 8 places for all, B's 3 targets start within A's next few completions, not after all."""
    play = stage.released()
    transport = Played(play)
    first = stage.start(transport, [f"a{n}" for n in range(200)], concurrency=20, at_once=8)
    wait_until(lambda: len(transport.started) == 8 and stage.slots.waiting(first._scope) == 12)
    second = stage.start(transport, ["b1", "b2", "b3"], concurrency=20, at_once=8)
    wait_until(lambda: stage.slots.waiting(second._scope) == 3)
    before = len(transport.started)
    for done in range(1, 7):
        play.release()
        wait_until(lambda done=done: len(transport.started) == before + done)  # type: ignore[misc]
    assert sorted(set(transport.started[before:]) & {"b1", "b2", "b3"}) == ["b1", "b2", "b3"]
    play.release(300)
    assert len(list(first)) == 200
    assert [one.ok for one in second] == [True] * 3
    assert transport.most == 8


def test_each_runs_own_concurrency_holds(stage: Stage) -> None:
    play = stage.released()
    transport = Played(play)
    run = stage.start(transport, [f"a{n}" for n in range(9)], concurrency=3, at_once=8)
    wait_until(lambda: len(transport.started) == 3)
    play.release(9)
    assert len(list(run)) == 9
    assert transport.most == 3


def test_a_cancelled_run_waits_for_no_place(stage: Stage) -> None:
    play = stage.released()
    transport = Played(play)
    first = stage.start(transport, ["a1"], at_once=1)
    wait_until(lambda: transport.started == ["a1"])
    second = stage.start(transport, ["b1", "b2"], at_once=1)
    wait_until(lambda: stage.slots.waiting(second._scope) == 2)
    second.cancel()
    assert [str(one.outcome) for one in second] == ["cancelled"] * 2
    play.release(1)
    assert [one.ok for one in first] == [True]
    assert transport.started == ["a1"]


def test_a_deadline_ends_the_wait_for_a_place(stage: Stage) -> None:
    play = stage.released()
    transport = Played(play)
    first = stage.start(transport, ["a1"], at_once=1)
    wait_until(lambda: transport.started == ["a1"])
    second = stage.start(transport, ["b1"], at_once=1, deadline_s=0.05)
    assert [str(one.outcome) for one in second] == ["skipped"]
    play.release(1)
    assert [one.ok for one in first] == [True]


def test_a_run_may_ask_for_more_places_as_long_as_it_lasts() -> None:
    slots = Slots()
    slots.join("a", 1)
    with slots.place("a") as first, slots.place("a", 0.001) as second:
        assert (first, second) == (True, False)
        slots.join("b", 2)
        with slots.place("a", 20) as third, slots.place("b", 0.001) as fourth:
            assert (third, fourth) == (True, False)
        slots.leave("b")
        with slots.place("a", 0.001) as fifth, slots.place("b") as stranger:
            assert (fifth, stranger) == (False, False)
    slots.leave("a")


@given(wanted=st.lists(st.integers(1, 12), min_size=1, max_size=5))
def test_a_place_goes_round(wanted: list[int]) -> None:
    """Of the runs that wait, each gets the place once before any gets it again."""
    slots = Slots()
    order: list[int] = []

    def work(run: int) -> None:
        with slots.place(run) as granted:
            assert granted
            order.append(run)

    slots.join("keeper", 1)
    with slots.place("keeper"):
        threads = []
        for run, count in enumerate(wanted):
            slots.join(run, 1)
            threads += [threading.Thread(target=work, args=(run,)) for _ in range(count)]
        for thread in threads:
            thread.start()
        wait_until(lambda: [slots.waiting(run) for run in range(len(wanted))] == wanted)
    for thread in threads:
        thread.join(20)
    first = list(dict.fromkeys(order))
    rounds = [[run for run in first if wanted[run] > turn] for turn in range(max(wanted))]
    assert order == [run for one in rounds for run in one]
