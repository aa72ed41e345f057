"""The wall clock jumps, on this machine and on the host: no duration hangs on it."""

from __future__ import annotations

import itertools
from datetime import datetime
from pathlib import Path

from lmm.testing import Sshd, processes
from lom.ledger.sqlite.reader import SqliteReader
from tests.integration.clock import Clock

from .conftest import Fleet, reasons

DAY_S = 86400
DAYS = (-2, 3, -5, 7)  # by how much the clock differs since each target ran


def test_on_this_machine(fleet: Fleet, clock: Clock) -> None:
    """Two days back and then a week ahead, in the middle of a run with a deadline."""
    fleet.plugin(
        f"case $t in n05) {clock.set_to(-2 * DAY_S)};; n11) {clock.set_to(7 * DAY_S)};; esac"
    )
    fleet.mixed(18)
    done = fleet.run("--concurrency", "2", "--deadline", "100", env=clock.environment)
    assert done.code == 0
    assert fleet.count(done.document) == {"ok": 18}, reasons(done.document)
    assert all(0 < one["duration_s"] < 100 for one in done.document["results"])

    with SqliteReader(fleet.state / "ledger.sqlite") as reader:
        events = list(reader.events(reader.find("last")))
    times = [datetime.fromisoformat(event["time"]) for event in events]
    leaps = [(b - a).total_seconds() / DAY_S for a, b in itertools.pairwise(times)]
    assert [round(leap) for leap in leaps if abs(leap) > 0.5] == [-2, 9]  # it did jump
    assert [event["seq"] for event in events] == [*range(1, len(events) + 1)]

    again = fleet.rune("run", "noop", "-o", "json")  # by the true time: a week before the last end
    listed = fleet.rune("runs", "list", "-o", "json").document["runs"]
    assert [run["run_id"] for run in listed] == [
        again.document["run_id"],
        done.document["run_id"],
    ]
    for command in (("runs", "list"), ("runs", "show", "last"), ("audit", "verify")):
        assert fleet.rune(*command).code == 0


def test_set_back_while_the_host_kills(fleet: Fleet, clock: Clock, tmp_path: Path) -> None:
    """KILL follows TERM by the time that passes."""
    pids = tmp_path / "pids"
    fleet.plugin(
        f"echo $$ >>{pids}; trap '{clock.set_to(-2 * DAY_S)}' TERM; while :; do sleep 0.2; done"
    )
    with Sshd(environment=clock.environment) as server:
        fleet.targets(["transport: ssh", "transport: openssh"], server)
        done = fleet.run("--timeout", "2")
    assert fleet.count(done.document) == {"timed_out": 2}, reasons(done.document)
    assert clock.file.exists()
    assert not processes.wait_gone({int(pid) for pid in pids.read_text().split()}, 5)


def test_on_the_host(fleet: Fleet, clock: Clock, tmp_path: Path) -> None:
    """The guard keeps the deadline by the time that passes: neither early nor never.

    All have begun before it jumps: a login that is just under way may not be waited for.
    """
    jumps = "".join(f" n{at:02}) {clock.set_to(days * DAY_S)};;" for at, days in enumerate(DAYS))
    fleet.plugin(
        f": >{tmp_path}/up.$t; up=()\n"
        f"until ((${{#up[@]}} == 4)); do up=({tmp_path}/up.*); sleep 0.05; done\n"
        f"date +%s >&2; case $t in{jumps} esac; date +%s >&2\n"
        "((10#${t#n} >= 2)) && sleep 600; sleep 0.5"
    )
    with Sshd(environment=clock.environment) as server:
        fleet.targets([f"transport: {one}" for one in ("ssh", "openssh") * 2], server)
        done = fleet.run("--timeout", "4")
    assert fleet.count(done.document) == {"ok": 2, "timed_out": 2}, reasons(done.document)
    for one in done.document["results"]:
        before, after = map(int, one["stderr"].split())
        assert abs(after - before) > DAY_S  # it did jump
