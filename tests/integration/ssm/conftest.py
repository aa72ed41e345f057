"""A fleet under AWS Systems Manager, carried to by the ``ssm`` transport as a run does it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from lmm.envelope import build_message
from lmm.fanout import fan_out
from lmm.model import Invocation, Limits, Result, Script, SsmSettings, Target
from lmm.scope import Scope
from lmm.testing.aws import FakeAws
from lmm.transports import TransportPool

OK = """printf '{"payload":{"result":"success","output_data":{"pid":%s}}}' $$"""


class Fleet:
    """Targets ``node1``, ``node2``, … over the instances of an account."""

    def __init__(self, account: FakeAws, pool: TransportPool) -> None:
        self.account = account
        self.pool = pool
        self.scope = Scope()
        self.events: list[tuple[str, str, Mapping[str, Any]]] = []

    def invocations(
        self,
        script: str | bytes = OK,
        params: Mapping[str, Any] | None = None,
        *,
        instances: list[str] | None = None,
        ssm: SsmSettings = SsmSettings(),
        limits: Limits = Limits(timeout_s=20),
        interpreter: tuple[str, ...] = ("bash",),
        **fields: Any,
    ) -> list[Invocation]:
        content = script.encode() if isinstance(script, str) else script
        made = []
        for number, instance in enumerate(instances or self.account.instance_ids):
            target = Target(f"node{number + 1}", host=instance, transport="ssm", ssm=ssm)
            message = build_message(
                action="test.run",
                target=target.name,
                run_id="run-1",
                input_parameters=params or {},
                timeout_s=limits.timeout_s,
                trace_id="1" * 32,
            )
            plugin = Script("plugin", content, interpreter)
            made.append(
                Invocation(
                    "run-1", target, "test.run", "test", plugin, message, limits=limits, **fields
                )
            )
        return made

    def carry(self, invocations: list[Invocation]) -> dict[str, Result]:
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
            on_event=lambda target, kind, data: self.events.append((target, kind, data)),
            on_result=deliver,
        )
        assert len(results) == len(invocations)
        return {result.target: result for result in results}

    def run(self, *args: Any, **fields: Any) -> dict[str, Result]:
        return self.carry(self.invocations(*args, **fields))

    def one(self, *args: Any, **fields: Any) -> Result:
        """Run on the first instance alone."""
        first = self.account.instance_ids[:1]
        return self.run(*args, **{"instances": first, **fields})["node1"]


def reason(result: Result) -> str:
    assert result.error is not None, result.output_data
    return str(result.error["error_data"]["error"]["data"]["reason"])


def text(result: Result) -> str:
    assert result.error is not None
    return str(result.error["error_data"]["error"]["message"])


@pytest.fixture
def fleet_of() -> Iterator[Callable[[FakeAws], Fleet]]:
    """Makes the fleet of an account that is running."""
    with contextlib.ExitStack() as stack:

        def make(account: FakeAws) -> Fleet:
            os.environ.update(account.environment)
            pool = TransportPool()
            stack.callback(pool.close)
            return Fleet(account, pool)

        yield make
