"""Strict JSON: what is refused, with which reason, and what is not."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm.envelope import loads_request, loads_strict
from lmm.errors import OutputError, RequestError

UTF8_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | UTF8_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(UTF8_TEXT, inner, max_size=4),
    max_leaves=10,
)
JSON_OBJECTS = st.dictionaries(UTF8_TEXT, JSON_VALUES, max_size=4)


def nested(levels: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    """An object of so many levels in all."""
    return b'{"a":' + opening * (levels - 1) + b"1" + closing * (levels - 1) + b"}"


def nested_objects(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


REFUSED = [
    (b"", "output_empty"),
    (b" \t\r\n ", "output_empty"),
    (b"\xff{}", "output_not_utf8"),
    (b'{"a":"\xed\xa0\x80"}', "output_not_utf8"),
    (b'{"a":"\xc0\xaf"}', "output_not_utf8"),
    (b'{"a":"cut \xe2\x82', "output_not_utf8"),
    (rb'{"a":"\ud800"}', "output_not_utf8"),
    (rb'{"a":"\uDC00\uD800"}', "output_not_utf8"),
    (rb'{"\ud83d":1}', "output_not_utf8"),
    (b"hello", "output_not_json"),
    (b'warning: x\n{"a":1}', "output_not_json"),
    (b'{"a":1', "output_not_json"),
    (b'{"a":1,}', "output_not_json"),
    (b"{'a':1}", "output_not_json"),
    (b'{"a":01}', "output_not_json"),
    (b'{"a":+1}', "output_not_json"),
    (b'{"a":.5}', "output_not_json"),
    (b'{"a":1 /* x */}', "output_not_json"),
    (b'{"a":"tab\there"}', "output_not_json"),
    (b'{"a":"\x00"}', "output_not_json"),
    (b"\x00", "output_not_json"),
    (b"\xc2\xa0{}", "output_not_json"),
    (b"\xef\xbb\xbf{}", "output_not_json"),
    (b'{"a":True}', "output_not_json"),
    (b"[1,2]", "output_not_one_object"),
    (b'"text"', "output_not_one_object"),
    (b"3", "output_not_one_object"),
    (b"null", "output_not_one_object"),
    (b"{}{}", "output_not_one_object"),
    (b'{"a":1}\n{"b":2}\n', "output_not_one_object"),
    (b"{}\ndone", "output_not_one_object"),
    (b"{},", "output_not_one_object"),
    (b"{}\x00", "output_not_one_object"),
    (b'{"a":1,"a":1}', "output_duplicate_key"),
    (b'{"a":1,"\\u0061":2}', "output_duplicate_key"),
    (b'{"x":[{"deep":{"k":1,"l":2,"k":3}}]}', "output_duplicate_key"),
    (b'{"a":NaN}', "output_not_finite"),
    (b'{"a":[Infinity]}', "output_not_finite"),
    (b'{"a":-Infinity}', "output_not_finite"),
    (b"NaN", "output_not_finite"),
    (b'{"a":1e999}', "output_not_finite"),
    (b'{"a":-1.5E400}', "output_not_finite"),
    (b'{"a":' + b"9" * 400 + b".5}", "output_not_finite"),
    (nested(101), "output_too_deep"),
    (nested(51, b'[{"b":', b"}]"), "output_too_deep"),
    (nested_objects(101), "output_too_deep"),
    (b'{"wide":[' + b"[]," * 200 + b'1],"a":' + nested(100) + b"}", "output_too_deep"),
    (nested(100_000), "output_too_deep"),
    (b"[" * 100_000, "output_too_deep"),
    (b'{"a":' + b"9" * 4301 + b"}", "output_number_too_long"),
    (b'{"a":-' + b"9" * 100_000 + b"}", "output_number_too_long"),
]


@pytest.mark.parametrize(("data", "reason"), REFUSED, ids=lambda x: repr(x)[:40])
def test_refused(data: bytes, reason: str) -> None:
    with pytest.raises(OutputError) as caught:
        loads_strict(data)
    assert caught.value.reason == reason
    assert caught.value.message
    assert caught.value.data["first_bytes"] == data[:512].decode("utf-8", "backslashreplace")
    with pytest.raises(RequestError, match=r"params\.json: ") as refused:
        loads_request(data, "params.json")
    assert refused.value.reason == "parse_error"
    assert "first_bytes" not in refused.value.data  # it may hold a secret


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"{}", {}),
        (b' \t\r\n{"a": 1}\r\n\t ', {"a": 1}),
        (b'{"a":{"k":1},"b":{"k":1}}', {"a": {"k": 1}, "b": {"k": 1}}),
        (b'{"":"","a":"\\u0000\\u001b"}', {"": "", "a": "\0\x1b"}),
        (rb'{"a":"\ud83d\ude00"}', {"a": "😀"}),
        (rb'{"a":"\\ud800"}', {"a": "\\ud800"}),
        ('{"é":"\u2028😀\U0010ffff"}'.encode(), {"é": "\u2028😀\U0010ffff"}),
        (
            b'{"a":1e308,"b":-0.0,"c":5e-324,"d":1E-999}',
            {"a": 1e308, "b": 0.0, "c": 5e-324, "d": 0},
        ),
        (b'{"a":' + b"9" * 4300 + b"}", {"a": 10**4300 - 1}),
        (b'{"a":"' + b"[" * 500 + b'"}', {"a": "[" * 500}),
        (b'{"a":[' + b"[],{}," * 500 + b"1]}", {"a": [[], {}] * 500 + [1]}),
    ],
    ids=lambda x: repr(x)[:40],
)
def test_accepted(data: bytes, value: Any) -> None:
    assert loads_strict(data) == value
    assert loads_request(data, "it") == value


@pytest.mark.parametrize("levels", [1, 2, 99, 100])
def test_a_hundred_levels_are_allowed(levels: int) -> None:
    assert loads_strict(nested(levels)) == json.loads(nested(levels))
    assert loads_strict(nested_objects(levels)) == json.loads(nested_objects(levels))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b'{"a":1}\n\n oops', "something follows the first JSON value on line 3"),
        (b'{"a":1,\n "b" 2}', "Expecting ':' delimiter at line 2 column 6"),
        (b'{"key":1,"key":2}', "the key 'key' stands twice in one object"),
        (b'{"a": "\xff"}', "byte 7 (0xff) is not UTF-8"),
        (b'{"' + b"k" * 90 + b'":1,"' + b"k" * 90 + b'":1}', "k…' stands twice in one object"),
    ],
)
def test_messages_say_what_and_where(data: bytes, text: str) -> None:
    with pytest.raises(OutputError) as caught:
        loads_strict(data)
    assert text in caught.value.message
    assert len(caught.value.message) < 120


def test_eight_megabytes() -> None:
    rows = [{"name": f"gpu{n}", "value": n * 0.5, "note": "x" * 40} for n in range(100_000)]
    data = json.dumps({"rows": rows}).encode()
    assert len(data) > 8_000_000
    assert loads_strict(data)["rows"] == rows


@given(JSON_OBJECTS, st.booleans())
def test_what_json_writes_comes_back(value: dict[str, Any], ascii_only: bool) -> None:
    data = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert loads_strict(data) == value


@given(st.binary(max_size=40) | JSON_VALUES.map(lambda v: json.dumps(v, allow_nan=False).encode()))
def test_any_bytes_give_an_object_or_a_reason(data: bytes) -> None:
    with contextlib.suppress(OutputError):
        value = loads_strict(data)
        assert isinstance(value, dict)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


@given(st.floats())
def test_every_float_is_finite_or_refused(number: float) -> None:
    data = json.dumps({"a": number}).encode()
    if math.isfinite(number):
        assert loads_strict(data) == {"a": number}
    else:
        with pytest.raises(OutputError, match="is not JSON"):
            loads_strict(data)


def test_what_is_no_answer_is_shown_by_its_first_line() -> None:
    with pytest.raises(OutputError, match=r"line 2 column 1; stdout begins with 'warning: x'$"):
        loads_strict(b'\nwarning: x\n{"a":1}')
    with pytest.raises(OutputError, match=r"; stdout begins with 'y{59}…'$"):
        loads_strict(b"y" * 5000)
    with pytest.raises(OutputError, match=r"twice in one object$"):
        loads_strict(b'{"a":1,"a":2}')
