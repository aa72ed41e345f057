"""Invocations of a script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmm.envelope import build_message
from lmm.model import Invocation, Limits, Script, Target

TRACE = "1" * 32
# A program that carries out the pickled invocations of a file.
CARRY = """\
import pickle, sys
from lmm.testing import carry
from lmm.transports import TransportPool
jobs = pickle.loads(open(sys.argv[1], "rb").read())
carry(jobs, TransportPool().get, concurrency=32)
"""


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
