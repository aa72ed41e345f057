"""This machine runs out of descriptors, threads or memory in the middle of a run."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from lmm.testing import Account, Sshd
from lmm.testing.sshd import loopback
from tests.accounts import as_user
from tests.integration.cli.conftest import ROOT, Rune
from tests.support.errors import error_of

from .conftest import TRANSPORTS, Fleet

COUNTS = {"local": 60, "ssh": 60, "openssh": 30}  # each login of openssh is a process


@pytest.fixture(scope="module")
def wide() -> Iterator[Sshd]:
    """A server on as many addresses as there are targets."""
    with Sshd(addresses=loopback(max(COUNTS.values()))) as server:
        yield server


def lines(transport: str, count: int) -> list[str]:
    return [f"transport: {transport}, host: {address}" for address in loopback(count)]


def files(soft: int, hard: int) -> Any:
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_concurrency_fits_the_descriptors(fleet: Fleet, wide: Sshd, transport: str) -> None:
    """Many targets, and no more than 64 descriptors are to be had."""
    fleet.targets(lines(transport, COUNTS[transport]), wide)
    done = fleet.run(preexec_fn=files(64, 64), timeout=110)
    assert fleet.count(done.document) == {"ok": COUNTS[transport]}
    assert done.code == 0
    assert "at the same time instead of 64: this process may not open more files" in done.stderr


def test_the_limit_is_raised_as_far_as_a_run_needs(fleet: Fleet) -> None:
    fleet.targets(["transport: local"] * 3)
    plain = fleet.run("--dry-run", preexec_fn=files(64, 4096)).document
    assert (plain["concurrency"], plain["concurrency_bound"]) == (64, None)
    bound = fleet.run("--dry-run", preexec_fn=files(64, 64)).document
    assert bound["concurrency"] == 3
    assert "3 at the same time instead of 64" in bound["concurrency_bound"]
    assert "(ulimit -n)" in fleet.run("--dry-run", "-o", "table", preexec_fn=files(64, 64)).text
    # what runs here has the limit that it would have without RUNE, if no more is needed
    fleet.plugin("ulimit -Sn >&2")
    assert "1024\n" in fleet.run(preexec_fn=files(1024, 4096)).document["results"][0]["stderr"]


# A run of a program whose descriptors, threads or memory are nearly gone when it starts.
PROGRAM = """\
import json, os, resource, sys, threading
from lom import Orchestrator
from lmm.preload import preload
how, left, notes = sys.argv[1], int(sys.argv[2]), sys.argv[3]
with Orchestrator("inventory.yaml", plugin_paths=["plugins"]) as rune:
    options = rune.options(concurrency=20)
    plan = rune.plan("note", "all", {"ran": notes}, options=options)
    transports = {step.target.transport for step in plan.steps}
    preload(transports, retries=False, has_secrets=True)
    held = []
    if how == "files":
        resource.setrlimit(resource.RLIMIT_NOFILE, (400, 400))
        try:
            while True:
                held.append(open(os.devnull))
        except OSError:
            for file in held[:left]:
                file.close()
    elif how == "threads":
        resource.setrlimit(resource.RLIMIT_NPROC, (left, left))
    elif how == "memory":
        threading.stack_size(64 << 20)
        size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        most = size + (left << 20)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    run = rune.start(plan, lambda event: None)
    given = [result.target for result in run]
    held.clear()
    print(json.dumps([run.document(), given, list(run)]))
