"""One action being carried out on its targets: results as they come, events, the final document."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lmm.envelope import timestamp
from lmm.errors import InternalError
from lmm.model import Outcome, Result, Script
from lmm.preload import preload
from lmm.scope import Scope
from lmm.threads import started
from lmm.transports import TransportPool
from lom.execution.dispatch import Dispatch
from lom.execution.events import Event, EventStream
from lom.execution.limits import RunLimits, between
from lom.execution.locks import CHANGING, HostLocks, Locks
from lom.execution.results import Results, not_run, result_document
from lom.execution.slots import AT_ONCE, PROCESS, Slots
from lom.planning.options import Start
from lom.planning.plan import Plan, Step, facts_of
from lom.registry.manifest import Plugin

if TYPE_CHECKING:
    from lom.ledger.records import Earlier
    from lom.ledger.store import Ledger, Recorder


_SIGNALS_S = 0.2  # within which a signal is answered


class Run:
    """A run under way. Iterate it for results in the order they come; each target gives one.

    Each result is given once, to whoever iterates; who iterates later gets the others, and at the
    end none. ``results`` has them all. Where this machine has no more threads, the run goes on in
    the thread that iterates, waits, closes it or asks for its document. Results are kept as text,
    and what is large on disk: one that is given here, or read from ``results``, is in memory for as
    long as whoever has it keeps it.

    ``on_event`` is called for every event, one at a time, from a thread of the run that waits for
    nobody else; an exception that it raises cancels the run and is raised again by the iteration.
    With a ``ledger`` all that happens is kept there as well; raises RequestError if the run cannot
    be written down. ``on_end`` gets the summary before the iteration ends.
    """

    def __init__(
        self,
        plan: Plan,
        scripts: Mapping[Plugin, Script],
        transports: TransportPool,
        on_event: Callable[[Event], None] | None = None,
        ledger: Ledger | None = None,
        on_end: Callable[[Mapping[str, Any]], None] | None = None,
        *,
        start: Start = Start(),
        locks: Callable[[], HostLocks] | None = None,
        slots: Slots = PROCESS,
        at_once: int | None = None,
    ) -> None:
        self.plan = plan
        self.run_id = plan.run_id
        self._start = start
        self._on_end = on_end
        self._scope = Scope()
        self._limits = RunLimits(plan.max_failures, plan.options.deadline_s)
        self._cancelled = False
        self._crash: BaseException | None = None
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()  # names of targets
        self._started_at = timestamp()
        self._finished_at: str | None = None
        self._earlier: Earlier | None = None
        targets = [step.target for step in plan.steps]
        preload(
            {target.transport for target in targets},
            retries=plan.options.retries > 0,
            has_secrets=bool(plan.secret_params) or any(target.secrets for target in targets),
        )
        self._results = Results(plan)
        self._locks = Locks(locks(), plan.run_id) if locks and _changes(plan) else None
        try:
            self._recorder = self._begin(ledger) if ledger else None
        except BaseException:
            if self._locks is not None:
                self._locks.close()
            raise
        earlier = self._earlier
        seq = earlier.last_seq if earlier else 0
        self._events = EventStream(plan.run_id, on_event, self._recorder, self._crashed, seq)
        self._slots = slots
        slots.join(self._scope, at_once or max(AT_ONCE, plan.concurrency))
        self._scope.add(slots, lambda: slots.leave(self._scope))
        self._scope.add(self._events, self._events.hurry)
        self._dispatch = Dispatch(
            plan,
            scripts,
            transports,
            self._scope,
            limits=self._limits,
            events=self._events,
            recorder=self._recorder,
            locks=self._locks,
            slots=slots,
            deliver=self._deliver,
            started=earlier.started if earlier else {},
        )
        self._thread = threading.Thread(target=self._work, name=f"rune-run-{plan.run_id}")
        self._thread.daemon = True
        self._alone = threading.Lock()
        self._is_begun = started(self._thread)

    def __iter__(self) -> Iterator[Result]:
        if not self._is_begun:
            self._wait()
        while (target := self._queue.get()) is not None:
            yield self._results.result(target)
        self._queue.put(None)  # for who iterates once more
        self.wait()

    def wait(self) -> None:
        """Wait for the end without reading any result; raise what broke the run."""
        self._wait()
        if self._crash is not None:
            raise self._crash

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def cancel(self) -> None:
        """Start no more targets and have the hosts kill what runs; the results still come."""
        self._cancelled = True
        self._scope.cancel()

    def close(self) -> None:
        """Cancel what still runs and wait for it."""
        if self._finished_at is None:
            self.cancel()
        self._wait()

    # -- what it came to -----------------------------------------------------------------------

    @property
    def results(self) -> Sequence[Result]:
        """The results so far, in the order of the plan; each is read when it is asked for.

        Reading raises OSError where the disk fails.
        """
        return self._results.results()

    @property
    def ledger_problem(self) -> str | None:
        """Why the ledger's record of this run is incomplete; None if it is not, or not kept."""
        return self._recorder.problem if self._recorder else None

    @property
    def status(self) -> str:
        """The outcome that all targets share, else ``partial``."""
        return self._results.status

    @property
    def exit_code(self) -> int:
        """The exit code that tells a calling program what this run came to."""
        return self._results.exit_code(self._cancelled)

    def summary(self) -> dict[str, Any]:
        """Return the result document without ``results``."""
        return {
            "run_id": self.run_id,
            "action": self.plan.action,
            "status": self.status,
            "started_at": self._started_at,
            "finished_at": self._finished_at or timestamp(),
            "summary": self._results.counts(),
        }

    def document(self) -> dict[str, Any]:
        """Return the result document (``specs/result_v1.json``); wait for the run to end first.

        All of it is in memory then; ``document_to_read`` has its results one by one.
        """
        document = self.document_to_read()
        return {**document, "results": list(document["results"])}

    def document_to_read(self) -> dict[str, Any]:
        """Return the result document; its ``results`` are a sequence that keeps nothing, and
        reads each when it is asked for (OSError where the disk fails)."""
        self._wait()
        return {**self.summary(), "results": self._results.documents()}

    # -- inside --------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Wait for the end; where no thread could be had, bring it about."""
        with self._alone:
            if not self._is_begun:
                self._is_begun = True
                self._work()
        if self._thread.ident is not None:
            # Not without a limit: of two signals at once the system may give both to other threads,
            # and then nothing wakes this one, which has to answer them.
            while self._thread.is_alive():
                self._thread.join(_SIGNALS_S)

    def _work(self) -> None:
        try:
            left = {step.target.name for step in self._results.missing()}
            data = {"action": self.plan.action, "targets": len(left)}
            self._events.emit("run.resumed" if self.plan.resumes else "run.started", None, data)
            for target in self._results.targets():
                self._count(target)
            worked = False
            for number, batch in enumerate(self.plan.batches):
                steps = [self.plan.steps[index] for index in batch]
                steps = [step for step in steps if step.target.name in left]
                if not steps:
                    continue
                if worked:
                    between(
                        self.plan.options,
                        self._start,
                        self._limits,
                        self._scope,
                        self._how_far(number),
                    )
                self._run_batch(steps)
                worked = True
        except BaseException as error:
            self._crashed(error)
        finally:
            self._finished_at = timestamp()
            self._slots.leave(self._scope)
            if self._locks is not None:
                self._locks.close()
            try:
                self._end()
            except BaseException as error:
                self._crashed(error)
            finally:
                self._events.close()
                self._queue.put(None)

    def _end(self) -> None:
        """Give each target its result, whatever went wrong, and tell how the run ended.

        What no result came of stays open in the ledger, and the run unfinished, to be resumed.
        """
        recorder = self._recorder
        try:
            if left := list(self._results.missing()):
                words = f"the run broke: {self._crash!r}"
                if recorder is not None:
                    recorder.close()
                    words += f"; `rune runs resume {self.run_id}` goes on with it"
                problem = InternalError("internal_error", words)
                for step in left:
                    self._deliver(not_run(self.plan, step, problem))
            self._events.emit("run.finished", None, self.summary())
            if self._on_end is not None:
                self._on_end(self.summary())
            if recorder is not None:
                recorder.finish(self.summary(), None if self._crash else self.exit_code)
        finally:
            if recorder is not None:
                recorder.close()

    def _how_far(self, number: int) -> str:
        """Say what a person wants to know who is asked before the batch ``number``, from 0."""
        batches = self.plan.batches
        counts = ", ".join(
            f"{n} {outcome}" for outcome, n in self.summary()["summary"].items() if n
        )
        return (
            f"batch {number} of {len(batches)} is through: {counts};"
            f" the next one has {len(batches[number])} target(s)"
        )

    def _run_batch(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if step.error is not None:
                self._deliver(not_run(self.plan, step, step.error))
        self._dispatch.carry_out([step for step in steps if step.error is None])

    def _deliver(self, result: Result) -> None:
        target = result.target
        kept = self._results.add(result)
        if kept is None:
            return
        document = result_document(kept)
        self._count(target)
        if self._recorder is not None:
            self._recorder.result(document, lambda: self._results.text(target))
        self._events.emit("target.finished", target, lambda: self._results.document(target))
        self._queue.put(target)

    def _count(self, target: str) -> None:
        if self._results.outcome(target) not in (Outcome.OK, Outcome.SKIPPED):
            self._limits.count_failure()

    def _crashed(self, error: BaseException) -> None:
        self._crash = self._crash or error
        self._scope.cancel()

    def _begin(self, ledger: Ledger) -> Recorder:
        if self.plan.resumes:
            unseen = self._start.yes
            keep = self._results.add_text
            recorder, self._earlier = ledger.resume(self.run_id, self.cancel, keep, unseen=unseen)
            self._started_at = self._earlier.started_at
            return recorder
        facts = facts_of(self.plan, self._started_at, self._start.idempotency_key)
        return ledger.begin(facts, self.cancel)


def _changes(plan: Plan) -> bool:
    return any(step.capability and step.capability.risk in CHANGING for step in plan.steps)
