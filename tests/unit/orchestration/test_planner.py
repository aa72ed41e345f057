"""A plan is a function of a request and of what is known; one orchestrator serves many threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from lmm.errors import RequestError
from lmm.model import Target
from lom import Inventory, Orchestrator
from lom.planning.planner import Known, PlanRequest, make_plan
from lom.registry.places import default_registry
from lom.settings.load import load_settings

MANY = 12


@pytest.fixture
def known(tmp_path: Path) -> Known:
    targets = {name: Target(name, transport="local") for name in ("a", "b")}
    settings = load_settings({}, {}, tmp_path, tmp_path)
    return Known(settings, Inventory(targets=targets), default_registry(cwd=tmp_path))


def test_a_plan_is_made_from_values(known: Known) -> None:
    plan = make_plan(PlanRequest("noop", ("all",), context={"why": "test"}), known)
    assert [step.target.name for step in plan.steps] == ["a", "b"]
    assert plan.request["payload"]["data"]["context"] == {"why": "test"}
    assert plan.options.timeout_s == known.settings.timeout_s


def test_no_selector_means_this_machine(known: Known) -> None:
    plan = make_plan(PlanRequest("noop"), replace(known, inventory=Inventory()))
    assert [step.target.name for step in plan.steps] == ["local"]


def test_what_is_not_known_is_refused(known: Known) -> None:
    with pytest.raises(RequestError) as caught:
        make_plan(PlanRequest("noop", ("c",)), known)
    assert caught.value.reason == "unknown_target"


def test_many_threads_plan_and_start_at_once(tmp_path: Path) -> None:
    """Each asks the inventory's program anew, and has its own run of what it planned."""
    program = tmp_path / "inventory.sh"
    hosts = '{"targets": {"a": {"transport": "local"}, "b": {"transport": "local"}}}'
    program.write_text(f"#!/bin/sh\necho '{hosts}'\n")
    program.chmod(0o755)
    meet = threading.Barrier(MANY)

    def work(number: int) -> tuple[str, list[str]]:
        meet.wait(30)
        plan = rune.plan("noop", "all" if number % 2 else "a")
        with rune.start(plan) as run:
            return run.run_id, sorted(result.target for result in run if result.ok)

    with Orchestrator(program) as rune, ThreadPoolExecutor(MANY) as pool:
        found = list(pool.map(work, range(MANY)))
    assert [names for _, names in found] == [["a"], ["a", "b"]] * (MANY // 2)
    assert len({run_id for run_id, _ in found}) == MANY
