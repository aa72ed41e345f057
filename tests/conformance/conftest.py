"""The conformance suite's hosts: the same tests run over every transport, on real processes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from lmm.envelope import build_message
from lmm.fanout import fan_out
from lmm.job import Scope
from lmm.model import Invocation, Limits, Result, Script, SsmSettings, Target
from lmm.testing import Sshd
from lmm.testing.aws import FakeAws
from lmm.transports import TransportPool, disconnect

SUCCESS = '{"payload":{"result":"success","output_data":%s}}'


@dataclass
class Host:
    """One target over one transport; ``run`` is a whole mediation of one script on it."""

    target: Target
    pool: TransportPool
    events: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    scope: Scope = field(default_factory=Scope)
    dies_within_s: float = 0.5  # what was killed is gone so soon after the result that says so

    def invocation(
        self,
        script: str | bytes,
        params: Mapping[str, Any] | None = None,
        *,
        interpreter: tuple[str, ...] = ("bash",),
        filename: str = "plugin",
        requires: tuple[str, ...] = (),
        target: Target | None = None,
        limits: Limits = Limits(timeout_s=20),
        **fields: Any,
    ) -> Invocation:
        content = script.encode() if isinstance(script, str) else script
        target = target or self.target
        message = build_message(
            action="test.run",
            target=target.name,
            run_id="run-1",
            input_parameters=params or {},
            timeout_s=limits.timeout_s,
            trace_id="1" * 32,
        )
        return Invocation(
            run_id="run-1",
            target=target,
            action="test.run",
            plugin="test",
            script=Script(filename, content, interpreter, requires),
            message=message,
            limits=limits,
            **fields,
        )

    def carry(self, *invocations: Invocation) -> list[Result]:
        results: list[Result] = []
        lock = threading.Lock()

        def deliver(result: Result) -> None:
            with lock:
                results.append(result)

        fan_out(
            invocations,
            self.pool.get,
            concurrency=16,
            scope=self.scope,
            may_start=lambda batch: True,
            on_event=lambda target, kind, data: self.events.append((kind, data)),
            on_result=deliver,
        )
        return results

    def run(
        self, script: str | bytes, params: Mapping[str, Any] | None = None, **kw: Any
    ) -> Result:
        (result,) = self.carry(self.invocation(script, params, **kw))
        return result

    def cancel_when(self, condition: Callable[[], bool]) -> threading.Thread:
        """Cancel the run as soon as ``condition`` holds (at the latest after 20 s)."""

        def watch() -> None:
            for _ in range(1000):
                if condition() or self.scope.wait(0.02):
                    break
            self.scope.cancel()

        thread = threading.Thread(target=watch)
        thread.start()
        return thread


@pytest.fixture(params=["local", "ssh", "openssh", "ssm"])
def host(request: pytest.FixtureRequest, sshd: Sshd, aws: FakeAws) -> Iterator[Host]:
    """A host over each transport. A new transport adds its name here and inherits every test."""
    pool = TransportPool()
    if request.param == "local":
        target = Target("local", transport="local")
    elif request.param == "ssm":
        os.environ.update(aws.environment)
        settings = SsmSettings(s3_bucket="rune")
        target = Target("node1", host=aws.instance_ids[0], transport="ssm", ssm=settings)
    else:
        target = replace(sshd.target("node1"), transport=request.param)
    # Systems Manager kills only the script around the plugin; the host's guard does the rest.
    yield Host(target, pool, dies_within_s=10.0 if request.param == "ssm" else 0.5)
    pool.close()
    disconnect()  # what openssh keeps for other processes


@pytest.fixture(params=["ssh", "openssh"])
def remote(request: pytest.FixtureRequest, sshd: Sshd) -> Iterator[Host]:
    """A host behind a connection that can break."""
    pool = TransportPool()
    yield Host(replace(sshd.target("node1"), transport=request.param), pool)
    pool.close()
    disconnect()  # what openssh keeps for other processes


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A directory that scripts on the (loopback) host can write to."""
    return tmp_path


@pytest.fixture
def host_factory() -> Iterator[Callable[[Target], Host]]:
    """Makes hosts of a test's own targets."""
    pool = TransportPool()
    yield lambda target: Host(target, pool)
    pool.close()
    disconnect()  # what openssh keeps for other processes
