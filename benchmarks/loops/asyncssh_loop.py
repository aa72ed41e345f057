"""asyncssh: a connection for each host, a script on its stdin."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import asyncssh
from common import ATTEMPTS, FIRST_PAUSE_S, THREADS, Job, said, serve

connections: dict[str, Any] = {}


async def log_in(job: Job, host: str) -> Any:
    for attempt in range(ATTEMPTS):
        try:
            return await asyncssh.connect(
                host,
                job.port,
                username=job.user,
                client_keys=[job.key],
                known_hosts=job.known_hosts,
                agent_path=None,
                config=None,
                connect_timeout=job.host_timeout_s,
            )
        except (OSError, asyncssh.Error):
            if attempt == ATTEMPTS - 1:
                raise
            await asyncio.sleep(FIRST_PAUSE_S * 2**attempt)
    return None


async def ask(job: Job, host: str, room: asyncio.Semaphore, script: str) -> str:
    async with room:
        try:
            if host not in connections:
                connections[host] = await log_in(job, host)
            run = connections[host].run(job.command, input=script, timeout=job.host_timeout_s)
            return job.fault(str((await run).stdout))
        except Exception as fault:
            return said(fault)


async def go_round(job: Job, script: str) -> list[str]:
    room = asyncio.Semaphore(THREADS)
    return await asyncio.gather(*(ask(job, host, room, script) for host in job.hosts))


job = Job(sys.argv[1])
script = Path(job.script).read_text()
with asyncio.Runner() as runner:
    serve(job, lambda: runner.run(go_round(job, script)))
