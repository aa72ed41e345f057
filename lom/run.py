"""One action being carried out on its targets: results as they come, events, the final document."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from lmm import __version__
from lmm.envelope import build_message, timestamp
from lmm.errors import InternalError, RequestError, RuneError
from lmm.fanout import fan_out
from lmm.job import Scope, failed_result
from lmm.model import Invocation, Limits, Outcome, Result, Script
from lmm.transports import TransportPool
from lom.exit_codes import ExitCode
from lom.gate import Gate, between
from lom.journal import Event, Journal
from lom.manifest import Plugin
from lom.plan import Plan, Step, timeout_of

if TYPE_CHECKING:
    from lom.ledger import Ledger, Recorder

STDERR_IN_DOCUMENT = 8 * 1024  # characters of a plugin's log that its result carries, the last ones

_EXIT_CODES: Mapping[str, ExitCode] = {
    Outcome.OK: ExitCode.OK,
    Outcome.FAILED: ExitCode.FAILED,
    Outcome.UNREACHABLE: ExitCode.UNREACHABLE,
    Outcome.INVALID_OUTPUT: ExitCode.INVALID_OUTPUT,
    Outcome.TIMED_OUT: ExitCode.TIMED_OUT,
    Outcome.CANCELLED: ExitCode.CANCELLED,
    Outcome.LOST: ExitCode.LOST,
}


def result_document(result: Result) -> dict[str, Any]:
    """Return a result as it stands in the result document (``specs/result_v1.json``)."""
    document: dict[str, Any] = {
        "target": result.target,
        "outcome": str(result.outcome),
        "output_data": result.output_data,
        "error": result.error,
        "duration_s": result.duration_s,
        "attempt": result.attempt,
        "exit_code": result.exit_code,
        "plugin": result.plugin,
    }
    if result.stderr:
        document["stderr"] = result.stderr[-STDERR_IN_DOCUMENT:]
    return document


class Run:
    """A run under way. Iterate it for results in the order they come; each target gives one.

    ``on_event`` is called for every event, one at a time, from threads of the run; an exception
    that it raises cancels the run and is raised again by the iteration. With a ``ledger`` all
    that happens is kept there as well; raises RequestError if the run cannot be written down.
    ``on_end`` gets the summary before the iteration ends.
    """

    def __init__(
        self,
        plan: Plan,
        scripts: Mapping[Plugin, Script],
        transports: TransportPool,
        on_event: Callable[[Event], None] | None = None,
        ledger: Ledger | None = None,
        on_end: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        self.plan = plan
        self.run_id = plan.run_id
        self._transports = transports
        self._steps = {step.target.name: step for step in plan.steps}
        self._scripts = scripts
        self._on_end = on_end
        self._scope = Scope()
        self._lock = threading.Lock()
        self._results: dict[str, Result] = {}
        self._documents: dict[str, dict[str, Any]] = {}
        self._gate = Gate(plan.max_failures, plan.options.deadline_s)
        self._cancelled = False
        self._crash: BaseException | None = None
        self._queue: queue.SimpleQueue[Result | None] = queue.SimpleQueue()
        self._started_at = timestamp()
        self._finished_at: str | None = None
        self._recorder = self._begin(ledger) if ledger else None
        self._journal = Journal(plan.run_id, on_event, self._recorder, self._crashed)
        self._thread = threading.Thread(target=self._work, name=f"rune-run-{plan.run_id}")
        self._thread.daemon = True
        self._thread.start()

    def __iter__(self) -> Iterator[Result]:
        while (result := self._queue.get()) is not None:
            yield result
        self._thread.join()
        if self._crash is not None:
            raise self._crash

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def cancel(self) -> None:
        """Start no more targets and have the hosts kill what runs; the results still come."""
        self._cancelled = True
        self._scope.cancel()

    def close(self) -> None:
        """Cancel what still runs and wait for it."""
        if self._thread.is_alive():
            self.cancel()
        self._thread.join()

    # -- what it came to -----------------------------------------------------------------------

    @property
    def results(self) -> list[Result]:
        """The results so far, in the order of the plan."""
        found = (self._results.get(step.target.name) for step in self.plan.steps)
        return [result for result in found if result is not None]

    @property
    def ledger_problem(self) -> str | None:
        """Why the ledger's record of this run is incomplete; None if it is not, or not kept."""
        return self._recorder.problem if self._recorder else None

    @property
    def status(self) -> str:
        """The outcome that all targets share, else ``partial``."""
        outcomes = {result.outcome for result in self.results}
        return str(outcomes.pop()) if len(outcomes) == 1 else "partial"

    @property
    def exit_code(self) -> int:
        """The exit code that tells a calling program what this run came to."""
        if self._cancelled and any(r.outcome is Outcome.CANCELLED for r in self.results):
            return ExitCode.CANCELLED
        return _EXIT_CODES.get(self.status, ExitCode.PARTIAL)

    def summary(self) -> dict[str, Any]:
        """Return the result document without ``results``."""
        counted = Counter(result.outcome for result in self.results)
        return {
            "run_id": self.run_id,
            "action": self.plan.action,
            "status": self.status,
            "started_at": self._started_at,
            "finished_at": self._finished_at or timestamp(),
            "summary": {str(outcome): counted[outcome] for outcome in Outcome},
        }

    def document(self) -> dict[str, Any]:
        """Return the result document (``specs/result_v1.json``); wait for the run to end first."""
        self._thread.join()
        return {**self.summary(), "results": [self._documents[r.target] for r in self.results]}

    # -- inside --------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._journal.emit(
                "run.started", None, {"action": self.plan.action, "targets": len(self.plan.steps)}
            )
            for number, batch in enumerate(self.plan.batches):
                if number:
                    between(self.plan.options, self._gate, self._scope, self._how_far(number))
                self._run_batch([self.plan.steps[index] for index in batch])
        except BaseException as error:
            self._crashed(error)
        finally:
            self._finished_at = timestamp()
            try:
                self._end()
            finally:
                self._queue.put(None)

    def _end(self) -> None:
        """Give each target its result, whatever went wrong, and tell how the run ended."""
        try:
            for step in self.plan.steps:
                if step.target.name not in self._results:
                    problem = InternalError("internal_error", f"the run broke: {self._crash!r}")
                    self._deliver(self._not_run(step, problem))
            self._journal.emit("run.finished", None, self.summary())
            if self._on_end is not None:
                self._on_end(self.summary())
        finally:
            if self._recorder is not None:
                self._recorder.finish(self.summary(), None if self._crash else self.exit_code)

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
                self._deliver(self._not_run(step, step.error))
        fan_out(
            [self._invocation_of(step) for step in steps if step.error is None],
            self._transports.get,
            concurrency=self.plan.options.concurrency,
            scope=self._scope,
            may_start=self._may_start,
            on_event=lambda target, kind, data: self._journal.emit(kind, target, data),
            on_result=self._deliver,
            prepare=lambda one: self._invocation_of(self._steps[one.target.name]),
        )

    def _invocation_of(self, step: Step) -> Invocation:
        plan, options = self.plan, self.plan.options
        plugin, capability = step.plugin, step.capability
        assert plugin
        assert capability
        timeout = max(0.001, self._gate.cut(timeout_of(capability, options.timeout_s)))
        return Invocation(
            run_id=plan.run_id,
            target=step.target,
            action=plan.action,
            plugin=plugin.name,
            script=self._scripts[plugin],
            message=build_message(
                action=plan.action,
                target=step.target.name,
                run_id=plan.run_id,
                input_parameters=plan.params,
                timeout_s=timeout,
                trace_id=plan.request["observability"]["trace_id"],
                correlation_id=plan.request["message_metadata"]["message_id"],
            ),
            output_schema=capability.output_schema,
            write_only=plan.secret_params,
            limits=Limits(timeout, options.max_stdout, options.max_stderr),
        )

    def _not_run(self, step: Step, error: RuneError) -> Result:
        return failed_result(
            error,
            target=step.target.name,
            action=self.plan.action,
            plugin=step.plugin.name if step.plugin else None,
            observability=self.plan.request["observability"],
            outcome=None if isinstance(error, InternalError) else Outcome.SKIPPED,
            attempt=0,
        )

    def _may_start(self, batch: Sequence[Invocation]) -> bool:
        problem = None if self._scope.cancelled else self._gate.refusal()
        if problem is not None:
            for invocation in batch:
                self._deliver(self._not_run(self._steps[invocation.target.name], problem))
            return False
        if self._scope.cancelled:
            return True
        for invocation in batch:
            self._journal.emit(
                "target.started", invocation.target.name, {"plugin": invocation.plugin}
            )
        if self._recorder is not None:
            self._recorder.starting([invocation.target.name for invocation in batch])
        return True

    def _deliver(self, result: Result) -> None:
        document = result_document(result)
        with self._lock:
            self._results[result.target] = result
            self._documents[result.target] = document
            if not result.ok and result.outcome is not Outcome.SKIPPED:
                self._gate.count_failure()
        if self._recorder is not None:
            self._recorder.result(document)
        self._journal.emit("target.finished", result.target, document)
        self._queue.put(result)

    def _crashed(self, error: BaseException) -> None:
        self._crash = self._crash or error
        self._scope.cancel()

    def _begin(self, ledger: Ledger) -> Recorder:
        from lom.ledger import RunFacts

        plan = self.plan
        facts = RunFacts(
            run_id=plan.run_id,
            action=plan.action,
            request=plan.request,
            secret_params=sorted(plan.secret_params),
            options={**plan.options.document(), **plan.origin},
            version=__version__,
            started_at=self._started_at,
            targets=[
                (step.target.name, step.target.transport, step.plugin.name if step.plugin else None)
                for step in plan.steps
            ],
        )
        return ledger.begin(facts, self.cancel)


def load_scripts(plan: Plan) -> dict[Plugin, Script]:
    """Read what will be sent, once for the whole run. Raises RequestError (``local_io_error``)."""
    one_each = {s.plugin: s for s in plan.steps if s.plugin and not s.error}
    return {plugin: _load_script(step) for plugin, step in one_each.items()}


def _load_script(step: Step) -> Script:
    assert step.plugin
    assert step.capability
    path = step.plugin.entrypoint
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RequestError("local_io_error", f"cannot read {path}: {error.strerror}") from None
    commands = tuple(need for need in step.capability.requires if "=" not in need)
    return Script(path.name, content, step.plugin.interpreter, commands)
