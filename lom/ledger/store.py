"""What a store of the ledger promises: all that runs, commands and comparisons rely on.

A store is a ``Ledger``; one suite of tests holds every store to this page. All methods raise
RequestError (``ledger_corrupt``, ``ledger_newer``, ``ledger_unavailable``), save those of a
``Recorder``: a run goes on without its record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from lom.ledger.measurements import Baseline, BaselineMetric, History, Measurement
from lom.ledger.records import Earlier, Keep, RunFacts, RunRow, TargetRow


class Recorder(Protocol):
    """The record of a run under way. Its methods may be called from any thread."""

    @property
    def problem(self) -> str | None:
        """Why the record is incomplete, None if it is not; final after ``finish``."""

    def starting(self, targets: Iterable[str]) -> bool:
        """Note that scripts may start from now on; return when that is durable, False if not."""

    def settle(self) -> None:
        """Return when all that was handed over is durable, or cannot be written."""

    def result(self, document: Mapping[str, Any], text: Callable[[], str] | None = None) -> None:
        """Note a target's result (``specs/result_v1.json``); ``text`` gives it as JSON later."""

    def event(self, event: Mapping[str, Any]) -> None:
        """Note an event (``specs/event_v1.json``), which nobody changes later.

        The data of ``target.finished`` is the target's result, and is not kept twice.
        """

    def finish(self, summary: Mapping[str, Any], exit_code: int | None) -> None:
        """Note how the run ended (the result document without results), and close."""

    def close(self) -> None:
        """Write what is left and close; a run that has not finished counts as interrupted."""


class Measurements(Protocol):
    """What an open ledger has for comparison."""

    def of_run(self, run: RunRow) -> list[Measurement]:
        """Return what the run's targets measured, in the order of its plan."""

    def history(self, run: RunRow) -> History:
        """Return what its hosts measured before it, the oldest first; of each the newest runs.

        Of the same action and plugin, with the same facts, as far as it could be compared.
        """

    def run_before(self, run: RunRow) -> RunRow | None:
        """Return the newest earlier run of the same action that measured something."""

    def baselines(self) -> list[Baseline]:
        """Return all baselines, by name."""

    def find_baseline(self, name: str) -> Baseline:
        """Return a baseline. Raises RequestError (``unknown_baseline``)."""


class LedgerReader(Protocol):
    """An open ledger, also while other processes write it; a context manager."""

    def __enter__(self) -> LedgerReader: ...

    def __exit__(self, *_: object) -> None: ...

    def runs(
        self, *, limit: int | None = None, action: str | None = None, status: str | None = None
    ) -> list[RunRow]:
        """Return the newest runs first, at most ``limit`` of those that fit."""

    def find(self, name: str) -> RunRow:
        """Return the run with this id, whose id begins so, or the newest for ``last``.

        Raises RequestError (``unknown_run``) when there is none or more than one.
        """

    def refreshed(self, run: RunRow) -> RunRow | None:
        """Return the run as it stands now, None if it was pruned."""

    def targets(self, run: RunRow) -> list[TargetRow]:
        """Return the run's targets, in the order of its plan."""

    def document_to_read(self, run: RunRow) -> dict[str, Any]:
        """Return the result document with ``results`` that are read one by one.

        Of a run that has none what there is (``specs/runs_v1.json``).
        """

    def events(self, run: RunRow, after: int = 0) -> Iterator[dict[str, Any]]:
        """Yield the events whose ``seq`` is greater than ``after``, as they were emitted."""

    def changes(self) -> int:
        """Return a number that differs whenever another process has written in between."""

    @property
    def measured(self) -> Measurements:
        """What runs measured, and the baselines."""


class Ledger(Protocol):
    """A store of runs. Several threads and processes may use one at the same time."""

    def prepare(self) -> None:
        """Make what is needed, or raise: after this a run can be recorded."""

    def reader(self) -> LedgerReader:
        """Open the ledger for reading; one that does not exist yet has no runs."""

    def begin(self, facts: RunFacts, on_cancel: Callable[[], None]) -> Recorder:
        """Write down a run and its targets as not started; return what records it.

        ``on_cancel`` is called once, from a thread of its own, when the run is to be cancelled.
        Raises RequestError also for a key that another run has (``idempotency_key_used``).
        """

    def resume(
        self, run_id: str, on_cancel: Callable[[], None], keep: Keep, *, unseen: bool
    ) -> tuple[Recorder, Earlier]:
        """Take up a run that another process has left; return what records it, and how far it came.

        ``keep`` is given each result that it has, but ``lost`` ones, which are asked for again.
        With ``unseen`` also a run whose process cannot be seen from here. Raises RequestError also
        for a run that goes on or has finished (``run_not_resumable``).
        """

    def wait(self, facts: RunFacts, plan_hash: str) -> None:
        """Write down a run that waits for an approval of the plan with this hash."""

    def approved(self, run_id: str, users: Sequence[str]) -> None:
        """Note that a run that waits, if it stands here, was approved and is about to begin."""

    def check_key(self, run_id: str, key: str | None) -> None:
        """Raise RequestError (``idempotency_key_used``) if another run than this has the key."""

    def request_cancel(self, run_id: str) -> bool:
        """Ask for the run to be cancelled; False if it has finished."""

    def prune(self, older_than: str, keep: int = 0) -> list[str]:
        """Delete the runs that began before an instant, save the ``keep`` newest of all.

        A run that goes on, or may, stays. Returns the ids.
        """

    def save_baseline(
        self, name: str, run: RunRow, metrics: Sequence[BaselineMetric], *, replace: bool
    ) -> Baseline:
        """Keep what a run measured under a name.

        Raises RequestError also for a name that is none (``invalid_request``) or that is used
        (``baseline_exists``, unless the old one is to be replaced).
        """

    def remove_baseline(self, name: str) -> None:
        """Delete a baseline. Raises RequestError also for an unknown one (``unknown_baseline``)."""
