"""The runs of the ledger, for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from lom.render.results import render_run, summary_line
from lom.render.table import Screen, table
from lom.render.text import clean, clip, counted, duration

_NAMES = 10  # of targets, in one line


def runs_table(rows: Sequence[Mapping[str, Any]], view: Screen) -> str:
    """Return the table of ``rune runs list``; the rows are those of its document."""
    headers = ("run", "status", "action", "targets", "started", "time", "who", "outcomes")
    cells = [
        [
            row["run_id"],
            row["status"],
            row["action"],
            str(row["targets"]),
            row["started_at"].replace("T", " ")[:19],
            took(row),
            row["who"],
            counted(row["summary"]),
        ]
        for row in rows
    ]
    return table(headers, cells, view, styled=1)


def run_text(row: Mapping[str, Any], document: Mapping[str, Any], view: Screen) -> Iterator[bytes]:
    """Yield what ``rune runs show`` prints: the run, its results, and what has none."""
    head = [
        f"run {row['run_id']}  {row['action']}  {row['status']}",
        f"started {row['started_at']} by {row['who']} on {row['host']}, took {took(row) or '?'}",
    ]
    if row["cancel_requested_at"]:
        head.append(f"asked to cancel {row['cancel_requested_at']}")
    if row["plan_hash"]:
        by = ", ".join(row["approved_by"] or ()) or "nobody yet"
        head.append(f"approved by {by}: the plan {row['plan_hash']}")
    if row["incomplete"]:
        head.append(f"the record is incomplete: {row['incomplete']}")
    yield _lines(map(clean, head))
    tail = list(_without_result(document))
    if document["results"]:
        yield b"\n"
        yield from render_run(document, "table", view)
        tail.append(summary_line(document, view.color))
    if tail:
        yield b"\n" + _lines(tail)


def _lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")


def _without_result(document: Mapping[str, Any]) -> Iterator[str]:
    for key, words in (
        ("started", "started, and nobody knows how it ended"),
        ("not_started", "not started"),
    ):
        names = document.get(key, ())
        if names:
            more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
            shown = ", ".join(names[:_NAMES])
            yield f"{len(names)} {words}: {clean(clip(shown, 400))}{more}"


def took(row: Mapping[str, Any]) -> str:
    """Return how long a run took, nothing if it has not ended."""
    if row["finished_at"] is None:
        return ""
    began, ended = (datetime.fromisoformat(row[key]) for key in ("started_at", "finished_at"))
    return duration(max(0.0, (ended - began).total_seconds()))
