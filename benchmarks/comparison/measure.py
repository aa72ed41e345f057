"""Runs one tool twice on one field and looks at the clocks: wall, client's CPU, hosts' CPU.

CPU is read from cgroups where this process may make some (as root); else it is summed over
processes, which misses what has left the tree, and up to 10 ms of each process that still lives.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from benchmarks.comparison.field import MARK, ROOT, Field
from benchmarks.comparison.tools import Checked, Tool
from lmm.testing import processes

SETTLED_S = 0.05  # sessions that end after their client: until so long nothing was used
LOOK_S = 0.05
GONE_S = 10.0
CGROUPS = (
    (Path("/sys/fs/cgroup/cpuacct"), "cpuacct.usage"),
    (Path("/sys/fs/cgroup"), "cpu.stat"),
)
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class ToolFailed(Exception):
    """A tool did not do the work; the text says why."""


@dataclass(frozen=True)
class Phase:
    """What one command cost, in seconds."""

    wall: float
    client: float
    hosts: float


@dataclass(frozen=True)
class Sample:
    """The first command, the second one, and the client's peak memory in MiB (0: not looked at)."""

    cold: Phase
    second: Phase
    peak: float = 0.0


def cpu_of(pid: int) -> float:
    """Return the CPU seconds of a process that lives, and of its children that it waited for."""
    fields = processes.stat_fields(pid)
    own, waited = (
        (sum(map(int, fields[n : n + 2])) * TICK_S for n in (11, 13)) if fields else (0, 0)
    )
    with contextlib.suppress(OSError):  # finer than ticks, but only of the first thread
        own = max(own, int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9)
    return own + waited


class Meter:
    """Counts the CPU of a set of processes; use it as a context manager around their lives.

    They are those in its cgroup, where there is one, else those that ``find`` finds.
    """

    def __init__(self, name: str) -> None:
        self.find: Callable[[], set[int]] = set
        self._ended = 0.0
        self.cgroup: Path | None = None
        for root, file in CGROUPS:
            path = root / f"rune-benchmark-{os.getpid()}-{name}"
            with contextlib.suppress(OSError):
                path.mkdir()
                self.cgroup, self._file = path, path / file
                if self._file.exists():
                    break
                self.__exit__()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        until = time.monotonic() + GONE_S
        while self.cgroup:
            try:
                self.cgroup.rmdir()
                self.cgroup = None
            except OSError:  # what was killed is not out of it at once
                if time.monotonic() > until:
                    raise
                time.sleep(LOOK_S)

    def enter(self, pid: int) -> None:
        """Count a process, and what it starts from now on."""
        if self.cgroup:
            (self.cgroup / "cgroup.procs").write_text(str(pid))

    def pids(self) -> set[int]:
        """Return the processes that live."""
        if self.cgroup is None:
            return self.find()
        return {int(pid) for pid in (self.cgroup / "cgroup.procs").read_text().split()}

    def ended(self, seconds: float) -> None:
        """Count what a process took that is gone."""
        self._ended += seconds

    def seconds(self) -> float:
        if self.cgroup is None:
            return self._ended + sum(map(cpu_of, self.pids()))
        text = self._file.read_text()
        if self._file.name == "cpu.stat":
            return int(text.split()[1]) / 1e6  # usage_usec
        return int(text) / 1e9

    def settled(self) -> float:
        """Return the seconds once they no longer grow."""
        before, until = -1.0, time.monotonic() + 5
        while (now := self.seconds()) - before > 0.001 and time.monotonic() < until:
            before = now
            time.sleep(SETTLED_S)
        return now


def clients_of(field: Field) -> set[int]:
    """Return what a tool has started, its masters too: ssh writes their title over the mark."""
    found, place = processes.marked({MARK: field.mark}), str(field.folder).encode()
    for pid in processes.all_pids():
        with contextlib.suppress(OSError):
            title = Path(f"/proc/{pid}/cmdline").read_bytes()
            if title.startswith(b"ssh: ") and place in title:
                found.add(pid)
    return found


