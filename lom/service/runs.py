"""The ledger that the settings name: opened for reading, and pruned."""

from __future__ import annotations

from pathlib import Path

from lom.ledger import FILE_NAME, Ledger, LedgerReader
from lom.settings.values import Settings, state_folder

__all__ = ["LedgerReader", "ledger_file", "open_ledger", "prune"]


def ledger_file(settings: Settings) -> Path:
    """Return the ledger that the settings name, which need not be there yet."""
    return state_folder(settings) / FILE_NAME


def open_ledger(settings: Settings, asker: str | None) -> LedgerReader:
    """Open the ledger for reading; with an ``asker`` only that user's runs are there.

    Raises RequestError (``ledger_…``, and as ``state_folder``).
    """
    return LedgerReader(ledger_file(settings), asker)


def prune(settings: Settings, older_than_s: float, keep: int) -> list[str]:
    """Delete the runs that began longer ago, but for the ``keep`` newest; return their ids.

    A run that goes on is never deleted. Raises RequestError (``ledger_…``).
    """
    from datetime import UTC, datetime, timedelta

    from lmm.envelope import timestamp

    path = ledger_file(settings)
    before = timestamp(datetime.now(UTC) - timedelta(seconds=older_than_s))
    return Ledger(path).prune(before, keep) if path.exists() else []
