"""What host.cpu, host.membw and host.disk do when they are told to stop, or the host is busy."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from lmm.envelope import build_message, encode_message
from lmm.testing import processes
from tests.support.tools import need

LONG: dict[str, dict[str, Any]] = {
    "host-cpu": {"rounds": 1, "seconds": 50, "threads": 1},
    "host-membw": {"rounds": 100_000, "array_mib": 8, "threads": 1},
    "host-disk": {"seconds": 20, "size_mib": 16, "tool": "builtin", "depth": 1},
}


def _start(bench: Any, name: str, parameters: dict[str, Any], place: Path) -> Any:
    plugin = bench.plugin(name)
    folder = place / "private"
    folder.mkdir()
    script = shutil.copy(plugin.entrypoint, folder)
    for library in (plugin.directory.parent / "lib").glob("*.py"):
        shutil.copy(library, folder)
    message = build_message(
        action="x",
        target="test",
        run_id="run-1",
        input_parameters=parameters,
        timeout_s=110,
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    )
    process = subprocess.Popen(
        [sys.executable, "-B", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(encode_message(message))
    process.stdin.close()
    process.stdin = None
    return process


@pytest.mark.parametrize("name", LONG)
def test_term_leaves_nothing(bench: Any, tmp_path: Path, name: str) -> None:
    """No file and, as the check after each test sees, no process."""
    work = tmp_path / "work"
    work.mkdir()
    place = {"path": str(work)} if name == "host-disk" else {}
    parameters = {**LONG[name], **place, "disturb": True}
    process = _start(bench, name, parameters, tmp_path)
    with process:
        for line in process.stderr:
            if b'"kind": "progress"' in line:
                break
        else:
            pytest.fail("it told of no progress")
        process.send_signal(signal.SIGTERM)
        stdout, _ = process.communicate(timeout=20)  # the measurement itself takes longer
    assert process.returncode == 143
    assert stdout == b""
    assert list(work.iterdir()) == []
    assert list((tmp_path / "private").glob(".*")) == []
    assert os.listdir(tempfile.gettempdir()) == []


# TERM comes when the process is there, and before anybody has got the object that stands for it.
STARTING = """\
import os, signal, subprocess, sys
sys.path.insert(0, sys.argv[1])
import rune

class Popen(subprocess.Popen):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        print(self.pid, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()

subprocess.Popen = Popen
rune.tidy_on_term()
try:
    subprocess.check_output(["sleep", "600"])
finally:
    os.kill(os.getpid(), signal.SIGTERM)
    print("tidied", flush=True)
"""


def test_term_leaves_no_program_that_is_being_started(bench: Any) -> None:
    library = bench.plugin("host-cpu").directory.parent / "lib"
    done = subprocess.run(
        [sys.executable, "-B", "-c", STARTING, library], stdout=subprocess.PIPE, timeout=60
    )
    child, tidied = done.stdout.split()
    assert (done.returncode, tidied) == (143, b"tidied")
    assert not processes.wait_gone({int(child)}, 10.0)


@pytest.mark.parametrize("name", LONG)
def test_a_busy_host_is_not_measured(bench: Any, tmp_path: Path, name: str) -> None:
    """Unless it may be disturbed: two processes that compute are a reason, by name and number."""
    count = len(os.sched_getaffinity(0))
    spin = [sys.executable, "-c", "print(flush=True)\nwhile True: pass"]
    busy = [subprocess.Popen(spin, stdout=subprocess.PIPE) for _ in range(count)]
    try:
        for one in busy:
            assert one.stdout is not None
            one.stdout.readline()
        parameters = {"path": str(tmp_path), "size_mib": 16} if name == "host-disk" else {}
        answer = bench.run(name, parameters, tmp_path)
    finally:
        for one in busy:
            one.kill()
            one.communicate()
    output = answer.output_data
    assert output["valid"] is False
    assert output["metrics"] == []
    assert "other processes used" in output["invalid_reasons"][0]
    assert '"kind": "metric"' not in answer.stderr


def test_a_real_fio(bench: Any, tmp_path: Path) -> None:
    need("fio")
    (tmp_path / "work").mkdir()
    parameters = {"path": str(tmp_path / "work"), "size_mib": 16, "seconds": 0.3, "tool": "fio"}
    answer = bench.run("host-disk", {**parameters, "disturb": True}, tmp_path)
    assert answer.exit_code == 0, answer.error
    assert answer.output_data["facts"]["tool"].startswith("fio-")
    metrics = {one["name"]: one["value"] for one in answer.output_data["metrics"]}
    assert len(metrics) == 8
    assert all(value > 0 for value in metrics.values())
    assert metrics["rand_read_p50"] <= metrics["rand_read_p99"]
    assert list((tmp_path / "work").iterdir()) == []


def test_memory_is_no_disk(bench: Any, tmp_path: Path) -> None:
    place = tempfile.mkdtemp(dir="/dev/shm")
    try:
        parameters = {"path": place, "size_mib": 16, "seconds": 0.1, "tool": "builtin"}
        answer = bench.run("host-disk", {**parameters, "disturb": True}, tmp_path)
    finally:
        os.rmdir(place)
    assert answer.output_data["facts"]["filesystem"] == "tmpfs"
    assert any("memory" in reason for reason in answer.output_data["invalid_reasons"])


def test_metrics_are_told_at_once(bench: Any, tmp_path: Path) -> None:
    parameters = {"threads": 1, "rounds": 2, "seconds": 0.05, "disturb": True}
    answer = bench.run("host-cpu", parameters, tmp_path)
    events = [
        json.loads(line.removeprefix("##rune "))
        for line in answer.stderr.splitlines()
        if '"kind": "metric"' in line
    ]
    assert [one["name"] for one in events] == ["int64_single", "fp64_single"]
    assert [one["value"] for one in events] == [
        one["value"] for one in answer.output_data["metrics"]
    ]
    assert all(len(one["samples"]) == 2 for one in answer.output_data["metrics"])
