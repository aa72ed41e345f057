"""A plugin that leaves nothing out to stay alive, and whether all of it is gone."""

from __future__ import annotations

import time
from pathlib import Path

from lmm.testing import processes

# Leaves nothing out: ignores TERM and HUP, forks, double-forks and calls setsid.
STUBBORN = """
import os, signal, sys, time
open("%(place)s/where", "w").write(os.path.dirname(sys.argv[0]))
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
def hold(name):
    open("%(place)s/" + name, "w").write(str(os.getpid()))
    time.sleep(600)
if os.fork() == 0:
    hold("forked")
if os.fork() == 0:
    os.setsid()
    hold("setsid")
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.chdir("/")
        hold("double")
    os._exit(0)
hold("main")
"""
NAMES = ("forked", "setsid", "double", "main")


def all_running(scratch: Path) -> bool:
    return all((scratch / name).exists() and (scratch / name).read_text() for name in NAMES)


def pids(scratch: Path) -> list[int]:
    return [int((scratch / name).read_text()) for name in NAMES]


def gone(found: list[int], patience_s: float = 30.0) -> bool:
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        if not any(processes.is_alive(pid) for pid in found):
            return True
        time.sleep(0.02)
    return False


def tidied(scratch: Path, patience_s: float = 30.0) -> bool:
    """Whether the private directory that the script noted is gone, or soon is."""
    where = Path((scratch / "where").read_text().strip()).parent  # the plugin has a folder in it
    assert where.name.startswith(".rune-")
    until = time.monotonic() + patience_s
    while where.exists() and time.monotonic() < until:
        time.sleep(0.02)
    return not where.exists()
