"""SSH by the installed ``ssh``: all that its user's configuration can do, connections shared."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from lmm.bootstrap import Opening
from lmm.errors import RuneError, Unreachable
from lmm.model import Become, Invocation, Target
from lmm.ssh import askpass
from lmm.ssh.config import HostConfig, resolve
from lmm.ssh.openssh import classify, lost_reason, proxy_log, ssh_argv
from lmm.transports.base import Job
from lmm.transports.process import run_process

STDERR_BYTES = 64 * 1024
PATIENCE_S = 0.5  # for an ssh whose job is settled: nothing on the host depends on it
MASTER_EXIT_S = 2.0
# A socket's path has room for 107 bytes, and ssh binds it under its name plus 17 more.
MAX_DIRECTORY = 107 - 17 - 1 - 16


class OpensshTransport:
    """Runs one ``ssh`` per script over masters that stay until ``close``."""

    name: ClassVar[str] = "openssh"
    batch_size: ClassVar[int] = 1

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._directory: Path | None = None

    def run(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            try:
                self._run_one(job)
            except RuneError as error:
                job.fail(error)

    def _run_one(self, job: Job) -> None:
        target = job.invocation.target
        config = resolve(target)
        directory = self._private_directory()
        opening = _Opening(job.stream, target.become)
        control_path = _control_path(directory, target)
        argv = ssh_argv(target, config, control_path=control_path, shell_command=opening.command)
        env = _environment(target)
        with contextlib.ExitStack() as stack:
            if target.ssh.password or target.ssh.passphrase:
                asked = stack.enter_context(askpass.serve(target.ssh, directory))
                argv = asked.argv(argv)
                env.update(asked.environment)
            watched = _SshJob(job, config, proxy_log(control_path))
            run_process(watched, argv, opening, env, PATIENCE_S)

    def _private_directory(self) -> Path:
        with self._lock:
            if self._directory is None:
                self._directory = _make_directory()
            return self._directory

    def close(self) -> None:
        """End the masters and remove their directory."""
        with self._lock:
            directory, self._directory = self._directory, None
        if directory is None:
            return
        leaving = [_ask_to_leave(path) for path in directory.iterdir() if path.is_socket()]
        for master in leaving:
            _wait_until_gone(master)
        shutil.rmtree(directory, ignore_errors=True)


def _make_directory() -> Path:
    """Return a new private directory, with a name that leaves room for sockets.

    One in which programs may be run is preferred: ssh executes its askpass.
    """
    made: list[Path] = []
    for base in (tempfile.gettempdir(), "/tmp", os.environ.get("XDG_RUNTIME_DIR")):
        if base and len(os.fsencode(base)) + len("/rune-XXXXXXXX") <= MAX_DIRECTORY:
            with contextlib.suppress(OSError):
                made.append(Path(tempfile.mkdtemp(prefix="rune-", dir=base)))
                if _may_execute(made[-1]):
                    break
    if not made:
        raise Unreachable("local_io_error", "no temporary directory takes a private directory")
    chosen = made[-1] if _may_execute(made[-1]) else made[0]
    for path in made:
        if path != chosen:
            path.rmdir()
    return chosen


def _may_execute(directory: Path) -> bool:
    probe = directory / "probe"
    probe.touch(mode=0o700)
    try:
        return os.access(probe, os.X_OK)
    finally:
        probe.unlink()


def _control_path(directory: Path, target: Target) -> str:
    """Return the socket of the target's connection; other settings make another connection."""
    settings = (target.address, target.port, target.user, target.ssh)
    return str(directory / hashlib.sha256(repr(settings).encode()).hexdigest()[:16])


def _environment(target: Target) -> dict[str, str]:
    """Return this environment, which a ProxyCommand may need, without the target's secrets."""
    become = target.become.password if target.become else None
    references = (target.ssh.password, target.ssh.passphrase, become)
    hidden = {ref.reference.removeprefix("env:") for ref in references if ref}
    return {name: value for name, value in os.environ.items() if name not in hidden}


