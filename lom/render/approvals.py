"""What waits for an approval, for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lom.render.table import Screen, table
from lom.render.text import clean

_TARGETS = 50  # spelt out; -o json has them all


def requests_table(rows: Sequence[Mapping[str, Any]], view: Screen) -> str:
    """Return the table of ``rune approve --list``; the rows are those of its document."""
    headers = ("run", "action", "targets", "asked by", "asked", "approvers", "answers")
    cells = [
        [
            row["run_id"],
            row["action"],
            str(row["targets"]),
            row["user"],
            row["asked_at"].replace("T", " ")[:19],
            ", ".join(row["approvers"]),
            ", ".join(
                f"{'approved' if one['approved'] else 'denied'} by {one['user']}"
                for one in row["answers"]
            ),
        ]
        for row in rows
    ]
    return table(headers, cells, view)


def request_text(document: Mapping[str, Any]) -> str:
    """Return all that an approval would be for; every line is safe on a terminal."""
    return "".join(f"{clean(line)}\n" for line in _lines(document))


def answer_text(document: Mapping[str, Any]) -> str:
    """Return what was answered, and what is next."""
    answer, run_id = document["answer"], document["run_id"]
    if not answer["approved"]:
        return f"denied {run_id}\n"
    again = f"{document['user']} may now give the command again with --approved {run_id}"
    words = f"approved {run_id} ({document['plan_hash']}); {again}"
    return f"{clean(words)}\n"


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    subject = document["subject"]
    yield f"run         {document['run_id']}"
    yield f"asked by    {document['user']} at {document['asked_at']}"
    yield f"action      {subject['action']}"
    for name, value in sorted(subject["parameters"].items()):
        yield f"parameter   {name} = {_json(value)}"
    for one in subject["plugins"]:
        yield f"plugin      {one['name']} {one['version']} sha256 {one['sha256']}"
        yield f"            manifest sha256 {one['manifest_sha256']}"
    for name, value in sorted(subject["options"].items()):
        if value is not None and value is not False:
            yield f"option      {name} = {_json(value)}"
    targets = subject["targets"]
    yield f"targets     {len(targets)}"
    for one in targets[:_TARGETS]:
        settings = f" {_json(one['settings'])}" if one["settings"] else ""
        plugin = one["plugin"] or "no plugin fits: skipped"
        yield f"            {one['name']}  {one['transport']} {one['address']}  {plugin}{settings}"
    if len(targets) > _TARGETS:
        yield f"            and {len(targets) - _TARGETS} more: --dry-run -o json has them all"
    yield f"plan hash   {document['plan_hash']}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
