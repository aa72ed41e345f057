"""What nvidia-smi and amd-smi print that is broken: of no weight where nobody reads it, else an
error of the tool and never a verdict on the hardware."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lom.registry.files import bundled_plugins

NVIDIA = bundled_plugins() / "gpu-health" / "cases"
AMD = bundled_plugins() / "gpu-health-amd" / "cases"
BUSY = NVIDIA / "machines" / "h200-busy-r580"
MEASURING = ("gpu-gemm", "gpu-membw", "gpu-burn", "gpu-dcgm", "nccl-allreduce")


def on_nvidia(bench: Any, place: Path, plugin: str, xml: bytes, status: int = 0) -> Any:
    """Run a plugin on a host where ``nvidia-smi -q -x`` prints this."""
    machine = place / "machine"
    shutil.copytree(BUSY, machine)
    (machine / "query.xml").write_bytes(xml)
    (machine / "status").write_text(f"{status}\n", encoding="ascii")
    commands = {"nvidia-smi": NVIDIA / "bin" / "nvidia-smi", "dcgmi": Path("/bin/false")}
    commands["journalctl"] = NVIDIA / "bin" / "journalctl"
    quiet = str(NVIDIA / "logs" / "quiet.log")
    env = {"SMI_MACHINE": str(machine), "KERNEL_LOG": quiet}
    return bench.run(plugin, {}, place, env=env, commands=commands)


def named(name: bytes) -> bytes:
    """Return the XML of a host with a process of this name on its first GPU."""
    return (BUSY / "query.xml").read_bytes().replace(b"/usr/bin/trainer", name)


NAMES = {
    b"py\x01": "py",
    b"/opt/R&D/train": "/opt/R&D/train",
    b"a&amp;b": "a&b",
    b"&#1;": "&#1;",
    b"&nbsp;<x>]]>": "&nbsp;<x>]]>",
    b"two\nlines \xc3\xa9": "two\nlines é",
    b"\xff\xfe\xef\xbf\xbf": "��",
    b"x</process_name><b>": None,  # not even the list can be read
}


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_no_name_of_a_process_makes_a_gpu_sick(bench: Any, tmp_path: Path, name: bytes) -> None:
    answer = on_nvidia(bench, tmp_path, "gpu-health", named(name))
    assert (answer.output_data["verdict"], answer.output_data["gpu_count"]) == ("healthy", 2)


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_gpu_is_busy_whatever_its_process_is_named(
    bench: Any, tmp_path: Path, name: bytes
) -> None:
    answer = on_nvidia(bench, tmp_path, "gpu-gemm", named(name))
    assert answer.output_data["valid"] is False
    told = NAMES[name] or "GPU 0: the list of its processes cannot be read"
    assert told in " ".join(answer.output_data["invalid_reasons"])


def test_parts_that_nobody_reads_break_nothing(bench: Any, tmp_path: Path) -> None:
    broken = (
        b"<supported_clocks><a></supported_clocks><accounted_processes>&<</accounted_processes>"
    )
    xml = named(b"x").replace(b"</gpu>", broken + b"</gpu>")
    answer = on_nvidia(bench, tmp_path, "gpu-health", xml)
    assert answer.output_data["verdict"] == "healthy"


BROKEN = (
    (named(b"x")[:-40], 0),  # cut off
    (named(b"x").replace(b"<uuid>", b"<uuid"), 0),
    (b"", 0),
    (b"Segmentation fault", 139),
    (b"Failed to initialize NVML: Insufficient Permissions\n", 4),
    (b"nvidia-smi: error while loading shared libraries: libfoo.so.1\n", 127),
)


@pytest.mark.parametrize(("xml", "status"), BROKEN, ids=range(len(BROKEN)))
def test_an_answer_that_cannot_be_read_is_no_verdict(
    bench: Any, tmp_path: Path, xml: bytes, status: int
) -> None:
    answer = on_nvidia(bench, tmp_path, "gpu-health", xml, status)
    assert (answer.output_data, answer.exit_code) == (None, 3)
    assert answer.error["message"].startswith("nvidia-smi -q -x lists no GPU: ")
    assert answer.error["details"]["exit_status"] == status


@pytest.mark.parametrize("plugin", MEASURING)
def test_measurements_end_with_the_same_error(bench: Any, tmp_path: Path, plugin: str) -> None:
    answer = on_nvidia(bench, tmp_path, plugin, BROKEN[1][0])
    assert (answer.output_data, answer.exit_code) == (None, 3)
    assert "XML cannot be read" in answer.error["message"]


def on_amd(bench: Any, place: Path, plugin: str, **files: str) -> Any:
    """Run a plugin on a host where amd-smi prints other texts for some of its commands."""
    machine = place / "machine"
    shutil.copytree(AMD / "machines" / "mi300x-rocm7", machine)
    for command, text in files.items():
        (machine / f"{command}.json").write_text(text, encoding="utf-8")
    commands = {"amd-smi": AMD / "bin" / "amd-smi", "journalctl": NVIDIA / "bin" / "journalctl"}
    quiet = str(NVIDIA / "logs" / "quiet.log")
    env = {"SMI_MACHINE": str(machine), "KERNEL_LOG": quiet}
    return bench.run(plugin, {}, place, env=env, commands=commands)


def metric() -> str:
    return (AMD / "machines" / "mi300x-rocm7" / "metric.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("plugin", ["gpu-health-amd", "gpu-info-amd"])
@pytest.mark.parametrize(
    "text",
    [
        metric() + "Traceback: } ]",
        "[WARN] no power cap\n[1] retry\n" + metric(),
        metric().replace('"N/A"', "NaN").replace('"value": 0', '"value": -Infinity'),
        metric().replace('"N/A"', '"\x01"'),
        json.dumps(json.loads(metric())),
    ],
    ids=["behind", "before", "nan", "control", "compact"],
)
def test_amd_tools_may_add_to_their_json(
    bench: Any, tmp_path: Path, plugin: str, text: str
) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "other").mkdir()
    plain = on_amd(bench, tmp_path / "plain", plugin)
    answer = on_amd(bench, tmp_path / "other", plugin, metric=text)
    assert answer.exit_code == 0
    assert answer.output_data.get("verdict") == plain.output_data.get("verdict")
    assert answer.output_data["gpu_count"] == plain.output_data["gpu_count"] > 0


@pytest.mark.parametrize("plugin", ["gpu-health-amd", "gpu-info-amd"])
@pytest.mark.parametrize(
    "text",
    [
        metric()[:-9],
        "",
        "ModuleNotFoundError: No module named 'amdsmi'",
        "RuntimeError: User is missing the following required groups: render, video",
    ],
    ids=["cut", "empty", "module", "groups"],
)
def test_amd_json_that_cannot_be_read_is_no_verdict(
    bench: Any, tmp_path: Path, plugin: str, text: str
) -> None:
    answer = on_amd(bench, tmp_path, plugin, metric=text)
    assert (answer.output_data, answer.exit_code) == (None, 3)
    assert "its JSON cannot be read: amd-smi metric --json" in answer.error["message"]
