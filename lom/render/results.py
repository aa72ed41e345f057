"""A run's results, in each output format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lom.render.documents import csv_pieces
from lom.render.errors import error_lines, one_line
from lom.render.lazily import Lazily
from lom.render.streamed import encoded, gathered
from lom.render.table import Screen, table
from lom.render.text import clean, counted, duration, outline, summary

CSV_COLUMNS = (
    "target",
    "outcome",
    "duration_s",
    "attempt",
    "exit_code",
    "error_reason",
    "error_message",
)


def render_run(document: Mapping[str, Any], output: str, view: Screen) -> Iterator[bytes]:
    """Yield a result document as ``table``, ``json``, ``yaml`` or ``csv``, piece by piece.

    Of its ``results`` one at a time is in memory, if they are a sequence that reads them so.
    ``ndjson`` is not rendered here: it is the run's events, written as they come.
    """
    results = document["results"]
    if output == "csv":
        return csv_pieces(
            Lazily(range(len(results)), lambda at: _csv_row(results[at])), CSV_COLUMNS
        )
    if output == "table":
        return gathered(text.encode("utf-8", "backslashreplace") for text in _table(results, view))
    return encoded(document, output, pretty=view.columns is not None)


def summary_line(document: Mapping[str, Any], color: bool = False) -> str:
    """Return the run in one line: ``200 targets: 198 ok, 2 failed``."""
    counts = counted(document["summary"], color)
    number = sum(document["summary"].values())
    noun = "target" if number == 1 else "targets"
    return f"{number} {noun}: {counts}  (run {document['run_id']})"


def _table(results: Sequence[Mapping[str, Any]], view: Screen) -> Iterator[str]:
    headers = ["target", "outcome", "time", "detail"]
    if len(results) != 1:
        yield table(headers, list(map(_row, results)), view, styled=1)
        return
    single = results[0]
    yield table(headers[:3], [_row(single)[:3]], view, styled=1)
    before = "\n"
    for line in _single(single, view):
        yield f"{before}{line}\n"
        before = ""


def _row(result: Mapping[str, Any]) -> list[str]:
    return [result["target"], result["outcome"], duration(result["duration_s"]), _detail(result)]


def _detail(result: Mapping[str, Any]) -> str:
    if result["error"] is not None:
        told = f"{one_line(result['error'])}  {summary(_plugins_details(result))}"
        return told.rstrip()[:1000]
    return summary(result["output_data"] or {})


def _single(result: Mapping[str, Any], view: Screen) -> Iterator[str]:
    if result["error"] is None:
        yield from outline(result["output_data"] or {})
        return
    yield from error_lines(result["error"], color=view.color)
    yield from (f"  {line}" for line in outline(_plugins_details(result)))
    if log := str(result.get("stderr") or "").splitlines()[-10:]:
        yield "  stderr:"
        yield from (f"    {clean(line.expandtabs())}" for line in log)


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
