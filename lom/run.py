"""One action being carried out on its targets: results as they come, events, the final document."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

from lmm.envelope import build_message, timestamp
from lmm.errors import HostError, InternalError, RequestError, RuneError
from lmm.fanout import fan_out
from lmm.job import Scope, failed_result
from lmm.model import Invocation, Limits, Outcome, Result, Script
from lmm.transports import TransportPool
from lom.exit_codes import ExitCode
from lom.plan import Plan, Step, timeout_of

Event = dict[str, Any]

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
    that it raises cancels the run and is raised again by the iteration.
    """

    def __init__(
        self,
        plan: Plan,
        transports: TransportPool,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        self.plan = plan
        self.run_id = plan.run_id
        self._transports = transports
        self._on_event = on_event
        self._steps = {step.target.name: step for step in plan.steps}
        one_each = {s.plugin: s for s in plan.steps if s.plugin and not s.error}
        self._scripts = {plugin: load_script(step) for plugin, step in one_each.items()}
        self._scope = Scope()
        self._lock = threading.RLock()
        self._seq = 0
        self._results: dict[str, Result] = {}
        self._failed = 0
        self._cancelled = False
        self._crash: BaseException | None = None
        self._queue: queue.SimpleQueue[Result | None] = queue.SimpleQueue()
        self._started_at = timestamp()
        self._finished_at: str | None = None
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
        return {**self.summary(), "results": [result_document(r) for r in self.results]}

    # -- inside --------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._emit(
                "run.started", None, {"action": self.plan.action, "targets": len(self.plan.steps)}
            )
            for batch in self.plan.batches:
                self._run_batch([self.plan.steps[index] for index in batch])
        except BaseException as error:
            self._crash = self._crash or error
            self._scope.cancel()
        finally:
            self._finished_at = timestamp()
            try:
                for step in self.plan.steps:  # whatever went wrong, each target has its result
                    if step.target.name not in self._results:
                        problem = InternalError("internal_error", f"the run broke: {self._crash!r}")
                        self._deliver(self._not_run(step, problem))
                self._emit("run.finished", None, self.summary())
            finally:
                self._queue.put(None)

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
            on_event=self._target_event,
            on_result=self._deliver,
        )

    def _invocation_of(self, step: Step) -> Invocation:
        plan, options = self.plan, self.plan.options
        plugin, capability = step.plugin, step.capability
        assert plugin
        assert capability
        timeout = timeout_of(capability, options.timeout_s)
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
        limit = self.plan.max_failures
        if limit is not None and self._failed > limit and not self._scope.cancelled:
            problem = HostError(
                "max_failures_reached", f"not started: more than {limit} target(s) had failed"
            )
            for invocation in batch:
                self._deliver(self._not_run(self._steps[invocation.target.name], problem))
            return False
        for invocation in batch:
            if not self._scope.cancelled:
                self._target_event(
                    invocation.target.name, "target.started", {"plugin": invocation.plugin}
                )
        return True

    def _deliver(self, result: Result) -> None:
        with self._lock:
            self._results[result.target] = result
            if not result.ok and result.outcome is not Outcome.SKIPPED:
                self._failed += 1
            self._emit("target.finished", result.target, result_document(result))
        self._queue.put(result)

    def _target_event(self, target: str, kind: str, data: Mapping[str, Any]) -> None:
        self._emit(kind, target, data)

    def _emit(self, kind: str, target: str | None, data: Mapping[str, Any]) -> None:
        if self._on_event is None:
            return
        with self._lock:
            self._seq += 1
            event: Event = {
                "run_id": self.run_id,
                "seq": self._seq,
                "time": timestamp(),
                "kind": kind,
            }
            if target is not None:
                event["target"] = target
            event["data"] = dict(data)
            try:
                self._on_event(event)
            except BaseException as error:
                self._on_event = None
                self._crash = error
                self._scope.cancel()


def load_script(step: Step) -> Script:
    """Read what will be sent for a step. Raises RequestError (``local_io_error``)."""
    assert step.plugin
    assert step.capability
    path = step.plugin.entrypoint
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RequestError("local_io_error", f"cannot read {path}: {error.strerror}") from None
    commands = tuple(need for need in step.capability.requires if "=" not in need)
    return Script(path.name, content, step.plugin.interpreter, commands)
