"""The echo plugins, one for each runtime: what goes in comes out, whatever it is."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NOOPS = ["noop", "noop-sh", "noop-python3", "noop-perl", "noop-c"]

# Names and texts that a careless search for the parameters would stumble over.
tricky = st.sampled_from(
    ["context", "payload", "input_parameters", '"', "\\", '\\"', "{", "}", "}}", '},"context":', ""]
)
texts = st.one_of(tricky, st.text(max_size=8))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), texts).filter(
        lambda value: value not in (float("inf"), float("-inf"))
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)
objects = st.dictionaries(texts, values, max_size=4)


def echo(command: list[str], message: str) -> tuple[int, Any]:
    done = subprocess.run(command, input=message.encode(), capture_output=True, timeout=60)
    assert done.stderr == b""
    return done.returncode, json.loads(done.stdout)


def command_of(bench: Any, name: str) -> list[str]:
    plugin = bench.plugin(name)
    return [*plugin.interpreter, str(plugin.entrypoint)]


def message_of(parameters: str, context: str = "{}") -> str:
    """Return the message as the mediator writes it: compact, with its keys in this order."""
    return (
        '{"message_metadata":{"version":"2.0.0","message_id":"1","created_at":"x"},'
        f'"payload":{{"input_parameters":{parameters},"context":{context}}},'
        '"observability":{"trace_id":"1","span_id":"2"}}'
    )


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@pytest.fixture(params=[*NOOPS, "bash as sh"])
def command(request: pytest.FixtureRequest, bench: Any) -> list[str]:
    if request.param in NOOPS:
        return command_of(bench, request.param)
    return ["bash", "--posix", str(bench.plugin("noop-sh").entrypoint)]


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parameters=objects, context=objects)
def test_compact_messages(command: list[str], parameters: Any, context: Any) -> None:
    status, answer = echo(command, message_of(compact(parameters), compact(context)))
    assert status == 0
    assert compact(answer["payload"]["output_data"]) == compact(parameters)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parameters=objects, context=objects, order=st.permutations([0, 1, 2]), indent=st.booleans())
def test_messages_in_any_form(
    command: list[str], parameters: Any, context: Any, order: list[int], indent: bool
) -> None:
    """Another order of keys, white space and ASCII escapes, as another sender may write them."""
    payload = {"context": context, "input_parameters": parameters}
    members = [("message_metadata", {"version": "2.0.0"}), ("payload", payload), ("x", context)]
    message = json.dumps(
        {members[i][0]: members[i][1] for i in order}, indent=1 if indent else None
    )
    status, answer = echo(command, message)
    assert status == 0
    assert compact(answer["payload"]["output_data"]) == compact(parameters)


@pytest.mark.parametrize(
    "raw",
    [
        '{"a":1.10,"b":1e400,"c":-0.0,"d":123456789012345678901234567890}',
        '{"a":"\\u00e9\\ud800\\/\\u0000"}',
        '{ "a" : [ ] , "b" : { } }',
        '{"a":"\x7f\u2028\u00a0"}',
    ],
)
def test_the_text_itself_is_kept(command: list[str], raw: str) -> None:
    done = subprocess.run(command, input=message_of(raw).encode(), capture_output=True, timeout=60)
    assert raw.encode() in done.stdout


@pytest.mark.parametrize(
    "parameters",
    [
        {"text": "x" * 1_000_000},
        {"text": '"\\\n$(x)`' * 100_000},
        {"context": {"text": "y" * 1_000_000}},
        {"list": list(range(150_000))},
    ],
    ids=["plain", "escapes", "context", "list"],
)
def test_a_megabyte(command: list[str], parameters: Any) -> None:
    status, answer = echo(command, message_of(compact(parameters)))
    assert status == 0
    assert answer["payload"]["output_data"] == parameters


@pytest.mark.parametrize(
    "message",
    [
        "",
        "{}",
        "[]",
        "{",
        '{"payload":{}}',
        '{"payload":[{"input_parameters":{}}]}',
        '{"x":{"payload":{"input_parameters":{}}}}',
        message_of("3"),
        message_of('"{"'),
        message_of("[{}]"),
    ],
)
def test_no_parameters_is_an_error(command: list[str], message: str) -> None:
    status, answer = echo(command, message)
    assert status == 1
    assert answer == {
        "error": {"code": 1, "message": "the input has no object payload.input_parameters"}
    }


def test_noop_starts_no_process(bench: Any, tmp_path: Path) -> None:
    """The benchmarks measure RUNE with it: no command of PATH may be needed."""
    done = subprocess.run(
        ["/bin/bash", str(bench.plugin("noop").entrypoint)],
        input=message_of('{"context":"\\"slow way"}').encode(),
        capture_output=True,
        env={"PATH": str(tmp_path)},
        timeout=60,
    )
    assert json.loads(done.stdout)["payload"]["output_data"] == {"context": '"slow way'}
    assert done.stderr == b""
