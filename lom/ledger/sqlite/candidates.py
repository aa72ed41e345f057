"""What a shell may complete: names alone, without the modules that know more, which cost more."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

_QUERIES = {
    "run": "SELECT run_id, action FROM run ORDER BY number DESC LIMIT 100",
    "baseline": "SELECT name, action FROM baseline ORDER BY name",
}


def candidates(path: Path, kind: str) -> dict[str, str]:
    """Return a ledger's ``run`` ids or ``baseline`` names and their actions; none on a fault."""
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        ) as connection,
    ):
        return dict(connection.execute(_QUERIES[kind]).fetchall())
    return {}
