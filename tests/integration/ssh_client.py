"""Runs scripts over kept connections, and tells of their results."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

from lmm.model import Limits, Result, Target
from lmm.scope import Scope
from lmm.testing import carry
from lmm.transports import TransportPool
from tests.support.invocations import invocation

ANSWER = 'echo \'{"payload":{"result":"success","output_data":{}}}\''


class Client:
    """Runs scripts over kept connections."""

    def __init__(self) -> None:
        self.pool = TransportPool()
        self.scope = Scope()

    def run(self, *targets: Target, script: str = ANSWER, timeout_s: float = 20) -> list[Result]:
        limits = Limits(timeout_s=timeout_s, grace_s=3)
        jobs = [invocation(target, script, limits=limits) for target in targets]
        return carry(jobs, self.pool.get, scope=self.scope, concurrency=64)

    def one(self, target: Target, **options: Any) -> Result:
        (result,) = self.run(target, **options)
        return result


def told(result: Result) -> tuple[str, str]:
    assert result.reason, result
    return str(result.outcome), result.reason


def with_ssh(target: Target, **settings: Any) -> Target:
    return replace(target, ssh=replace(target.ssh, **settings))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
