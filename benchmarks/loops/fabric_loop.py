"""fabric: a Connection for each host in threads.

The script is an argument of bash: on stdin fabric would send one character each 10 ms.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from common import Job, retried, serve_by_threads
from fabric import Connection

connections: dict[str, Any] = {}


def log_in(job: Job, host: str) -> Any:
    keys = {"key_filename": job.key, "look_for_keys": False, "allow_agent": False}
    made = Connection(
        host,
        user=job.user,
        port=job.port,
        connect_timeout=int(job.host_timeout_s),
        connect_kwargs=keys,
    )
    made.open()
    return made


def ask(job: Job, host: str) -> str:
    if host not in connections:
        connections[host] = retried(lambda: log_in(job, host))
    command = shlex.join(["bash", "-c", Path(job.script).read_text()])
    done = connections[host].run(
        command, hide=True, warn=True, in_stream=False, timeout=job.host_timeout_s
    )
    return job.fault(done.stdout)


serve_by_threads(ask)
