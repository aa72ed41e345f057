"""The GPU plugins beyond their cases: numbers, clean-up, CUDA sources, and who serves which host.

There is no GPU here. torch is the stand-in beside gpu-gemm's cases, which keeps a clock of its own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lom.planning.params import resolve_parameters
from lom.registry.files import bundled_plugins
from lom.registry.manifest import load_plugin
from lom.registry.registry import PluginPlace, Registry
from tests.support.tools import need

PLUGINS = bundled_plugins()
LIB = PLUGINS / "lib"
TORCH = PLUGINS / "gpu-gemm" / "cases" / "python"
HEALTH = PLUGINS / "gpu-health" / "cases"
SMI = {"nvidia-smi": HEALTH / "bin" / "nvidia-smi"}
FREE = {
    "SMI_MACHINE": str(HEALTH / "machines" / "h200-under-load-r580"),
    "PYTHONPATH": f"{TORCH}:{LIB}",
}


def load(path: Path) -> ModuleType:
    """Import a file of a plugin, which no package holds."""
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}-{path.stem}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def values(answer: Any) -> dict[str, list[float]]:
    metrics: dict[str, list[float]] = {}
    for metric in answer.output_data["metrics"]:
        metrics.setdefault(metric["name"], []).append(metric["value"])
    return metrics


def test_gemm_counts_two_operations_for_each_multiply_add(bench: Any, tmp_path: Path) -> None:
    answer = bench.run(
        "gpu-gemm",
        {"size": 1024, "iterations": 3},
        tmp_path,
        env={**FREE, "TORCH_RATE": "250"},
        commands=SMI,
    )
    rates = values(answer)
    assert set(rates) == {"gemm_fp64", "gemm_fp32", "gemm_tf32", "gemm_fp16", "gemm_bf16"}
    for both in rates.values():
        assert both == pytest.approx([250, 250])
    assert all(len(metric["samples"]) == 3 for metric in answer.output_data["metrics"])


def test_membw_counts_a_copy_within_the_gpu_twice(bench: Any, tmp_path: Path) -> None:
    answer = bench.run(
        "gpu-membw",
        {"size_mib": 64, "backend": "torch", "gpus": [0]},
        tmp_path,
        env={**FREE, "TORCH_RATE": "50"},
        commands=SMI,
    )
    assert values(answer) == {
        "membw_device": [pytest.approx(100)],
        "membw_host_to_device": [pytest.approx(50)],
        "membw_device_to_host": [pytest.approx(50)],
    }


def test_bus_bandwidth_of_torch_is_that_of_nccl_tests(bench: Any, tmp_path: Path) -> None:
    parameters = {"min_mib": 1, "max_mib": 4, "iterations": 1, "backend": "torch"}
    answer = bench.run("nccl-allreduce", parameters, tmp_path, env=FREE, commands=SMI)
    metrics = answer.output_data["metrics"]
    assert [metric["labels"].get("bytes") for metric in metrics[:-1:2]] == [
        str(mib * 1048576) for mib in (1, 2, 4)
    ]
    for bandwidth, duration in zip(metrics[:-1:2], metrics[1:-1:2], strict=True):
        share = 2 * (2 - 1) / 2
        expected = int(bandwidth["labels"]["bytes"]) / (duration["value"] / 1e3) / 1e9 * share
        assert bandwidth["value"] == pytest.approx(expected)
    assert metrics[-1]["value"] == max(metric["value"] for metric in metrics[:-1:2])


@pytest.mark.parametrize("name", ["gpu-membw", "gpu-burn"])
def test_what_throttled_a_gpu_is_told_and_a_power_cap_is_not(
    bench: Any, tmp_path: Path, name: str
) -> None:
    parameters: dict[str, Any] = {"duration_s": 1} if name == "gpu-burn" else {"backend": "torch"}
    env = {**FREE, "SMI_MACHINE": str(HEALTH / "machines" / "h200-hot-r580")}
    answer = bench.run(
        name, parameters, tmp_path, env={**env, "TORCH_REAL_TIME": "1"}, commands=SMI
    )
    assert answer.output_data["valid"] is False
    assert answer.output_data["metrics"]
    [reason] = answer.output_data["invalid_reasons"]
    assert reason.startswith("GPU 1 was throttled: hw_power_brake_slowdown in ")


def test_burn_follows_power_clocks_and_temperature(bench: Any, tmp_path: Path) -> None:
    env = {**FREE, "TORCH_REAL_TIME": "1", "TORCH_RATE": "700"}
    answer = bench.run("gpu-burn", {"duration_s": 3}, tmp_path, env=env, commands=SMI)
    metrics = values(answer)
    assert metrics.pop("burn_fp16") == pytest.approx([700, 700])
    assert metrics == {
        "burn_power": [pytest.approx(698.4), pytest.approx(697.9)],
        "burn_sm_clock": [pytest.approx(1620), pytest.approx(1605)],
        "burn_temperature": [71, 69],
    }
    point = answer.output_data["series"][0]["points"][0]
    assert point == {
        "at_s": 0.0,
        "power_w": 698.4,
        "sm_clock_mhz": 1620,
        "temperature_celsius": 71,
        "throttle_reasons": ["sw_power_cap"],
    }


def test_no_load_is_started_on_a_busy_gpu(bench: Any, tmp_path: Path) -> None:
    started = tmp_path / "started"
    python = tmp_path / "python3.97"
    python.write_text(f"#!/usr/bin/env bash\n: >{started}\n")
    python.chmod(0o755)
    env = {**FREE, "SMI_MACHINE": str(HEALTH / "machines" / "h200-busy-r580")}
    commands = {**SMI, "python3.97": python}
    for name in ("gpu-gemm", "gpu-membw", "gpu-burn", "nccl-allreduce"):
        parameters = {"python": "python3.97"}
        answer = bench.run(name, parameters, tmp_path, env=env, commands=commands)
        assert answer.output_data["metrics"] == []
    assert not started.exists()


def test_term_ends_the_load_and_leaves_nothing(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    path = tmp_path / "path"
    path.mkdir()
    (path / "nvidia-smi").symlink_to(SMI["nvidia-smi"])
    plugin = load_plugin(PLUGINS / "gpu-burn", "bundled")
    parameters = resolve_parameters(plugin.capabilities[0].input_schema, document={})
    message = {"payload": {"input_parameters": parameters, "context": {"timeout_s": 60}}}
    environment = {
        **FREE,
        "PATH": f"{path}:{os.environ['PATH']}",
        "TMPDIR": str(temporary),
        "TORCH_REAL_TIME": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": os.environ["HOME"],
    }
    process = subprocess.Popen(
        [sys.executable, str(PLUGINS / "gpu-burn" / "main.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=tmp_path,
        start_new_session=True,
    )
    try:
        assert process.stdin
        assert process.stderr
        process.stdin.write(json.dumps(message).encode())
        process.stdin.close()
        for line in process.stderr:  # until the load is known to run
            if b" of 60 s" in line:
                break
        assert list(temporary.iterdir())
        process.terminate()
        process.stderr.read()  # ends when the last process that holds it has ended
        assert process.wait(30) == 143
        assert list(temporary.iterdir()) == []
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream
            stream.close()


@pytest.mark.parametrize("path", [LIB / "gpu_matmul.py", PLUGINS / "gpu-membw" / "main.py"])
def test_cuda_source_compiles_without_a_warning(tmp_path: Path, path: Path) -> None:
    need("nvcc")
    source = tmp_path / "program.cu"
    source.write_text(load(path).CUDA)
    compiled = subprocess.run(
        ["nvcc", "-O2", "-Werror", "all-warnings", "-o", str(tmp_path / "program"), source, "-ldl"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert (compiled.returncode, compiled.stderr) == (0, "")


@pytest.mark.parametrize("precision", ["fp64", "fp32", "tf32", "fp16", "bf16"])
def test_precisions_need_the_same_gpu_in_python_and_in_cuda(precision: str) -> None:
    matmul = load(LIB / "gpu_matmul.py")
    major, minor = matmul.CAPABILITIES[precision]
    entry = matmul.CUDA.partition(f'{{"{precision}", ')[2].partition("}")[0]
    assert int(entry.rpartition(",")[2]) == major * 10 + minor


@pytest.mark.parametrize(
    ("action", "nvidia", "amd"),
    [("gpu.info", "gpu-info", "gpu-info-amd"), ("gpu.health", "gpu-health", "gpu-health-amd")],
)
def test_the_vendor_of_the_target_chooses_the_plugin(action: str, nvidia: str, amd: str) -> None:
    registry = Registry([PluginPlace("bundled", PLUGINS)])
    assert registry.choose(action, {"gpu_vendor": "amd"}).plugin.name == amd
    assert registry.choose(action, {"gpu_vendor": "nvidia"}).plugin.name == nvidia
    assert registry.choose(action, {}).plugin.name == nvidia  # as before there was another


@pytest.mark.parametrize("action", ["gpu.info", "gpu.health"])
def test_both_vendors_answer_in_one_form(action: str) -> None:
    registry = Registry([PluginPlace("bundled", PLUGINS)])
    nvidia, amd = (capability.output_schema for _, capability in registry.candidates(action))
    assert _undescribed(nvidia) == _undescribed(amd)


def _undescribed(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {
            key: _undescribed(value)
            for key, value in schema.items()
            if key != "description" or not isinstance(value, str)
        }
    return [_undescribed(one) for one in schema] if isinstance(schema, list) else schema
