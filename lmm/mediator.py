"""Carries invocations over a transport and gives one result for each, whatever happens.

Retries are decided here and only for faults that the code table calls safe: those before the
script was sent. Where a connection broke later and the host keeps a receipt, the host is asked.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lmm import files, shortage
from lmm.errors import (
    GREETING,
    Cancelled,
    ConnectionLost,
    HostError,
    InternalError,
    RuneError,
    Unreachable,
)
from lmm.failures import failure
from lmm.job import MediatedJob
from lmm.model import Invocation, OnDisconnect, Outcome, Result, SshSettings
from lmm.scope import Scope
from lmm.transports.base import Transport

if TYPE_CHECKING:
    import tenacity

TargetEventSink = Callable[[str, str, Mapping[str, Any]], None]  # target, kind, data
RETRY_WAIT_S = 5.0
# What a result says that is not the host's word: it has to be asked whether that is so.
_UNSURE = (Outcome.LOST, Outcome.CANCELLED, Outcome.TIMED_OUT)
_PROVIDING = threading.BoundedSemaphore(4)  # calls that send large files, which are held in memory


def mediate(
    transport: Transport,
    invocations: Sequence[Invocation],
    *,
    scope: Scope,
    on_event: TargetEventSink,
    on_result: Callable[[Result], None],
) -> None:
    """Run the invocations, at most ``transport.batch_size``, and hand over each result once.

    Blocks until all have ended; results come from any thread, as soon as each is known. A further
    attempt of an invocation has the next number. Those with an ``inquiry`` are only asked for:
    their result is what the host says, ``unreachable`` with the reason ``never_started`` where it
    has not started them and, from then on, never will.
    """
    lost: list[MediatedJob] = []
    tries = _Tries(time.monotonic())
    waiting = _attempt(transport, invocations, tries, scope, on_event, on_result, lost)
    if waiting:

        def next_attempt() -> list[Invocation]:
            nonlocal waiting
            tries.number += 1
            again = [_next(invocation) for invocation in waiting]
            waiting = _attempt(transport, again, tries, scope, on_event, on_result, lost)
            return waiting

        # a refusal under load (MaxStartups) is over as soon as others are through
        scope.wait(0.05)
        _retrying(scope, multiplier=0.25)(next_attempt)
    if lost:
        _reconcile(transport, lost, scope, on_event, on_result)


def _retrying(scope: Scope, **wait: float) -> tenacity.Retrying:
    """Call again, after growing waits that a cancel ends, while the answer is not empty."""
    import tenacity

    def pause(seconds: float) -> None:
        scope.wait(seconds)

    return tenacity.Retrying(
        wait=tenacity.wait_random_exponential(**wait, max=RETRY_WAIT_S),
        retry=tenacity.retry_if_result(bool),
        sleep=pause,
    )


@dataclass(slots=True)
class _Tries:
    """How many attempts there were, with the one under way, and when the first began."""

    began: float
    number: int = 1

    def may_help(self, result: Result, ssh: SshSettings) -> bool:
        """Whether to try again what ended so: as often as is allowed, and what was refused under
        load for as long as a host may take to greet."""
        error = result.error
        if result.outcome is not Outcome.UNREACHABLE or error is None:
            return False
        if not error["error_context"]["retry_recommended"] or ssh.connect_attempts == 1:
            return False
        if self.number < ssh.connect_attempts:
            return True
        was_refused = result.problem["data"].items() >= GREETING.items()
        return was_refused and time.monotonic() < self.began + ssh.banner_timeout_s


def _attempt(
    transport: Transport,
    invocations: Sequence[Invocation],
    tries: _Tries,
    scope: Scope,
    on_event: TargetEventSink,
    on_result: Callable[[Result], None],
    lost: list[MediatedJob],
    *,
    provided: bool = False,
) -> list[Invocation]:
    """Run one attempt; return those to try again, after handing over all other results.

    The jobs whose hosts are still to be asked what became of them are added to ``lost``. Hosts that
    want files get them, unless they are ``provided`` already.
    """
    again: list[Invocation] = []
    without_files: list[Invocation] = []

    def settled(job: MediatedJob) -> None:
        result = job.result
        if job.wants_files and not provided:
            without_files.append(job.invocation)
        elif job.undecided and (result.outcome in _UNSURE or (job.stopping and _runs_on(job))):
            lost.append(job)
        elif not scope.cancelled and tries.may_help(result, job.invocation.target.ssh):
            again.append(job.invocation)
        elif job.invocation.inquiry and not (job.decided or job.stopping):
            on_result(_not_asked(result, job.invocation))
        else:
            on_result(result)

    jobs = []
    for invocation in invocations:
        if scope.cancelled:
            error = Cancelled("cancelled", "cancelled by the operator before it was started")
            result = failure(invocation, error)
            on_result(_not_asked(result, invocation) if invocation.inquiry else result)
            continue
        sink = functools.partial(on_event, invocation.target.name)
        try:
            jobs.append(MediatedJob(invocation, scope, sink, settled))
        except MemoryError as error:  # one target's, and nothing of it was sent
            on_result(failure(invocation, shortage.fault(error, "send the plugin")))
    _carry(transport, jobs)
    if without_files:
        ready = _provide(transport, without_files, scope, on_result)
        again += _attempt(transport, ready, tries, scope, on_event, on_result, lost, provided=True)
    return again


def _provide(
    transport: Transport,
    invocations: Sequence[Invocation],
    scope: Scope,
    on_result: Callable[[Result], None],
) -> list[Invocation]:
    """Have the hosts keep the files of the invocations' plugins; return those that now do.

    The others get their results.
    """
    ready = list(invocations)

    def settled(job: MediatedJob, *, wanting: Invocation) -> None:
        if not job.result.ok:
            ready.remove(wanting)
            on_result(_not_kept(wanting, job.result))

    for number in range(max(len(files.kept(one.script)) for one in invocations)):
        jobs = []
        for one in list(ready):
            if number < len(large := files.kept(one.script)):
                done = functools.partial(settled, wanting=one)
                putting = files.upload(one, large[number])
                jobs.append(MediatedJob(putting, scope, _nobody, done))
        with _PROVIDING:
            _carry(transport, jobs)
    return ready


def _nobody(kind: str, data: Mapping[str, Any]) -> None:
    """Tell nobody of what happens while a file is sent."""


def _not_kept(invocation: Invocation, result: Result) -> Result:
    """Return the result of one whose host has not got a file: nothing of its plugin has run."""
    if result.outcome in (Outcome.UNREACHABLE, Outcome.CANCELLED):
        return replace(result, plugin=invocation.plugin)
    words = f"the host has not kept the plugin's files: {result.message}"
    error: RuneError = HostError("files_not_kept", words, cause=result.problem)
    if result.outcome is Outcome.LOST:
        error = Unreachable("connection_reset", words, cause=result.problem)
    return failure(invocation, error, duration_s=result.duration_s)


def _not_asked(result: Result, invocation: Invocation) -> Result:
    """Return the result of one whose host could not be asked, for the reason in ``result``."""
    why = f"the host could not be asked what became of it: {result.message}"
    error = ConnectionLost("host_not_asked", why, cause=result.problem)
    return failure(invocation, error, duration_s=result.duration_s)


def _runs_on(job: MediatedJob) -> bool:
    return job.invocation.on_disconnect is OnDisconnect.CONTINUE


@dataclass(slots=True, eq=False)
class _Lost:
    """A job whose connection broke, the last of those that have heard from its host, and until
    when to ask it."""

    job: MediatedJob
    last: MediatedJob
    until: float

    @classmethod
    def of(cls, job: MediatedJob) -> _Lost:
        now = time.monotonic()
        end = max(job.deadline, now) if _runs_on(job) else now
        return cls(job, job, end + job.invocation.limits.grace_s)


def _reconcile(
    transport: Transport,
    jobs: Sequence[MediatedJob],
    scope: Scope,
    on_event: TargetEventSink,
    on_result: Callable[[Result], None],
) -> None:
    """Ask the hosts what became of the jobs, and hand over each result.

    A plugin that runs on is asked for until its deadline and grace have passed; one that the run
    no longer wants is to be killed, and asked for until the grace has passed.
    """
    lost = [_Lost.of(job) for job in jobs]
    unwanted = [one for one in lost if one.job.result.outcome is not Outcome.LOST]
    silent = [one for one in lost if one not in unwanted]
    silent = _ask(transport, silent, scope, on_event, on_result, kill=False)
    if scope.cancelled:
        unwanted += [one for one in silent if _runs_on(one.job)]
        silent = [one for one in silent if one not in unwanted]
    for one in unwanted:
        one.until = time.monotonic() + one.job.invocation.limits.grace_s
    silent += _ask(transport, unwanted, Scope(), on_event, on_result, kill=True)
    for one in silent:
        on_result(one.job.result)


def _ask(
    transport: Transport,
    lost: Sequence[_Lost],
    scope: Scope,
    on_event: TargetEventSink,
    on_result: Callable[[Result], None],
    *,
    kill: bool,
) -> list[_Lost]:
    """Ask until all have answered, their time is over or the scope is cancelled.

    Returns those that have not answered.
    """
    waiting = list(lost)

    def settled(asked: MediatedJob, *, one: _Lost) -> None:
        one.last = asked
        if asked.decided:
            waiting.remove(one)
            never_ran = asked.result.outcome is Outcome.UNREACHABLE
            on_result(one.job.result if kill and never_ran else asked.result)

    def next_round() -> list[_Lost]:
        asked = []
        for one in waiting:
            invocation = one.job.invocation
            inquiry = replace(invocation, inquiry=one.job.inquiry(kill))
            sink = functools.partial(on_event, invocation.target.name)
            done = functools.partial(settled, one=one)
            asked.append(MediatedJob(inquiry, scope, sink, done, earlier=one.last))
        _carry(transport, asked)
        now = time.monotonic()
        return [] if scope.cancelled else [one for one in waiting if now < one.until]

    if waiting and not scope.cancelled:
        _retrying(scope, multiplier=0.5)(next_round)
    return waiting


def _carry(transport: Transport, jobs: Sequence[MediatedJob]) -> None:
    """Have the transport run the jobs; all are settled when this returns."""
    try:
        transport.run(jobs)
    except RuneError as error:
        for job in jobs:
            job.fail(error)
    except Exception as error:
        for job in jobs:
            job.broke(error)
    for job in jobs:
        if not job.settled:
            job.fail(InternalError("internal_error", f"{transport.name} left a job unsettled"))


def _next(invocation: Invocation) -> Invocation:
    """Return the invocation as its next attempt, which its message says too."""
    if invocation.inquiry:
        return invocation
    attempt = invocation.attempt + 1
    payload = invocation.message["payload"]
    context = {**payload["context"], "attempt": attempt}
    message = {**invocation.message, "payload": {**payload, "context": context}}
    return replace(invocation, attempt=attempt, message=message)
