"""A run's results, in each output format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lom.render.documents import csv_rows, encode
from lom.render.errors import error_lines, one_line
from lom.render.table import Screen, table
from lom.render.text import clean, duration, outline, paint, summary

CSV_COLUMNS = (
    "target",
    "outcome",
    "duration_s",
    "attempt",
    "exit_code",
    "error_reason",
    "error_message",
)


def render_run(document: Mapping[str, Any], output: str, view: Screen) -> bytes:
    """Return a result document as ``table``, ``json``, ``yaml`` or ``csv``.

    ``ndjson`` is not rendered here: it is the run's events, written as they come.
    """
    if output == "csv":
        return csv_rows(map(_csv_row, document["results"]), CSV_COLUMNS)
    if output == "table":
        return _table(document, view).encode("utf-8", "backslashreplace")
    return encode(document, output, pretty=view.columns is not None)


def summary_line(document: Mapping[str, Any], color: bool = False) -> str:
    """Return the run in one line: ``200 targets: 198 ok, 2 failed``."""
    counts = [
        paint(f"{count} {outcome.replace('_', ' ')}", outcome, color)
        for outcome, count in document["summary"].items()
        if count
    ]
    number = len(document["results"])
    noun = "target" if number == 1 else "targets"
    return f"{number} {noun}: {', '.join(counts)}  (run {document['run_id']})"


def _table(document: Mapping[str, Any], view: Screen) -> str:
    results = document["results"]
    single = results[0] if len(results) == 1 else None
    headers = ["target", "outcome", "time", "detail"]
    rows = [
        [result["target"], result["outcome"], duration(result["duration_s"]), _detail(result)]
        for result in results
    ]
    if single is None:
        return table(headers, rows, view, styled=1)
    head = table(headers[:3], [rows[0][:3]], view, styled=1)
    lines = list(_single(single, view))
    return head + "".join(f"{line}\n" for line in ["", *lines]) if lines else head


def _detail(result: Mapping[str, Any]) -> str:
    if result["error"] is not None:
        told = f"{one_line(result['error'])}  {summary(_plugins_details(result))}"
        return told.rstrip()[:1000]
    return summary(result["output_data"] or {})


def _single(result: Mapping[str, Any], view: Screen) -> list[str]:
    lines = list(outline(result["output_data"] or {}))
    if result["error"] is not None:
        lines = list(error_lines(result["error"], color=view.color))
        lines += [f"  {line}" for line in outline(_plugins_details(result))]
        log = str(result.get("stderr") or "").splitlines()[-10:]
        if log:
            lines += ["  stderr:", *(f"    {clean(line.expandtabs())}" for line in log)]
    return lines


def _plugins_details(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the details of the error that the plugin itself reported."""
    own = result["error"]["error_data"]["error"]["data"].get("details")
    return own["details"] if isinstance(own, Mapping) and "details" in own else {}


def _csv_row(result: Mapping[str, Any]) -> dict[str, Any]:
    row = {column: result.get(column) for column in CSV_COLUMNS}
    if result["error"] is not None:
        error = result["error"]["error_data"]["error"]
        row["error_reason"] = error["data"]["reason"]
        row["error_message"] = error["message"]
    return row | {"output_data": result["output_data"] or {}}
