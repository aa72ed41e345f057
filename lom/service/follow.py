"""A run that another process carries out: its events as they come, and how to cancel it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from lmm.errors import ConnectionLost, RequestError
from lom.ledger.records import RunRow
from lom.ledger.store import LedgerReader
from lom.service.runs import ledger_of
from lom.settings.values import Settings

_LOOK_S = 0.1  # between two looks for new events
_LOOKS = 10  # without any, until the process is looked at


def following(ledger: LedgerReader, run: RunRow, after: int) -> Iterator[dict[str, Any]]:
    """Yield events as they come, until the run has finished, its process died or it was pruned.

    The first has a ``seq`` greater than ``after``.
    """
    seen, quiet = -1, 0
    while True:
        changes = ledger.changes()
        quiet += 1
        if changes != seen or quiet >= _LOOKS:
            seen, quiet = changes, 0
            now = ledger.refreshed(run)  # before the events: what has finished has all of them
            for event in ledger.events(run, after):
                after = event["seq"]
                yield event
            if now is None or now.status not in ("running", "unknown"):
                return
        time.sleep(_LOOK_S)


def interruption(ledger: LedgerReader, run: RunRow, last_seq: int) -> ConnectionLost | None:
    """Return the error of a run that was followed and has not finished, None if it has."""
    now = ledger.refreshed(run)
    if now is not None and now.finished:
        return None
    return ConnectionLost(
        "run_interrupted",
        f"the process {run.pid} of the run {run.run_id} has ended without finishing it;"
        f" its last event is {last_seq}",
        last_seq=last_seq,
    )


def cancel(settings: Settings, asker: str | None, name: str) -> dict[str, Any]:
    """Ask the process that carries a run out to cancel it; return what was asked, as JSON values.

    Raises RequestError: ``unknown_run``, ``run_not_running``, also where it ended meanwhile.
    """
    ledger = ledger_of(settings, asker)
    with ledger.reader() as reader:
        run = reader.find(name)
        if run.status in ("running", "unknown"):
            if ledger.request_cancel(run.run_id):
                return {"run_id": run.run_id, "status": run.status, "cancel_requested": True}
            run = reader.find(run.run_id)
    raise RequestError(
        "run_not_running",
        f"the run {run.run_id} cannot be cancelled: it is {run.status}",
        run_id=run.run_id,
        status=run.status,
    )
