"""Every target gets exactly one result, in bounded threads, whatever a transport does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from lmm.envelope import build_message
from lmm.errors import ConnectionLost, Unreachable
from lmm.model import Invocation, Outcome, Result, Script, SshSettings, Target
from lmm.scope import Scope
from lmm.testing import carry
from lmm.transports import Job


class Scripted:
    """A transport that does with each job what its target's name says."""

    name: ClassVar[str] = "ssh"
    batch_size: ClassVar[int] = 1

    def __init__(self, behave: Callable[[Job, int], None]) -> None:
        self._behave = behave
        self._lock = threading.Lock()
        self.attempts: dict[str, int] = {}
        self.running = self.most = 0

    def run(self, jobs: Sequence[Job]) -> None:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            for job in jobs:
                name = job.invocation.target.name
                self.attempts[name] = self.attempts.get(name, 0) + 1
                self._behave(job, self.attempts[name])
        finally:
            with self._lock:
                self.running -= 1

    def close(self) -> None:
        pass


def answer(job: Job, *, delay_s: float = 0.0) -> None:
    time.sleep(delay_s)
    mark = b"\n##rune-" + job.stream.split(b"rune_main ", 1)[1].split(b" ", 1)[0]
    job.stream_sent()
    body = b'{"payload":{"result":"success","output_data":{}}}'
    for feed, text in ((job.feed_stdout, body), (job.feed_stderr, b"")):
        feed(mark + b" start\n" + text + mark + b" end 0 exit \n")


def invocations(count: int, **ssh: Any) -> list[Invocation]:
    made = []
    for number in range(count):
        target = Target(f"node{number}", ssh=SshSettings(**ssh))
        message = build_message(
            action="noop",
            target=target.name,
            run_id="r",
            input_parameters={},
            timeout_s=5,
            trace_id="1" * 32,
        )
        made.append(Invocation("r", target, "noop", "noop", Script("p", b"x"), message))
    return made


def run(transport: Any, todo: Sequence[Invocation], **options: Any) -> list[Result]:
    return carry(todo, lambda name: transport, **options)


def names(found: Sequence[Invocation | Result]) -> list[str]:
    return sorted(one.target if isinstance(one, Result) else one.target.name for one in found)


def test_concurrency_is_a_bound() -> None:
    transport = Scripted(lambda job, attempt: answer(job, delay_s=0.01))
    results = run(transport, invocations(40), concurrency=4)
    assert len(results) == 40
    assert 1 < transport.most <= 4


def test_a_transport_that_raises_or_forgets() -> None:
    def behave(job: Job, attempt: int) -> None:
        number = int(job.invocation.target.name.removeprefix("node"))
        if number % 3 == 0:
            raise ValueError("a bug")
        if number % 3 == 1:
            return
        answer(job)

    todo = invocations(9)
    results = run(Scripted(behave), todo)
    assert names(results) == names(todo)
    outcomes = {r.target: r.outcome for r in results}
    assert outcomes["node0"] is outcomes["node1"] is Outcome.FAILED
    assert outcomes["node2"] is Outcome.OK


def test_only_what_never_started_is_tried_again() -> None:
    def behave(job: Job, attempt: int) -> None:
        kind = job.invocation.target.name
        if kind == "node0" and attempt < 3:
            job.fail(Unreachable("connection_reset", "dropped"))
        elif kind == "node1":
            job.fail(Unreachable("connection_refused", "refused"))
        elif kind == "node2":
            job.stream_sent()
            job.fail(ConnectionLost("connection_lost", "gone"))
        elif kind == "node3":
            job.fail(Unreachable("connection_reset", "dropped"))
        else:
            answer(job)

    transport = Scripted(behave)
    results = {r.target: r for r in run(transport, invocations(5, connect_attempts=3))}
    assert transport.attempts == {"node0": 3, "node1": 1, "node2": 1, "node3": 3, "node4": 1}
    assert [results[f"node{i}"].outcome for i in range(5)] == [
        Outcome.OK,
        Outcome.UNREACHABLE,
        Outcome.LOST,
        Outcome.UNREACHABLE,
        Outcome.OK,
    ]
    assert results["node0"].attempt == results["node3"].attempt == 3


def test_cancel_gives_the_rest_their_result() -> None:
    scope = Scope()

    def behave(job: Job, attempt: int) -> None:
        if job.invocation.target.name == "node3":
            scope.cancel()
        answer(job)

    todo = invocations(20)
    results = run(Scripted(behave), todo, concurrency=1, scope=scope)
    assert names(results) == names(todo)
    assert {r.outcome for r in results[4:]} == {Outcome.CANCELLED}
    assert {r.outcome for r in results[:3]} == {Outcome.OK}


def test_one_call_for_many() -> None:
    """A transport that takes many targets in one call gets them, and answers one by one."""

    class Service(Scripted):
        batch_size: ClassVar[int] = 50
        calls: ClassVar[list[int]] = []

        def run(self, jobs: Sequence[Job]) -> None:
            self.calls.append(len(jobs))
            super().run(jobs)

    service = Service(lambda job, attempt: answer(job))
    todo = invocations(120)
    assert names(run(service, todo)) == names(todo)
    assert sorted(service.calls) == [20, 50, 50]


def test_each_of_several_for_one_target_has_its_result() -> None:
    class Service(Scripted):
        batch_size: ClassVar[int] = 50

    def behave(job: Job, attempt: int) -> None:
        if attempt > 3:
            raise ValueError("a bug")
        answer(job)

    results = run(Service(behave), invocations(1) * 5)
    assert [one.outcome for one in results] == [Outcome.OK] * 3 + [Outcome.FAILED] * 2


def test_calls_keep_the_order() -> None:
    todo = invocations(3)
    results = run(Scripted(lambda job, attempt: answer(job)), todo, concurrency=1)
    assert [one.target for one in results] == [one.target.name for one in todo]


@pytest.mark.parametrize("seen", [True, False])
def test_scope_calls_each_action_once(seen: bool) -> None:
    scope = Scope()
    called: list[str] = []
    if seen:
        scope.cancel()
    scope.add("a", lambda: called.append("a"))
    scope.add("b", lambda: called.append("b"))
    scope.remove("b")
    scope.cancel()
    scope.cancel()
    assert called == (["a", "b"] if seen else ["a"])


def test_attempts_are_told_to_the_plugin() -> None:
    seen: list[int] = []

    def behave(job: Job, attempt: int) -> None:
        seen.append(job.invocation.attempt)
        if attempt == 1:
            job.fail(Unreachable("connection_reset", "dropped"))
        else:
            answer(job)

    (todo,) = invocations(1)
    assert run(Scripted(behave), [replace(todo)])[0].ok
    assert seen == [1, 2]
