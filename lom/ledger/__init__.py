"""The durable record of runs, their targets, results and events: one SQLite file per user.

Writing it while a run goes on, reading it from any process and pruning it belong here. Deciding
what runs does not, nor how a record looks. Imported only where a ledger is used, for sqlite3's
sake.
"""

from lom.ledger.sqlite.database import FILE_NAME
from lom.ledger.sqlite.reader import LedgerReader, RunRow, TargetRow
from lom.ledger.sqlite.resuming import Earlier, Started
from lom.ledger.sqlite.writer import Ledger, Recorder, RunFacts, facts_of

__all__ = [
    "FILE_NAME",
    "Earlier",
    "Ledger",
    "LedgerReader",
    "Recorder",
    "RunFacts",
    "RunRow",
    "Started",
    "TargetRow",
    "facts_of",
]
