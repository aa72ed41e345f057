"""The durable record of runs, their targets, results and events.

Writing it while a run goes on, reading it from any process and pruning it belong here; ``store``
says what a store of it promises. Deciding what runs does not, nor how a record looks. The store is
chosen here, and loaded only where a ledger is used.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lom.ledger.store import Ledger


def ledger_in(folder: Path, asker: str | None = None) -> Ledger:
    """Return the ledger in a state folder; nothing is opened yet.

    With an ``asker`` its new runs are that user's, and other people's runs are not seen.
    """
    from lom.ledger.sqlite import FILE_NAME
    from lom.ledger.sqlite.writer import SqliteLedger

    return SqliteLedger(folder / FILE_NAME, asker)


def candidates_in(folder: Path, kind: str) -> dict[str, str]:
    """Return what a shell may complete: names of a ``kind``, ``run`` or ``baseline``, and actions.

    It is loaded without the rest of the ledger, as a shell waits for it; no fault is told.
    """
    from lom.ledger.sqlite import FILE_NAME
    from lom.ledger.sqlite.candidates import candidates

    return candidates(folder / FILE_NAME, kind)
