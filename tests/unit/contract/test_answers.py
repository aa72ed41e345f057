"""What a plugin said: every way in which an answer is taken or refused, and its events."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm.envelope import build_message, parse_event, read_answer
from lmm.errors import OutputError, PluginFailed, RuneError
from lmm.model import Invocation, Script, Target

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
INVOCATION = Invocation(
    run_id="r1",
    target=Target("gpu01"),
    action="gpu.health",
    plugin="gpu-health",
    script=Script("main.sh", b""),
    message=build_message(
        action="gpu.health",
        target="gpu01",
        run_id="r1",
        input_parameters={},
        timeout_s=30,
        trace_id=TRACE,
        span_id=SPAN,
        message_id="m1",
        correlation_id="c1",
    ),
    output_schema={"properties": {"healthy": {"type": "boolean"}}, "maxProperties": 3},
)


def payload(data: Any = None, **more: Any) -> dict[str, Any]:
    return {"payload": {"result": "success", "output_data": data or {}}, **more}


def error(code: int = 3, **more: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": "the bus is gone", **more}}


def refusal(answer: Any, exit_status: int = 0) -> RuneError:
    stdout = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    with pytest.raises(RuneError) as caught:
        read_answer(stdout, INVOCATION, exit_status)
    return caught.value


@pytest.mark.parametrize(
    "answer",
    [
        payload(),
        payload({"healthy": True, "more": [1, None, "é"]}),
        payload(message_metadata={}, observability={}),
        payload(message_metadata={"message_id": "m1", "correlation_id": "c1", "version": "2.1.0"}),
        payload(message_metadata={"created_at": "2030-01-01T00:00:00Z"}),
        payload(observability={"trace_id": TRACE, "span_id": SPAN}),
        payload(observability={"span_id": SPAN}),
        payload(**{k: INVOCATION.message[k] for k in ("message_metadata", "observability")}),
    ],
)
def test_taken(answer: dict[str, Any]) -> None:
    stdout = f"\n{json.dumps(answer)}\n".encode()
    assert read_answer(stdout, INVOCATION, 0) == answer["payload"]["output_data"]


def test_without_output_schema_any_object_is_taken() -> None:
    invocation = replace(INVOCATION, output_schema={})
    stdout = json.dumps(payload({"healthy": "maybe"})).encode()
    assert read_answer(stdout, invocation, 0) == {"healthy": "maybe"}


@pytest.mark.parametrize(
    ("answer", "exit_status", "reason", "field"),
    [
        (b"", 0, "output_empty", None),
        (b" \n", 0, "output_empty", None),
        (b"oops", 0, "output_not_json", None),
        (b"oops", 1, "output_not_json", None),
        (b"\xff", 0, "output_not_utf8", None),
        (b"{}{}", 0, "output_not_one_object", None),
        ({}, 0, "output_envelope_invalid", "$"),
        ({"healthy": True}, 0, "output_envelope_invalid", "$"),
        ({**payload(), **error()}, 0, "output_envelope_invalid", "$"),
        (payload(metrics=[]), 0, "output_envelope_invalid", "$"),
        ({"payload": {"result": "success"}}, 0, "output_envelope_invalid", "$.payload"),
        (
            {"payload": {"result": "failure", "output_data": {}}},
            0,
            "output_envelope_invalid",
            "$.payload.result",
        ),
        (error(0), 0, "output_envelope_invalid", "$.error.code"),
        (error(256), 0, "output_envelope_invalid", "$.error.code"),
        (error(3, details=[]), 3, "output_envelope_invalid", "$.error.details"),
        (
            payload(message_metadata={"message_id": "m2"}),
            0,
            "output_metadata_mismatch",
            "$.message_metadata.message_id",
        ),
        (
            payload(message_metadata={"correlation_id": "c2"}),
            0,
            "output_metadata_mismatch",
            "$.message_metadata.correlation_id",
        ),
        (
            payload(observability={"trace_id": TRACE[::-1]}),
            0,
            "output_metadata_mismatch",
            "$.observability.trace_id",
        ),
        (
            {**error(), "observability": {"span_id": SPAN[::-1]}},
            3,
            "output_metadata_mismatch",
            "$.observability.span_id",
        ),
        (
            payload(observability={"trace_id": "0" * 32}),
            0,
            "output_envelope_invalid",
            "$.observability.trace_id",
        ),
        (payload(), 1, "output_exit_code_mismatch", None),
        (payload(), 137, "output_exit_code_mismatch", None),
        (error(3), 0, "output_exit_code_mismatch", None),
        (error(3), 4, "output_exit_code_mismatch", None),
        (payload({"healthy": "yes"}), 0, "output_data_invalid", "$.payload.output_data.healthy"),
        (payload(dict.fromkeys("abcd")), 0, "output_data_invalid", "$.payload.output_data"),
    ],
)
def test_refused(answer: Any, exit_status: int, reason: str, field: str | None) -> None:
    problem = refusal(answer, exit_status)
    assert isinstance(problem, OutputError)
    assert problem.reason == reason
    assert problem.data.get("field") == field
    assert "first_bytes" in problem.data
    if field is not None:
        assert problem.message.endswith(f" @ {field}")
    if reason in ("output_envelope_invalid", "output_data_invalid"):
        assert problem.data["validation_errors"][0] == problem.message


def test_all_violations_are_told() -> None:
    problem = refusal(payload({"healthy": 1, "a": 1, "b": 1, "c": 1}))
    assert sorted(problem.data["validation_errors"]) == [
        "1 is not of type 'boolean' @ $.payload.output_data.healthy",
        "the object has too many properties @ $.payload.output_data",
    ]


@pytest.mark.parametrize(
    "own",
    [
        {"code": 3, "message": "the bus is gone"},
        {"code": 255, "message": "x", "details": {"xid": 79, "n": [None]}, "retryable": True},
    ],
)
def test_a_plugins_own_error_travels_unchanged(own: dict[str, Any]) -> None:
    problem = refusal({"error": own}, own["code"])
    assert isinstance(problem, PluginFailed)
    assert problem.reason == "plugin_failed"
    assert problem.message == own["message"]
    assert problem.data["details"] == own


def test_a_contradicted_error_is_kept() -> None:
    problem = refusal(error(3), 0)
    assert problem.message == "the plugin wrote error.code 3 but exited with 0"
    assert problem.data["details"] == error(3)["error"]
    assert problem.data["exit_code"] == 0


@pytest.mark.parametrize(
    ("exit_status", "signal", "text"),
    [
        (1, None, "the plugin exited with 1 and wrote nothing on stdout"),
        (127, None, "the plugin exited with 127 and wrote nothing on stdout"),
        (128, None, "the plugin exited with 128 and wrote nothing on stdout"),
        (137, "SIGKILL", "the plugin was killed by SIGKILL and wrote nothing on stdout"),
        (139, "SIGSEGV", "the plugin was killed by SIGSEGV and wrote nothing on stdout"),
        (255, None, "the plugin exited with 255 and wrote nothing on stdout"),
    ],
)
@pytest.mark.parametrize("stdout", [b"", b"\n \t\r\n"])
def test_crashed(stdout: bytes, exit_status: int, signal: str | None, text: str) -> None:
    problem = refusal(stdout, exit_status)
    assert isinstance(problem, PluginFailed)
    assert (problem.reason, problem.message) == ("plugin_crashed", text)
    assert problem.data["exit_code"] == exit_status
    assert problem.data.get("signal") == signal


@given(st.binary(max_size=60), st.integers(0, 255))
def test_any_bytes_are_taken_or_refused_for_a_reason(stdout: bytes, exit_status: int) -> None:
    problem = refusal(stdout, exit_status)  # so few bytes hold no answer
    assert isinstance(problem, OutputError | PluginFailed)
    assert problem.row["code"] < 0


# -- events ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (b'##rune {"kind":"progress"}\n', {"kind": "progress"}),
        (b'##rune {"kind":"progress","percent":0}', {"kind": "progress", "percent": 0}),
        (b'##rune   {"kind":"progress","x":1} \r\n', {"kind": "progress", "x": 1}),
        (
            b'##rune {"kind":"metric","name":"t","value":1,"unit":"Cel","better":"lower"}\n',
            {"kind": "metric", "name": "t", "value": 1, "unit": "Cel", "better": "lower"},
        ),
        (
            b'##rune {"kind":"log","level":"info","message":"\xc3\xa9"}\n',
            {"kind": "log", "level": "info", "message": "é"},
        ),
    ],
)
def test_event(line: bytes, event: dict[str, Any]) -> None:
    assert parse_event(line) == event


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"a plain line\n",
        b'{"kind":"progress"}\n',
        b' ##rune {"kind":"progress"}\n',
        b'##rune{"kind":"progress"}\n',
        b"##rune \n",
        b"##rune oops\n",
        b"##rune []\n",
        b"##rune {}\n",
        b'##rune {"kind":"other"}\n',
        b'##rune {"kind":"progress"}{}\n',
        b'##rune {"kind":"progress","kind":"progress"}\n',
        b'##rune {"kind":"progress","percent":101}\n',
        b'##rune {"kind":"progress","percent":NaN}\n',
        b'##rune {"kind":"progress","percent":true}\n',
        b'##rune {"kind":"progress","message":"\xff"}\n',
        b'##rune {"kind":"metric","name":"t","value":1,"unit":"Cel"}\n',
        b'##rune {"kind":"log","message":"no level"}\n',
        b"##rune " + b"[" * 5000 + b"\n",
    ],
    ids=lambda x: repr(x)[:60],
)
def test_plain_log_text(line: bytes) -> None:
    assert parse_event(line) is None


@given(st.binary(max_size=60))
def test_no_line_breaks_the_reader(rest: bytes) -> None:
    assert parse_event(b"##rune " + rest) is None  # so few bytes hold no event by chance
