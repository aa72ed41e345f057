"""SSH by the installed ``ssh``: all that its user's configuration can do, connections that stay.

The first script on a host starts an ``ssh`` that becomes the master of the connection. Later
ones, of this process and of others, ask that master for a session and start no process here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import ClassVar

from lmm.errors import RuneError
from lmm.model import Target
from lmm.opening import Opening
from lmm.shortage import fault, wanting
from lmm.ssh import askpass, masters, mux_client
from lmm.ssh.config import HostConfig, resolve
from lmm.ssh.openssh import ssh_argv
from lmm.temporary import private_folder
from lmm.transports.base import Job
from lmm.transports.conversation import Waker, converse
from lmm.transports.openssh_job import LoginJob
from lmm.transports.process import run_process

PATIENCE_S = 0.5  # for an ssh whose job is settled: nothing on the host depends on it


class OpensshTransport:
    """Runs scripts over masters that outlive it: ``lmm.transports.disconnect`` ends them, or
    their idle time does."""

    name: ClassVar[str] = "openssh"
    batch_size: ClassVar[int] = 1

    def run(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            try:
                self._run_one(job)
            except RuneError as error:
                job.fail(error)
            except OSError as error:
                if wanting(error):
                    raise  # who carries the job knows whether it was sent
                job.fail(fault(error, "open a session"))

    def _run_one(self, job: Job) -> None:
        target = job.invocation.target
        config = resolve(target)
        watched = LoginJob(job, config)
        opening = Opening(job.parts, job.invocation, watched.patience_s)
        # The directory is looked at each time: what was the user's own may have been removed since.
        kept = target.ssh.persist_s
        socket = masters.socket_of(target, masters.directory()) if kept else None
        if socket is not None:
            with Waker() as cancelled:
                watched.on_cancel(cancelled.wake)
                try:
                    with _session(socket, opening.command, watched, cancelled) as session:
                        watched.is_logged_in = True
                        converse(watched, session, opening, cancelled)
                    return
                except mux_client.Abandoned:
                    watched.expire()
                    return
                except mux_client.SessionRefused:
                    socket = None  # no room on that connection (MaxSessions): one of its own
                except mux_client.MasterGone:
                    pass
        _log_in(watched, config, opening, socket)

    def close(self) -> None:
        """Leave the connections to those who come later."""


def _session(socket: str, command: str, job: Job, cancelled: Waker) -> mux_client.MuxSession:
    """Open a session on the kept connection; one that proves dead is put out of the way.

    Raises MasterError for the reasons that it names.
    """
    known = masters.identity(socket)
    if known is None:
        raise mux_client.MasterGone("there is none yet")
    try:
        return mux_client.open_session(socket, command, wake=cancelled.fileno(), until=job.stop_at)
    except mux_client.HostSilent:
        masters.retire(socket, known)  # others may still wait for answers over it
        raise
    except mux_client.MasterGone:
        masters.put_away(socket, known)
        raise


def _log_in(job: LoginJob, config: HostConfig, opening: Opening, socket: str | None) -> None:
    """Run the script by an ``ssh`` that leaves a master at ``socket``, unless that is ``None``.

    Where another ssh is quicker to leave one, this one's connection ends with the script.
    """
    target = job.invocation.target
    environment = _environment(target)
    with contextlib.ExitStack() as stack:
        has_secret = bool(target.ssh.password or target.ssh.passphrase)
        needs_files = has_secret or config.jumps
        folder = stack.enter_context(private_folder("rune-login-")) if needs_files else None
        job.proxy_log = folder / "proxy.log" if folder else None
        argv = ssh_argv(
            target,
            config,
            shell_command=opening.command,
            control_path=socket,
            proxy_log=str(job.proxy_log) if job.proxy_log else None,
        )
        if folder and has_secret:
            asked = stack.enter_context(askpass.serve(target.ssh, folder))
            argv = asked.argv(argv)
            environment.update(asked.environment)
        run_process(job, argv, opening, environment, PATIENCE_S)


def _environment(target: Target) -> dict[str, str]:
    """Return this environment, which a ProxyCommand may need, without the target's secrets."""
    hidden = {one.reference.removeprefix("env:") for one in target.secrets}
    return {name: value for name, value in os.environ.items() if name not in hidden}
