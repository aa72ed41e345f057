"""A run that was approved and killed is finished on that approval, if it is still that plan."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from lmm.testing import processes
from tests.support.errors import reason

from .conftest import Rune, success
from .office import ADMIN, Office, data


@pytest.fixture
def killed(office: Office) -> str:
    """The id of an approved run of ann's that was killed while its first target ran."""
    ready = office.ann.home / "ready"
    script = f"[[ -e {ready} ]] || {{ echo $$ >{ready}; sleep 60; }}\n" + success({"wiped": True})
    Rune(office.folder).plugin("t.wipe", script, risk="destructive")
    wipe = ("run", "t.wipe", "-t", "web1,web2", "--concurrency", "1", "-o", "json")
    run_id = office.ask(*wipe)
    assert office.admin("approve", run_id, "--yes").code == 0
    with office.ann.start(*wipe, "--approved", run_id) as process:
        until = time.monotonic() + 60
        while not (ready.exists() and ready.read_text().strip()):
            assert time.monotonic() < until
            time.sleep(0.02)
        process.kill()
        process.communicate()
    assert not processes.wait_gone([int(ready.read_text())], 20)
    return run_id


def test_it_needs_no_second_approval(office: Office, killed: str) -> None:
    done = office.ann("runs", "resume", killed, "-o", "json")
    assert done.document["run_id"] == killed
    assert [one["outcome"] for one in done.document["results"]] == ["cancelled", "ok"]
    [row] = office.ann("runs", "list", "-o", "json").document["runs"]
    assert (row["status"], row["approved_by"]) == ("partial", [ADMIN])
    events = [line["event"] for line in office.ann.audit]
    assert events == ["run.waiting", "run.admitted", "run.resumed", "run.finished"]
    assert office.ann("audit", "verify").code == 0


def test_another_plan_was_not_approved(office: Office, killed: str) -> None:
    script = Path(office.folder / "plugins/t-wipe/main.sh")
    script.write_text(script.read_text() + "# more\n")
    done = office.ann("runs", "resume", killed, "-o", "json")
    assert (done.code, reason(done)) == (3, "approval_void")
    assert data(done)["differences"]
    [row] = office.ann("runs", "list", "-o", "json").document["runs"]
    assert row["status"] == "interrupted"


def test_what_could_not_begin_still_waits(office: Office) -> None:
    wipe = ("run", "t.wipe", "-t", "web1", "-o", "json")
    run_id = office.ask(*wipe)
    assert office.admin("approve", run_id, "--yes").code == 0
    with closing(sqlite3.connect(office.ann.home / ".local/state/rune/ledger.sqlite")) as other:
        other.execute("BEGIN IMMEDIATE")
        done = office.ann(*wipe, "--approved", run_id)
        assert (done.code, reason(done)) == (2, "ledger_unavailable")
    assert office.ann(*wipe, "--approved", run_id).document["status"] == "ok"
    events = [line["event"] for line in office.ann.audit]
    assert events == ["run.waiting", "run.admitted", "run.denied", "run.admitted", "run.finished"]


def test_nobody_else_finishes_it(office: Office, killed: str) -> None:
    state = office.ann.home / ".local/state/rune"
    done = office.admin("runs", "resume", killed, "--state-dir", str(state), "-o", "json")
    assert (done.code, reason(done)) == (3, "policy_denied")
