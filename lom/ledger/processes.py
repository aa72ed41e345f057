"""Which process carries a run out, and whether it is still alive."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

LEFT = -1  # the start time of no process: it has left what it did unfinished


@dataclass(frozen=True, slots=True)
class Process:
    """A process that no later one can be taken for: ids are used again, start times are not.

    ``started`` is in clock ticks since the boot (proc(5), field 22); ``pid_space`` names the
    namespace in which ``pid`` counts, as a container has one of its own.
    """

    boot_id: str
    pid_space: str
    pid: int
    started: int


def this_process() -> Process:
    """Return the calling process."""
    pid = os.getpid()
    seen = _look(pid)
    return Process(_boot_id(), _pid_space(), pid, seen[1] if seen else 0)


def is_alive(process: Process) -> bool | None:
    """Tell whether the process lives; None where it cannot be seen from here.

    One of another boot is dead: two kernels cannot share a ledger, which is memory-mapped.
    """
    if process.boot_id != _boot_id():
        return False
    if process.pid_space != _pid_space():
        return None
    seen = _look(process.pid)
    return seen is not None and seen[0] not in "ZX" and seen[1] == process.started


def _look(pid: int) -> tuple[str, int] | None:
    """Return state and start time of a process, None if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    return fields[0], int(fields[19])


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _pid_space() -> str:
    return os.readlink("/proc/self/ns/pid")
