"""Runs whose targets are played inside the process, so that a test says what each does and when."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from lmm.errors import RuneError
from lmm.model import Target
from lmm.transports import Job, Transport, TransportPool
from lom import Inventory, Orchestrator, Run, RunOptions
from lom.execution.locks import LockFile
from lom.execution.slots import Slots
from lom.planning.plan import Plan
from lom.planning.scripts import load_scripts

Play = Callable[[str, int], RuneError | None]  # target, which of its starts; None: it answers


class Played:
    """A transport that asks ``play`` what becomes of each job; it notes the order of starts."""

    name: ClassVar[str] = "played"
    batch_size: ClassVar[int] = 1

    def __init__(self, play: Play) -> None:
        self._play = play
        self._lock = threading.Lock()
        self.started: list[str] = []
        self.running = self.most = 0

    def run(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            name = job.invocation.target.name
            with self._lock:
                self.started.append(name)
                number = self.started.count(name)
                self.running += 1
                self.most = max(self.most, self.running)
            try:
                error = self._play(name, number)
            finally:
                with self._lock:
                    self.running -= 1
            if error is None:
                answer(job)
            else:
                job.fail(error)

    def close(self) -> None:
        pass


class Batched(Played):
    """The same for a service that takes many targets in one call."""

    batch_size: ClassVar[int] = 4


def answer(job: Job) -> None:
    """Settle a job as a host does whose plugin has answered."""
    mark = b"\n##rune-" + job.stream.split(b"rune_main ", 1)[1].split(b" ", 1)[0]
    job.stream_sent()
    body = b'{"payload":{"result":"success","output_data":{}}}'
    for feed, text in ((job.feed_stdout, body), (job.feed_stderr, b"")):
        feed(mark + b" start\n" + text + mark + b" end 0 exit \n")


class Released:
    """A play in which each call goes on until it is let go, one by one."""

    def __init__(self) -> None:
        self._permits = threading.Semaphore(0)

    def __call__(self, name: str, number: int) -> RuneError | None:
        self._permits.acquire()
        return None

    def release(self, count: int = 1) -> None:
        self._permits.release(count)


class OnePool(TransportPool):
    """Reaches every target by one transport."""

    def __init__(self, transport: Transport) -> None:
        super().__init__()
        self._transport = transport

    def get(self, name: str) -> Transport:
        return self._transport


@dataclass
class Stage:
    """Starts runs over played targets; each has events, in the order in which they came."""

    folder: Path
    slots: Slots = field(default_factory=Slots)
    runs: list[Run] = field(default_factory=list)
    plays: list[Released] = field(default_factory=list)
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def lock_file(self) -> Path:
        return self.folder / "state" / "targets.lock"

    def plan(
        self, names: Sequence[str | Target], risk: str, retry_safe: bool, **options: Any
    ) -> Plan:
        targets = [
            Target(name, host=f"192.0.2.{number}", transport="ssh")
            if isinstance(name, str)
            else name
            for number, name in enumerate(names, 1)
        ]
        inventory = Inventory(targets={one.name: one for one in targets})
        with Orchestrator(inventory) as rune:
            plan = rune.plan("noop", "all", options=RunOptions(**options))
        steps = tuple(
            replace(
                step,
                capability=replace(step.capability, risk=risk, retry_safe=retry_safe)
                if step.capability
                else None,
            )
            for step in plan.steps
        )
        return replace(plan, steps=steps)

    def start(
        self,
        transport: Played,
        names: Sequence[str | Target],
        *,
        risk: str = "read",
        retry_safe: bool = False,
        at_once: int | None = None,
        on_event: Callable[[dict[str, Any]], None] = lambda event: None,
        **options: Any,
    ) -> Run:
        plan = self.plan(names, risk, retry_safe, **options)
        events = self.events[plan.run_id] = []

        def listen(event: dict[str, Any]) -> None:
            events.append(event)
            on_event(event)

        run = Run(
            plan,
            load_scripts(plan),
            OnePool(transport),
            listen,
            locks=lambda: LockFile(self.lock_file, plan.run_id),
            slots=self.slots,
            at_once=at_once,
        )
        self.runs.append(run)
        return run

    def released(self) -> Released:
        """Return a play whose calls go on at the end of the test at the latest."""
        self.plays.append(Released())
        return self.plays[-1]

    def told(self, run: Run, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events[run.run_id] if event["kind"] == kind]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    for play in made.plays:
        play.release(10_000)  # a test that failed has let nobody go
    for run in made.runs:
        run.close()
