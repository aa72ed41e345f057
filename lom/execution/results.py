"""What a run has come to so far: a result for each target, and the documents made of them."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from lmm.errors import ConnectionLost, InternalError, RuneError, Unreachable
from lmm.failures import failed_result
from lmm.model import Outcome, Result
from lmm.redact import redactor_for
from lmm.spool import Spool
from lom.exit_codes import ExitCode
from lom.planning.plan import Plan, Step
from lom.render.lazily import Lazily

STDERR_IN_DOCUMENT = 8 * 1024  # characters of a plugin's log that its result carries, the last ones
IN_MEMORY = 32 * 1024 * 1024  # bytes of a run's results; the rest is on disk

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


encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


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


class _Place(NamedTuple):
    """Where a result stands: its document as JSON, behind it the whole of a longer log."""

    at: int
    size: int
    log: int


class Results:
    """The results of a run's targets. All methods may be called from any thread.

    What is large is on disk (``lmm.spool``): of every target only its outcome is in memory for
    good, and a result is read back when it is asked for.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._lock = threading.Lock()
        self._spool = Spool(IN_MEMORY)
        self._places: dict[str, _Place | bytes] = {}
        self._outcomes: dict[str, str] = {}
        self._given: set[str] = set()  # targets whose result has come, if it is not kept yet

    def add(self, result: Result) -> Result | None:
        """Keep a target's result; return it, or the one instead where the disk is full.

        None if the target has one already.
        """
        with self._lock:
            if result.target in self._given:
                return None
            self._given.add(result.target)
        text = encode(result_document(result))
        long = len(result.stderr) > STDERR_IN_DOCUMENT
        try:
            self.add_text(result.target, str(result.outcome), text, result.stderr if long else "")
        except OSError as error:
            result = _not_kept(self._plan, result, len(text), error)
            with self._lock:
                self._places[result.target] = encode(result_document(result)).encode()
                self._outcomes[result.target] = str(result.outcome)
        return result

    def add_text(self, target: str, outcome: str, text: str, log: str = "") -> None:
        """Keep a result that is JSON already. Raises OSError."""
        document, tail = text.encode(), log.encode("utf-8", "surrogatepass")
        place = _Place(self._spool.add(document + tail), len(document), len(tail))
        with self._lock:
            self._given.add(target)
            self._places[target] = place
            self._outcomes[target] = outcome

    def text(self, target: str) -> str:
        """Return the document of a target's result as JSON. Raises OSError."""
        place = self._places[target]
        if isinstance(place, bytes):
            return place.decode()
        return self._spool.read(place.at, place.size).decode()

    def document(self, target: str) -> dict[str, Any]:
        """Return the document of a target's result. Raises OSError."""
        found: dict[str, Any] = json.loads(self.text(target))
        return found

    def result(self, target: str) -> Result:
        """Return a target's result. Raises OSError."""
        found = result_of(self.document(target))
        place = self._places[target]
        if isinstance(place, bytes) or not place.log:
            return found
        log = self._spool.read(place.at + place.size, place.log)
        return replace(found, stderr=log.decode("utf-8", "surrogatepass"))

    def outcome(self, target: str) -> str:
        """Return what a target's result came to."""
        return self._outcomes[target]

    def targets(self) -> list[str]:
        """Return the targets that have a result, in the order of the plan."""
        names = (step.target.name for step in self._plan.steps)
        return [name for name in names if name in self._outcomes]

    def missing(self) -> Iterator[Step]:
        """Yield the steps that have no result yet."""
        return (s for s in self._plan.steps if s.target.name not in self._outcomes)

    def results(self) -> Lazily[Result]:
        """Return the results so far, in the order of the plan."""
        return Lazily(self.targets(), self.result)

    def documents(self) -> Lazily[dict[str, Any]]:
        """Return the documents of the results so far, in the order of the plan."""
        return Lazily(self.targets(), self.document)

    def counts(self) -> dict[str, int]:
        """Return how many results there are of each outcome."""
        counted = Counter(map(self.outcome, self.targets()))
        return {str(outcome): counted[outcome] for outcome in Outcome}

    @property
    def status(self) -> str:
        """The outcome that all targets share, else ``partial``."""
        outcomes = set(map(self.outcome, self.targets()))
        return outcomes.pop() if len(outcomes) == 1 else "partial"

    def exit_code(self, was_cancelled: bool) -> int:
        """Return the exit code that tells a calling program what the run came to."""
        if was_cancelled and Outcome.CANCELLED in map(self.outcome, self.targets()):
            return ExitCode.CANCELLED
        return _EXIT_CODES.get(self.status, ExitCode.PARTIAL)


def _not_kept(plan: Plan, result: Result, size: int, error: OSError) -> Result:
    where = f" in {error.filename}" if error.filename else ""
    why = f"its result of {size} bytes cannot be kept{where}: {error.strerror or error}"
    return failed_result(
        InternalError("local_io_error", why),
        target=result.target,
        action=plan.action,
        plugin=result.plugin,
        observability=plan.request["observability"],
        duration_s=result.duration_s,
        attempt=result.attempt,
        exit_code=result.exit_code,
    )
