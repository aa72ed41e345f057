"""The result of a target that ended with an error, whether its plugin ran or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmm import eps
from lmm.errors import (
    Cancelled,
    ConnectionLost,
    OutputError,
    RuneError,
    TimedOut,
    Unreachable,
)
from lmm.model import Invocation, Outcome, Result
from lmm.redact import redactor_of

_OUTCOMES: tuple[tuple[type[RuneError], Outcome], ...] = (
    (Unreachable, Outcome.UNREACHABLE),
    (ConnectionLost, Outcome.LOST),
    (OutputError, Outcome.INVALID_OUTPUT),
    (TimedOut, Outcome.TIMED_OUT),
    (Cancelled, Outcome.CANCELLED),
)


def outcome_of(error: RuneError) -> Outcome:
    """Return the outcome that an error means for its target."""
    return next((out for kind, out in _OUTCOMES if isinstance(error, kind)), Outcome.FAILED)


def failed_result(
    error: RuneError,
    *,
    target: str,
    action: str,
    plugin: str | None,
    observability: Mapping[str, str],
    outcome: Outcome | None = None,
    **fields: Any,
) -> Result:
    """Return the result of a target that ended with ``error``, run or not."""
    document = eps.document(
        error,
        trace_id=observability["trace_id"],
        span_id=observability["span_id"],
        subject={"action": action, "plugin": plugin or "", "target": target},
    )
    return Result(target, outcome or outcome_of(error), error=document, plugin=plugin, **fields)


def failure(invocation: Invocation, error: RuneError, **fields: Any) -> Result:
    """Return the result of an invocation that ended with ``error``, without its secrets."""
    return failed_result(
        redactor_of(invocation).error(error),
        target=invocation.target.name,
        action=invocation.action,
        plugin=invocation.plugin,
        observability=invocation.message["observability"],
        **{"attempt": invocation.attempt, **fields},
    )
