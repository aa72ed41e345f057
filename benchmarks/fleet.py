"""Compares RUNE with other ways to run one script on many hosts, in one table.

Every tool runs RUNE's plugin noop on the loopback addresses of one sshd, twice: all hosts cold,
then with what the first command left. The tools take turns, after one round that is not timed, in
which memory is looked at. Run it with ``make bench``; nothing else should run. docs/speed.md
explains it.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.comparison.field import field
from benchmarks.comparison.measure import Meter, Sample, ToolFailed, Trial
from benchmarks.comparison.table import Row, table
from benchmarks.comparison.tools import OTHERS, TOOLS, Tool
from lmm.testing import Account

LIMIT_S = 120.0  # for one command of one tool
LEAST_S = 2.0  # of the time that is left: with less no sample is begun


def missing(tool: Tool) -> str:
    """Why a tool is not there; empty if it is."""
    if not tool.needs:
        return ""
    argv = [OTHERS, "-c", f"import {tool.needs}"]
    done = subprocess.run(argv, capture_output=True, text=True, cwd="/")
    return f"not installed: {done.stderr.strip().splitlines()[-1]}" if done.returncode else ""


def sample(tool: Tool, user: str, count: int, limit_s: float, watched: bool = False) -> Sample:
    """Take one sample on a server of its own. Raises ToolFailed, whatever went wrong."""
    try:
        with contextlib.ExitStack() as stack:
            hosts = stack.enter_context(Meter("hosts"))  # is removed after the server has ended
            return Trial(tool, stack.enter_context(field(user, count)), hosts).run(limit_s, watched)
    except ToolFailed:
        raise
    except Exception as fault:  # one tool never ends the table
        raise ToolFailed(f"{type(fault).__name__}: {fault}".splitlines()[0]) from fault


def compare(
    tools: Sequence[Tool],
    counts: Sequence[int],
    rounds: int,
    *,
    user: str = "",
    limit_s: float = LIMIT_S,
    total_s: float = 3600.0,
) -> list[Row]:
    """Return a row for every tool and number of hosts, whatever fails and however late it gets."""
    until = time.monotonic() + total_s
    rows = [Row(tool.name, count, tool.remark) for count in counts for tool in tools]
    absent = {tool.name: missing(tool) for tool in tools}
    for row in rows:
        row.failures += filter(None, [absent[row.tool]])
    by_name = {tool.name: tool for tool in tools}
    with contextlib.suppress(KeyboardInterrupt):  # what is known by then is told
        for count in counts:
            for number in range(rounds + 1):
                for row in rows:
                    if row.hosts == count and not row.failures:
                        left_s = until - time.monotonic()
                        if left_s >= LEAST_S:
                            _add(row, by_name[row.tool], user, min(limit_s, left_s), number)
                        if time.monotonic() > until - LEAST_S and len(row.samples) < rounds:
                            over = f"the time of {total_s / 60:g} minutes was over"
                            row.failures = [over]
    return rows


def _add(row: Row, tool: Tool, user: str, limit_s: float, number: int) -> None:
    """Take a sample into a row; the first is looked at and not timed."""
    told = f"{row.hosts} hosts, round {number}, {tool.name}"
    try:
        taken = sample(tool, user, row.hosts, limit_s, watched=number == 0)
    except ToolFailed as fault:
        row.failures.append(str(fault))
        print(f"{told}: {fault}", file=sys.stderr, flush=True)
        return
    if number == 0:
        row.peak = taken.peak
    else:
        row.samples.append(taken)
    walls = f"{taken.cold.wall:.2f} and {taken.second.wall:.2f} s"
    print(f"{told}: {walls}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def account() -> Iterator[str]:
    """An account with an empty profile where one can be made, else this one."""
    if os.getuid() == 0:
        with Account() as made:
            yield made.name
    else:
        yield ""


def about() -> dict[str, Any]:
    """Return when and on what this runs."""
    version = subprocess.run(["ssh", "-V"], capture_output=True, text=True).stderr.strip()
    return {
        "day": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, Linux {platform.release()}, {version}",
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    names = [tool.name for tool in TOOLS]
    parser.add_argument("--hosts", default="1,50,200", help="numbers of hosts [1,50,200]")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds [5]")
    parser.add_argument("--tools", default=",".join(names), help="[all]: " + ", ".join(names))
    parser.add_argument("--minutes", type=float, default=60, help="for all of it, at most [60]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample as well")
    given = parser.parse_args(arguments)
    asked = given.tools.split(",")
    if unknown := sorted(set(asked) - set(names)):
        parser.error(f"no such tool: {', '.join(unknown)}; there are {', '.join(names)}")
    given.tools = [tool for tool in TOOLS if tool.name in asked]
    try:
        given.hosts = [int(count) for count in given.hosts.split(",")]
    except ValueError:
        parser.error(f"--hosts takes numbers with commas between them, not {given.hosts!r}")
    if min(*given.hosts, given.rounds) < 1:
        parser.error("--hosts and --rounds start at 1")
    return given


def main(arguments: Sequence[str] | None = None) -> None:
    given, facts = options(arguments), about()
    with account() as user:
        rows = compare(
            given.tools, given.hosts, given.rounds, user=user, total_s=60 * given.minutes
        )
    print(f"{facts['day']}, {facts['machine']}, Python {facts['python']}; ", end="")
    print(f"load {facts['load']:.1f} before; medians of {given.rounds} (least-most)\n")
    print(table(rows))
    if given.json:
        document = {**facts, "rounds": given.rounds, "rows": [row.document() for row in rows]}
        given.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
