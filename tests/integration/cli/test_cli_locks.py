"""Several ``rune run`` processes of one user: one at a time changes a host."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmm.testing import processes
from tests.support.errors import error_of

from .conftest import success

PLUGINS: dict[str, str | None] = {"RUNE_INVOCATION": None}

# Fails if another one is at work; goes on when the file `go` is there, at once if `now` is.
ALONE = """\
mkdir {folder}/busy || exit 9
echo "$RUNE_PARAM_WHO" >> {folder}/order
until [ -e {folder}/go ]; do sleep 0.02; done
rmdir {folder}/busy
"""


@pytest.fixture
def hosts(rune: Any) -> Any:
    """``rune`` with two names of this machine and actions of each risk."""
    rune.write("inventory.yaml", "defaults: {transport: local}\ntargets: {here: {}, there: {}}\n")
    script = ALONE.format(folder=rune.folder) + success({})
    rune.plugin("t.change", script, risk="change")
    rune.plugin("t.wipe", script, risk="destructive")
    rune.plugin("t.read", success({}))
    return rune


def events(running: subprocess.Popen[bytes]) -> Iterator[Any]:
    assert running.stdout
    return map(json.loads, running.stdout)


def until(running: subprocess.Popen[bytes], kind: str) -> Any:
    """Return the next event of this kind."""
    return next(event for event in events(running) if event["kind"] == kind)


def started(rune: Any, action: str, who: str, target: str) -> subprocess.Popen[bytes]:
    """Return a run whose plugin is at work."""
    running: subprocess.Popen[bytes] = rune.start(
        "run", action, "-t", target, "-p", f"who={who}", "-o", "ndjson", "--yes"
    )
    until(running, "target.started")
    return running


def order(rune: Any) -> list[str]:
    return (rune.folder / "order").read_text().split() if (rune.folder / "order").exists() else []


def go(rune: Any) -> None:
    (rune.folder / "go").touch()


def test_the_second_waits_for_the_first_and_says_so(hosts: Any) -> None:
    with started(hosts, "t.change", "first", "here") as first:
        asked = ("run", "t.wipe", "-t", "there", "-p", "who=second", "-o", "ndjson", "--yes")
        with hosts.start(*asked) as second:
            waiting = until(second, "target.waiting")
            shown = hosts("runs", "list", "-o", "json").document["runs"]
            holder = next(run["run_id"] for run in shown if run["action"] == "t.change")
            assert waiting["target"] == "there"
            assert waiting["data"] == {"reason": "target_locked", "holder": holder}
            assert hosts("run", "t.read", "-t", "all", "-o", "json").code == 0
            go(hosts)
            for running in (first, second):
                assert until(running, "run.finished")["data"]["status"] == "ok"
    assert order(hosts) == ["first", "second"]


def test_fail_at_once_and_run_it_later(hosts: Any) -> None:
    with started(hosts, "t.change", "first", "here") as first:
        asked = ("run", "t.change", "-t", "here", "-p", "who=second")
        refused = hosts(*asked, "--on-locked", "fail", "-o", "json")
        assert refused.code == 7
        (result,) = refused.document["results"]
        assert (result["outcome"], result["attempt"]) == ("skipped", 0)
        error = error_of(result)
        shown = hosts("runs", "list", "--action", "t.change", "-o", "json").document["runs"]
        assert error["data"]["reason"] == "target_locked"
        assert error["data"]["target"] == "here"
        assert error["data"]["holder"] == shown[-1]["run_id"]
        assert error["data"]["holder"] in error["message"]
        table = hosts(*asked, "--on-locked", "wait", "--lock-timeout", "0.1")
        assert table.code == 7
        assert error["data"]["holder"] in table.text
        go(hosts)
        assert until(first, "run.finished")["data"]["status"] == "ok"
    later = hosts("runs", "rerun", refused.document["run_id"], "--only", "skipped", "-o", "json")
    assert later.code == 0
    assert order(hosts) == ["first", "second"]


def test_a_killed_process_holds_nobody_up(hosts: Any) -> None:
    hosts.plugin("t.quick", success({}), risk="change")
    others = processes.marked(PLUGINS)
    with started(hosts, "t.change", "first", "here") as first:
        with hosts.start("run", "t.quick", "-t", "there", "-o", "ndjson") as second:
            until(second, "target.waiting")
            first.send_signal(signal.SIGKILL)
            first.wait(20)
            assert until(second, "run.finished")["data"]["status"] == "ok"
        processes.wait_gone(processes.marked(PLUGINS) - others, 20)


def test_two_names_of_one_host_take_turns(hosts: Any) -> None:
    go(hosts)
    done = hosts("run", "t.change", "-t", "all", "-p", "who=x", "-o", "json")
    assert (done.code, order(hosts)) == (0, ["x", "x"])


def test_another_state_directory_knows_nothing(hosts: Any, tmp_path: Path) -> None:
    """What is kept apart on purpose does not meet."""
    with started(hosts, "t.change", "first", "here") as first:
        go_on = hosts(
            "run", "t.change", "-t", "here", "-p", "who=second", "-o", "json",
            "--state-dir", str(tmp_path / "elsewhere"), "--on-locked", "fail",
        )  # fmt: skip
        assert go_on.document["status"] == "failed"  # the plugin's own check has met the first
        go(hosts)
        assert until(first, "run.finished")["data"]["status"] == "ok"
