"""plugins/lib/quiet.py: what it makes of two looks at a made-up kernel."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest

from lom.registry.files import bundled_plugins


@pytest.fixture(scope="module")
def quiet() -> Any:
    file = bundled_plugins() / "lib" / "quiet.py"
    spec = importlib.util.spec_from_file_location("quiet", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Kernel:
    """A /proc and /sys that count as told."""

    def __init__(self, top: Path) -> None:
        self.proc, self.system = top / "proc", top / "sys"
        self.processes: dict[int, tuple[str, int, int]] = {}
        self.heat = 0

    def process(self, pid: int, name: str, parent: int, ticks: int) -> None:
        self.processes[pid] = (name, parent, ticks)

    def look(self, quiet: Any, *, user: int, idle: int, steal: int = 0) -> Any:
        self.proc.mkdir(exist_ok=True)
        (self.proc / "stat").write_text(f"cpu  {user} 0 0 {idle} 0 0 0 {steal} 0 0\ncpu0 1 2 3\n")
        for pid, (name, parent, ticks) in self.processes.items():
            (self.proc / str(pid)).mkdir(exist_ok=True)
            middle = " ".join(["0"] * 9)
            line = f"{pid} ({name}) S {parent} {middle} {ticks} 0 0 0 20 0 1 0 777 0\n"
            (self.proc / str(pid) / "stat").write_text(line)
        folder = self.system / "devices/system/cpu/cpu0/thermal_throttle"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "core_throttle_count").write_text(f"{self.heat}\n")
        return quiet.look(str(self.proc), str(self.system))


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    made = Kernel(tmp_path)
    made.process(os.getpid(), "python3", 1, 10)
    return made


def test_what_we_and_our_children_do_is_no_disturbance(quiet: Any, kernel: Kernel) -> None:
    kernel.process(900_001, "program", os.getpid(), 0)
    kernel.process(900_002, "(odd) na me", 900_001, 5)
    before = kernel.look(quiet, user=1000, idle=1000)
    kernel.process(os.getpid(), "python3", 1, 20)
    kernel.process(900_001, "program", os.getpid(), 80)
    kernel.process(900_002, "(odd) na me", 900_001, 15)
    after = kernel.look(quiet, user=1100, idle=1100)
    assert quiet.disturbances(before, after) == []


def test_others_are_named_the_worst_first(quiet: Any, kernel: Kernel) -> None:
    kernel.process(900_001, "cc1", 1, 1000)
    kernel.process(900_002, "sshd", 1, 3)
    before = kernel.look(quiet, user=1000, idle=1000)
    kernel.process(900_001, "cc1", 1, 1010)
    kernel.process(900_003, "new one", 1, 30)
    after = kernel.look(quiet, user=1040, idle=1160)
    words = "other processes used 20 % of the CPUs: most of it new one (900003), cc1 (900001)"
    assert quiet.disturbances(before, after) == [words]


def test_an_idle_host_may_do_a_little(quiet: Any, kernel: Kernel) -> None:
    before = kernel.look(quiet, user=1000, idle=1000)
    assert quiet.disturbances(before, kernel.look(quiet, user=1009, idle=1191)) == []


def test_a_hypervisor_that_takes_cpus_away(quiet: Any, kernel: Kernel) -> None:
    before = kernel.look(quiet, user=1000, idle=1000, steal=5)
    after = kernel.look(quiet, user=1000, idle=1090, steal=15)
    assert quiet.disturbances(before, after) == ["the hypervisor took 10 % of the CPUs away"]


def test_heat(quiet: Any, kernel: Kernel) -> None:
    kernel.heat = 7
    before = kernel.look(quiet, user=1000, idle=1000)
    kernel.heat = 9
    after = kernel.look(quiet, user=1000, idle=1100)
    assert quiet.disturbances(before, after) == ["the core was throttled for heat 2 times"]


def test_this_machine(quiet: Any) -> None:
    """The real files are read as well: our own work is seen as ours."""
    before = quiet.look()
    sum(range(3_000_000))
    after = quiet.look()
    assert after.total > before.total
    assert after.own >= before.own
    assert all(isinstance(reason, str) for reason in quiet.disturbances(before, after))
