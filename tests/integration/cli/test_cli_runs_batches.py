"""Batches, pauses, questions and the deadline of a run, as the command line carries them out."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.errors import reason

from .conftest import ROOT, success

NAMES = [f"n{number}" for number in range(1, 13)]


@pytest.fixture
def dozen(rune: Any) -> Any:
    """``rune`` with twelve targets."""
    rune.write("inventory.yaml", 'defaults: {transport: local}\ntargets: {"n[1-12]": {}}\n')
    rune.plugin("quick", success({}))
    return rune


def outcomes(document: Any) -> Counter[str]:
    return Counter(one["outcome"] for one in document["results"])


def reasons(document: Any) -> set[str]:
    return {reason(one) for one in document["results"] if one["outcome"] == "skipped"}


def test_a_batch_starts_when_the_one_before_is_through(dozen: Any) -> None:
    plan = dozen("run", "quick", "-t", "all", "--batch", "1,25%,100%", "--dry-run", "-o", "json")
    assert plan.document["batches"] == [1, 3, 8]
    done = dozen("run", "quick", "-t", "all", "--batch", "1,25%", "-o", "ndjson")
    kinds = [(e["kind"], e.get("target")) for e in map(json.loads, done.stdout.splitlines())]
    for names, before in (
        (NAMES[1:4], NAMES[:1]),
        (NAMES[4:7], NAMES[1:4]),
        (NAMES[7:10], NAMES[4:7]),
    ):
        first = min(kinds.index(("target.started", name)) for name in names)
        assert max(kinds.index(("target.finished", name)) for name in before) < first


def test_a_failed_canary_stops_the_rest(dozen: Any) -> None:
    dozen.plugin("bad", "exit 9")
    done = dozen(
        "run", "bad", "-t", "all", "--batch", "1,100%", "--max-failures", "0", "-o", "json"
    )
    assert outcomes(done.document) == {"failed": 1, "skipped": 11}
    assert reasons(done.document) == {"max_failures_reached"}
    shown = dozen("runs", "rerun", "last", "--only", "skipped", "--dry-run", "-o", "json").document
    assert [one["target"] for one in shown["targets"]] == NAMES[1:]


def test_too_many_failures_let_those_that_run_finish(dozen: Any, tmp_path: Path) -> None:
    """The first fails while the second runs, which then still gives its answer."""
    dozen.plugin(
        "mixed",
        "case $(cat) in\n"
        f"*'\"n1\"'*) until [ -e {tmp_path}/up ]; do sleep 0.02; done; exit 9;;\n"
        f"*) touch {tmp_path}/up; sleep 3;;\n"
        "esac\n" + success({}),
    )
    done = dozen(
        "run", "mixed", "-t", "all", "--concurrency", "2", "--max-failures", "0", "-o", "json"
    )
    found = outcomes(done.document)
    assert found == {"failed": 1, "ok": 1, "skipped": 10}


def test_the_deadline_cuts_what_runs_and_skips_the_rest(dozen: Any) -> None:
    dozen.plugin("slow", "sleep 60")
    done = dozen("run", "slow", "-t", "all", "--batch", "2", "--deadline", "3", "-o", "json")
    assert outcomes(done.document) == {"timed_out": 2, "skipped": 10}
    assert reasons(done.document) == {"run_deadline_passed"}
    assert "--only skipped" in done.text


def test_a_pause_does_not_outlast_deadline_nor_cancel(dozen: Any) -> None:
    begun = dozen(
        "run", "quick", "-t", "all", "--batch", "6", "--pause-between", "60", "--deadline", "5",
        "-o", "json",
    )  # fmt: skip
    assert outcomes(begun.document) == {"ok": 6, "skipped": 6}
    with dozen.start(
        "run", "quick", "-t", "all", "--batch", "6", "--pause-between", "60", "-o", "ndjson"
    ) as running:
        assert running.stdout
        for line in running.stdout:
            if json.loads(line)["seq"] == 13:
                break
        assert dozen("runs", "cancel", "last").code == 0
        rest, _ = running.communicate(timeout=30)
    assert running.returncode == 130
    summary = json.loads(rest.splitlines()[-1])["data"]["summary"]
    assert (summary["ok"], summary["cancelled"]) == (6, 6)


@pytest.mark.parametrize("arguments", [["-o", "json"], []])
def test_where_nobody_can_be_asked_that_is_said_first(dozen: Any, arguments: list[str]) -> None:
    refused = dozen("run", "quick", "-t", "all", "--confirm-between", *arguments)
    assert refused.code == 2
    assert "nobody can be asked" in refused.stderr
    assert dozen("runs", "list", "-o", "json").document == {"runs": []}


@pytest.mark.parametrize(
    ("answers", "expected", "code"),
    [(b"y\ny\n", {"ok": 12}, 0), (b"y\nn\n", {"ok": 8, "skipped": 4}, 7)],
)
def test_a_person_is_asked_between_batches(
    dozen: Any, answers: bytes, expected: dict[str, int], code: int
) -> None:
    arguments = ("run", "quick", "-t", "all", "--batch", "4", "--confirm-between")
    lead, terminal = pty.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "lom.cli", *arguments],
            cwd=dozen.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"},
            stdin=terminal,
            stdout=subprocess.DEVNULL,
            stderr=terminal,
            start_new_session=True,
        ) as running:
            os.close(terminal)
            terminal = -1
            said = b""
            for number, answer in enumerate(answers.splitlines(keepends=True), 1):
                while said.count(b"Go on? [y/N]") < number:
                    said += os.read(lead, 4096)
                os.write(lead, answer)
            assert running.wait(30) == code
    finally:
        os.close(lead)
        if terminal >= 0:
            os.close(terminal)
    assert b"batch 1 of 3 is through: 4 ok; the next one has 4 target(s)" in said
    shown = dozen("runs", "show", "last", "-o", "json").document
    assert outcomes(shown) == expected
    if code:
        assert reasons(shown) == {"batch_not_confirmed"}
