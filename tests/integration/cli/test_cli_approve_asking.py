"""What is asked before an approval is given, what refuses it, and what is left of it."""

from __future__ import annotations

import os

import pytest

from tests.support.errors import reason

from .conftest import Rune
from .office import ADMIN, RULES, WIPE, Office


def test_a_dry_run_asks_nobody(fleet: Rune) -> None:
    fleet.write("rune.yaml", RULES.replace(f"[{ADMIN}]", "[somebody-else]"))
    done = fleet("run", "t.wipe", "-t", "web1", "--dry-run", "-o", "json")
    assert done.code == 3
    assert done.document["policy"]["reason"] == "approval_required"
    assert len(done.document["policy"]["approval"]["plan_hash"]) == 64
    assert not (fleet.folder / "approvals").exists()
    assert fleet("runs", "list", "-o", "json").document == {"runs": []}


def test_a_required_audit_log_that_cannot_be_written_leaves_no_request(fleet: Rune) -> None:
    (fleet.folder / "approvals").mkdir(0o700)
    (fleet.folder / "broken").write_text("")
    fleet.write("rune.yaml", f"{RULES}audit: {{log: broken/log, required: true}}\n")
    done = fleet("run", "t.wipe", "-t", "web1", "-o", "json")
    assert (done.code, reason(done)) == (3, "audit_unavailable")
    assert not list((fleet.folder / "approvals").iterdir())
    assert fleet("runs", "list", "-o", "json").document == {"runs": []}


def test_a_rule_that_nobody_could_answer_is_an_error(fleet: Rune) -> None:
    fleet.write("rune.yaml", RULES.replace("approvals: approvals\n", ""))
    for dry_run in ([], ["--dry-run"]):
        done = fleet("run", "t.wipe", "-t", "web1", *dry_run, "-o", "json")
        assert (done.code, reason(done)) == (2, "config_invalid")
        assert "name one under approvals" in done.stderr
    assert fleet("run", "noop", "-q").code == 0


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("\n", 3)])
def test_a_person_sees_all_of_it_before_they_are_asked(
    office: Office, typed: str, code: int
) -> None:
    run_id = office.ask()
    master, terminal = os.openpty()
    try:
        with Rune(office.folder).start(
            *("approve", run_id), stdin=terminal, stderr=terminal, env={"TERM": "xterm"}
        ) as process:
            os.close(terminal)
            seen = ""
            while "Go on? [y/N]" not in seen:
                seen += os.read(master, 65536).decode()
            os.write(master, typed.encode())
            out, _ = process.communicate(timeout=60)
    finally:
        os.close(master)
    assert 'disk = "sdb"' in seen
    assert f"This approves of {run_id}" in seen
    assert process.returncode == code
    assert (f"approved {run_id}" in out.decode()) is (code == 0)
    assert len(list(office.approvals.glob("*.answer.json"))) == (code == 0)


def test_a_reason_is_short_and_may_hold_anything(office: Office) -> None:
    run_id = office.ask()
    long = office.admin("approve", run_id, "--deny", "x" * 4097, "-o", "json")
    assert (long.code, reason(long)) == (2, "invalid_request")
    odd = os.fsdecode(b"caf\xc3\xa9 \xff \x1b[31m")
    assert office.admin("approve", run_id, "--deny", odd).code == 0
    done = office.ann(*WIPE, "--approved", run_id)
    assert reason(done) == "approval_denied"
    assert "café \\udcff \\x1b[31m" in done.stderr


def test_files_of_ones_own_are_removed_after_a_month(office: Office) -> None:
    old = [office.approvals / f"r{n}{end}.json" for n, end in enumerate((".request", ".used"))]
    for path in (*old, office.approvals / "notes.json"):
        office.ann.writes(path, "{}")
        os.utime(path, (1, 1))
    theirs = office.approvals / "r9.0.answer.json"
    office.stranger.writes(theirs, "{}")
    os.utime(theirs, (1, 1))
    run_id = office.ask()
    names = {path.name for path in office.approvals.iterdir()}
    assert names == {f"{run_id}.request.json", theirs.name, "notes.json"}


def test_what_the_command_needs(rune: Rune) -> None:
    assert (rune("approve").code, rune("approve", "20260101").code) == (2, 2)
    assert rune("approve", "--list", "-o", "json").document == {"requests": []}
