"""What a plugin is given: the message, its bytes, its environment variables."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm.contract import spec_validator
from lmm.envelope import build_message, encode_message, environment, loads_strict, timestamp
from lmm.errors import RequestError

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
NOW = datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
PARAMETERS = st.dictionaries(
    TEXT | st.text("aA_-1", max_size=3),
    SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(TEXT, SCALARS, max_size=3),
    max_size=6,
)


def message(parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "action": "gpu.health",
        "target": "gpu01",
        "run_id": "r-1",
        "timeout_s": 30,
        "trace_id": TRACE,
        "created_at": NOW,
    }
    return build_message(**{**given, **more}, input_parameters=parameters)


def variables(parameters: dict[str, Any], *write_only: str) -> dict[str, bytes]:
    found = environment(message(parameters), frozenset(write_only))
    assert len(dict(found)) == len(found)
    return {name: value for name, value in found if name.startswith("RUNE_PARAM_")}


# -- the message -------------------------------------------------------------------------------


def test_message() -> None:
    built = message({"a": 1}, message_id="m1", span_id="00f067aa0ba902b7", correlation_id="c1")
    assert built == {
        "message_metadata": {
            "version": "2.0.0",
            "message_id": "m1",
            "created_at": "2026-01-02T03:04:05.678Z",
            "correlation_id": "c1",
        },
        "payload": {
            "input_parameters": {"a": 1},
            "context": {
                "target": "gpu01",
                "action": "gpu.health",
                "run_id": "r-1",
                "attempt": 1,
                "deadline": "2026-01-02T03:04:35.678Z",
                "timeout_s": 30,
            },
        },
        "observability": {"trace_id": TRACE, "span_id": "00f067aa0ba902b7"},
    }


def test_ids_are_made_and_differ() -> None:
    one, two = message({}), message({})
    assert one["message_metadata"]["message_id"] != two["message_metadata"]["message_id"]
    assert one["observability"]["span_id"] != two["observability"]["span_id"]
    assert "correlation_id" not in one["message_metadata"]


def test_context_adds_but_cannot_replace() -> None:
    context = message({}, context={"rack": "r3", "target": "other"})["payload"]["context"]
    assert (context["rack"], context["target"]) == ("r3", "gpu01")


@given(PARAMETERS)
def test_every_message_keeps_the_contract(parameters: dict[str, Any]) -> None:
    assert spec_validator("bpcs_input_v2").violations(message(parameters)) == []


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (NOW, "2026-01-02T03:04:05.678Z"),
        (NOW.replace(microsecond=0), "2026-01-02T03:04:05.000Z"),
        (NOW.astimezone(timezone(timedelta(hours=5))), "2026-01-02T03:04:05.678Z"),
    ],
)
def test_timestamp(instant: datetime, text: str) -> None:
    assert timestamp(instant) == text


def test_timestamp_of_now() -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    assert before <= datetime.fromisoformat(timestamp()) <= datetime.now(UTC)


# -- its bytes ---------------------------------------------------------------------------------


@given(PARAMETERS)
def test_the_bytes_are_one_clean_line_that_says_the_same(parameters: dict[str, Any]) -> None:
    built = message(parameters)
    data = encode_message(built)
    assert loads_strict(data) == built
    text = data.decode("utf-8")
    assert not [c for c in text if ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or c in "\u2028\u2029"]


def test_the_bytes_are_compact_utf8() -> None:
    assert encode_message({"a": "é😀\x7f\x85\u2028\0$(x)`'\"", "b": [1, 2]}) == (
        '{"a":"é😀\\u007f\\u0085\\u2028\\u0000$(x)`\'\\"","b":[1,2]}'.encode()
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", b"x", object()])
def test_what_json_cannot_carry(value: Any) -> None:
    with pytest.raises(RequestError, match="cannot be sent as JSON") as caught:
        encode_message(message({"a": value}))
    assert caught.value.reason == "invalid_request"


def test_an_integer_that_python_will_not_print() -> None:
    assert variables({"a": 10**5000}) == {}
    with pytest.raises(RequestError, match="cannot be sent as JSON"):
        encode_message(message({"a": 10**5000}))


def test_a_value_inside_itself() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(RequestError, match="cannot be sent as JSON"):
        encode_message(message({"a": loop}))


# -- environment variables ---------------------------------------------------------------------

KIB = 1024
HOSTILE = "$(reboot) `id` '\"\\ \n\t=;& é😀"


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"gpu_index": 3}, {"GPU_INDEX": b"3"}),
        ({"a": True, "b": False}, {"A": b"true", "B": b"false"}),
        ({"a": 0.5, "b": 1e100, "c": -0.0}, {"A": b"0.5", "B": b"1e+100", "C": b"-0.0"}),
        ({"a": 2**70}, {"A": str(2**70).encode()}),
        ({"a": ""}, {"A": b""}),
        ({"a": HOSTILE}, {"A": HOSTILE.encode()}),
        ({"dash-dot.x y": 1}, {"DASH_DOT_X_Y": b"1"}),
        ({"naïve": 1}, {"NA_VE": b"1"}),
        ({"straße": 1}, {"STRASSE": b"1"}),
        ({"имя": 1}, {"___": b"1"}),
        ({"1": 1}, {"1": b"1"}),
        ({"": 1}, {}),
        ({"a": None, "b": [1], "c": {"d": 1}}, {}),
        ({"a": "x\0y"}, {}),
        ({"a": "\ud800"}, {}),
        ({"a": "x" * (32 * KIB)}, {"A": b"x" * (32 * KIB)}),
        ({"a": "x" * (32 * KIB + 1)}, {}),
        ({"a": "é" * (16 * KIB)}, {"A": "é".encode() * (16 * KIB)}),
        ({"a": "é" * (16 * KIB) + "x"}, {}),
        ({"a-b": 1, "a_b": 2, "c": 3}, {"C": b"3"}),
        ({"A": 1, "a": None}, {}),
        ({"x": 1, "X": [1]}, {}),
    ],
    ids=lambda x: repr(x)[:40],
)
def test_variables(parameters: dict[str, Any], expected: dict[str, bytes]) -> None:
    assert variables(parameters) == {f"RUNE_PARAM_{k}": v for k, v in expected.items()}


@pytest.mark.parametrize(
    ("name", "pointer"),
    [("password", "/password"), ("a/b", "/a~1b"), ("a~b", "/a~0b"), ("~1", "/~01")],
)
def test_write_only_parameters_have_no_variable(name: str, pointer: str) -> None:
    assert set(variables({name: "hunter2", "other": 1}, pointer)) == {"RUNE_PARAM_OTHER"}
    assert len(variables({name: "hunter2", "other": 1})) == 2


def test_a_name_shared_with_a_secret_gives_no_variable() -> None:
    assert variables({"pass-word": "hunter2", "pass_word": "x"}, "/pass-word") == {}


def test_pointers_below_the_top_level_hide_nothing_else() -> None:
    assert variables({"a": 1}, "/b/a", "/a/b") == {"RUNE_PARAM_A": b"1"}


def test_a_plugin_is_told_where_and_for_what_it_runs() -> None:
    built = message({"target": "of the parameters"}, target="gpu 01 ü", run_id="r-1")
    found = dict(environment(built, frozenset()))
    assert found == {
        "RUNE_TARGET": "gpu 01 ü".encode(),
        "RUNE_ACTION": b"gpu.health",
        "RUNE_RUN_ID": b"r-1",
        "RUNE_DEADLINE": built["payload"]["context"]["deadline"].encode(),
        "RUNE_PARAM_TARGET": b"of the parameters",
    }


def test_all_variables_together_are_bounded() -> None:
    found = variables({f"p{n}": "x" * 32_000 for n in range(100)} | {"last": "small"})
    assert sum(len(k) + len(v) + 2 for k, v in found.items()) <= 256 * KIB
    assert list(found) == [*(f"RUNE_PARAM_P{n}" for n in range(8)), "RUNE_PARAM_LAST"]


@given(PARAMETERS, st.sets(st.sampled_from(["/a", "/A", "/-", "/_"])))
def test_any_variables_fit_an_environment(parameters: dict[str, Any], secret: set[str]) -> None:
    for name, value in variables(parameters, *secret).items():
        assert name.startswith("RUNE_PARAM_")
        assert name.replace("_", "A").isalnum()
        assert name.isascii()
        assert name == name.upper()
        assert b"\0" not in value
        [source] = [
            k for k in parameters
            if "RUNE_PARAM_" + "".join(c if c.isascii() and c.isalnum() else "_" for c in k.upper())
            == name
        ]  # fmt: skip
        assert f"/{source}" not in secret
        given = parameters[source]
        if isinstance(given, str):
            assert value.decode() == given
        else:
            assert json.loads(value) == given
            assert type(json.loads(value)) is type(given)
