"""The agent on an instance: it really runs the scripts, as amazon-ssm-agent does.

From its sources (agent/executers/executers.go and executers_unix.go,
agent/plugins/runscript/runscript.go, agent/plugins/pluginutil/pluginutil_unix.go):

- the commands, joined by newlines, are a file of mode 700 that ``sh -c FILE`` runs in a process
  group of its own, with stdin from /dev/null and with AWS_SSM_INSTANCE_ID and AWS_SSM_REGION_NAME;
- stdout and stderr are pipes that the agent copies to files, and it waits for their ends: a
  background process that keeps one open keeps the invocation InProgress until executionTimeout,
  even if it has left the group;
- executionTimeout and cancel kill the group with SIGKILL, and the exit code is 137. The agent then
  waits for nothing. Where nothing is left in the group, the invocation is Failed with code 1;
- a script that exits with 137 by itself is TimedOut; 194 asks for a reboot, after which the script
  runs again (here once, and nothing is rebooted);
- a failure appends "failed to run commands: …" to stderr.

A real agent is a systemd service: it has no HOME, and scripts see only a default PATH. Its working
directory is /usr/bin; here it is the script's own directory, so that nothing is written there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmm.testing.aws.document import DocumentScript

# systemd's DEFAULT_PATH_NORMAL.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
REBOOT = 194
STOPPED = 137  # CommandStoppedPreemptivelyExitCode: 128 + SIGKILL
CHUNK = 1 << 16
DESCRIPTORS = 3  # of each script that runs
SPARE_DESCRIPTORS = 256  # for the rest of this process


def room() -> int:
    """Return how many scripts may run at once under this process's limit of open files."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, (limit - SPARE_DESCRIPTORS) // DESCRIPTORS)


@dataclass(frozen=True)
class Ended:
    """How a script ended: exit code, StatusDetails, and what the agent adds to stderr."""

    code: int
    details: str
    complaint: str = ""


class Agent:
    """Runs scripts for all instances, from one event loop and without threads."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._reaping: set[asyncio.Future[None]] = set()

    async def run(
        self,
        script: DocumentScript,
        place: Path,
        environment: Mapping[str, str],
        timeout_s: float,
        cancelled: asyncio.Future[None],
    ) -> Ended:
        """Run a script in the directory ``place``, which gets ``stdout`` and ``stderr``."""
        path = place / "_script.sh"
        path.touch(mode=0o700)
        path.write_bytes(script.text.encode("utf-8", "replace"))
        directory = script.directory if script.directory.startswith("/") else str(place)
        ended = await self._execute(path, directory, environment, timeout_s, cancelled)
        if ended.complaint:
            with (place / "stderr").open("ab") as stream:
                stream.write(f"failed to run commands: {ended.complaint}".encode())
        return ended

    async def _execute(
        self,
        path: Path,
        directory: str,
        environment: Mapping[str, str],
        timeout_s: float,
        cancelled: asyncio.Future[None],
    ) -> Ended:
        if not os.path.isdir(directory):
            return Ended(1, "Failed", f"chdir {directory}: no such file or directory")
        try:
            process, copies = self._start(path, directory, environment)
        except OSError as error:
            return Ended(1, "Failed", str(error))
        finished = asyncio.ensure_future(asyncio.wait([self._reap(process), *copies]))
        events: list[asyncio.Future[Any]] = [finished, cancelled]
        try:
            await asyncio.wait(events, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if finished.done():
                return _by_itself(process.returncode, cancelled.done())
            return _stop(process.pid, "Cancelled" if cancelled.done() else "ExecutionTimedOut")
        finally:
            finished.cancel()
            for copy in copies:
                copy.cancel()

    def _start(
        self, path: Path, directory: str, environment: Mapping[str, str]
    ) -> tuple[subprocess.Popen[bytes], list[asyncio.Future[None]]]:
        with contextlib.ExitStack() as writing, contextlib.ExitStack() as reading:
            outs, ins = [], []
            for _ in range(2):
                out, into = os.pipe()
                reading.callback(os.close, out)
                writing.callback(os.close, into)
                outs.append(out)
                ins.append(into)
            process = subprocess.Popen(
                ["sh", "-c", str(path)],
                cwd=directory,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=ins[0],
                stderr=ins[1],
                process_group=0,
            )
            reading.pop_all()  # closed by _copy
        self._running.add(process)
        names = ("stdout", "stderr")
        return process, [
            _copy(out, path.with_name(name)) for out, name in zip(outs, names, strict=True)
        ]

    def _reap(self, process: subprocess.Popen[bytes]) -> asyncio.Future[None]:
        """Return a future that is done when the process has ended and been waited for."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        descriptor = os.pidfd_open(process.pid)

        def collect() -> None:
            process.wait()
            loop.remove_reader(descriptor)
            os.close(descriptor)
            self._running.discard(process)
            self._reaping.discard(ended)
            ended.set_result(None)

        loop.add_reader(descriptor, collect)
        self._reaping.add(ended)
        return ended

    async def close(self) -> None:
        """Kill the group of every script that runs and wait for the scripts."""
        for process in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        if self._reaping:
            await asyncio.wait(self._reaping)


def _by_itself(status: int, cancelled: bool) -> Ended:
    if status < 0:
        return Ended(-1, "Failed", f"signal: {(signal.strsignal(-status) or '').lower()}")
    if status == STOPPED:
        return Ended(status, "Cancelled" if cancelled else "ExecutionTimedOut")
    if status in (0, REBOOT):
        return Ended(status, "Success")
    return Ended(status, "Failed", f"exit status {status}")


def _stop(group: int, details: str) -> Ended:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return Ended(1, "Failed", "no such process")
    return Ended(STOPPED, details)


def _copy(source: int, path: Path) -> asyncio.Future[None]:
    """Copy a pipe to a file; done at the pipe's end, cancelling closes the pipe at once."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    os.set_blocking(source, False)

    def read() -> None:
        if ended.done():
            return  # cancelled after this call was due
        try:
            data = os.read(source, CHUNK)
        except BlockingIOError:
            return
        if data:
            # Appended to: a script that runs again after a reboot adds to what it wrote before.
            # Opened each time: many scripts run at once, and descriptors are few.
            with path.open("ab") as sink:
                sink.write(data)
        else:
            loop.remove_reader(source)
            ended.set_result(None)

    def close(_: asyncio.Future[None]) -> None:
        loop.remove_reader(source)
        os.close(source)

    loop.add_reader(source, read)
    ended.add_done_callback(close)
    return ended
