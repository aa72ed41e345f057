"""What a row of the table ``run`` says, for those who read and those who write it."""

from __future__ import annotations

import sqlite3

from lom.ledger.processes import Process


def is_waiting(row: sqlite3.Row) -> bool:
    """Whether nobody has approved of the run yet."""
    return row["plan_hash"] is not None and row["approved_by"] is None


def process_of(row: sqlite3.Row) -> Process:
    """Return the process that carries the run out, or did."""
    return Process(row["boot_id"], row["pid_space"], row["pid"], row["pid_started"])
