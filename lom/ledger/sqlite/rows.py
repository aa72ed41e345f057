"""What a row of the table ``run`` says, for those who read and those who write it."""

from __future__ import annotations

import sqlite3

from lom.ledger.processes import Process

_KEY_SEPARATOR = "\n"  # which neither a name nor a key can hold


def key_of(asker: str | None, key: str | None) -> str | None:
    """Return an idempotency key as it is kept: of people who share an account each has their own.

    ``asker`` is None where only one has runs in a ledger.
    """
    return key if asker is None or key is None else f"{asker}{_KEY_SEPARATOR}{key}"


def shown_key(kept: str | None) -> str | None:
    """Return an idempotency key as it was given."""
    return kept and kept.rpartition(_KEY_SEPARATOR)[2]


def is_waiting(row: sqlite3.Row) -> bool:
    """Whether nobody has approved of the run yet."""
    return row["plan_hash"] is not None and row["approved_by"] is None


def process_of(row: sqlite3.Row) -> Process:
    """Return the process that carries the run out, or did."""
    return Process(row["boot_id"], row["pid_space"], row["pid"], row["pid_started"])
