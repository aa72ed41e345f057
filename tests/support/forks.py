"""``rune`` in forks of one process that has loaded it: most of a command's time is its start.

Each fork is a session leader with a folder, an environment and files of its own, and ends as a
process of Python does. What is decided when Python starts, such as its encoding, stays the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Self

ROOT = Path(__file__).resolve().parents[2]
# Read by Python or the loader when a process starts.
AT_START = ("PYTHON", "LD_", "LC_", "LANG")

# Gets a byte and five descriptors for each command: request, the three streams, and where it tells
# the process id and, when that has ended, its exit code.
SERVER = """\
import atexit, gc, importlib, json, os, pkgutil, select, socket, sys, tempfile, threading, time
import lmm, lom
for package in (lmm, lom):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not {"testing", "plugins", "pytest_plugin", "__main__"} & set(module.name.split(".")):
            importlib.import_module(module.name)
gc.collect()
gc.freeze()

def wait_for_a_command(control):
    '''Return the descriptors of a command, in a process made for it.'''
    ready, running = select.poll(), {}
    ready.register(control, select.POLLIN)
    while True:
        for descriptor, _ in ready.poll():
            if descriptor != control.fileno():
                child, reply = running.pop(descriptor)
                code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                os.write(reply, code.to_bytes(8, "big", signed=True))
                ready.unregister(descriptor), os.close(descriptor), os.close(reply)
                continue
            told, given, *_ = socket.recv_fds(control, 1, 5)
            if not told:
                os._exit(0)
            if not (child := os.fork()):
                control.detach()
                return given
            os.write(given[-1], child.to_bytes(8, "big"))
            ended = os.pidfd_open(child)
            running[ended] = child, given.pop()
            ready.register(ended, select.POLLIN)
            [os.close(one) for one in given]

request, *streams, _ = wait_for_a_command(socket.socket(fileno=int(sys.argv[1])))
os.setsid()
given = json.load(open(request, closefd=False))
[os.dup2(stream, number) for number, stream in enumerate(streams)]
os.closerange(3, 1024)
os.chdir(given["folder"])
os.environ.clear()
os.environ.update(given["environment"])
tempfile.tempdir = None
time.tzset()
sys.argv = ["rune", *given["arguments"]]
try:
    lom.cli.main()
except SystemExit as end:  # as Python ends, but does not take all apart that it has loaded
    threading._shutdown(), atexit._run_exitfuncs()
    sys.stdout.flush(), sys.stderr.flush(), os._exit(end.code or 0)
"""


class Forks:
    """The process of which commands are forks; use it as a context manager."""

    def __enter__(self) -> Self:
        self._home = tempfile.TemporaryDirectory()
        self._at_start = _at_start(os.environ)
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", SERVER, str(theirs.fileno())],
                cwd=self._home.name,
                env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": self._home.name},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._control.close()
        self._process.wait(10)
        self._home.cleanup()

    def suit(self, environment: Mapping[str, str]) -> bool:
        """Whether a process that starts with this environment is like a fork of ours."""
        return _at_start(environment) == self._at_start

    def run(
        self,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        stdin: bytes | None,
        timeout_s: float,
    ) -> tuple[int, bytes, bytes]:
        """Carry out ``rune ARGUMENTS``; return its exit code, stdout and stderr."""
        request = {
            "arguments": list(arguments),
            "folder": str(folder),
            "environment": dict(environment),
        }
        with contextlib.ExitStack() as stack:
            sent = [json.dumps(request).encode(), stdin or b"", b"", b""]
            files = [stack.enter_context(_nameless()) for _ in sent]
            for file, data in zip(files, sent, strict=True):
                file.write(data)
                file.seek(0)
            ours, theirs = socket.socketpair()
            stack.enter_context(ours)
            with theirs:
                numbers = [*(file.fileno() for file in files), theirs.fileno()]
                socket.send_fds(self._control, [b"x"], numbers)
            ours.settimeout(60)  # it may be loading still
            child = int.from_bytes(ours.recv(8), "big")
            assert child, "the process of which commands are forks has ended"
            ours.settimeout(timeout_s)
            try:
                code = int.from_bytes(ours.recv(8), "big", signed=True)
            except TimeoutError:
                os.killpg(child, signal.SIGKILL)
                raise subprocess.TimeoutExpired(list(arguments), timeout_s) from None
            files[2].seek(0)
            files[3].seek(0)
            return code, files[2].read(), files[3].read()


def _nameless() -> BinaryIO:
    return os.fdopen(os.memfd_create("rune-tests"), "w+b")


def _at_start(environment: Mapping[str, str]) -> dict[str, str]:
    ours = {"PYTHONPATH": str(ROOT), **environment}
    return {name: value for name, value in ours.items() if name.startswith(AT_START)}
