"""Measures the peak memory of `rune run` when the answers are large, against keeping them all.

For each shape of answer and each way to write the results, one run over hosts of the transport
``local``: peak resident memory of the whole process, wall seconds, CPU seconds. Beside it stands
a process that only parses as many answers and keeps them, which is what RUNE did once. Run it
with ``python benchmarks/memory.py [--hosts 200] [--mib 16]``; it needs as much disk, twice.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# What a host prints: Python, so that it is quick. {size} is what it comes to, in bytes.
SHAPES = {
    "text": "'\"' + 'x' * {size} + '\"'",
    "floats": "'[' + ','.join('%.4f' % (i / 7 % 100) for i in range({size} // 8)) + ']'",
    "integers": "'[' + ','.join(str(1000 + i % 9000) for i in range({size} // 5)) + ']'",
    "records": '\'[\' + \',\'.join(\'{{"name":"metric%06d","value":%d.5,"unit":"GB/s"}}\''
    " % (i, i) for i in range({size} // 58)) + ']'",
}
WAYS = {
    "json": ["-o", "json"],
    "table": ["-o", "table"],
    "ndjson": ["-o", "ndjson"],
    "csv": ["-o", "csv"],
    "yaml": ["-o", "yaml"],
    "json, no ledger": ["-o", "json", "--no-ledger"],
    "table, no ledger": ["-o", "table", "--no-ledger"],
    "runs show -o json": [],
}
KEEP = """
import json, sys
kept = [json.loads(open(sys.argv[1], "rb").read()) for _ in range(int(sys.argv[2]))]
"""


def peak(argv: Sequence[str], folder: Path) -> tuple[float, float, float]:
    """Run a command; return its peak memory in MiB, wall and CPU seconds."""
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "RUNE_STATE_DIR": str(folder / "state"),
        "TMPDIR": str(folder),
    }
    began = time.perf_counter()
    with open(os.devnull, "wb") as out, tempfile.TemporaryFile() as said:
        process = subprocess.Popen(argv, stdout=out, stderr=said, cwd=folder, env=env)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{argv} ended with {process.returncode}")
    wall = time.perf_counter() - began
    return usage.ru_maxrss / 1024, wall, usage.ru_utime + usage.ru_stime


def prepare(folder: Path, shape: str, size: int, hosts: int) -> Path:
    """Write a plugin that answers so and an inventory; return a file with one answer."""
    answer = folder / f"{shape}.json"
    value = eval(SHAPES[shape].format(size=size))
    answer.write_text(f'{{"payload":{{"result":"success","output_data":{{"value":{value}}}}}}}')
    plugin = folder / "plugins" / "large"
    plugin.mkdir(parents=True, exist_ok=True)
    (plugin / "main.sh").write_text(f"cat {answer}\n")
    (plugin / "plugin.json").write_text(
        '{"module_name":"large","module_version":"1.0.0","description":"d","runtime":"bash",'
        '"entrypoint":"main.sh","capabilities":[{"action":"large","description":"d",'
        '"input_schema":{"type":"object"},"output_schema":{"type":"object"},"timeout_s":600,'
        '"risk":"read"}]}'
    )
    targets = "".join(f"  h{number:03}: {{transport: local}}\n" for number in range(hosts))
    (folder / "inventory.yaml").write_text(f"targets:\n{targets}")
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--mib", type=float, default=16.0)
    parser.add_argument("--shape", choices=SHAPES, action="append")
    parser.add_argument("--way", choices=WAYS, action="append")
    parser.add_argument("--keep", type=int, default=24, help="answers that are kept to compare")
    given = parser.parse_args()
    size = int(given.mib * 1024 * 1024) - 256
    rune = [sys.executable, "-m", "lom.cli"]
    print(f"{given.hosts} hosts x {given.mib:g} MiB; kept for comparison: {given.keep}")
    print(f"{'shape':10}{'way':20}{'peak MiB':>10}{'ratio':>8}{'wall s':>9}{'CPU s':>8}")
    for shape in given.shape or SHAPES:
        with tempfile.TemporaryDirectory(prefix="rune-memory-", dir="/var/tmp") as name:
            folder = Path(name)
            answer = prepare(folder, shape, size, given.hosts)
            keep = [sys.executable, "-c", KEEP, str(answer), str(given.keep)]
            kept = peak(keep, folder)[0] / given.keep * given.hosts
            print(f"{shape:10}{'all kept (scaled)':20}{kept:10.0f}{1.0:8.3f}")
            for way in given.way or WAYS:
                argv = [*rune, "run", "large", "-t", "all", "-q", *WAYS[way]]
                if not WAYS[way]:
                    argv = [*rune, "runs", "show", "last", "-o", "json"]
                most, wall, cpu = peak(argv, folder)
                print(
                    f"{shape:10}{way:20}{most:10.0f}{most / kept:8.3f}{wall:9.1f}{cpu:8.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
