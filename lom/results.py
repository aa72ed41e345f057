"""What a run has come to so far: a result for each target, and the documents made of them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lmm.errors import ConnectionLost, InternalError, RuneError, Unreachable
from lmm.job import failed_result
from lmm.model import Outcome, Result
from lmm.redact import redactor_for
from lom.exit_codes import ExitCode
from lom.plan import Plan, Step

STDERR_IN_DOCUMENT = 8 * 1024  # characters of a plugin's log that its result carries, the last ones

# A target that was not started for one of these has its outcome, and else is skipped.
_OWN_OUTCOME = (InternalError, Unreachable, ConnectionLost)
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


def result_of(document: Mapping[str, Any]) -> Result:
    """Return the result that a document tells, as far as it does."""
    values = {"stderr": "", **document}
    return Result(**{**values, "outcome": Outcome(values["outcome"])})


def not_run(plan: Plan, step: Step, error: RuneError) -> Result:
    """Return the result of a target that was not started."""
    redactor = redactor_for(step.target, plan.params, plan.secret_params)
    return failed_result(
        redactor.error(error),
        target=step.target.name,
        action=plan.action,
        plugin=step.plugin.name if step.plugin else None,
        observability=plan.request["observability"],
        outcome=None if isinstance(error, _OWN_OUTCOME) else Outcome.SKIPPED,
        attempt=0,
    )


class Results:
    """The results of a run's targets. All methods may be called from any thread.

    ``earlier`` are documents of those that were there when the run was taken up.
    """

    def __init__(self, plan: Plan, earlier: Sequence[Mapping[str, Any]] = ()) -> None:
        self._plan = plan
        self._lock = threading.Lock()
        self._documents = {document["target"]: dict(document) for document in earlier}
        self._results = {document["target"]: result_of(document) for document in earlier}

    def add(self, result: Result) -> dict[str, Any] | None:
        """Keep a target's result; return its document, None if the target has one already."""
        document = result_document(result)
        with self._lock:
            if result.target in self._results:
                return None
            self._results[result.target] = result
            self._documents[result.target] = document
        return document

    def __iter__(self) -> Iterator[Result]:
        """Yield the results so far, in the order of the plan."""
        found = (self._results.get(step.target.name) for step in self._plan.steps)
        return (result for result in found if result is not None)

    def missing(self) -> Iterator[Step]:
        """Yield the steps that have no result yet."""
        return (s for s in self._plan.steps if s.target.name not in self._results)

    def documents(self) -> list[dict[str, Any]]:
        """Return the documents of the results so far, in the order of the plan."""
        return [self._documents[result.target] for result in self]

    def counts(self) -> dict[str, int]:
        """Return how many results there are of each outcome."""
        counted = Counter(result.outcome for result in self)
        return {str(outcome): counted[outcome] for outcome in Outcome}

    @property
    def status(self) -> str:
        """The outcome that all targets share, else ``partial``."""
        outcomes = {result.outcome for result in self}
        return str(outcomes.pop()) if len(outcomes) == 1 else "partial"

    def exit_code(self, was_cancelled: bool) -> int:
        """Return the exit code that tells a calling program what the run came to."""
        if was_cancelled and any(result.outcome is Outcome.CANCELLED for result in self):
            return ExitCode.CANCELLED
        return _EXIT_CODES.get(self.status, ExitCode.PARTIAL)
