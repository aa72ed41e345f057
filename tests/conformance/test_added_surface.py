"""A surface asks the service for all that it answers, for whoever asks it, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lmm.eps import document
from lmm.errors import RuneError
from lom import Orchestrator
from lom.admission.caller import Caller
from lom.service import describe, follow, runs
from tests.support.errors import error_of, reason

POLICY = "policy: {rules: [{name: no-bob, users: bob, actions: noop, effect: deny}]}\n"


class Lines:
    """JSON lines in, JSON lines out: one request, then what there is to say of it."""

    def __init__(self, rune: Orchestrator) -> None:
        self._rune = rune
        self._answers: dict[str, Callable[[Caller, Any], Iterator[Any]]] = {
            "actions": lambda caller, asked: describe.actions(rune.registry),
            "targets": lambda caller, asked: iter(describe.targets(rune, ["all"])["targets"]),
            "run": self._run,
            "events": self._events,
        }

    def answer(self, user: str, line: str) -> Iterator[str]:
        """Yield the lines that answer one; an error is one line, too."""
        caller = Caller(user, frozenset(), user, 1000)
        try:
            asked = json.loads(line)
            for told in self._answers[asked["ask"]](caller, asked):
                yield json.dumps(told)
        except RuneError as error:
            yield json.dumps(document(error))

    def _run(self, caller: Caller, asked: Any) -> Iterator[Any]:
        plan = self._rune.plan(asked["action"], asked["targets"], asked["params"], caller=caller)
        with self._rune.start(plan, caller=caller) as run:
            for result in run:
                yield {"target": result.target, "outcome": result.outcome.value}
        yield {"run_id": run.run_id, "status": run.status}

    def _events(self, caller: Caller, asked: Any) -> Iterator[Any]:
        with runs.open_ledger(self._rune.settings, caller.asker) as ledger:
            yield from follow.following(ledger, ledger.find(asked["run_id"]), 0)


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    (tmp_path / "rune.yaml").write_text(POLICY)
    (tmp_path / "inventory.yaml").write_text("targets: {web1: {transport: local}}\n")
    monkeypatch.chdir(tmp_path)
    with Orchestrator() as rune:
        yield Lines(rune)


def test_it_answers_each_caller(lines: Lines) -> None:
    def ask(user: str, **asked: Any) -> list[Any]:
        return [json.loads(line) for line in lines.answer(user, json.dumps(asked))]

    assert "noop" in {one["action"] for one in ask("ann", ask="actions")}
    assert [one["target"] for one in ask("ann", ask="targets")] == ["web1"]
    wanted = {"ask": "run", "action": "noop", "targets": "web1", "params": {"n": 1}}
    first, last = ask("ann", **wanted)
    assert (first, last["status"]) == ({"target": "web1", "outcome": "ok"}, "ok")
    kinds = [event["kind"] for event in ask("ann", ask="events", run_id=last["run_id"])]
    assert (kinds[0], kinds[-1]) == ("run.started", "run.finished")
    (refused,) = ask("bob", **wanted)
    assert error_of(refused)["data"]["rule"] == "no-bob"
    (unknown,) = ask("ann", ask="events", run_id="none")
    assert reason(unknown) == "unknown_run"
