"""With an idempotency key the same request is the same run, however often it is made."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.errors import error_of, reason

COUNT = """\
echo x >> "$RUNE_PARAM_FILE"
while [[ ${RUNE_PARAM_GO-} && ! -e $RUNE_PARAM_GO ]]; do sleep 0.05; done
"""


@pytest.fixture
def ran(fleet: Any, answers: Any) -> Path:
    """The file to which each start of the plugin `count` adds a line."""
    fleet.plugin("count", COUNT + answers({"did": "it"}))
    return Path(fleet.write("ran", ""))


def run_of(ran: Path, key: str, *more: str) -> tuple[str, ...]:
    return ("run", "count", "-t", "web", "-p", f"file={ran}", "--idempotency-key", key, *more)


def wait_for(ran: Path, lines: int) -> None:
    until = time.monotonic() + 60
    while len(ran.read_text().split()) < lines:
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("output", ["json", "ndjson", "csv", "table"])
def test_the_second_request_gets_the_first_ones_answer(fleet: Any, ran: Path, output: str) -> None:
    first, second = (fleet(*run_of(ran, "k", "-o", output)) for _ in range(2))
    assert (first.code, second.code) == (0, 0)
    assert second.stdout == first.stdout
    assert ran.read_text() == "x\nx\n"
    other = fleet(*run_of(ran, "another", "-o", output))
    assert (other.code, ran.read_text()) == (0, "x\nx\nx\nx\n")


def test_a_failure_is_an_answer_too(fleet: Any, ran: Path) -> None:
    run = ("run", "t.broken", "-t", "web1", "--idempotency-key", "k", "-o", "json")
    first, second = fleet(*run), fleet(*run)
    assert (first.code, second.code) == (1, 1)
    assert second.stdout == first.stdout


@pytest.mark.parametrize(
    "change",
    [("-p", "more=1"), ("-t", "db1"), ("--timeout", "7"), ("--retries", "1")],
    ids=["parameters", "targets", "timeout", "retries"],
)
def test_another_request_is_refused(fleet: Any, ran: Path, change: tuple[str, str]) -> None:
    assert fleet(*run_of(ran, "k")).code == 0
    done = fleet(*run_of(ran, "k", *change, "-o", "json"))
    assert (done.code, reason(done)) == (2, "idempotency_key_used")
    assert change[0].strip("-")[:1] in error_of(done)["message"]
    assert ran.read_text() == "x\nx\n"


def test_one_that_goes_on_is_waited_for(fleet: Any, ran: Path) -> None:
    go = fleet.folder / "go"
    run = run_of(ran, "k", "-p", f"go={go}", "-o", "ndjson")
    with fleet.start(*run) as first:
        wait_for(ran, 2)
        with fleet.start(*run) as second:
            told = second.stdout.readline()
            go.touch()
            told += second.stdout.read()
        ours, _ = first.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0)
    assert [json.loads(line) for line in told.splitlines()] == [
        json.loads(line) for line in ours.splitlines()
    ]
    assert ran.read_text() == "x\nx\n"


def test_one_that_was_killed_is_finished(fleet: Any, ran: Path) -> None:
    go = fleet.folder / "go"
    run = run_of(ran, "k", "-p", f"go={go}", "--on-disconnect", "continue", "-o", "json")
    with fleet.start(*run) as first:
        wait_for(ran, 2)
        first.kill()
        first.communicate()
    go.touch()
    done = fleet(*run)
    assert (done.code, done.document["status"]) == (0, "ok")
    assert ran.read_text() == "x\nx\n"
    assert len(fleet("runs", "list", "-o", "json").document["runs"]) == 1


def test_two_at_once_make_one_run(fleet: Any, ran: Path) -> None:
    run = run_of(ran, "k", "-o", "json")
    with fleet.start(*run) as first, fleet.start(*run) as second:
        answers = [one.communicate(timeout=60)[0] for one in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0)
    assert answers[0] == answers[1]
    assert ran.read_text() == "x\nx\n"


def test_what_a_key_may_be(fleet: Any, ran: Path) -> None:
    for key in ("", "a\nb", "x" * 256):
        done = fleet(*run_of(ran, key, "-o", "json"))
        assert (done.code, reason(done)) == (2, "invalid_request")
    done = fleet(*run_of(ran, "k", "--no-ledger", "-o", "json"))
    assert (done.code, reason(done)) == (2, "invalid_request")
    assert ran.read_text() == ""


def test_a_dry_run_makes_no_use_of_the_key(fleet: Any, ran: Path) -> None:
    assert fleet(*run_of(ran, "k", "--dry-run")).code == 0
    assert fleet(*run_of(ran, "k")).code == 0
    assert ran.read_text() == "x\nx\n"


def test_a_run_that_waits_for_its_approval(fleet: Any, ran: Path) -> None:
    fleet.write(
        "rune.yaml",
        "approvals: {FOLDER}\npolicy: {rules: [{name: two, effect: allow, approval:"
        " {approvers: [nobody], valid_for: 1h}}]}\n".replace("{FOLDER}", str(fleet.folder / "a")),
    )
    (fleet.folder / "a").mkdir(mode=0o700)
    first, second = (fleet(*run_of(ran, "k", "-o", "json")) for _ in range(2))
    assert (first.code, second.code) == (3, 3)
    assert reason(first) == reason(second) == "approval_required"
    ids = {error_of(one)["data"]["run_id"] for one in (first, second)}
    assert len(ids) == 1
