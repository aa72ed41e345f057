"""pyinfra by its API: connect to all hosts, then run the script as an argument of bash on each."""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()  # as its command does

import shlex  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
from common import THREADS, Job, retried, said, serve  # noqa: E402
from pyinfra.api import Config, Inventory, State, StringCommand  # noqa: E402

job = Job(sys.argv[1])
settings = {
    "ssh_user": job.user,
    "ssh_port": job.port,
    "ssh_key": job.key,
    "ssh_allow_agent": False,
    "ssh_look_for_keys": False,
    "ssh_known_hosts_file": job.known_hosts,
    "ssh_connect_timeout": int(job.host_timeout_s),
}
state = State(Inventory((job.hosts, {}), override_data=settings), Config(PARALLEL=THREADS))
command = StringCommand(shlex.join(["bash", "-c", Path(job.script).read_text()]))


def ask(host: Any) -> str:
    try:
        if not host.connected:
            retried(lambda: host.connect(raise_exceptions=True), gevent.sleep)
        _, output = host.run_shell_command(command, _timeout=int(job.host_timeout_s))
        return job.fault(output.stdout)
    except Exception as fault:
        return said(fault)


def go_round() -> list[str]:
    asked = [state.pool.spawn(ask, host) for host in state.inventory]
    gevent.joinall(asked)
    return [one.value for one in asked]


serve(job, go_round)
