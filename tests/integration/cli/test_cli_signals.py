"""Ctrl-C, SIGTERM, and readers that go away: no orphan, and the exit code says so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lmm.testing import processes
from lom.cli.interrupts import ONE_WISH_S
from tests.support.errors import reason


class Sleeper:
    """A plugin that notes its process id and then sleeps."""

    def __init__(self, rune: Any) -> None:
        self.pids = rune.folder / "pids"
        rune.plugin(
            "t.sleep", f"echo $$ >> {self.pids}; sleep 300 & echo $! >> {self.pids}; wait\n"
        )

    def wait_started(self, count: int = 1) -> list[int]:
        """Return the processes of ``count`` plugins, once they run."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            found = self.pids.read_text().split() if self.pids.exists() else []
            if len(found) == 2 * count:
                return [int(pid) for pid in found]
            time.sleep(0.02)
        raise AssertionError("the plugin did not start")


@pytest.fixture
def sleeper(fleet: Any) -> Sleeper:
    return Sleeper(fleet)


@pytest.fixture
def begin(fleet: Any) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start ``rune``; whatever the test comes to, nothing of it stays."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        started.append(fleet.start(*arguments, **options))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_cancels_and_reports(
    sleeper: Sleeper, begin: Any, number: signal.Signals
) -> None:
    process = begin("run", "t.sleep", "-t", "web", "-o", "json")
    pids = sleeper.wait_started(2)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    document = json.loads(out)
    assert [one["outcome"] for one in document["results"]] == ["cancelled", "cancelled"]
    assert "cancelling; once more quits at once" in err.decode()
    assert "Traceback" not in err.decode()
    assert not processes.wait_gone(pids, 5)


def test_the_terminals_ctrl_c_reaches_the_whole_group(sleeper: Sleeper, begin: Any) -> None:
    process = begin("run", "t.sleep", "-o", "json")
    pids = sleeper.wait_started()
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert json.loads(out)["status"] == "cancelled"
    assert not processes.wait_gone(pids, 5)


def test_what_was_done_before_is_reported(sleeper: Sleeper, begin: Any) -> None:
    process = begin("run", "t.sleep", "-t", "all", "--concurrency", "1", "-o", "ndjson")
    sleeper.wait_started()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    events = [json.loads(line) for line in out.splitlines()]
    assert process.returncode == 130
    assert events[-1]["kind"] == "run.finished"
    finished = [one for one in events if one["kind"] == "target.finished"]
    assert len(finished) == 3
    assert "ok" not in {one["data"]["outcome"] for one in finished}


def test_signals_close_together_are_one_wish(sleeper: Sleeper, begin: Any) -> None:
    """As of coreutils' `timeout`, which signals the process and then its group."""
    process = begin("run", "t.sleep", "-t", "web", "-o", "json")
    pids = sleeper.wait_started(2)
    process.send_signal(signal.SIGTERM)
    os.killpg(process.pid, signal.SIGTERM)
    process.send_signal(signal.SIGINT)  # one that the kernel does not merge with the first
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert [one["outcome"] for one in json.loads(out)["results"]] == ["cancelled", "cancelled"]
    assert err.count(b"cancelling; once more quits at once") == 1
    assert not processes.wait_gone(pids, 5)


def test_the_second_signal_quits_at_once_and_leaves_no_orphan(
    fleet: Any, sleeper: Sleeper, begin: Any
) -> None:
    stubborn = f"trap : TERM; echo $$ >> {sleeper.pids}; echo $$ >> {sleeper.pids}\n"
    fleet.plugin("t.stubborn", stubborn + "while :; do sleep 300; done\n")
    process = begin("run", "t.stubborn", "-o", "json")
    pids = sleeper.wait_started()
    process.send_signal(signal.SIGINT)
    line = process.stderr.readline() + process.stderr.readline()
    assert b"cancelling" in line
    time.sleep(ONE_WISH_S)
    process.send_signal(signal.SIGINT)
    process.wait(20)
    assert process.returncode == 130
    assert process.stdout.read() == b""
    assert not processes.wait_gone(pids, 30)  # TERM is ignored, KILL comes seconds later


def test_a_reader_that_goes_away_cancels_the_run_quietly(sleeper: Sleeper, begin: Any) -> None:
    process = begin("run", "t.sleep", "-t", "web", "-o", "ndjson")
    pids = sleeper.wait_started(2)
    process.stdout.readline()
    process.stdout.close()
    processes.end(pids[:2])  # the next event finds nobody who reads it
    err = process.stderr.read()
    assert process.wait(20) == 141
    assert err == b""
    assert not processes.wait_gone(pids, 5)


@pytest.mark.parametrize("command", ["run noop -o json", "action list", "--help", "run nop -ojson"])
def test_a_closed_pipe_is_no_error(fleet: Any, command: str) -> None:
    script = f"{{ sleep 0.1; rune {command}; echo ${{?}} >&2; }} | true"
    done = fleet.shell(script)
    lines = done.stderr.splitlines()
    assert lines[-1] == "141"
    assert not [line for line in lines[:-1] if "Broken" in line or "Exception" in line]


def test_an_interrupt_before_the_run(fleet: Any, begin: Any) -> None:
    ready = fleet.folder / "ready"
    slow = fleet.write("slow", f"#!/bin/sh\nsleep 0.5\ntouch {ready}\nexec sleep 30\n")
    slow.chmod(0o755)
    process = begin("run", "noop", "-t", "web", "-i", "slow", "-o", "json")
    _wait_for(ready)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert reason(json.loads(out)) == "cancelled"
    assert err.decode().startswith("error: cancelled\n")


LOADED = """
import os, signal, sys
from lom.cli import main
class Now:
    def find_spec(self, name, path=None, target=None):
        if name == "lom.cli.app":
            os.kill(os.getpid(), signal.{0})
sys.meta_path.insert(0, Now())
main()
"""
TOLD = """
import os, signal
from lom.cli import main, output
whole = output.write_all
def write_all(descriptor, data):
    whole(descriptor, data)
    if descriptor == 1:
        os.kill(os.getpid(), signal.{0})
output.write_all = write_all
main()
"""


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("when", [LOADED, TOLD], ids=["while it is loaded", "once it is told"])
def test_whenever_a_signal_comes_there_is_one_document(fleet: Any, when: str, number: str) -> None:
    done = fleet.python(when.format(number), "action", "list", "-o", "json")
    assert done.code == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert ("actions" in done.document) == (when is TOLD)


def test_signals_that_the_caller_has_blocked_are_heard(sleeper: Sleeper, begin: Any) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        process = begin("run", "t.sleep", "-o", "json")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    pids = sleeper.wait_started()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 130
    assert not processes.wait_gone(pids, 5)


def test_how_children_end_is_heard_though_the_caller_ignores_it(fleet: Any) -> None:
    tool = fleet.write("hosts.sh", '#!/bin/sh\necho \'{"targets": {"t": {}}}\'; exit 3\n')
    tool.chmod(0o755)
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'lom.cli', *sys.argv[1:]])"
    )
    done = fleet.python(ignoring, "target", "list", "-i", "hosts.sh", "-o", "json")
    assert done.code == 2, done.stdout
    assert "the executable ended with exit status 3" in done.stderr


def _wait_for(path: Path) -> None:
    until = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < until
        time.sleep(0.02)
