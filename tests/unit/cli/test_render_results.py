"""A run's results in each format, and errors as people read them."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from lmm.contract import spec_validator
from lmm.eps import document as eps
from lmm.errors import PluginFailed, RequestError, Unreachable
from lom.render.errors import error_lines
from lom.render.results import CSV_COLUMNS, render_run, summary_line
from lom.render.table import Screen

OUTCOMES = (
    "ok",
    "failed",
    "unreachable",
    "timed_out",
    "invalid_output",
    "cancelled",
    "lost",
    "skipped",
)


def result(target: str, outcome: str = "ok", **more: Any) -> dict[str, Any]:
    return {
        "target": target,
        "outcome": outcome,
        "output_data": {"load": 0.5, "os": {"name": "Debian"}} if outcome == "ok" else None,
        "error": None,
        "duration_s": 0.25,
        "attempt": 1,
        "exit_code": 0,
        "plugin": "host-info",
        **more,
    }


def run_document(*results: dict[str, Any]) -> dict[str, Any]:
    outcomes = {one["outcome"] for one in results}
    document = {
        "run_id": "20260101T000000Z-12345678",
        "action": "host.info",
        "status": outcomes.pop() if len(outcomes) == 1 else "partial",
        "started_at": "2026-01-01T00:00:00.000Z",
        "finished_at": "2026-01-01T00:00:01.000Z",
        "summary": {
            outcome: sum(1 for one in results if one["outcome"] == outcome) for outcome in OUTCOMES
        },
        "results": list(results),
    }
    assert spec_validator("result_v1").violations(document) == []
    return document


REFUSED = eps(Unreachable("connection_refused", "10.0.0.7 port 22 refused\x1b[2J"))
BROKEN = eps(
    PluginFailed("plugin_failed", "no GPU found", details={"code": 2, "message": "no GPU found"})
)


def rendered(document: dict[str, Any], output: str, view: Screen) -> bytes:
    return b"".join(render_run(document, output, view))


def text(document: dict[str, Any], view: Screen | None = None) -> str:
    return rendered(document, "table", view or Screen()).decode()


def test_several_targets_make_a_table() -> None:
    shown = text(
        run_document(result("web1"), result("web2", "unreachable", error=REFUSED, exit_code=None))
    )
    assert shown == (
        "TARGET  OUTCOME      TIME    DETAIL\n"
        "web1    ok           0.25 s  load=0.5  os.name=Debian\n"
        "web2    unreachable  0.25 s  10.0.0.7 port 22 refused\\x1b[2J\n"
    )


def test_one_target_shows_its_whole_answer() -> None:
    data = {"exit_code": 0, "stdout": "one\ntwo\n"}
    shown = text(run_document(result("web1", output_data=data)))
    assert shown == (
        "TARGET  OUTCOME  TIME\n"
        "web1    ok       0.25 s\n"
        "\n"
        "exit_code: 0\n"
        "stdout:\n"
        "  | one\n"
        "  | two\n"
    )


def test_one_target_without_an_answer_to_show() -> None:
    assert text(run_document(result("web1", output_data={}))).count("\n") == 2


def test_one_failure_says_what_to_do_and_shows_the_log() -> None:
    log = "".join(f"line {n}\n" for n in range(20)) + "\x1b[2Jlast"
    shown = text(run_document(result("web1", "failed", error=BROKEN, exit_code=2, stderr=log)))
    assert "error: no GPU found\n  hint: Read the plugin's own error" in shown
    assert "  stderr:\n    line 11\n" in shown
    assert "    \\x1b[2Jlast\n" in shown
    assert "line 10" not in shown


def test_json_and_yaml_are_the_document_itself() -> None:
    document = run_document(result("web1"))
    assert json.loads(rendered(document, "json", Screen())) == document
    assert rendered(document, "json", Screen()).count(b"\n") == 1
    assert rendered(document, "json", Screen(80)).count(b"\n") > 10
    assert rendered(document, "yaml", Screen()).startswith(b"run_id: 20260101T")


def test_csv_has_one_row_for_each_target() -> None:
    document = run_document(
        result("web1"), result("web2", "unreachable", error=REFUSED, exit_code=None)
    )
    rows = list(csv.DictReader(io.StringIO(rendered(document, "csv", Screen()).decode())))
    assert tuple(rows[0])[: len(CSV_COLUMNS)] == CSV_COLUMNS
    assert rows[0]["output_data.os.name"] == "Debian"
    assert (rows[0]["exit_code"], rows[0]["error_reason"]) == ("0", "")
    assert rows[1]["error_reason"] == "connection_refused"
    assert rows[1]["error_message"] == "10.0.0.7 port 22 refused\\x1b[2J"
    assert rows[1]["output_data.load"] == ""


def test_the_summary_counts_what_there_is() -> None:
    document = run_document(result("a"), result("b"), result("c", "lost", error=BROKEN))
    assert summary_line(document).startswith("3 targets: 2 ok, 1 lost  (run 2026")
    assert summary_line(run_document(result("a"))).startswith("1 target: 1 ok")
    assert "\x1b[32m2 ok\x1b[0m" in summary_line(document, color=True)


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (
            RequestError("invalid_request", "no such thing"),
            [
                "error: no such thing",
                "  hint: Correct the field that the message names and send the request again.",
            ],
        ),
        (
            RequestError(
                "inventory_invalid",
                "2 faults",
                field="$.targets",
                file="hosts.yaml",
                validation_errors=["'x' is not a port @ $.targets.a.port", "y @ $.targets.b"],
            ),
            [
                "error: 2 faults",
                "  field: $.targets",
                "  file: hosts.yaml",
                "  at: 'x' is not a port @ $.targets.a.port",
                "  at: y @ $.targets.b",
                "  hint: Mend the inventory at the place that the message names.",
            ],
        ),
        (
            RequestError("selector_invalid", "a bracket has no partner\n  web[\n     ^\x1b"),
            [
                "error: a bracket has no partner",
                "    web[",
                "       ^\\x1b",
                "  hint: Names, groups, ranges and variables are joined by and, or, not;"
                " see `rune run --help`.",
            ],
        ),
        (
            RequestError("config_invalid", "0 is too small @ $.a, line 3", field="$.a", line=3),
            [
                "error: 0 is too small @ $.a, line 3",
                "  hint: See what is set where with `rune config show`.",
            ],
        ),
    ],
)
def test_errors_say_what_where_and_what_next(error: RequestError, lines: list[str]) -> None:
    assert list(error_lines(eps(error))) == lines