"""


def run_short(
    fleet: Fleet, how: str, left: int, user: Sequence[str] = (), **env: str
) -> dict[str, Any]:
    """Return the document of a run that lacks something; each result was given once."""
    done = subprocess.run(
        [*user, sys.executable, "-c", PROGRAM, how, str(left), str(fleet.notes)],
        cwd=fleet.rune.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=100,
    )
    assert done.stderr.decode() == ""
    document, given, later = json.loads(done.stdout)
    assert sorted(given) == [one["target"] for one in document["results"]]
    assert later == []
    found: dict[str, Any] = document
    return found


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_descriptors_run_out_under_a_run(fleet: Fleet, wide: Sshd, transport: str) -> None:
    """What could not be reached says so, and why; it may be tried again."""
    fleet.targets(lines(transport, 25), wide)
    document = run_short(fleet, "files", 22)
    counts = fleet.count(document)
    assert set(counts) <= {"ok", "unreachable"}
    assert counts["ok"] > 0
    for one in document["results"]:
        if one["outcome"] == "unreachable":
            error = error_of(one)
            assert error["data"]["reason"] == "local_resources", error
            assert "lacks file descriptors (ulimit -n)" in error["message"]
    again = run_short(fleet, "files", 300)
    assert again["summary"]["ok"] == 25


def test_no_descriptor_at_all(fleet: Fleet) -> None:
    """An error can be told without opening a file."""
    fleet.mixed(6)
    document = run_short(fleet, "files", 12)
    assert sum(document["summary"].values()) == 6
    fleet.count(document)


@pytest.mark.parametrize("left", [1, 40])
def test_threads_run_out(fleet: Fleet, sshd: Sshd, account: Account, left: int) -> None:
    """Fewer threads do the work; with none it is done by the one that iterates."""
    key, known = account.home / "key", account.home / "known_hosts"
    shutil.copy(sshd.identity_file, key)
    os.chown(key, account.uid, -1)
    shutil.copy(sshd.known_hosts, known)
    known.chmod(0o644)
    (config := account.home / "config").touch()
    settings = f"identity_files: [{key}], known_hosts: [{known}], config_file: {config}"
    fleet.targets([f"transport: ssh, ssh: {{{settings}, use_agent: false}}"] * 8)
    place = account.home / f"work{left}"
    shutil.copytree(fleet.rune.folder, place)
    for path in (place, *place.rglob("*")):
        os.chown(path, account.uid, -1)
    there = Fleet(Rune(place), sshd)
    places = {"HOME": str(account.home), "TMPDIR": "/tmp", "XDG_RUNTIME_DIR": "/nonexistent"}
    document = run_short(there, "threads", left, as_user(account), **places)
    assert document["summary"]["ok"] == 8
    assert len(there.ran) == len(set(there.ran)) == 8


def test_memory_for_threads_runs_out(fleet: Fleet) -> None:
    fleet.targets(["transport: ssh"] * 8)
    document = run_short(fleet, "memory", 150)
    assert fleet.count(document) == {"ok": 8}


# Prints what is opened and imported after the first connection, save for what is always there.
WATCH = """\
import json, os, sys
from lmm.contract import spec_validator
from lom import Orchestrator
# What words the message of an invalid answer, and can be done without: see lmm/preload.py
spec_validator("bpcs_output_v2").violations({"x": 1})
seen, begun = set(), False
own = (sys.prefix, sys.base_prefix, sys.argv[1])
def watch(event, args):
    global begun
    if event in ("socket.connect", "subprocess.Popen"):
        begun = True
    elif begun and event == "import":
        seen.add(args[0])
    elif begun and event == "open" and str(args[0]).startswith(own):
        seen.add(str(args[0]))
with Orchestrator("inventory.yaml", plugin_paths=["plugins"]) as rune:
    plan = rune.plan("note", "all", {"ran": sys.argv[2]}, options=rune.options(retries=1))
    sys.addaudithook(watch)
    run = rune.start(plan, lambda event: None)
    results = [result.outcome.value for result in run]
    begun = False
    print(json.dumps([sorted(results), sorted(seen)]))
"""


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_no_fault_loads_anything(fleet: Fleet, sshd: Sshd, transport: str) -> None:
    """Whatever a target comes to: what its result takes is there before the first connection."""
    fleet.plugin(
        "case $t in"
        ' n00) ;; n01) echo \'{"error":{"code":3,"message":"no"}}\'; exit 3 ;;'
        " n02) echo nonsense; exit 0 ;; n03) kill -9 $$ ;; n04) exit 5 ;;"
        ' n05) echo "##rune {}" >&2 ;; esac'
    )
    targets = [f"transport: {transport}"] * 6
    if transport != "local":
        targets += [f"transport: {transport}, port: 1", f"transport: {transport}, host: no.invalid"]
    fleet.targets(targets)
    done = fleet.rune.python(WATCH, str(ROOT), str(fleet.notes))
    assert done.stderr == ""
    results, seen = done.document
    assert len(results) == len(targets)
    assert len(set(results)) > 2
    assert seen == []
