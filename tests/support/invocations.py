"""Invocations of a script, and carrying them out together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lmm.envelope import build_message
from lmm.fanout import fan_out
from lmm.model import Invocation, Limits, Result, Script, Target
from lmm.scope import Scope
from lmm.transports import TransportPool

TRACE = "1" * 32


def invocation(
    target: Target,
    script: str | bytes | Script,
    params: Mapping[str, Any] | None = None,
    *,
    limits: Limits = Limits(timeout_s=20),
    **fields: Any,
) -> Invocation:
    """Return the invocation of a script, by default a bash plugin, on a target."""
    if not isinstance(script, Script):
        script = Script("plugin", script.encode() if isinstance(script, str) else script)
    message = build_message(
        action="test.run",
        target=target.name,
        run_id="run-1",
        input_parameters=params or {},
        timeout_s=limits.timeout_s,
        trace_id=TRACE,
    )
    return Invocation("run-1", target, "test.run", "test", script, message, limits=limits, **fields)


def carry(
    invocations: Sequence[Invocation],
    pool: TransportPool,
    *,
    scope: Scope | None = None,
    concurrency: int = 16,
    on_event: Callable[[str, str, Mapping[str, Any]], None] = lambda target, kind, data: None,
) -> list[Result]:
    """Carry invocations out at the same time; return a result for each, as they came."""
    results: list[Result] = []
    fan_out(
        invocations,
        pool.get,
        concurrency=concurrency,
        scope=scope or Scope(),
        may_start=lambda batch: True,
        on_event=on_event,
        on_result=results.append,
    )
    assert len(results) == len(invocations)
    return results
