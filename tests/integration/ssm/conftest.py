"""A fleet under AWS Systems Manager, carried to by the ``ssm`` transport as a run does it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from lmm.model import Invocation, Result, Script, SsmSettings, Target
from lmm.scope import Scope
from lmm.testing import carry
from lmm.testing.aws import FakeAws
from lmm.transports import TransportPool
from tests.support.invocations import invocation

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
        seen: str | None = None,
        interpreter: tuple[str, ...] = ("bash",),
        **fields: Any,
    ) -> list[Invocation]:
        content = script.encode() if isinstance(script, str) else script
        made = []
        for number, instance in enumerate(instances or self.account.instance_ids):
            target = Target(f"node{number + 1}", host=instance, transport="ssm", ssm=ssm, seen=seen)
            plugin = Script("plugin", content, interpreter)
            made.append(invocation(target, plugin, params, **fields))
        return made

    def carry(self, invocations: list[Invocation]) -> dict[str, Result]:
        results = carry(
            invocations,
            self.pool.get,
            scope=self.scope,
            on_event=lambda target, kind, data: self.events.append((target, kind, data)),
        )
        return {result.target: result for result in results}

    def run(self, *args: Any, **fields: Any) -> dict[str, Result]:
        return self.carry(self.invocations(*args, **fields))

    def one(self, *args: Any, **fields: Any) -> Result:
        """Run on the first instance alone."""
        first = self.account.instance_ids[:1]
        return self.run(*args, **{"instances": first, **fields})["node1"]


def text(result: Result) -> str:
    return result.message


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
