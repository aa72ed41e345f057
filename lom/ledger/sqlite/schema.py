"""The tables, as the steps that lead to them. A step that was released is never changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

APPLICATION_ID = 0x52554E45  # "RUNE": tells a ledger from other SQLite files

# A target's state is no column that could contradict the rest: it is done when it has a result,
# started when it has started_at. The event target.finished has no data: it is the result.
_FIRST = """
CREATE TABLE run (
  number INTEGER PRIMARY KEY,
  run_id TEXT NOT NULL UNIQUE,
  action TEXT NOT NULL,
  request TEXT NOT NULL,
  secret_params TEXT NOT NULL,
  options TEXT NOT NULL,
  version TEXT NOT NULL,
  who TEXT NOT NULL,
  host TEXT NOT NULL,
  boot_id TEXT NOT NULL,
  pid_space TEXT NOT NULL,
  pid INTEGER NOT NULL,
  pid_started INTEGER NOT NULL,
  started_at TEXT NOT NULL,
  targets INTEGER NOT NULL,
  finished_at TEXT,
  status TEXT,
  summary TEXT,
  exit_code INTEGER,
  gap TEXT,
  cancel_requested_at TEXT,
  CHECK ((finished_at IS NULL) = (status IS NULL))
);
CREATE TABLE target (
  run INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
  position INTEGER NOT NULL,
  name TEXT NOT NULL,
  transport TEXT NOT NULL,
  plugin TEXT,
  started_at TEXT,
  PRIMARY KEY (run, position)
);
CREATE TABLE result (
  run INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
  position INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  document TEXT NOT NULL,
  PRIMARY KEY (run, position)
);
CREATE TABLE event (
  run INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
  seq INTEGER NOT NULL,
  time TEXT NOT NULL,
  kind TEXT NOT NULL,
  target INTEGER,
  data TEXT,
  PRIMARY KEY (run, seq)
);
"""

# A run waits for an approval of the plan with this hash until approved_by, a JSON array of names
# of users, is there; then it is started and becomes a row like any other.
_APPROVALS = """
ALTER TABLE run ADD COLUMN plan_hash TEXT;
ALTER TABLE run ADD COLUMN approved_by TEXT;
"""

# How often a target was started, which is part of the key of its receipt on the host; and the key
# by which a request that is made again finds the run that it made.
_RESUMING = """
ALTER TABLE target ADD COLUMN starts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN idempotency_key TEXT;
CREATE UNIQUE INDEX run_by_key ON run (idempotency_key);
"""

# What results say for comparison, so that a host's history needs no reading of whole results.
# labels and facts are JSON in one form, fit to be compared as text; center, error and samples are
# as in metrics.py. invalid is a JSON array of reasons, null where the result can be compared. A
# baseline outlives the run that it was saved from.
_METRICS = """
CREATE TABLE measured (
  run INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
  position INTEGER NOT NULL,
  target TEXT NOT NULL,
  plugin TEXT NOT NULL,
  facts TEXT NOT NULL,
  invalid TEXT,
  unread INTEGER NOT NULL,
  PRIMARY KEY (run, position)
);
CREATE INDEX measured_of_host ON measured (target, plugin, facts, run);
CREATE TABLE metric (
  run INTEGER NOT NULL,
  position INTEGER NOT NULL,
  name TEXT NOT NULL,
  labels TEXT NOT NULL,
  unit TEXT NOT NULL,
  better TEXT NOT NULL,
  value REAL NOT NULL,
  center REAL NOT NULL,
  error REAL,
  samples INTEGER NOT NULL,
  PRIMARY KEY (run, position, name, labels, unit, better),
  FOREIGN KEY (run, position) REFERENCES measured ON DELETE CASCADE
) WITHOUT ROWID;
CREATE TABLE baseline (
  name TEXT PRIMARY KEY,
  action TEXT NOT NULL,
  run_id TEXT NOT NULL,
  saved_at TEXT NOT NULL,
  who TEXT NOT NULL
);
CREATE TABLE baseline_metric (
  baseline TEXT NOT NULL REFERENCES baseline ON DELETE CASCADE,
  plugin TEXT NOT NULL,
  facts TEXT NOT NULL,
  name TEXT NOT NULL,
  labels TEXT NOT NULL,
  unit TEXT NOT NULL,
  better TEXT NOT NULL,
  center REAL NOT NULL,
  spread REAL NOT NULL,
  hosts INTEGER NOT NULL,
  PRIMARY KEY (baseline, plugin, facts, name, labels, unit, better)
) WITHOUT ROWID;
"""

STEPS: tuple[str, ...] = (_FIRST, _APPROVALS, _RESUMING, _METRICS)


def migrate(connection: sqlite3.Connection, steps: Sequence[str] = STEPS) -> None:
    """Bring the file to the version ``len(steps)``, in one transaction; call it within one.

    The version is ``PRAGMA user_version``: how many of the steps the file has been through.
    """
    have = user_version(connection)
    for step in steps[have:]:
        for statement in filter(str.strip, step.split(";")):
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {len(steps)}")


def user_version(connection: sqlite3.Connection) -> int:
    """Return how many steps the file has been through; 0 for a new one."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
