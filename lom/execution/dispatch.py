"""Brings the targets of a run to their results: when each may start, and what is tried again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from lmm.envelope import build_message
from lmm.errors import ConnectionLost, HostError, RuneError
from lmm.fanout import Call, make_calls
from lmm.model import Inquiry, Invocation, Limits, OnDisconnect, Result, Script
from lmm.receipts import message_ids, receipt_key
from lmm.scope import Scope
from lmm.shortage import fault, wanting
from lmm.transports import Transport, TransportPool
from lom.execution.events import EventStream
from lom.execution.limits import RunLimits
from lom.execution.locks import CHANGING, Locks, Taken
from lom.execution.paired_transport import PairedTransport
from lom.execution.queue import TargetQueue, TargetState
from lom.execution.results import not_run
from lom.execution.retries import is_left_undone, is_worth_retrying, wait_s
from lom.execution.slots import Slots
from lom.planning.options import timeout_of
from lom.planning.pairs import CLIENT, PEER, PORT, ROLE, SERVER
from lom.planning.plan import Plan, Step
from lom.registry.manifest import Plugin
from lom.settings.values import WAIT

if TYPE_CHECKING:
    from lom.ledger.records import Started
    from lom.ledger.store import Recorder

# How long until a lock that another run has is tried again: a share of the time that the target
# has waited already, so that many that wait for long cost little.
_TRY_SHARE, _TRY_MIN_S, _TRY_MAX_S = 0.25, 0.05, 5.0


@dataclass(eq=False, repr=False)
class Dispatch:
    """Carries steps of a plan out. A target that has to wait takes no place from the others.

    ``deliver`` gets one result for each target, from many threads. ``locks`` are None where no
    step changes its host. ``slots``, which the run has joined as ``scope``, are left on a cancel.
    ``started`` are the targets that an earlier process has started: their hosts are asked first.
    """

    plan: Plan
    scripts: Mapping[Plugin, Script]
    transports: TransportPool
    scope: Scope
    limits: RunLimits
    events: EventStream
    recorder: Recorder | None
    locks: Locks | None
    slots: Slots
    deliver: Callable[[Result], None]
    started: Mapping[str, Started]
    _queue: TargetQueue = field(init=False)
    _by_name: dict[str, TargetState] = field(default_factory=dict)

    def carry_out(self, steps: Sequence[Step]) -> None:
        """Carry steps out that can run; return when each has its result."""
        self._queue = queue = TargetQueue(self.transports.get)
        found = sorted(map(self._state, steps), key=lambda state: state.asks is None)
        for state in found:  # what may still run comes first, and has its host
            self._by_name[state.name] = state
            queue.add(state)
        self.scope.add(queue, queue.hurry)
        try:
            make_calls(
                self._calls,
                threads=min(self.plan.concurrency, len(queue)),
                scope=self.scope,
                on_event=lambda target, kind, data: self.events.emit(kind, target, data),
                on_result=self._take_result,
            )
        finally:
            self.scope.remove(queue)

    def _state(self, step: Step) -> TargetState:
        before = self.started.get(step.target.name)
        if before is None:
            return TargetState(step)
        if before.over:
            return TargetState(step, attempt=before.attempt + 1, starts=before.starts)
        asks = Inquiry(before.age_s, heard=before.heard)
        return TargetState(step, attempt=before.attempt, starts=before.starts, asks=asks)

    # -- before a start ------------------------------------------------------------------------

    def _calls(self) -> Iterator[Call]:
        """Yield the calls that one thread makes; it comes back when a call has ended."""
        while (batch := self._queue.take()) is not None:
            transport, states = batch
            try:
                with self.slots.place(self.scope, self.limits.left()):
                    if call := self._call(transport, self._start(states)):
                        yield call
            finally:
                self._queue.done()

    def _start(self, states: Sequence[TargetState]) -> list[TargetState]:
        """Return those targets that start now; all is noted that has to be."""
        refusal = None if self.scope.cancelled else self.limits.refusal()
        chosen = []
        for state in states:
            try:
                if self._may_start(state, refusal):
                    chosen.append(state)
            except Exception as error:
                self._finish(state, self._not_started(state, error))
        if not self.scope.cancelled:
            for state in chosen:
                state.starts += state.asks is None
                plugin = state.step.plugin and state.step.plugin.name
                data = {"plugin": plugin, "attempt": state.attempt}
                kind = "target.asked" if state.asks else "target.started"
                self.events.emit(kind, state.name, data)
            started = [state.name for state in chosen if not state.asks]
            if self.recorder is not None and started:
                self.recorder.starting(started)
        return chosen

    def _call(self, transport: Transport, states: Sequence[TargetState]) -> Call | None:
        """Return the call that carries the targets; None if it cannot be made, or for none."""
        if not states:
            return None
        try:
            return self._carrier(transport, states), [
                self._invocation_of(state) for state in states
            ]
        except Exception as error:
            for state, result in [(state, self._not_started(state, error)) for state in states]:
                self._finish(state, result)
        return None

    def _not_started(self, state: TargetState, error: Exception) -> Result:
        """Return the result of a target that this machine could not start. Raises what is a bug."""
        if not isinstance(error, RuneError):
            if not wanting(error):
                raise error
            error = fault(error, "start it")
        if state.asks:
            words = f"the host could not be asked what became of it: {error.message}"
            error = ConnectionLost("host_not_asked", words)
        return state.last or not_run(self.plan, state.step, error)

    def _carrier(self, transport: Transport, states: Sequence[TargetState]) -> Transport:
        """Return what carries the targets: the transport, or that with the servers they call."""
        servers = {}
        for state in states:
            if (pair := state.step.pair) and not state.asks:
                serve = replace(
                    state.step,
                    target=pair.server.target,
                    plugin=pair.server.plugin,
                    capability=pair.server.capability,
                    pair=None,
                )
                port = {ROLE: SERVER, PORT: pair.port}
                invocation = self._invocation_of(TargetState(serve, state.attempt), port)
                invocation = replace(invocation, receipt=None, on_disconnect=OnDisconnect.KILL)
                servers[state.name] = (self.transports.get(serve.target.transport), [invocation])
        return PairedTransport(transport, servers) if servers else transport

    def _may_start(self, state: TargetState, refusal: RuneError | None) -> bool:
        if self.scope.cancelled:
            if state.last is None or state.asks:
                return True  # mediation words what was cancelled before it was started
            self._finish(state, state.last)
            return False
        if refusal is not None and not state.asks:
            self._give_up(state, refusal)
            return False
        return self._has_host(state)

    def _has_host(self, state: TargetState) -> bool:
        """Tell whether the target's host is free for it, and lock it if its action changes it."""
        locks, options = self.locks, self.plan.options
        assert state.step.capability
        if locks is None or state.step.capability.risk not in CHANGING:
            return True
        taken = locks.take(state)
        if taken is Taken.YES:
            state.locked_since = None
            return True
        if taken is Taken.BEHIND:
            self._tell_waiting(state, self.plan.run_id)
            return False
        if state.asks:
            return True  # it was started long ago, and to ask changes nothing
        now = time.monotonic()
        if state.locked_since is None:
            state.locked_since = now
            if options.on_locked == WAIT:
                self._tell_waiting(state, locks.holder(state))
        waited_s = now - state.locked_since
        left_s = options.lock_timeout_s - waited_s if options.on_locked == WAIT else 0.0
        if left_s <= 0:
            self._give_up(state, _locked(locks.holder(state), waited_s))
        else:
            pause_s = min(max(_TRY_MIN_S, _TRY_SHARE * waited_s), _TRY_MAX_S, left_s)
            self._hand_on(state)
            self._queue.add(state, self.limits.cut(pause_s))
        return False

    def _tell_waiting(self, state: TargetState, holder: str | None) -> None:
        self.events.emit(
            "target.waiting", state.name, {"reason": "target_locked", "holder": holder}
        )

    def _invocation_of(
        self, state: TargetState, more: Mapping[str, Any] = MappingProxyType({})
    ) -> Invocation:
        """Return a target's invocation, with parameters that are the orchestrator's to give."""
        plan, options, step = self.plan, self.plan.options, state.step
        assert step.plugin
        assert step.capability
        timeout = timeout_of(step.capability, options.timeout_s)
        if not state.asks:
            timeout = max(0.001, self.limits.cut(timeout))
        on_disconnect = options.on_disconnect or step.capability.on_disconnect
        if pair := step.pair:
            more = {ROLE: CLIENT, PEER: pair.address, PORT: pair.port}
        key = receipt_key(plan.run_id, state.name, state.starts)
        ids = message_ids(key)
        return Invocation(
            run_id=plan.run_id,
            target=step.target,
            action=plan.action,
            plugin=step.plugin.name,
            script=self.scripts[step.plugin],
            message=build_message(
                action=plan.action,
                target=state.name,
                run_id=plan.run_id,
                input_parameters={**plan.params, **more},
                timeout_s=timeout,
                attempt=state.attempt,
                trace_id=plan.request["observability"]["trace_id"],
                correlation_id=plan.request["message_metadata"]["message_id"],
                message_id=ids["message_id"],
                span_id=ids["span_id"],
            ),
            output_schema=step.capability.output_schema,
            write_only=plan.secret_params,
            limits=Limits(timeout, options.max_stdout, options.max_stderr),
            attempt=state.attempt,
            # who keeps no record of the run cannot ask for what became of it later
            receipt=key if self.recorder or on_disconnect is OnDisconnect.CONTINUE else None,
            on_disconnect=on_disconnect,
            inquiry=state.asks,
        )

    # -- after an attempt ----------------------------------------------------------------------

    def _take_result(self, result: Result) -> None:
        state = self._by_name[result.target]
        pause_s = self._pause_before_retry(state, result)
        state.asks = None
        if pause_s is None:
            self._finish(state, result)
        else:
            self._retry(state, result, pause_s)
        if self.recorder is not None:
            self.recorder.settle()  # the host removes what it has kept when this returns

    def _retry(self, state: TargetState, result: Result, pause_s: float) -> None:
        state.last, state.attempt = result, result.attempt + 1
        self._hand_on(state)
        self.events.emit(
            "target.retrying",
            state.name,
            {
                "attempt": result.attempt,
                "outcome": str(result.outcome),
                "error": result.error,
                "wait_s": round(pause_s, 3),
            },
        )
        self._queue.add(state, pause_s)

    def _pause_before_retry(self, state: TargetState, result: Result) -> float | None:
        """Return how long to wait before the target is tried again; None if it is not to be."""
        options = self.plan.options
        assert state.step.capability
        was_left = state.asks is not None and is_left_undone(result)
        if self.scope.cancelled or (state.starts > options.retries and not was_left):
            return None
        if not is_worth_retrying(result, state.step.capability.retry_safe):
            return None
        pause_s = 0.0 if was_left else wait_s(options.retry_wait_s, state.starts)
        if self.limits.refusal() is not None or self.limits.cut(pause_s) < pause_s:
            return None
        return pause_s

    def _give_up(self, state: TargetState, why: RuneError) -> None:
        """Start the target no more: its last result counts, if it has one."""
        self._finish(state, state.last or not_run(self.plan, state.step, why))

    def _finish(self, state: TargetState, result: Result) -> None:
        self._hand_on(state)
        self.deliver(result)

    def _hand_on(self, state: TargetState) -> None:
        """Leave the target's host to the one that waits behind it."""
        if self.locks is not None and (heir := self.locks.let_go(state)) is not None:
            self._queue.add(heir)


def _locked(holder: str | None, waited_s: float) -> HostError:
    who = f"the run {holder}" if holder else "another run"
    waited = f"; waited {waited_s:.0f} s for it" if waited_s >= 1 else ""
    return HostError(
        "target_locked", f"not started: {who} is at work on this host{waited}", holder=holder
    )
