"""How a run ends: each result once, the ledger true, nobody held up by who listens."""

from __future__ import annotations

import json
import threading
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from lmm.transports import TransportPool
from lom import Inventory, Orchestrator, Run, Target
from lom.ledger.sqlite.reader import SqliteReader
from lom.ledger.sqlite.writer import SqliteLedger
from lom.planning.scripts import load_scripts
from tests.scale import repeats
from tests.support.errors import error_of

from .test_orchestrator import ECHO, plugin


def targets(count: int) -> Inventory:
    return Inventory({f"n{at}": Target(f"n{at}", transport="local") for at in range(count)})


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    folder = tmp_path / "plugins"
    plugin(folder, "echo", ECHO)
    return folder


def test_results_are_given_once(plugins: Path) -> None:
    with Orchestrator(targets(5), plugin_paths=[plugins]) as rune:
        run = rune.run("test.echo", "all")
        first = next(iter(run))
        others = list(run)
        assert sorted(one.target for one in [first, *others]) == [f"n{at}" for at in range(5)]
        assert list(run) == list(run) == []
        assert len(run.results) == len(run.document()["results"]) == 5


def test_two_who_iterate_share_the_results(plugins: Path) -> None:
    with Orchestrator(targets(8), plugin_paths=[plugins]) as rune:
        run = rune.run("test.echo", "all")
        found: list[str] = []
        readers = [
            threading.Thread(target=lambda: found.extend(one.target for one in run))
            for _ in range(2)
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    assert sorted(found) == [f"n{at}" for at in range(8)]


def test_a_slow_listener_does_not_stop_the_run(plugins: Path) -> None:
    """All targets are through while the listener is still busy with the first event."""
    through = threading.Event()
    heard: list[int] = []

    def listen(event: dict[str, Any]) -> None:
        assert through.wait(60)
        heard.append(event["seq"])

    with Orchestrator(targets(6), plugin_paths=[plugins]) as rune:
        run = rune.run("test.echo", "all", on_event=listen, concurrency=2)
        results = list(islice(run, 6))
        assert len(results) == 6
        assert heard == []
        through.set()
        run.close()
    assert heard == list(range(1, len(heard) + 1))
    assert len(heard) > 12


def test_a_listener_may_cancel_the_run(plugins: Path) -> None:
    with Orchestrator(targets(4), plugin_paths=[plugins]) as rune:
        run: Run
        ready = threading.Event()

        def listen(event: dict[str, Any]) -> None:
            assert ready.wait(60)
            if event["kind"] == "target.finished":
                run.cancel()

        run = rune.run("test.echo", "all", on_event=listen, concurrency=1)
        ready.set()
        assert len(list(run)) == 4


def test_a_run_that_broke_is_not_marked_as_finished(plugins: Path, tmp_path: Path) -> None:
    """Whoever reads its results learns so; what it left undone can be resumed."""
    path = tmp_path / "ledger.sqlite"
    with Orchestrator(targets(3), plugin_paths=[plugins]) as rune:
        plan = rune.plan("test.echo", "all")
        pool = TransportPool()
        broken = Run(plan, {}, pool, ledger=SqliteLedger(path))  # without the plugin's script
        with pytest.raises(KeyError):
            list(broken)
        document = broken.document()
        assert document["summary"]["failed"] == 3
        message = error_of(document["results"][0])["message"]
        assert f"`rune runs resume {plan.run_id}` goes on with it" in message
        with SqliteReader(path) as reader:
            run = reader.find(plan.run_id)
            assert (run.status, run.finished, run.gap) == ("interrupted", False, None)
            assert {one.state for one in reader.targets(run)} <= {"not_started", "started"}
        scripts = load_scripts(plan)
        from lom.service.resume import resumed

        with SqliteReader(path) as reader:
            run = reader.find(plan.run_id)
            again = resumed(plan, run, reader.targets(run))
        whole = Run(again, scripts, pool, ledger=SqliteLedger(path))
        assert {result.outcome.value for result in whole} == {"ok"}
        with SqliteReader(path) as reader:
            assert reader.find(plan.run_id).status == "ok"
        pool.close()


@pytest.mark.soak
def test_one_orchestrator_in_two_threads(plugins: Path, tmp_path: Path) -> None:
    """Both plan on an inventory that is asked anew each time, and run."""
    program = tmp_path / "inventory.sh"
    hosts = json.dumps({"targets": {f"n{at}": {"transport": "local"} for at in range(3)}})
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{hosts}\nEND\n")
    program.chmod(0o755)
    for _ in range(repeats(3)):
        assert together(program, plugins) == [3, 3]


def together(program: Path, plugins: Path) -> list[int]:
    """Return how many targets were ok in each of two runs, or what a thread raised."""
    found: list[Any] = []
    meet = threading.Barrier(2)

    def work() -> None:
        try:
            for _ in range(4):
                meet.wait(30)
                plan = rune.plan("test.echo", "all")
            found.append(sum(one.ok for one in rune.start(plan)))
        except BaseException as error:
            found.append(error)

    with Orchestrator(program, plugin_paths=[plugins]) as rune:
        both = [threading.Thread(target=work) for _ in range(2)]
        for one in both:
            one.start()
        for one in both:
            one.join()
    return found
