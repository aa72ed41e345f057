"""What the ledger and events cost: the same run with both off, one on, both on, as ratios.

Usage: python -m benchmarks.ledger [--targets N] [--rounds N]

Ways to reach the targets: ``answered`` is a transport inside the process that answers with an
object of 600 bytes, after 130 ms, so that 64 threads settle about 490 targets a second: as many as
the fastest real transport with its connections kept. ``hasty`` answers after 20 ms, which shows
the least that a target costs. ``local`` runs noop through bash. Each sample is a process of its
own; the modes take turns. Nothing else should run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from lmm.transports import Job, Transport, TransportPool

ROOT = Path(__file__).resolve().parent.parent
MODES = ("off", "ledger", "events", "both")
DELAYS_S = {"answered": 0.13, "hasty": 0.02}
BODY = json.dumps({"payload": {"result": "success", "output_data": {"text": "x" * 600}}}).encode()


class Answered:
    """A transport that answers for its targets."""

    name: ClassVar[str] = "answered"
    batch_size: ClassVar[int] = 1

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s

    def run(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            mark = b"\n##rune-" + job.stream.split(b"rune_main ", 1)[1].split(b" ", 1)[0]
            job.stream_sent()
            time.sleep(self._delay_s)
            for feed, text in ((job.feed_stdout, BODY), (job.feed_stderr, b"")):
                feed(mark + b" start\n" + text + mark + b" end 0 exit \n")

    def close(self) -> None:
        """Nothing is kept."""


class AnsweredPool(TransportPool):
    """Reaches the targets of the synthetic ways."""

    def get(self, name: str) -> Transport:
        return Answered(DELAYS_S[name]) if name in DELAYS_S else super().get(name)


def sample(way: str, mode: str, targets: int, ledger: Path) -> None:
    """Carry out one run in this process and print what it took."""
    from lmm.model import Target
    from lom import Inventory, Orchestrator
    from lom.execution.run import Run
    from lom.ledger.sqlite.writer import SqliteLedger
    from lom.planning.scripts import load_scripts
    from lom.render.documents import encode

    known = {f"n{i}": Target(f"n{i}", transport=way) for i in range(targets)}
    with Orchestrator(Inventory(targets=known)) as rune, open(os.devnull, "wb") as sink:
        plan = rune.plan("noop", "all", {"hello": "world"})
        scripts = load_scripts(plan)
        listener = (
            (lambda event: sink.write(encode(event, "ndjson"))) if mode in MODES[2:] else None
        )
        began, cpu = time.perf_counter(), cpu_s()
        run = Run(
            plan,
            scripts,
            AnsweredPool(),
            listener,
            SqliteLedger(ledger) if mode in ("ledger", "both") else None,
        )
        answers = sum(result.ok for result in run)
        took = {"wall": time.perf_counter() - began, "cpu": cpu_s() - cpu}
    assert answers == targets
    assert run.ledger_problem is None
    status = Path("/proc/self/status").read_text()
    took["peak_mib"] = int(status.split("VmHWM:")[1].split()[0]) / 1024
    print(json.dumps(took))


def cpu_s() -> float:
    """Return this process's CPU seconds, without those of plugins."""
    times = os.times()
    return times.user + times.system


def measured(argv: Sequence[str], **options: Any) -> tuple[bytes, float]:
    """Run a command to its end; return its stdout and wall seconds."""
    began = time.perf_counter()
    done = subprocess.run(argv, cwd=ROOT, check=True, stdout=subprocess.PIPE, **options)
    return done.stdout, time.perf_counter() - began


def main() -> None:
    """Print a table of medians, and ratios to the run with both off."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--targets", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sample", nargs=3, metavar=("WAY", "MODE", "LEDGER"))
    given = parser.parse_args()
    if given.sample:
        way, mode, ledger = given.sample
        sample(way, mode, given.targets, Path(ledger))
        return
    with tempfile.TemporaryDirectory() as folder:
        for way, share in (("answered", 1), ("hasty", 1), ("local", 5)):
            targets = given.targets // share
            compare(way, targets, given.rounds, Path(folder) / way / "ledger.sqlite")
        show(Path(folder) / "answered")


def compare(way: str, targets: int, rounds: int, ledger: Path) -> None:
    """Measure one way in all modes, in turns."""
    found: dict[str, list[dict[str, float]]] = {mode: [] for mode in MODES}
    for _ in range(rounds):
        for mode, samples in found.items():
            argv = [sys.executable, "-m", "benchmarks.ledger", "--targets", str(targets)]
            out, _ = measured([*argv, "--sample", way, mode, str(ledger)])
            samples.append(json.loads(out))
    print(f"\n{way}, {targets} targets, medians of {rounds}")
    base = {key: statistics.median(s[key] for s in found["off"]) for key in ("wall", "cpu")}
    for mode, samples in found.items():
        wall, cpu, peak = (
            statistics.median(s[key] for s in samples) for key in ("wall", "cpu", "peak_mib")
        )
        print(
            f"{mode:8} wall {wall:6.2f} s  x{wall / base['wall']:.3f}"
            f"   cpu {cpu:6.2f} s  x{cpu / base['cpu']:.3f}   peak {peak:4.0f} MiB"
        )


def show(folder: Path) -> None:
    """Measure `rune runs show` and `list` on what was recorded."""
    print()
    for arguments in (["show", "last", "-o", "json"], ["show", "last"], ["list"]):
        argv = [sys.executable, "-m", "lom.cli", "runs", *arguments, "--state-dir", str(folder)]
        out, wall = measured(argv)
        print(f"rune runs {' '.join(arguments):22} {wall:.2f} s, {len(out)} bytes")


if __name__ == "__main__":
    main()
