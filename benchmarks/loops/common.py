"""What every loop does alike: read its job, go round its hosts, tell how many answered and why not.

A loop is one process that uses a library: ``NAME_loop.py JOB`` with a JSON file that
``benchmarks/comparison/field.py`` writes. After each round it prints a line
``{"answers": N, "reason": TEXT}`` and waits for one on stdin before the next, so that its starter
can look at the clocks meanwhile.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

THREADS = 64
ATTEMPTS = 6  # a login that sshd refuses (MaxStartups) is tried again
FIRST_PAUSE_S = 0.1  # and doubled each time
MOST_BYTES = 1 << 20  # of an answer

Result = TypeVar("Result")


class Job:
    """The job file: its keys are attributes."""

    hosts: list[str]
    user: str
    port: int
    key: str
    known_hosts: str
    command: str
    input: str
    script: str
    answer: str
    inventory: str
    parameters: dict[str, Any]
    rounds: int
    host_timeout_s: float

    def __init__(self, path: str) -> None:
        self.__dict__.update(json.loads(Path(path).read_text(encoding="utf-8")))

    def fault(self, answer: str) -> str:
        """Why an answer is wrong; empty where it is right."""
        return "" if self.answer in answer else f"a wrong answer: {answer[-120:]!r}"


def retried(connect: Callable[[], Result], sleep: Callable[[float], Any] = time.sleep) -> Result:
    """Log in, again where that fails; a host that refuses to the last is the caller's error."""
    for attempt in range(ATTEMPTS - 1):
        try:
            return connect()
        except Exception:
            sleep(FIRST_PAUSE_S * 2**attempt)
    return connect()


def said(fault: BaseException) -> str:
    """Return a fault in a line."""
    return f"{type(fault).__name__}: {fault}".splitlines()[0]


def serve(job: Job, go_round: Callable[[], Iterable[str]]) -> None:
    """Go round as often as the job says; a round gives each host's fault, empty for none."""
    for _ in range(job.rounds):
        faults = Counter(go_round())
        answers = faults.pop("", 0)
        reason = faults.most_common(1)[0][0] if faults else ""
        print(json.dumps({"answers": answers, "reason": reason}), flush=True)
        if not sys.stdin.readline():
            return


def serve_by_threads(ask: Callable[[Job, str], str]) -> None:
    """The whole loop of a library that blocks; ``ask`` returns a host's fault or raises it."""
    job = Job(sys.argv[1])

    def safely(host: str) -> str:
        try:
            return ask(job, host)
        except Exception as fault:
            return said(fault)

    with ThreadPoolExecutor(THREADS) as pool:
        serve(job, lambda: pool.map(safely, job.hosts))
