"""A judge that is added to the list holds on every way in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from lmm.errors import PolicyDenied
from lom import Orchestrator
from lom.admission import judges
from lom.admission.caller import Caller
from lom.admission.verdict import Grounds, Judge, Verdict
from lom.cli.app import run
from lom.exit_codes import ExitCode
from lom.planning.plan import Plan

from .conftest import Rune, success

NOOP = Path(__file__).resolve().parents[3] / "plugins" / "noop"


class Budget:
    """Lets a plan start on so many targets for each caller, and no more."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.callers: list[str] = []

    def judge(self, plan: Plan, caller: Caller, now: datetime) -> Verdict:
        self.callers.append(caller.user)
        if len(plan.steps) <= self.most:
            return Verdict(rows=[{"policy": "budget", "rule": None, "effect": "allow"}])
        why = f"{len(plan.steps)} target(s) are more than {caller.user} may pay for"
        return Verdict(PolicyDenied("policy_denied", why, user=caller.user))


@pytest.fixture
def budget(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Budget:
    budget = Budget(0)

    def make(grounds: Grounds) -> Judge:
        return budget

    monkeypatch.setattr(judges, "JUDGES", (*judges.JUDGES, make))
    monkeypatch.chdir(tmp_path)
    Path("inventory.yaml").write_text("targets: {web1: {transport: local}}\n")
    return budget


@pytest.mark.parametrize(
    "way",
    [
        lambda rune: rune.run("noop", "web1"),
        lambda rune: rune.start(rune.plan("noop", "web1")),
        lambda rune: rune.admit(rune.plan("noop", "web1")),
    ],
)
def test_the_library_is_refused(budget: Budget, way: Callable[[Orchestrator], object]) -> None:
    with Orchestrator() as rune, pytest.raises(PolicyDenied, match="may pay for"):
        way(rune)


def test_each_caller_is_judged(budget: Budget) -> None:
    """Of one orchestrator, which serves many; the run is the caller's in the ledger, too."""
    budget.most = 1
    ann, bob = (Caller(name, frozenset(), "rune", 1000) for name in ("ann", "bob"))
    with Orchestrator() as rune:
        plan = rune.plan("noop", "web1", caller=ann)
        assert rune.judge(plan, caller=bob).document()["user"] == "bob"
        with rune.start(plan, caller=ann) as done:
            assert [result.ok for result in done] == [True]
    assert budget.callers == ["bob", "ann"]


def test_when_a_person_has_answered_it_is_judged_again(budget: Budget, rune: Rune) -> None:
    """They may take long: meanwhile hours end, and rules change."""
    budget.most = 1
    rune.plugin("t.wipe", success({}), risk="destructive")
    asked: list[str] = []

    def confirm(question: str) -> bool:
        asked.append(question)
        if len(asked) == 2:
            rune.write("rune.yaml", "policy: {default: deny}\n")
        return True

    with Orchestrator() as library:
        assert [one.ok for one in library.run("t.wipe", "web1", confirm=confirm)] == [True]
        with pytest.raises(PolicyDenied, match="the default is deny"):
            library.run("t.wipe", "web1", confirm=confirm)
    rune.write("rune.yaml", "policy: {default: allow}\n")

    def spend(question: str) -> bool:
        budget.most = 0
        return True

    with Orchestrator() as library, pytest.raises(PolicyDenied, match="may pay for"):
        library.run("t.wipe", "web1", confirm=spend)
    assert len(asked) == 2


def test_the_command_line_is_refused(budget: Budget, capfd: pytest.CaptureFixture[str]) -> None:
    budget.most = 1
    assert run(["run", "noop", "-t", "web1"]) == ExitCode.OK
    budget.most = 0
    shutil.copytree(NOOP, "noop")
    ways = [
        ["run", "noop", "-t", "web1"],
        ["run", "noop", "-t", "web1", "--idempotency-key", "k"],
        ["runs", "rerun", "last"],
        ["target", "ping", "-t", "web1"],
        ["plugin", "test", "noop", "--target", "web1"],
    ]
    for arguments in ways:
        assert run(arguments) == ExitCode.DENIED, arguments
        assert "may pay for" in capfd.readouterr().err, arguments
    assert run(["run", "noop", "-t", "web1", "--dry-run", "-o", "json"]) == ExitCode.DENIED
    assert json.loads(capfd.readouterr().out)["policy"]["reason"] == "policy_denied"
