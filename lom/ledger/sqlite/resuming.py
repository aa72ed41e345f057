"""Makes a run this process's that another one has left, and reads how far that one came."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime

from lmm.errors import RequestError
from lom.ledger.processes import is_alive, this_process
from lom.ledger.records import Earlier, Keep, Started
from lom.ledger.sqlite.rows import is_waiting, process_of

_LINES = ("progress", "metric", "log")  # events that a line of a plugin's stderr has become


def take_up(
    connection: sqlite3.Connection, run_id: str, keep: Keep, unseen: bool
) -> tuple[int, list[str], Earlier]:
    """Make the run this process's; call it in a transaction that writes.

    Results that say ``lost`` are asked for again; their events keep what they said. The others are
    given to ``keep``, one by one. With
    ``unseen`` a process that cannot be seen from here is taken for gone. Returns the run's number,
    its targets and how far it came. Raises RequestError (``run_not_resumable``).
    """
    connection.row_factory = sqlite3.Row
    row = connection.execute("SELECT * FROM run WHERE run_id = ?", (run_id,)).fetchone()
    number = row["number"]
    lost = connection.execute(
        "SELECT count(*) FROM result WHERE run = ? AND outcome = 'lost'", (number,)
    ).fetchone()[0]
    if why := _refusal(row, lost, unseen):
        raise RequestError("run_not_resumable", f"the run {run_id} {why}", run_id=run_id)
    connection.execute(
        "UPDATE event SET data = (SELECT document FROM result"
        " WHERE result.run = event.run AND position = target)"
        " WHERE run = ? AND kind = 'target.finished' AND data IS NULL AND target IN"
        " (SELECT position FROM result WHERE run = event.run AND outcome = 'lost')",
        (number,),
    )
    connection.execute("DELETE FROM result WHERE run = ? AND outcome = 'lost'", (number,))
    process = this_process()
    connection.execute(
        "UPDATE run SET boot_id = ?, pid_space = ?, pid = ?, pid_started = ?, finished_at = NULL,"
        " status = NULL, summary = NULL, exit_code = NULL, cancel_requested_at = NULL"
        " WHERE number = ?",
        (process.boot_id, process.pid_space, process.pid, process.started, number),
    )
    for name, outcome, document in connection.execute(
        "SELECT name, outcome, document FROM result JOIN target USING (run, position)"
        " WHERE run = ? ORDER BY position",
        (number,),
    ):
        keep(name, outcome, document)
    last_seq = connection.execute(
        "SELECT coalesce(max(seq), 0) FROM event WHERE run = ?", (number,)
    ).fetchone()[0]
    targets = connection.execute(
        "SELECT name FROM target WHERE run = ? ORDER BY position", (number,)
    )
    names = [name for (name,) in targets]
    started = _started(connection, number)
    return number, names, Earlier(row["started_at"], last_seq, started)


def _refusal(row: sqlite3.Row, lost: int, unseen: bool) -> str | None:
    if is_waiting(row):
        return "waits for an approval; it has not begun"
    if row["finished_at"] is not None:
        return None if lost else "has finished, and none of its targets is lost"
    alive = is_alive(process_of(row))
    if alive:
        return f"goes on in the process {row['pid']}"
    if alive is None and not unseen:
        return (
            f"was begun by the process {row['pid']} on {row['host']}, which cannot be seen from"
            " here; if that is gone, confirm with --yes"
        )
    return None


def _started(connection: sqlite3.Connection, number: int) -> dict[str, Started]:
    """Return the targets that were started and have no result, by name."""
    rows = connection.execute(
        "SELECT target.position, name, starts, started_at FROM target"
        " LEFT JOIN result USING (run, position)"
        " WHERE run = ? AND started_at IS NOT NULL AND outcome IS NULL",
        (number,),
    ).fetchall()
    told = _told(connection, number) if rows else {}
    now = datetime.now(UTC)
    found = {}
    for position, name, starts, started_at in rows:
        attempt, heard, over = told.get(position, (1, 0, False))
        age_s = max(0.0, (now - datetime.fromisoformat(started_at)).total_seconds())
        found[name] = Started(max(starts, 1), attempt, age_s, heard, over)
    return found


def _told(connection: sqlite3.Connection, number: int) -> dict[int, tuple[int, int, bool]]:
    """Return what the events say of each target: its attempt, lines since, whether it was over."""
    events = connection.execute(
        "SELECT kind, target, CASE WHEN kind = 'target.started' THEN data END FROM event"
        " WHERE run = ? AND target IS NOT NULL ORDER BY seq",
        (number,),
    )
    told: dict[int, tuple[int, int, bool]] = {}
    for kind, position, data in events:
        attempt, heard, over = told.get(position, (1, 0, False))
        if kind == "target.started":
            told[position] = json.loads(data).get("attempt", 1), 0, False
        elif kind == "target.retrying":
            told[position] = attempt, heard, True
        elif kind in _LINES:
            told[position] = attempt, heard + 1, over
    return told
