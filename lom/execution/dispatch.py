"""Brings the targets of a run to their results: when each may start, and what is tried again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
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
from lom.execution.events import Journal
from lom.execution.limits import Gate
from lom.execution.locks import CHANGING, Locks, Taken
from lom.execution.paired_transport import Meeting
from lom.execution.queue import Turn, Turns
from lom.execution.results import not_run
from lom.execution.retries import is_left_undone, is_worth_retrying, wait_s
from lom.execution.slots import Slots
from lom.planning.options import timeout_of
from lom.planning.pairs import CLIENT, PEER, PORT, ROLE, SERVER
from lom.planning.plan import Plan, Step
from lom.registry.manifest import Plugin
from lom.settings.values import WAIT

if TYPE_CHECKING:
    from lom.ledger import Recorder, Started

# How long until a lock that another run has is tried again: a share of the time that the target
# has waited already, so that many that wait for long cost little.
_TRY_SHARE, _TRY_MIN_S, _TRY_MAX_S = 0.25, 0.05, 5.0


class Dispatch:
    """Carries steps of a plan out. A target that has to wait takes no place from the others.

    ``deliver`` gets one result for each target, from many threads. ``locks`` are None where no
    step changes its host. ``slots``, which the run has joined as ``scope``, are left on a cancel.
    ``started`` are the targets that an earlier process has started: their hosts are asked first.
    """

    def __init__(
        self,
        plan: Plan,
        scripts: Mapping[Plugin, Script],
        transports: TransportPool,
        scope: Scope,
        *,
        gate: Gate,
        journal: Journal,
        recorder: Recorder | None,
        locks: Locks | None,
        slots: Slots,
        deliver: Callable[[Result], None],
        started: Mapping[str, Started],
    ) -> None:
        self._plan = plan
        self._scripts = scripts
        self._transports = transports
        self._scope = scope
        self._gate = gate
        self._journal = journal
        self._recorder = recorder
        self._locks = locks
        self._slots = slots
        self._deliver = deliver
        self._started = started
        self._turns = Turns(transports.get)
        self._by_name: dict[str, Turn] = {}

    def carry_out(self, steps: Sequence[Step]) -> None:
        """Carry steps out that can run; return when each has its result."""
        self._turns = turns = Turns(self._transports.get)
        found = sorted(map(self._turn, steps), key=lambda turn: turn.asks is None)
        for turn in found:  # what may still run comes first, and has its host
            self._by_name[turn.name] = turn
            turns.add(turn)
        self._scope.add(turns, turns.hurry)
        try:
            make_calls(
                self._calls,
                threads=min(self._plan.concurrency, len(turns)),
                scope=self._scope,
                on_event=lambda target, kind, data: self._journal.emit(kind, target, data),
                on_result=self._take_result,
            )
        finally:
            self._scope.remove(turns)

    def _turn(self, step: Step) -> Turn:
        before = self._started.get(step.target.name)
        if before is None:
            return Turn(step)
        if before.over:
            return Turn(step, attempt=before.attempt + 1, starts=before.starts)
        asks = Inquiry(before.age_s, heard=before.heard)
        return Turn(step, attempt=before.attempt, starts=before.starts, asks=asks)

    # -- before a start ------------------------------------------------------------------------

    def _calls(self) -> Iterator[Call]:
        """Yield the calls that one thread makes; it comes back when a call has ended."""
        while (lot := self._turns.take()) is not None:
            transport, turns = lot
            try:
                with self._slots.place(self._scope, self._gate.left()):
                    if call := self._call(transport, self._start(turns)):
                        yield call
            finally:
                self._turns.done()

    def _start(self, turns: Sequence[Turn]) -> list[Turn]:
        """Return those targets that start now; all is noted that has to be."""
        refusal = None if self._scope.cancelled else self._gate.refusal()
        chosen = []
        for turn in turns:
            try:
                if self._may_start(turn, refusal):
                    chosen.append(turn)
            except Exception as error:
                self._finish(turn, self._not_started(turn, error))
        if not self._scope.cancelled:
            for turn in chosen:
                turn.starts += turn.asks is None
                plugin = turn.step.plugin and turn.step.plugin.name
                data = {"plugin": plugin, "attempt": turn.attempt}
                kind = "target.asked" if turn.asks else "target.started"
                self._journal.emit(kind, turn.name, data)
            started = [turn.name for turn in chosen if not turn.asks]
            if self._recorder is not None and started:
                self._recorder.starting(started)
        return chosen

    def _call(self, transport: Transport, turns: Sequence[Turn]) -> Call | None:
        """Return the call that carries the turns; None if it cannot be made, or for no turns."""
        if not turns:
            return None
        try:
            return self._meeting(transport, turns), [self._invocation_of(turn) for turn in turns]
        except Exception as error:
            for turn, result in [(turn, self._not_started(turn, error)) for turn in turns]:
                self._finish(turn, result)
        return None

    def _not_started(self, turn: Turn, error: Exception) -> Result:
        """Return the result of a target that this machine could not start. Raises what is a bug."""
        if not isinstance(error, RuneError):
            if not wanting(error):
                raise error
            error = fault(error, "start it")
        if turn.asks:
            words = f"the host could not be asked what became of it: {error.message}"
            error = ConnectionLost("host_not_asked", words)
        return turn.last or not_run(self._plan, turn.step, error)

    def _meeting(self, transport: Transport, turns: Sequence[Turn]) -> Transport:
        """Return what carries the turns: the transport, or that with the servers they call."""
        servers = {}
        for turn in turns:
            if (pair := turn.step.pair) and not turn.asks:
                serve = replace(
                    turn.step,
                    target=pair.server.target,
                    plugin=pair.server.plugin,
                    capability=pair.server.capability,
                    pair=None,
                )
                port = {ROLE: SERVER, PORT: pair.port}
                invocation = self._invocation_of(Turn(serve, turn.attempt), port)
                invocation = replace(invocation, receipt=None, on_disconnect=OnDisconnect.KILL)
                servers[turn.name] = (self._transports.get(serve.target.transport), [invocation])
        return Meeting(transport, servers) if servers else transport

    def _may_start(self, turn: Turn, refusal: RuneError | None) -> bool:
        if self._scope.cancelled:
            if turn.last is None or turn.asks:
                return True  # mediation words what was cancelled before it was started
            self._finish(turn, turn.last)
            return False
        if refusal is not None and not turn.asks:
            self._give_up(turn, refusal)
            return False
        return self._has_host(turn)

    def _has_host(self, turn: Turn) -> bool:
        """Tell whether the target's host is free for it, and lock it if its action changes it."""
        locks, options = self._locks, self._plan.options
        assert turn.step.capability
        if locks is None or turn.step.capability.risk not in CHANGING:
            return True
        taken = locks.take(turn)
        if taken is Taken.YES:
            turn.locked_since = None
            return True
        if taken is Taken.BEHIND:
            self._tell_waiting(turn, self._plan.run_id)
            return False
        if turn.asks:
            return True  # it was started long ago, and to ask changes nothing
        now = time.monotonic()
        if turn.locked_since is None:
            turn.locked_since = now
            if options.on_locked == WAIT:
                self._tell_waiting(turn, locks.holder(turn))
        waited_s = now - turn.locked_since
        left_s = options.lock_timeout_s - waited_s if options.on_locked == WAIT else 0.0
        if left_s <= 0:
            self._give_up(turn, _locked(locks.holder(turn), waited_s))
        else:
            pause_s = min(max(_TRY_MIN_S, _TRY_SHARE * waited_s), _TRY_MAX_S, left_s)
            self._hand_on(turn)
            self._turns.add(turn, self._gate.cut(pause_s))
        return False

    def _tell_waiting(self, turn: Turn, holder: str | None) -> None:
        self._journal.emit(
            "target.waiting", turn.name, {"reason": "target_locked", "holder": holder}
        )

    def _invocation_of(
        self, turn: Turn, more: Mapping[str, Any] = MappingProxyType({})
    ) -> Invocation:
        """Return the invocation of a turn, with parameters that are the orchestrator's to give."""
        plan, options, step = self._plan, self._plan.options, turn.step
        assert step.plugin
        assert step.capability
        timeout = timeout_of(step.capability, options.timeout_s)
        if not turn.asks:
            timeout = max(0.001, self._gate.cut(timeout))
        on_disconnect = options.on_disconnect or step.capability.on_disconnect
        if pair := step.pair:
            more = {ROLE: CLIENT, PEER: pair.address, PORT: pair.port}
        key = receipt_key(plan.run_id, turn.name, turn.starts)
        ids = message_ids(key)
        return Invocation(
            run_id=plan.run_id,
            target=step.target,
            action=plan.action,
            plugin=step.plugin.name,
            script=self._scripts[step.plugin],
            message=build_message(
                action=plan.action,
                target=turn.name,
                run_id=plan.run_id,
                input_parameters={**plan.params, **more},
                timeout_s=timeout,
                attempt=turn.attempt,
                trace_id=plan.request["observability"]["trace_id"],
                correlation_id=plan.request["message_metadata"]["message_id"],
                message_id=ids["message_id"],
                span_id=ids["span_id"],
            ),
            output_schema=step.capability.output_schema,
            write_only=plan.secret_params,
            limits=Limits(timeout, options.max_stdout, options.max_stderr),
            attempt=turn.attempt,
            # who keeps no record of the run cannot ask for what became of it later
            receipt=key if self._recorder or on_disconnect is OnDisconnect.CONTINUE else None,
            on_disconnect=on_disconnect,
            inquiry=turn.asks,
        )

    # -- after an attempt ----------------------------------------------------------------------

    def _take_result(self, result: Result) -> None:
        turn = self._by_name[result.target]
        pause_s = self._pause_before_retry(turn, result)
        turn.asks = None
        if pause_s is None:
            self._finish(turn, result)
        else:
            self._retry(turn, result, pause_s)
        if self._recorder is not None:
            self._recorder.settle()  # the host removes what it has kept when this returns

    def _retry(self, turn: Turn, result: Result, pause_s: float) -> None:
        turn.last, turn.attempt = result, result.attempt + 1
        self._hand_on(turn)
        self._journal.emit(
            "target.retrying",
            turn.name,
            {
                "attempt": result.attempt,
                "outcome": str(result.outcome),
                "error": result.error,
                "wait_s": round(pause_s, 3),
            },
        )
        self._turns.add(turn, pause_s)

    def _pause_before_retry(self, turn: Turn, result: Result) -> float | None:
        """Return how long to wait before the target is tried again; None if it is not to be."""
        options = self._plan.options
        assert turn.step.capability
        was_left = turn.asks is not None and is_left_undone(result)
        if self._scope.cancelled or (turn.starts > options.retries and not was_left):
            return None
        if not is_worth_retrying(result, turn.step.capability.retry_safe):
            return None
        pause_s = 0.0 if was_left else wait_s(options.retry_wait_s, turn.starts)
        if self._gate.refusal() is not None or self._gate.cut(pause_s) < pause_s:
            return None
        return pause_s

    def _give_up(self, turn: Turn, why: RuneError) -> None:
        """Start the target no more: its last result counts, if it has one."""
        self._finish(turn, turn.last or not_run(self._plan, turn.step, why))

    def _finish(self, turn: Turn, result: Result) -> None:
        self._hand_on(turn)
        self._deliver(result)

    def _hand_on(self, turn: Turn) -> None:
        """Leave the target's host to the one that waits behind it."""
        if self._locks is not None and (heir := self._locks.let_go(turn)) is not None:
            self._turns.add(heir)


def _locked(holder: str | None, waited_s: float) -> HostError:
    who = f"the run {holder}" if holder else "another run"
    waited = f"; waited {waited_s:.0f} s for it" if waited_s >= 1 else ""
    return HostError(
        "target_locked", f"not started: {who} is at work on this host{waited}", holder=holder
    )