def pss_mib(pids: set[int]) -> float:
    """Return what processes hold, each shared page divided among those that share it."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, IndexError, ValueError):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += int(text.partition("\nPss:")[2].split()[0])
    return total / 1024


class Trial:
    """One tool on one field; ``hosts`` counts the CPU of the server and lives longer than that."""

    def __init__(self, tool: Tool, field: Field, hosts: Meter) -> None:
        self._tool, self._field, self._host = tool, field, hosts
        self._limit_s, self._watched, self._peak = 0.0, False, 0.0
        server = field.server
        hosts.enter(server.pid)
        hosts.find = lambda: {server.pid, *server.session_pids()}

    def run(self, limit_s: float, watched: bool) -> Sample:
        """Return the sample; each of the two commands may take ``limit_s``.

        ``watched``: look at the memory, which takes time. What the tool leaves is ended.
        Raises ToolFailed.
        """
        self._limit_s, self._watched = limit_s, watched
        phases = self._in_one if self._tool.check is None else self._in_two
        with Meter("client") as self._client, (self._field.folder / "stderr").open("w+b") as stderr:
            self._client.find = lambda: clients_of(self._field)
            try:
                cold, second = phases(stderr)
            finally:
                processes.end(self._client.pids(), 0.5)
        return Sample(cold, second, self._peak)

    def _in_two(self, stderr: IO[bytes]) -> list[Phase]:
        return [self._timed(lambda: self._command(stderr)) for _ in range(2)]

    def _in_one(self, stderr: IO[bytes]) -> list[Phase]:
        started: list[subprocess.Popen[bytes]] = []

        def go() -> Checked:
            if started:
                stdin = started[0].stdin
                assert stdin is not None
                with contextlib.suppress(BrokenPipeError):
                    stdin.write(b"\n")
                    stdin.flush()
            else:
                started.append(self._start(subprocess.PIPE, subprocess.PIPE, stderr))
            stdout = started[0].stdout
            assert stdout is not None
            self._wait(stdout.fileno(), lambda: "")
            line = stdout.readline()
            if not line:
                raise ToolFailed(last_words(stderr) or "it ended without a word")
            told = json.loads(line)
            return told["answers"], told["reason"]

        try:
            return [self._timed(go), self._timed(go)]
        finally:
            processes.end(self._client.pids(), 0.5)
            for process in started:
                with process:  # which closes its pipes
                    process.kill()

    def _command(self, stderr: IO[bytes]) -> Checked:
        check = self._tool.check
        assert check is not None
        with (self._field.folder / "stdout").open("w+b") as out:

            def checked() -> Checked:
                return check((self._field.folder / "stdout").read_text("utf-8", "replace"))

            process = self._start(subprocess.DEVNULL, out, stderr)
            watch = os.pidfd_open(process.pid)
            try:
                self._wait(watch, lambda: f", {checked()[0]} of {len(self._field.hosts)} answers")
            except BaseException:
                process.kill()
                raise
            finally:
                os.close(watch)
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
            self._client.ended(usage.ru_utime + usage.ru_stime)
            self._peak = max(self._peak, usage.ru_maxrss / 1024 if self._watched else 0)
            try:
                answers, reason = checked()
            except (ValueError, KeyError):
                answers, reason = 0, ""
        return answers, reason or last_words(stderr) or f"exit status {process.returncode}"

    def _start(
        self, stdin: int, stdout: int | IO[bytes], stderr: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._tool.argv(self._field),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=self._field.environment,
            cwd=ROOT,
            preexec_fn=lambda: self._client.enter(os.getpid()),
        )

    def _wait(self, descriptor: int, so_far: Callable[[], str]) -> None:
        """Wait until it can be read; meanwhile look at the memory where that is wanted."""
        poll, until = select.poll(), time.monotonic() + self._limit_s
        poll.register(descriptor, select.POLLIN)
        while not poll.poll(1000 * (LOOK_S if self._watched else max(0, until - time.monotonic()))):
            if self._watched:
                self._peak = max(self._peak, pss_mib(self._client.pids()))
            if time.monotonic() >= until:
                with contextlib.suppress(ValueError, KeyError):
                    raise ToolFailed(f"no end within {self._limit_s:g} s{so_far()}")
                raise ToolFailed(f"no end within {self._limit_s:g} s")

    def _timed(self, go: Callable[[], Checked]) -> Phase:
        client, host = self._client.settled(), self._host.settled()
        began = time.perf_counter()
        answers, reason = go()
        wall = time.perf_counter() - began
        if answers != (count := len(self._field.hosts)):
            raise ToolFailed(f"{answers} of {count} answers: {reason or 'no reason given'}")
        if self._watched:
            self._peak = max(self._peak, pss_mib(self._client.pids()))
        return Phase(wall, self._client.settled() - client, self._host.settled() - host)


def last_words(stderr: IO[bytes]) -> str:
    stderr.flush()
    stderr.seek(0)
    lines = stderr.read().decode(errors="replace").split("\n")
    return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")
