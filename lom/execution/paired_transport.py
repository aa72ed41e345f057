"""A transport whose jobs are clients: it starts each one's server first, and ends it after."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from lmm.errors import HostError
from lmm.fanout import Call
from lmm.mediator import mediate
from lmm.model import Invocation, Result
from lmm.scope import Scope
from lmm.transports.base import Job, Transport

LISTENS_S = 20.0  # until a server says that it listens; then its client calls all the same
ENDS_S = 2.0  # until a server has ended after its client; then it is cancelled


class PairedTransport:
    """``clients`` is the transport of the jobs; ``servers`` are the calls of their servers, by the
    name of the client. A server has no result of its own: what is wrong with it is its client's."""

    name: ClassVar[str] = "pair"
    batch_size: ClassVar[int] = 1

    def __init__(self, clients: Transport, servers: Mapping[str, Call]) -> None:
        self._clients = clients
        self._servers = servers

    def run(self, jobs: Sequence[Job]) -> None:
        servers = {}
        for job in jobs:
            if job.invocation.script.inline:
                continue  # a file of the plugin on its way, no client yet
            transport, [invocation] = self._servers[job.invocation.target.name]
            servers[job] = server = _Server(transport, invocation)
            job.on_cancel(server.scope.cancel)
        try:
            ready = [job for job in jobs if job not in servers or _has_server(job, servers[job])]
            if ready:
                self._clients.run(ready)
        finally:
            for server in servers.values():
                server.end()

    def close(self) -> None:
        """The transports are the run's to close."""


class _Server:
    """One server in a thread of its own, which is there from now on."""

    def __init__(self, transport: Transport, invocation: Invocation) -> None:
        self.name = invocation.target.name
        self.scope = Scope()
        self.listens = threading.Event()
        self.result: Result | None = None
        self._thread = threading.Thread(
            target=self._work, args=(transport, invocation), name="rune-server", daemon=True
        )
        self._thread.start()

    def _work(self, transport: Transport, invocation: Invocation) -> None:
        try:
            mediate(
                transport,
                [invocation],
                scope=self.scope,
                on_event=self._hear,
                on_result=self._take,
            )
        finally:
            self.listens.set()

    def _hear(self, target: str, kind: str, data: Mapping[str, Any]) -> None:
        if kind == "progress":
            self.listens.set()

    def _take(self, result: Result) -> None:
        self.result = result

    def end(self) -> None:
        self._thread.join(ENDS_S)
        if self._thread.is_alive():
            self.scope.cancel()
            self._thread.join()


def _has_server(job: Job, server: _Server) -> bool:
    """Wait until the server listens; fail the job where it has ended instead."""
    server.listens.wait(LISTENS_S)
    ended = server.result
    if ended is None:
        return True
    words = f"its server {server.name} ended before it was called: {ended.message or 'ok'}"
    job.fail(HostError("pair_failed", words, cause=ended.problem))
    return False
