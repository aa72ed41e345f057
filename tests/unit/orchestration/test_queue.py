"""Whose turn it is: nobody is lost, each comes when its time has come, and threads end together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm.model import Target
from lmm.transports import Job
from lom.execution.queue import TargetQueue, TargetState
from lom.planning.plan import Step


class Named:
    """A transport that is only asked who it is."""

    batch_size: ClassVar[int] = 1

    def __init__(self, name: str, batch_size: int) -> None:
        self.name = name
        self.batch_size = batch_size  # type: ignore[misc]

    def run(self, jobs: Sequence[Job]) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


TRANSPORTS = {"ssh": Named("ssh", 1), "ssm": Named("ssm", 3)}


def turn(name: str, transport: str = "ssh") -> TargetState:
    return TargetState(Step(Target(name, transport=transport), None, None, ""))


def queue() -> TargetQueue:
    return TargetQueue(TRANSPORTS.__getitem__)  # type: ignore[arg-type]


def drain(turns: TargetQueue) -> list[tuple[str, list[str]]]:
    found = []
    while (batch := turns.take()) is not None:
        found.append((batch[0].name, [one.name for one in batch[1]]))
        turns.done()
    return found


@given(kinds=st.lists(st.sampled_from(["ssh", "ssm"]), max_size=20))
def test_calls_take_what_their_transport_can_in_order(kinds: list[str]) -> None:
    turns = queue()
    for number, kind in enumerate(kinds):
        turns.add(turn(str(number), kind))
    batches = drain(turns)
    for kind, most in (("ssh", 1), ("ssm", 3)):
        names = [str(number) for number, one in enumerate(kinds) if one == kind]
        mine = [targets for transport, targets in batches if transport == kind]
        assert [name for targets in mine for name in targets] == names
        assert [len(targets) for targets in mine[:-1]] == [most] * len(mine[:-1])
    firsts = [int(targets[0]) for _, targets in batches]
    assert firsts == sorted(firsts)


def test_what_comes_later_comes_in_the_order_of_its_time() -> None:
    turns = queue()
    turns.add(turn("third"), 0.03)
    turns.add(turn("second"), 0.02)
    turns.add(turn("first"))
    assert [targets for _, targets in drain(turns)] == [["first"], ["second"], ["third"]]


def test_one_that_is_hurried_does_not_wait() -> None:
    turns = queue()
    turns.add(turn("a"), 600.0)
    turns.hurry()
    turns.add(turn("b"), 600.0)
    assert [targets for _, targets in drain(turns)] == [["a"], ["b"]]


def test_a_call_that_is_out_may_bring_its_target_back() -> None:
    """Threads that find nothing wait for as long as one of them may still add something."""
    turns = queue()
    turns.add(turn("a"))
    batch = turns.take()
    assert batch
    seen: list[str] = []
    threads = [
        threading.Thread(target=lambda: seen.extend(n for _, names in drain(turns) for n in names))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    turns.add(batch[1][0], 0.01)
    turns.done()
    for thread in threads:
        thread.join(20)
    assert seen == ["a"]


def test_the_time_is_kept_by_whoever_is_there() -> None:
    """The thread that watches the time leaves with a target; the next one is watched, too."""
    turns = queue()
    order: list[str] = []

    def work() -> None:
        while (batch := turns.take()) is not None:
            order.append(batch[1][0].name)
            if batch[1][0].name == "early":
                gone.wait(20)  # this thread keeps no time any more
            elif batch[1][0].name == "late":
                gone.set()
            turns.done()

    gone = threading.Event()
    threads = [threading.Thread(target=work) for _ in range(4)]
    turns.add(turn("late"), 0.05)
    for thread in threads:
        thread.start()
    turns.add(turn("early"), 0.01)
    for thread in threads:
        thread.join(20)
    assert sorted(order) == ["early", "late"]


@pytest.mark.parametrize("threads", [1, 16])
def test_waiting_costs_no_cpu(threads: int) -> None:
    """A thousand targets that wait are no reason to look again and again."""
    turns = queue()
    for number in range(1000):
        turns.add(turn(str(number)), 600.0)
    workers = [threading.Thread(target=lambda: drain(turns)) for _ in range(threads)]
    waits = count_waits(turns)
    for worker in workers:
        worker.start()
    until = time.monotonic() + 20
    while waits() < threads:
        assert time.monotonic() < until
        time.sleep(0.001)
    time.sleep(0.2)
    assert waits() == threads
    turns.hurry()
    for worker in workers:
        worker.join(20)


def count_waits(turns: TargetQueue) -> Callable[[], int]:
    """Return what tells how often a thread has begun to wait."""
    waits: list[float | None] = []
    wait = turns._changed.wait

    def counted(timeout: float | None = None) -> bool:
        waits.append(timeout)
        return wait(timeout)

    turns._changed.wait = counted  # type: ignore[method-assign]
    return lambda: len(waits)
