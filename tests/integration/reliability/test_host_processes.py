"""Each process that works for an invocation on its host is killed or stopped, alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lmm.model import Limits, Outcome, Target
from lmm.testing import Sshd, processes
from lmm.transports import TransportPool, disconnect
from tests.conformance.conftest import GUARD, SUCCESS, Host
from tests.integration.reliability.conftest import TRANSPORTS
from tests.support.waiting import comes_true

ANSWER = f"echo '{SUCCESS % '{}'}'"

PATIENT = Limits(60.0, grace_s=30.0)

# What the plugin does, its limits, the outcome and the reason.
FAULTS = {
    "plugin-killed": ("kill -KILL $$", PATIENT, "failed", "plugin_crashed"),
    "plugin-terminated": ("kill -TERM $$", PATIENT, "failed", "plugin_crashed"),
    "plugin-stopped": (
        "sleep 0.3; kill -STOP $$; sleep 600",
        replace(PATIENT, timeout_s=2.0),
        "timed_out",
        "timed_out",
    ),
    "shell-killed": ("kill -KILL $PPID; sleep 600", PATIENT, "lost", "connection_lost"),
    "shell-terminated": ("kill -TERM $PPID; sleep 600", PATIENT, "lost", "connection_lost"),
    "guard-killed": (f"{GUARD}kill -KILL $guard; sleep 0.2; {ANSWER}", PATIENT, "ok", None),
    "guard-killed-alone": (
        f"{GUARD}kill_guard; sleep 600",
        replace(PATIENT, timeout_s=8.0),
        "timed_out",
        "timed_out",
    ),
    "shell-hung-up": (f"kill -HUP $PPID; sleep 0.3; {ANSWER}", PATIENT, "ok", None),
    "guard-terminated": (f"{GUARD}kill -TERM $guard; sleep 0.2; {ANSWER}", PATIENT, "ok", None),
    "guard-stopped": (f"{GUARD}kill -STOP $guard; sleep 0.2; {ANSWER}", PATIENT, "ok", None),
    "untouched": (ANSWER, PATIENT, "ok", None),
}


@pytest.fixture(params=TRANSPORTS)
def host(request: pytest.FixtureRequest, sshd: Sshd) -> Iterator[Host]:
    pool = TransportPool()
    local = Target("local", transport="local")
    remote = sshd.target("node1", transport=request.param)
    yield Host(local if request.param == "local" else remote, pool)
    pool.close()
    disconnect()


def test_each_alone(host: Host, tmp_path: Path) -> None:
    """All faults at the same time, each on its own target: none is another's."""
    jobs = []
    for name, (script, limits, _, _) in FAULTS.items():
        note = f"echo $$ $PPID >>{tmp_path}/{name}; echo ${{0%/*/*}} >{tmp_path}/{name}.where\n"
        target = replace(host.target, name=name)
        jobs.append(host.invocation(note + script, target=target, limits=limits))
    results = host.carry(*jobs)
    assert len(results) == len(FAULTS)
    assert {one.target: (one.outcome, one.reason) for one in results} == {
        name: row[2:] for name, row in FAULTS.items()
    }
    host.pool.close()
    pids = {int(pid) for name in FAULTS for pid in (tmp_path / name).read_text().split()}
    assert len(pids) == 2 * len(FAULTS)  # none ran twice
    assert not processes.wait_gone(pids, 30)
    places = [Path((tmp_path / f"{name}.where").read_text().strip()) for name in FAULTS]
    assert comes_true(lambda: not any(place.exists() for place in places))


@pytest.mark.parametrize("host", ["ssh"], indirect=True)
def test_a_stopped_shell_keeps_no_plugin_alive(host: Host, tmp_path: Path) -> None:
    """At the deadline the guard kills the plugin though its main shell takes no part; the shell
    ends when it may go on."""
    assert host.run(ANSWER).ok  # what is timed below need not connect
    script = f"echo $$ $PPID >{tmp_path}/pids; trap '' TERM; kill -STOP $PPID; sleep 600"
    result = host.run(script, limits=Limits(2.0, grace_s=2.0))
    plugin, shell = map(int, (tmp_path / "pids").read_text().split())
    assert (result.outcome, result.reason) == (Outcome.LOST, "host_silent")
    assert not processes.wait_gone({plugin}, 30)
    assert processes.is_alive(shell)
    os.kill(shell, signal.SIGCONT)
    host.pool.close()
    assert not processes.wait_gone({shell}, 30)
