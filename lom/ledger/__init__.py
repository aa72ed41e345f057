"""The durable record of runs, their targets, results and events: one SQLite file per user.

Writing it while a run goes on, reading it from any process and pruning it belong here. Deciding
what runs does not, nor how a record looks. Imported only where a ledger is used, for sqlite3's
sake.
"""

from lom.ledger.records import Earlier, RunFacts, RunRow, Started, TargetRow
from lom.ledger.sqlite.database import FILE_NAME
from lom.ledger.sqlite.reader import LedgerReader
from lom.ledger.sqlite.recorder import Recorder
from lom.ledger.sqlite.writer import Ledger

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
]
