"""What every store of the ledger promises (``lom/ledger/store.py``); a new one is a line in STORES.

A toy in memory shows how little a run needs. What a store that outlives its process promises as
well, those in ``LASTING`` are asked.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from lmm.envelope import timestamp
from lmm.errors import RequestError
from lmm.model import Target
from lom import Inventory, Orchestrator
from lom.ledger import ledger_in
from lom.ledger.records import RunFacts
from lom.ledger.store import Ledger
from lom.planning.plan import facts_of

from .memory_ledger import MemoryLedger


def _memory(folder: Path) -> Ledger:
    return cast(Ledger, MemoryLedger())


LASTING: dict[str, Callable[[Path], Ledger]] = {"sqlite": ledger_in}
STORES = {**LASTING, "memory": _memory}


@pytest.fixture(params=STORES)
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    return STORES[request.param](tmp_path)


@pytest.fixture
def rune(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Iterator[Orchestrator]:
    """An orchestrator whose runs go to the store."""
    monkeypatch.setattr("lom.ledger.ledger_in", lambda folder, asker=None: ledger)
    targets = {name: Target(name, transport="local") for name in ("n0", "n1", "n2")}
    with Orchestrator(Inventory(targets=targets)) as made:
        yield made


@pytest.fixture
def facts(rune: Orchestrator) -> RunFacts:
    return facts_of(rune.plan("noop", "all"), timestamp(), None)


def result(target: str) -> dict[str, Any]:
    """Return a result document."""
    told = {"target": target, "outcome": "ok", "output_data": {}, "attempt": 1, "plugin": "noop"}
    return {**told, "error": None, "duration_s": 0.1, "exit_code": 0}


def ended() -> dict[str, Any]:
    """Return the end of a result document."""
    return {"finished_at": timestamp(), "status": "ok", "summary": {"ok": 3}}


def test_a_run_is_read_back(rune: Orchestrator, ledger: Ledger) -> None:
    """Its document and its events are those that the run itself gave."""
    heard: list[dict[str, Any]] = []
    run = rune.run("noop", "all", on_event=heard.append)
    document = json.loads(json.dumps(run.document()))
    assert run.ledger_problem is None
    with ledger.reader() as reader:
        found = reader.find(run.run_id)
        assert (found.status, found.exit_code, found.targets, found.gap) == ("ok", 0, 3, None)
        told = reader.document_to_read(found)
        assert {**told, "results": list(told["results"])} == document
        assert list(reader.events(found)) == heard
        assert list(reader.events(found, after=2)) == heard[2:]
        rows = [(one.name, one.plugin, one.state, one.outcome) for one in reader.targets(found)]
        assert rows == [(name, "noop", "done", "ok") for name in ("n0", "n1", "n2")]


def test_runs_are_found(rune: Orchestrator, ledger: Ledger) -> None:
    with ledger.reader() as reader:
        assert reader.runs() == []
    ids = [rune.run("noop", name).document()["run_id"] for name in ("n0", "n1")]
    with ledger.reader() as reader:
        assert [run.run_id for run in reader.runs()] == ids[::-1]
        assert [run.run_id for run in reader.runs(limit=1, action="noop")] == ids[1:]
        assert reader.runs(status="running") == reader.runs(action="other") == []
        assert [reader.find(name).run_id for name in ("last", *ids)] == [ids[1], *ids]
        for name in ("2", "none"):  # more than one begins so
            with pytest.raises(RequestError) as refusal:
                reader.find(name)
            assert refusal.value.reason == "unknown_run"


def test_events_are_followed_while_they_come(ledger: Ledger, facts: RunFacts) -> None:
    """A reader sees by ``changes`` that there is more, and then finds it."""
    recorder = ledger.begin(facts, lambda: None)
    with ledger.reader() as reader:
        run = reader.find(facts.run_id)
        assert (run.status, run.finished) == ("running", False)
        seen = reader.changes()
        for seq in (1, 2, 3):
            event = {"run_id": run.run_id, "seq": seq, "time": timestamp(), "kind": "log"}
            recorder.event({**event, "target": "n1", "data": {"seq": seq}})
            recorder.settle()
            assert reader.changes() != seen
            seen = reader.changes()
            [told] = reader.events(run, after=seq - 1)
            assert told == {**event, "target": "n1", "data": {"seq": seq}}
        assert recorder.starting(["n0", "n1"])
        recorder.result(result("n0"))
        recorder.settle()
        states = [target.state for target in reader.targets(run)]
        assert states == ["done", "started", "not_started"]
        recorder.finish(ended(), 0)
        now = reader.refreshed(run)
        assert now is not None
        assert (now.status, now.finished, now.summary) == ("ok", True, {"ok": 3})
    assert recorder.problem is None


@pytest.mark.parametrize("ledger", LASTING, indirect=True)
def test_a_run_that_was_left_is_taken_up(ledger: Ledger, facts: RunFacts) -> None:
    recorder = ledger.begin(facts, lambda: None)
    recorder.starting(["n0", "n1"])
    recorder.result(result("n0"))
    with pytest.raises(RequestError) as refusal:
        ledger.resume(facts.run_id, lambda: None, lambda *_: None, unseen=False)
    assert refusal.value.reason == "run_not_resumable"
    recorder.close()
    with ledger.reader() as reader:
        assert reader.find("last").status == "interrupted"
        assert reader.document_to_read(reader.find("last"))["not_started"] == ["n2"]
    kept: list[tuple[str, str, Any]] = []
    again, earlier = ledger.resume(
        facts.run_id, lambda: None, lambda *told: kept.append(told), unseen=False
    )
    assert [(name, outcome) for name, outcome, _ in kept] == [("n0", "ok")]
    assert json.loads(kept[0][2]) == result("n0")
    assert list(earlier.started) == ["n1"]
    assert (earlier.started["n1"].starts, earlier.started_at) == (1, facts.started_at)
    again.finish(ended(), 0)
    with pytest.raises(RequestError) as refusal:
        ledger.resume(facts.run_id, lambda: None, lambda *_: None, unseen=False)
    assert refusal.value.reason == "run_not_resumable"


@pytest.mark.parametrize("ledger", LASTING, indirect=True)
def test_a_run_is_cancelled_from_elsewhere(ledger: Ledger, facts: RunFacts) -> None:
    asked = threading.Event()
    recorder = ledger.begin(facts, asked.set)
    assert ledger.request_cancel(facts.run_id)
    assert asked.wait(30)
    recorder.finish(ended(), 0)
    assert not ledger.request_cancel(facts.run_id)


@pytest.mark.parametrize("ledger", LASTING, indirect=True)
def test_a_run_waits_for_its_approval(ledger: Ledger, facts: RunFacts) -> None:
    ledger.wait(facts, "hash")
    with ledger.reader() as reader:
        assert reader.find("last").status == "waiting"
    ledger.approved(facts.run_id, ["alice"])
    ledger.begin(facts, lambda: None).finish(ended(), 0)
    with ledger.reader() as reader:
        [run] = reader.runs()
    assert (run.status, run.plan_hash, run.approved_by) == ("ok", "hash", ("alice",))


@pytest.mark.parametrize("ledger", LASTING, indirect=True)
def test_a_key_is_that_of_one_run(ledger: Ledger, facts: RunFacts) -> None:
    ledger.begin(replace(facts, idempotency_key="k"), lambda: None).close()
    ledger.check_key(facts.run_id, "k")
    other = replace(facts, run_id="other", idempotency_key="k")
    for ask in (lambda: ledger.begin(other, lambda: None), lambda: ledger.check_key("other", "k")):
        with pytest.raises(RequestError) as refusal:
            ask()
        assert refusal.value.reason == "idempotency_key_used"
        assert refusal.value.data["run_id"] == facts.run_id


@pytest.mark.parametrize("ledger", LASTING, indirect=True)
def test_old_runs_are_pruned(ledger: Ledger, facts: RunFacts) -> None:
    assert ledger.prune("9999") == []
    going = ledger.begin(facts, lambda: None)
    for name in ("old", "new"):
        ledger.begin(replace(facts, run_id=name), lambda: None).finish(ended(), 0)
    with ledger.reader() as reader:
        run = reader.find("old")
        assert ledger.prune("9999", keep=1) == ["old"]
        assert reader.refreshed(run) is None
    going.close()
    assert ledger.prune("9999") == [facts.run_id, "new"]