class _Opening(Opening):
    """Sends nothing of the stream before the shell has said that it is there.

    A pipe to ssh takes the stream long before there is a connection. So RUNE knows for certain
    that a script which was not sent has not run, and the deadline begins when it is sent.
    """

    def __init__(self, stream: bytes, become: Become | None) -> None:
        super().__init__(stream, become)
        self._hello = b"" if self.pending else f"rune-{secrets.token_hex(8)}-ready".encode()
        self._heard = b""
        self.pending = True

    def first(self) -> bytes:
        return b"echo %s >&2\n" % self._hello if self._hello else super().first()

    def receive(self, stderr: bytes) -> bytes:
        if not self._hello:
            return super().receive(stderr)
        self._heard = (self._heard + stderr)[-STDERR_BYTES:]
        if self._hello not in self._heard:
            return b""
        self.pending = False
        return super().first()


class _SshJob:
    """A job as ``run_process`` sees it: what ssh says is told apart from what the host says."""

    def __init__(self, job: Job, config: HostConfig, proxy_log: str) -> None:
        self._job = job
        self._config = config
        self._proxy_log = proxy_log
        self._sent = False
        self._cancelled = False
        self._stderr = b""
        hosts = (*config.proxy_jump, config)
        self._began = time.monotonic()
        self._give_up_at = self._began + sum(
            host.connect_timeout_s + host.banner_timeout_s + host.auth_timeout_s for host in hosts
        )
        job.on_cancel(self._cancel)

    @property
    def invocation(self) -> Invocation:
        return self._job.invocation

    @property
    def stream(self) -> bytes:
        return self._job.stream

    @property
    def stop_at(self) -> float:
        if self._sent:
            return self._job.stop_at
        return 0.0 if self._cancelled else min(self._give_up_at, self._job.stop_at)

    @property
    def settled(self) -> bool:
        return self._job.settled

    def stream_sent(self) -> None:
        self._sent = True
        self._stderr = b""
        self._job.stream_sent()

    def feed_stdout(self, data: bytes) -> None:
        self._job.feed_stdout(data)

    def feed_stderr(self, data: bytes) -> None:
        self._stderr = (self._stderr + data)[-STDERR_BYTES:]
        self._job.feed_stderr(data)

    def fail(self, error: RuneError) -> None:
        self._job.fail(error)

    def hung_up(self, exit_status: int | None, why: str = "") -> None:
        text = self._stderr.decode(errors="replace")
        if exit_status is not None and 0 <= exit_status < 255:
            self._job.hung_up(exit_status, why)  # that of the host's shell
        elif self._sent:
            self._job.hung_up(None, lost_reason(text) or why)
        else:
            with contextlib.suppress(OSError):
                text = Path(self._proxy_log).read_text(errors="replace") + text
            self._job.fail(classify(text, exit_status))

    def expire(self) -> None:
        if self._sent:
            self._job.expire()
            return
        seconds = time.monotonic() - self._began
        self._job.fail(
            Unreachable(
                "auth_timeout",
                f"{self._config.name} gave no shell within {seconds:.0f} s",
                host=self._config.hostname,
                port=self._config.port,
                ssh_output=self._stderr.decode(errors="replace")[-2000:],
            )
        )

    def on_cancel(self, action: Callable[[], None]) -> None:
        self._job.on_cancel(action)

    def _cancel(self) -> None:
        self._cancelled = True


# -- masters, spoken to in their own protocol (PROTOCOL.mux) -------------------------------------

_MUX_HELLO, _MUX_TERMINATE, _MUX_VERSION = 0x00000001, 0x10000005, 4


def _ask_to_leave(path: Path) -> socket.socket:
    """Ask the master to exit, as ``ssh -O exit`` does at ten times the cost."""
    master = socket.socket(socket.AF_UNIX)
    master.settimeout(MASTER_EXIT_S)
    with contextlib.suppress(OSError):
        master.connect(str(path))
        for packet in (
            struct.pack(">II", _MUX_HELLO, _MUX_VERSION),
            struct.pack(">II", _MUX_TERMINATE, 0),
        ):
            master.sendall(struct.pack(">I", len(packet)) + packet)
    return master


def _wait_until_gone(master: socket.socket) -> None:
    with master, contextlib.suppress(OSError):
        while master.recv(4096):
            pass
