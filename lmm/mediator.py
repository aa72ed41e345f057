"""Carries invocations over a transport and gives one result for each, whatever happens.

Retries are decided here and only for faults that the code table calls safe: those before the
script was sent.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lmm.errors import Cancelled, InternalError, RuneError
from lmm.job import MediatedJob, Scope, failure
from lmm.model import Invocation, Outcome, Result
from lmm.transports.base import Transport

TargetEventSink = Callable[[str, str, Mapping[str, Any]], None]  # target, kind, data
RETRY_WAIT_S = 5.0


def mediate(
    transport: Transport,
    invocations: Sequence[Invocation],
    *,
    scope: Scope,
    on_event: TargetEventSink,
    on_result: Callable[[Result], None],
) -> None:
    """Run the invocations, at most ``transport.batch_size``, and hand over each result once.

    Blocks until all have ended; results come from any thread, as soon as each is known.
    """
    again = _attempt(transport, invocations, 1, scope, on_event, on_result)
    if not again:
        return
    import tenacity

    def pause(seconds: float) -> None:
        scope.wait(seconds)

    retrying = tenacity.Retrying(
        wait=tenacity.wait_random_exponential(multiplier=0.25, max=RETRY_WAIT_S),
        retry=tenacity.retry_if_result(bool),
        sleep=pause,
    )
    numbers = iter(range(2, 1 + max(i.target.ssh.connect_attempts for i in again)))
    waiting = again

    def next_attempt() -> list[Invocation]:
        nonlocal waiting
        waiting = _attempt(transport, waiting, next(numbers), scope, on_event, on_result)
        return waiting

    scope.wait(0.05)  # a refusal under load (MaxStartups) is over as soon as others are through
    retrying(next_attempt)


def _attempt(
    transport: Transport,
    invocations: Sequence[Invocation],
    attempt: int,
    scope: Scope,
    on_event: TargetEventSink,
    on_result: Callable[[Result], None],
) -> list[Invocation]:
    """Run one attempt; return those to try again, after handing over all other results."""
    again: list[Invocation] = []

    def settled(job: MediatedJob) -> None:
        result = job.result
        if (
            result.outcome is Outcome.UNREACHABLE
            and result.error
            and result.error["error_context"]["retry_recommended"]
            and attempt < job.invocation.target.ssh.connect_attempts
            and not scope.cancelled
        ):
            again.append(job.invocation)
        else:
            on_result(result)

    jobs = []
    for invocation in invocations:
        numbered = _numbered(invocation, attempt)
        if scope.cancelled:
            error = Cancelled("cancelled", "cancelled by the operator before it was started")
            on_result(failure(numbered, error))
            continue
        sink = functools.partial(on_event, invocation.target.name)
        jobs.append(MediatedJob(numbered, scope, sink, settled))
    try:
        transport.run(jobs)
    except RuneError as error:
        for job in jobs:
            job.fail(error)
    except Exception as error:
        for job in jobs:
            job.fail(_internal(error))
    for job in jobs:
        if not job.settled:
            job.fail(InternalError("internal_error", f"{transport.name} left a job unsettled"))
    return again


def _numbered(invocation: Invocation, attempt: int) -> Invocation:
    """Return the invocation as this attempt's, which its message says too."""
    if attempt == invocation.attempt:
        return invocation
    payload = invocation.message["payload"]
    context = {**payload["context"], "attempt": attempt}
    message = {**invocation.message, "payload": {**payload, "context": context}}
    return replace(invocation, attempt=attempt, message=message)


def _internal(error: Exception) -> InternalError:
    problem = InternalError("internal_error", f"{type(error).__name__}: {error}")
    problem.__cause__ = error
    return problem
