"""The ledger that the settings name: opened for reading, and pruned."""

from __future__ import annotations

from lom.ledger import ledger_in
from lom.ledger.store import Ledger, LedgerReader
from lom.settings.values import Settings, state_folder

__all__ = ["LedgerReader", "ledger_of", "open_ledger", "prune"]


def ledger_of(settings: Settings, asker: str | None) -> Ledger:
    """Return the ledger that the settings name, as far as it concerns an ``asker``.

    It need not be there yet. Raises RequestError (as ``state_folder``).
    """
    return ledger_in(state_folder(settings), asker)


def open_ledger(settings: Settings, asker: str | None) -> LedgerReader:
    """Open the ledger for reading; with an ``asker`` only that user's runs are there.

    Raises RequestError (``ledger_…``, and as ``state_folder``).
    """
    return ledger_of(settings, asker).reader()


def prune(settings: Settings, asker: str | None, older_than_s: float, keep: int) -> list[str]:
    """Delete the runs that began longer ago, but for the ``keep`` newest; return their ids.

    A run that goes on is never deleted. Raises RequestError (``ledger_…``).
    """
    from datetime import UTC, datetime, timedelta

    from lmm.envelope import timestamp

    before = timestamp(datetime.now(UTC) - timedelta(seconds=older_than_s))
    return ledger_of(settings, asker).prune(before, keep)
