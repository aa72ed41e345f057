"""A run that was killed is finished: the hosts are asked, nothing runs twice, nothing is lost."""

from __future__ import annotations

import json
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lmm.receipts import receipt_key
from lmm.testing import processes
from tests.support.errors import reason

TARGETS = 200
# Notes its target the moment it runs; ends when there is the file $RUNE_PARAM_GO, if that is given.
NOTE = """\
m=$(cat); m=${m#*'"target":"'}; m=${m#*'"target": "'}
echo "${m%%\\"*}" >> "$RUNE_PARAM_FILE"
echo '##rune {"kind":"progress","percent":10}' >&2
echo working >&2
sleep "0.0$((RANDOM % 10))"
while [[ ${RUNE_PARAM_GO-} && ! -e $RUNE_PARAM_GO ]]; do sleep 0.05; done
echo '{"payload":{"result":"success","output_data":{"did":"it"}}}'
"""


@pytest.fixture
def noted(rune: Any) -> Path:
    rune.plugin("note", NOTE)
    file = Path(rune.write("noted", ""))
    names = "".join(f"  n{number}: {{}}\n" for number in range(TARGETS))
    rune.write("inventory.yaml", f"defaults: {{transport: local}}\ntargets:\n{names}")
    return file


@pytest.fixture
def killed(rune: Any, noted: Path) -> Callable[..., None]:
    """Start `rune run note …`, wait until so many targets have run, and kill -9 it."""

    def kill(enough: int, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        with rune.start(*arguments, env=env) as running:
            until = time.monotonic() + 60
            while len(noted.read_text().split()) < enough and running.poll() is None:
                assert time.monotonic() < until
                time.sleep(0.005)
            running.kill()
            running.communicate()

    return kill


def cut_off(noted: Path) -> None:
    """Wait until the host has killed the plugins: one that may end before counts as it ended."""
    ours = processes.marked({"RUNE_PARAM_FILE": str(noted)})
    assert not processes.wait_gone(ours, 30)


@pytest.mark.parametrize("mode", ["kill", "continue"])
def test_killed_again_and_again_each_target_runs_once(
    rune: Any, noted: Path, killed: Callable[..., None], mode: str
) -> None:
    moments = random.Random(20260102)
    run = ("run", "note", "-t", "all", "-p", f"file={noted}", "--concurrency", "16")
    killed(moments.randrange(1, 24), *run, "--on-disconnect", mode)
    for share in (40, 80, 140):
        killed(moments.randrange(share, share + 24), "runs", "resume", "last")
    done = rune("runs", "resume", "last", "-o", "json", timeout=120)
    ran = noted.read_text().split()
    assert len(ran) == len(set(ran)), "a target ran twice"
    outcomes = {one["target"]: one["outcome"] for one in done.document["results"]}
    assert list(outcomes) == [f"n{number}" for number in range(TARGETS)]
    assert {name for name, outcome in outcomes.items() if outcome == "ok"} <= set(ran)
    if mode == "continue":
        assert (done.code, set(outcomes.values())) == (0, {"ok"})
    else:  # a handful was cut off each time
        assert set(outcomes.values()) <= {"ok", "cancelled"}
        assert list(outcomes.values()).count("cancelled") <= 4 * 16
    assert rune("runs", "show", "last", "-o", "json").document == done.document
    events = [json.loads(line) for line in rune("runs", "events", "last").text.splitlines()]
    assert [event["seq"] for event in events] == [*range(1, len(events) + 1)]
    kinds = Counter(event["kind"] for event in events)
    assert (kinds["run.started"], kinds["run.resumed"], kinds["run.finished"]) == (1, 4, 1)
    assert kinds["target.finished"] == TARGETS
    if mode == "continue":  # a line is told once, by whichever process has heard it
        assert (kinds["progress"], kinds["log"]) == (TARGETS, TARGETS)


def test_under_kill_what_was_cut_off_is_cancelled(
    rune: Any, noted: Path, killed: Callable[..., None]
) -> None:
    go = rune.folder / "go"
    run = ("run", "note", "-t", "n1,n2,n3,n4", "-p", f"file={noted}", "--concurrency", "2")
    killed(2, *run, "-p", f"go={go}")
    cut_off(noted)
    go.touch()
    done = rune("runs", "resume", "last", "-o", "json")
    assert (done.code, done.document["status"]) == (7, "partial")
    assert Counter(one["outcome"] for one in done.document["results"]) == {"ok": 2, "cancelled": 2}
    reasons = {reason(one) for one in done.document["results"] if one["error"]}
    assert reasons == {"disconnected"}
    assert sorted(noted.read_text().split()) == ["n1", "n2", "n3", "n4"]


def test_what_is_retry_safe_runs_again(rune: Any, noted: Path, killed: Callable[..., None]) -> None:
    go = rune.folder / "go"
    manifest = rune.folder / "plugins/note/plugin.json"
    text = manifest.read_text()
    manifest.write_text(text.replace('"risk"', '"retry_safe": true, "risk"'))
    killed(1, "run", "note", "-t", "n1", "-p", f"file={noted}", "-p", f"go={go}")
    cut_off(noted)
    go.touch()
    done = rune("runs", "resume", "last", "-o", "json")
    assert done.code == 0
    assert done.document["results"][0]["attempt"] == 2
    assert noted.read_text().split() == ["n1", "n1"]


def test_under_continue_it_reattaches(rune: Any, noted: Path, killed: Callable[..., None]) -> None:
    """The manifest may say so, too; what the dead process has heard is not told again."""
    go = rune.folder / "go"
    manifest = rune.folder / "plugins/note/plugin.json"
    text = manifest.read_text()
    manifest.write_text(text.replace('"risk"', '"on_disconnect": "continue", "risk"'))
    killed(1, "run", "note", "-t", "n1", "-p", f"file={noted}", "-p", f"go={go}")
    with rune.start("runs", "resume", "last", "-o", "ndjson") as process:
        lines = iter(process.stdout.readline, b"")
        events = [json.loads(next(lines)) for _ in range(2)]
        assert [event["kind"] for event in events] == ["run.resumed", "target.asked"]
        go.touch()
        events += [json.loads(line) for line in lines]
    assert process.returncode == 0
    assert events[-1]["kind"] == "run.finished"
    assert noted.read_text().split() == ["n1"]
    told = [json.loads(line) for line in rune("runs", "events", "last").text.splitlines()]
    assert Counter(event["kind"] for event in told)["progress"] == 1


def test_a_host_that_cannot_be_asked_is_lost_until_it_can(
    rune: Any, noted: Path, killed: Callable[..., None], sshd: Any
) -> None:
    rune.write("inventory.yaml", sshd.inventory(1))
    go = rune.folder / "go"
    run = ("run", "note", "-t", "all", "-p", f"file={noted}", "-p", f"go={go}")
    killed(1, *run, "--on-disconnect", "continue")
    rune.write("elsewhere.yaml", sshd.inventory(1).replace(str(sshd.port), "1"))
    done = rune("runs", "resume", "last", "-o", "json", "-i", "elsewhere.yaml")
    assert (done.code, done.document["status"]) == (8, "lost")
    assert reason(done.document["results"][0]) == "host_not_asked"
    go.touch()
    done = rune("runs", "resume", "last", "-o", "json")
    assert (done.code, done.document["status"]) == (0, "ok")
    assert len(noted.read_text().split()) == 1
    told = [json.loads(line) for line in rune("runs", "events", "last").text.splitlines()]
    finished = [event["data"]["outcome"] for event in told if event["kind"] == "target.finished"]
    assert finished == ["lost", "ok"]


def test_nothing_is_left_on_the_host(rune: Any, noted: Path, killed: Callable[..., None]) -> None:
    """What the run has is not kept twice; that a script has run is remembered for a day."""
    assert rune("run", "note", "-t", "n1", "-p", f"file={noted}").code == 0
    kept = Path("/var/tmp").glob(".rune-receipts-*/*/*")
    run_id = rune("runs", "list", "-o", "json").document["runs"][0]["run_id"]
    mine = [path.suffix for path in kept if path.stem == receipt_key(run_id, "n1")]
    assert mine == [".state"]


def test_what_cannot_be_resumed(rune: Any, noted: Path) -> None:
    assert rune("runs", "resume", "last").code == 2
    rune("run", "noop", "-t", "n1")
    done = rune("runs", "resume", "last")
    assert done.code == 2
    assert "has finished, and none of its targets is lost" in done.stderr
    with rune.start("run", "host.exec", "-p", "command=sleep 60") as running:
        until = time.monotonic() + 30
        while rune("runs", "list", "-o", "json").document["runs"][0]["status"] != "running":
            assert time.monotonic() < until
        done = rune("runs", "resume", "last", "-o", "json")
        running.send_signal(signal.SIGINT)
        running.communicate()
    assert done.code == 2
    assert reason(done) == "run_not_resumable"


def test_a_target_that_is_gone(rune: Any, noted: Path, killed: Callable[..., None]) -> None:
    """One that is left may not be, one that is through may."""
    hangs = '[[ $m == n2\\"* ]] && RUNE_PARAM_GO=/never; sleep "'
    rune.plugin("note", NOTE.replace('sleep "', hangs))
    inventory = (rune.folder / "inventory.yaml").read_text()
    killed(2, "run", "note", "-t", "n1,n2", "-p", f"file={noted}", "--concurrency", "1")
    rune.write("inventory.yaml", inventory.replace("  n2: {}\n", ""))
    done = rune("runs", "resume", "last")
    assert done.code == 2
    assert "n2" in done.stderr
    assert rune("runs", "list", "-o", "json").document["runs"][0]["status"] == "interrupted"
    rune.write("inventory.yaml", inventory.replace("  n1: {}\n", ""))
    done = rune("runs", "resume", "last", "-o", "json")
    assert [one["outcome"] for one in done.document["results"]] == ["ok", "cancelled"]


def test_secrets_are_asked_for_by_name(rune: Any, noted: Path, killed: Callable[..., None]) -> None:
    go, env = rune.folder / "go", {"TOKEN": "hush-hush"}
    run = ("run", "note", "-t", "n1,n2", "-p", f"file={noted}", "-p", f"go={go}")
    killed(1, *run, "--secret", "token=env:TOKEN", "--concurrency", "1", env=env)
    cut_off(noted)
    go.touch()
    done = rune("runs", "resume", "last")
    assert done.code == 2
    assert "--secret token=env:NAME" in done.stderr
    again = ("runs", "resume", "last", "-o", "json", "--secret", "token=env:TOKEN")
    done = rune(*again, env=env)
    assert [one["outcome"] for one in done.document["results"]] == ["cancelled", "ok"]
    assert b"hush-hush" not in done.stdout
    state = list(rune.folder.rglob("ledger.sqlite*"))
    assert not any(b"hush-hush" in path.read_bytes() for path in state)
