"""A ledger of the test's own, and what a run tells it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lmm.envelope import timestamp
from lom.ledger.records import RunFacts
from lom.ledger.sqlite.writer import SqliteLedger
from lom.ledger.store import Recorder
from lom.planning.plan import build_request

Begin = Callable[..., Recorder]


def facts(run_id: str = "r1", targets: int = 3, **changes: Any) -> RunFacts:
    """Return what is known of a run over targets n0, n1, …"""
    values: dict[str, Any] = {
        "run_id": run_id,
        "action": "noop",
        "request": build_request("noop", ["all"], {}, run_id, {}),
        "secret_params": [],
        "options": {},
        "version": "0",
        "started_at": timestamp(),
        "targets": [(f"n{number}", "local", "noop") for number in range(targets)],
    }
    return RunFacts(**(values | changes))


def result(target: str, outcome: str = "ok", **changes: Any) -> dict[str, Any]:
    """Return a result document."""
    return {
        "target": target,
        "outcome": outcome,
        "output_data": {},
        "error": None,
        "duration_s": 0.1,
        "attempt": 1,
        "exit_code": 0,
        "plugin": "noop",
        **changes,
    }


def event(seq: int, kind: str = "log", target: str | None = None, **data: Any) -> dict[str, Any]:
    """Return an event of the run r1."""
    made = {"run_id": "r1", "seq": seq, "time": timestamp(), "kind": kind}
    return {**made, **({"target": target} if target else {}), "data": data}


def ended(**summary: int) -> dict[str, Any]:
    """Return what a run says of itself in the end."""
    return {"finished_at": timestamp(), "status": "ok", "summary": summary}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.sqlite"


@pytest.fixture
def begin(path: Path) -> Iterator[Begin]:
    """Begin a run; one that the test does not finish is closed after it."""
    recorders: list[Recorder] = []

    def start(on_cancel: Callable[[], None] = lambda: None, **given: Any) -> Recorder:
        recorders.append(SqliteLedger(path).begin(facts(**given), on_cancel))
        return recorders[-1]

    yield start
    for recorder in recorders:
        recorder.close()
