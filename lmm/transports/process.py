"""Runs one child process for one job: the common half of ``local`` and ``openssh``."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Mapping, Sequence
from io import FileIO

from lmm.errors import HostError
from lmm.opening import Opening
from lmm.shortage import fault
from lmm.transports.base import Job
from lmm.transports.conversation import AFTER_EXIT_S, Waker, converse


def run_process(
    job: Job,
    argv: Sequence[str],
    opening: Opening,
    env: Mapping[str, str] | None = None,
    patience_s: float = AFTER_EXIT_S,
    cwd: str | None = None,
) -> None:
    """Run ``argv``, whose far end is the shell that ``opening`` opens, until the job is settled.

    It starts in ``cwd``, by default in the current folder.

    The child gets a session of its own, so that a terminal's Ctrl-C is RUNE's business alone.
    It has ended when this returns: ``patience_s`` after its pipes are closed it is killed.
    """
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            cwd=cwd,
            bufsize=0,
            start_new_session=True,
        )
    except FileNotFoundError:
        job.fail(
            HostError("local_dependency_missing", f"{argv[0]} is not installed on this machine")
        )
        return
    except OSError as error:
        job.fail(fault(error, f"start {argv[0]}"))
        return
    child = _Child(process)
    try:
        with Waker() as cancelled:
            job.on_cancel(cancelled.wake)
            converse(job, child, opening, cancelled)
    finally:
        child.end(patience_s)


class _Child:
    """A child process as a ``Peer``."""

    sign = None

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        pipes = (process.stdin, process.stdout, process.stderr)
        self.stdin, self.stdout, self.stderr = (_unbuffered(pipe) for pipe in pipes)
        self._process = process

    def gone(self) -> bool:
        return self._process.poll() is not None

    @property
    def status(self) -> int | None:
        return self._process.returncode

    def end(self, patience_s: float) -> None:
        """Close the pipes and wait for the child; its end of stdin makes it go."""
        for pipe in (self.stdin, self.stdout, self.stderr):
            with contextlib.suppress(OSError):
                pipe.close()
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _unbuffered(pipe: object) -> FileIO:
    assert isinstance(pipe, FileIO)  # what Popen makes with bufsize=0
    return pipe
