"""kill -9 at any moment: the ledger never says less than what really ran on the targets."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest

from lmm.testing import processes
from lom.ledger.sqlite.reader import SqliteReader

from .conftest import success

TARGETS = 40
PLUGINS: dict[str, str | None] = {"RUNE_INVOCATION": None}


# Appends its target to a file the moment it runs.
NOTE = """\
m=$(cat); m=${m#*'"target":"'}; m=${m#*'"target": "'}
echo "${m%%\\"*}" >> "$RUNE_PARAM_FILE"; sleep 0.0$((RANDOM % 10))
"""


def inventory(rune: Any, transport: str, sshd: Any) -> None:
    text = sshd.inventory(TARGETS)
    if transport == "local":
        names = "".join(f"  n{number}: {{}}\n" for number in range(TARGETS))
        text = f"defaults: {{transport: local}}\ntargets:\n{names}"
    rune.write("inventory.yaml", text)


def check(ledger: Path, ran: list[str]) -> dict[str, int]:
    """Compare the newest run with what ran; return how many targets are in which state."""
    assert len(ran) == len(set(ran)), "a target ran twice"
    with SqliteReader(ledger) as reader:
        run = reader.find("last")
        targets = reader.targets(run)
        results = {one["target"]: one for one in reader.results(run)}
        events = [(e["kind"], e.get("target")) for e in reader.events(run)]
        document = reader.document(run)
    states = {one.name: one.state for one in targets}
    assert [name for name in ran if states[name] == "not_started"] == []
    assert {name for name, state in states.items() if state == "done"} == set(results)
    assert {name for kind, name in events if kind == "target.finished"} <= set(results)
    assert {name for kind, name in events if kind == "target.started"} == {
        name for name, state in states.items() if state != "not_started"
    }
    if run.status == "interrupted":
        told = [*document["started"], *document["not_started"], *results]
        assert sorted(told) == sorted(states)
    else:
        assert run.status == "ok"
        assert set(results) == set(ran) == set(states)
    found = list(states.values())
    return {state: found.count(state) for state in ("not_started", "started", "done")}


@pytest.mark.parametrize("transport", ["local", "ssh"])
def test_killed_at_any_moment(rune: Any, sshd: Any, tmp_path: Path, transport: str) -> None:
    rune.plugin("note", NOTE + success({}))
    inventory(rune, transport, sshd)
    moments = random.Random(20260101)
    seen = {"not_started": 0, "started": 0, "done": 0}
    for turn in range(6):
        noted, state = tmp_path / f"ran{turn}", tmp_path / f"state{turn}"
        noted.touch()
        others = processes.marked(PLUGINS)
        places = ("-p", f"file={noted}", "--state-dir", str(state))
        with rune.start("run", "note", "-t", "all", "--concurrency", "4", *places) as running:
            until = time.monotonic() + 30
            enough = moments.randrange(1, TARGETS - 5)
            while len(noted.read_text().split()) < enough and running.poll() is None:
                assert time.monotonic() < until
                time.sleep(moments.random() / 200)
            running.kill()
            running.communicate()
        processes.wait_gone(sshd.session_pids(), 20)
        processes.wait_gone(processes.marked(PLUGINS) - others, 20)
        for name, count in check(state / "ledger.sqlite", noted.read_text().split()).items():
            seen[name] += count
    assert min(seen.values()) > 0, seen  # the moments were such that all three states occurred
