"""host.info and host.exec against what the machine itself says."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def info(bench: Any, tmp_path: Path) -> dict[str, Any]:
    answer = bench.run("host-info", {}, tmp_path, env={"TZ": "Asia/Kolkata", "LC_ALL": "C.UTF-8"})
    assert answer.stderr == ""
    return dict(answer.output_data)


def test_host_info_agrees_with_python(info: dict[str, Any]) -> None:
    release = platform.freedesktop_os_release()
    assert info["os"] == {
        "id": release["ID"],
        "name": release["NAME"],
        "version": release.get("VERSION_ID", release.get("VERSION")),
    }
    assert (info["kernel"], info["architecture"]) == (platform.release(), platform.machine())
    assert info["hostname"] == socket.gethostname()
    assert info["cpu"]["logical_cpus"] == os.sysconf("SC_NPROCESSORS_ONLN")
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert info["memory"]["total_bytes"] == pages
    assert 0 < info["memory"]["available_bytes"] <= pages


def test_host_info_tells_when_the_host_booted(info: dict[str, Any]) -> None:
    booted = datetime.fromisoformat(info["boot_time"])
    assert abs(time.time() - booted.timestamp() - info["uptime_s"]) < 60


def test_host_info_knows_the_root_file_system(info: dict[str, Any]) -> None:
    (root,) = (disk for disk in info["disks"] if disk["mountpoint"] == "/")
    assert root["size_bytes"] == shutil.disk_usage("/").total
    assert root["used_bytes"] <= root["size_bytes"]
    assert len({disk["device"] for disk in info["disks"]}) == len(info["disks"])


@pytest.mark.parametrize(
    "text",
    [
        "x" * 40_000,
        "é𝄞\"'\\$(exit 9)`exit 9`\n\t\x01" * 3_000,
    ],
    ids=["plain", "hostile"],
)
def test_a_command_too_long_for_a_variable(bench: Any, tmp_path: Path, text: str) -> None:
    quoted = text.replace("'", "'\\''")
    answer = bench.run("host-exec", {"command": f"printf %s '{quoted}'"}, tmp_path)
    assert answer.output_data["stdout"] == text


def test_a_command_longer_than_an_argument_may_be(bench: Any, tmp_path: Path) -> None:
    command = f"# {'x' * 200_000}\necho done"
    assert bench.run("host-exec", {"command": command}, tmp_path).output_data["stdout"] == "done\n"


def test_a_command_is_not_shown_by_ps(bench: Any, tmp_path: Path) -> None:
    """Neither as an argument nor in the environment of what it starts."""
    command = "cat /proc/$$/cmdline /proc/$$/environ; : secret-text"
    answer = bench.run("host-exec", {"command": command}, tmp_path)
    assert "bash" in answer.output_data["stdout"]
    assert "secret-text" not in answer.output_data["stdout"]


@pytest.mark.parametrize(
    ("command", "first", "length"),
    [
        ("head -c 3000000 /dev/zero | tr '\\0' x", "x", 1_048_576),
        ("head -c 1500000 /dev/zero", "\ufffd", 1_048_576),
    ],
    ids=["text", "nul"],
)
def test_output_is_capped(
    bench: Any, tmp_path: Path, command: str, first: str, length: int
) -> None:
    """The command itself is not disturbed: it may write all that it wants."""
    answer = bench.run("host-exec", {"command": f"{command}; echo end >&2"}, tmp_path)
    assert answer.output_data["stdout"] == first * length
    assert answer.output_data["stdout_truncated"] is True
    assert answer.output_data["stderr"] == "end\n"
    assert answer.output_data["stderr_truncated"] is False


def test_nul_in_a_command_is_refused(bench: Any, tmp_path: Path) -> None:
    answer = bench.run("host-exec", {"command": "echo a\0b"}, tmp_path)
    assert answer.error == {
        "code": 1,
        "message": "a command cannot hold a NUL character",
        "details": {},
    }


def test_host_exec_leaves_no_file(bench: Any, tmp_path: Path) -> None:
    bench.run("host-exec", {"command": "echo out; echo err >&2"}, tmp_path)
    assert {file.name for file in (tmp_path / "private").iterdir()} == {"main.sh", "json.sh"}


def test_integers_with_a_point(bench: Any, tmp_path: Path) -> None:
    """To JSON Schema 2.0 is an integer, and 2.0 is then what the plugin gets."""
    (tmp_path / "log").write_text("one\ntwo\nthree\n", encoding="utf-8")
    parameters = {"path": str(tmp_path / "log"), "lines": 2.0, "max_bytes": 4000.0}
    answer = bench.run("logs-gather", parameters, tmp_path)
    assert answer.output_data["lines"] == ["two", "three"]
