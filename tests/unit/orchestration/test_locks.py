"""One run at a time changes a host; whatever ends a run leaves its hosts free."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm.errors import RequestError, RuneError, Unreachable
from lmm.model import Target
from lom import Run
from lom.execution.locks import HostLocks, LockFile, Locks, Taken, place_of
from lom.execution.queue import TargetState
from lom.planning.plan import Step

from .conftest import Batched, Played, Stage
from .test_slots import wait_until

HOLDER = """\
import sys, time
from pathlib import Path
from lom.execution.locks import LockFile, place_of
held = LockFile(Path(sys.argv[1]), "other")
assert held.take([place_of("a")])
print("held", flush=True)
time.sleep(600)
"""
MAKERS: list[Callable[[Path, str], HostLocks]] = [LockFile, lambda path, run_id: InMemory(run_id)]
ROOT = Path(__file__).resolve().parents[3]


class InMemory:
    """Locks that only this process sees."""

    owners: ClassVar[dict[int, InMemory]] = {}

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id

    def take(self, places: Sequence[int]) -> bool:
        if self.holder(places) is not None:
            return False
        self.owners.update(dict.fromkeys(places, self))
        return True

    def release(self, places: Iterable[int]) -> None:
        for place in places:
            del self.owners[place]

    def holder(self, places: Iterable[int]) -> str | None:
        found = (self.owners[place] for place in places if place in self.owners)
        return next((owner.run_id for owner in found if owner is not self), None)

    def close(self) -> None:
        self.release([place for place, owner in self.owners.items() if owner is self])


def state(name: str, *places: int) -> TargetState:
    made = TargetState(Step(Target(name), None, None, ""))
    made.places = places
    return made


# -- the file ----------------------------------------------------------------------------------


def test_who_holds_a_lock_is_known_and_closing_frees_it(tmp_path: Path) -> None:
    path = tmp_path / "state" / "targets.lock"
    one, two = LockFile(path, "run-one"), LockFile(path, "run-two")
    a, b = place_of("a"), place_of("b")
    assert one.take([a])
    assert not two.take([b, a])
    assert (two.holder([b]), two.holder([b, a])) == (None, "run-one")
    assert one.take([b]), "what was refused as a whole must not be locked in part"
    one.release([a])
    assert two.take([a])
    one.close()
    assert two.take([b])
    two.close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_size < 4096


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "targets.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == b"held\n"
        mine = LockFile(path, "mine")
        try:
            assert not mine.take([place_of("a")])
            assert mine.holder([place_of("a")]) == "other"
            other.send_signal(signal.SIGKILL)
            other.wait(20)
            assert mine.take([place_of("a")])
        finally:
            mine.close()


def test_five_thousand_locks_take_one_descriptor(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    held = LockFile(tmp_path / "targets.lock", "run")
    other = LockFile(tmp_path / "targets.lock", "other")
    places = [place_of(f"ssh 10.0.{n // 250}.{n % 250}:22") for n in range(5000)]
    assert all(held.take([place]) for place in places)
    assert len(os.listdir("/proc/self/fd")) == before + 2
    assert not any(other.take([place]) for place in places)
    held.close()
    other.close()


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match=r"file/targets.lock: .*--state-dir") as refusal:
        LockFile(tmp_path / "file" / "targets.lock", "run")
    assert refusal.value.reason == "local_io_error"


@pytest.mark.parametrize("make", MAKERS, ids=["file", "memory"])
@given(
    moves=st.lists(
        st.tuples(st.integers(0, 8), st.booleans()), max_size=60
    ),  # which of nine targets, and whether it asks for its host or lets go
    hosts=st.lists(st.sets(st.integers(0, 3), min_size=1), min_size=9, max_size=9),
)
def test_no_host_is_ever_had_by_two(
    tmp_path_factory: pytest.TempPathFactory,
    make: Callable[[Path, str], HostLocks],
    moves: list[tuple[int, bool]],
    hosts: list[set[int]],
) -> None:
    """Nine targets of three runs on four hosts: at most one has a host, and nobody is forgotten."""
    path = tmp_path_factory.getbasetemp() / "property.lock"
    runs = [Locks(make(path, run_id), run_id) for run_id in ("run-0", "run-1", "run-2")]
    turns = [state(str(n), *(place_of(str(host)) for host in hosts[n])) for n in range(9)]
    owners: dict[int, int] = {}
    parked: set[int] = set()

    def ask(number: int) -> None:
        run = number % 3
        wanted = hosts[number]
        taken = runs[run].take(turns[number])
        rivals = {owners[host] for host in wanted if host in owners}
        if not rivals:
            assert taken is Taken.YES
            owners.update(dict.fromkeys(wanted, number))
        elif any(rival % 3 == run for rival in rivals):
            assert taken is Taken.BEHIND
            parked.add(number)
        else:
            assert taken is Taken.ELSEWHERE
            assert runs[run].holder(turns[number]) in {f"run-{rival % 3}" for rival in rivals}
            let_go(number)  # it will be tried again; whoever stands behind it may try, too

    def let_go(number: int) -> None:
        for host in [host for host, owner in owners.items() if owner == number]:
            del owners[host]
        heir = runs[number % 3].let_go(turns[number])
        if heir is not None:
            parked.remove(int(heir.name))
            ask(int(heir.name))

    try:
        for number, asks in moves:
            if asks and number not in parked and number not in owners.values():
                ask(number)
            elif not asks and number in owners.values():
                let_go(number)
        while owners:
            let_go(next(iter(owners.values())))
        assert parked == set()
    finally:
        for one in runs:
            one.close()


# -- runs --------------------------------------------------------------------------------------


def told(stage: Stage, run: Any, kind: str = "target.waiting") -> list[tuple[str, Any]]:
    return [(event["target"], event["data"].get("holder")) for event in stage.told(run, kind)]


@pytest.mark.parametrize("risk", ["change", "destructive"])
def test_a_run_waits_for_the_target_that_another_is_changing(stage: Stage, risk: str) -> None:
    play = stage.released()
    transport = Played(play)
    first = stage.start(transport, ["a"], risk=risk)
    wait_until(lambda: transport.started == ["a"])
    second = stage.start(transport, ["a", "b"], risk="change", concurrency=1)
    wait_until(lambda: transport.started == ["a", "b"])  # a holds nobody up that can run
    wait_until(lambda: told(stage, second) == [("a", first.run_id)])
    play.release(3)
    assert [one.ok for one in first] == [True]
    assert [one.ok for one in second] == [True, True]
    assert transport.started == ["a", "b", "a"]


def test_reading_needs_no_lock(stage: Stage) -> None:
    play = stage.released()
    transport = Played(play)
    first = stage.start(transport, ["a"], risk="destructive")
    second = stage.start(transport, ["a"], risk="read")
    wait_until(lambda: transport.most == 2)
    play.release(2)
    assert [one.ok for one in (*first, *second)] == [True, True]


@pytest.mark.parametrize(
    ("options", "waits"), [({"on_locked": "fail"}, False), ({"lock_timeout_s": 0.05}, True)]
)
def test_a_target_that_stays_locked_is_skipped(
    stage: Stage, options: dict[str, Any], waits: bool
) -> None:
    play = stage.released()
    transport = Played(play)
    first = stage.start(transport, ["a"], risk="change")
    wait_until(lambda: transport.started == ["a"])
    second = stage.start(transport, ["a"], risk="change", **options)
    (result,) = second
    assert (str(result.outcome), result.attempt) == ("skipped", 0)
    error = result.problem
    assert error["data"]["reason"] == "target_locked"
    assert error["data"]["holder"] == first.run_id
    assert first.run_id in error["message"]
    assert told(stage, second) == ([("a", first.run_id)] if waits else [])
    play.release()
    assert [one.ok for one in first] == [True]


@pytest.mark.parametrize("ending", ["cancel", "deadline"])
def test_what_ends_a_run_ends_its_wait_for_a_lock(stage: Stage, ending: str) -> None:
    play = stage.released()
    transport = Played(play)
    first = stage.start(transport, ["a"], risk="change")
    wait_until(lambda: transport.started == ["a"])
    deadline_s = 0.3 if ending == "deadline" else None
    second = stage.start(transport, ["a"], risk="change", deadline_s=deadline_s)
    if ending == "cancel":
        wait_until(lambda: told(stage, second) != [])
        second.cancel()
    outcomes = [str(one.outcome) for one in second]
    assert outcomes == ["cancelled" if ending == "cancel" else "skipped"]
    play.release()
    assert [one.ok for one in first] == [True]


def test_a_retry_that_finds_its_target_locked_keeps_the_result_that_there_is(stage: Stage) -> None:
    """Between its attempts a target is free, and another run may take it."""
    play = stage.released()
    transport = Played(play)
    others: list[Run] = []

    def on_event(event: dict[str, Any]) -> None:
        if event["kind"] == "target.retrying" and not others:
            others.append(stage.start(transport, ["a"], risk="change"))

    refused = Played(lambda name, number: Unreachable("connection_refused", "refused"))
    run = stage.start(
        refused,
        ["a"],
        risk="change",
        retries=20,  # the waits grow: in one of them the other run gets in
        retry_wait_s=0.02,
        on_locked="fail",
        on_event=on_event,
    )
    (result,) = run
    assert (str(result.outcome), result.attempt) == ("unreachable", len(refused.started))
    assert result.attempt < 21
    assert transport.started == ["a"]
    play.release()
    assert [one.ok for one in others[0]] == [True]


@pytest.mark.parametrize("transport", [Played, Batched])
@pytest.mark.parametrize("retries", [0, 2])
def test_two_names_of_one_host_take_turns_in_one_run(
    stage: Stage, transport: type[Played], retries: int
) -> None:
    busy = threading.Lock()

    def play(name: str, number: int) -> RuneError | None:
        assert busy.acquire(blocking=False), "two at a time"
        time.sleep(0.001)
        busy.release()
        return Unreachable("connection_refused", "no") if number <= retries else None

    targets = [Target(f"n{number}", host="192.0.2.7", transport="ssh") for number in range(20)]
    made = transport(play)
    run = stage.start(
        made, targets, risk="change", retries=retries, retry_wait_s=0.001, on_locked="fail"
    )
    assert [one.attempt for one in run] == [retries + 1] * 20
    assert {holder for _, holder in told(stage, run)} <= {run.run_id}


def test_names_of_one_host_that_wait_in_line_end_when_the_run_is_cancelled(stage: Stage) -> None:
    play = stage.released()
    transport = Played(play)
    targets = [Target(f"n{number}", host="192.0.2.7", transport="ssh") for number in range(20)]
    run = stage.start(transport, targets, risk="change")
    wait_until(lambda: len(told(stage, run)) == 19)
    run.cancel()
    play.release()
    outcomes = [str(one.outcome) for one in run]
    assert len(outcomes) == 20
    assert outcomes.count("cancelled") >= 19
    assert len(transport.started) == 1


def test_a_run_that_only_reads_makes_no_file(stage: Stage) -> None:
    run = stage.start(Played(lambda name, number: None), ["a"], risk="read")
    assert [one.ok for one in run] == [True]
    assert not stage.lock_file.exists()
