"""Documents for programs: valid, complete, safe."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lom.render.documents import csv_rows, encode

TEXT = st.text(max_size=40)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)
DOCUMENTS = st.dictionaries(TEXT, VALUES, max_size=4)


@settings(max_examples=80, deadline=None)
@given(DOCUMENTS, st.booleans())
def test_json_reads_back_and_is_one_line_unless_pretty(data: dict[str, Any], pretty: bool) -> None:
    text = encode(data, "json", pretty=pretty)
    assert json.loads(text) == data
    assert text.endswith(b"\n")
    assert encode(data, "ndjson", pretty=True).count(b"\n") == 1


@settings(max_examples=60, deadline=None)
@given(DOCUMENTS)
def test_yaml_reads_back(data: dict[str, Any]) -> None:
    assert yaml.safe_load(encode(data, "yaml")) == data


def test_json_keeps_the_order_and_the_writing() -> None:
    assert encode({"b": 1, "a": "42 °C"}, "json") == '{"b":1,"a":"42 °C"}\n'.encode()


def test_what_utf8_and_terminals_cannot_take() -> None:
    data = {"x": "\ud800 \x9b2J \u2028 \x1b[2J \U0001f600"}
    text = encode(data, "json")
    assert json.loads(text) == data
    assert not set("\x9b\u2028\x1b") & set(text.decode())
    assert yaml.safe_load(encode(data, "yaml"))["x"] == data["x"].replace("\ud800", "\ufffd")


def test_yaml_repeats_equal_values_instead_of_anchoring_them() -> None:
    shared = {"a": [1]}
    assert b"&" not in encode({"x": shared, "y": shared}, "yaml")


def test_numbers_that_json_lacks_are_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode({"x": math.nan}, "json")


def read(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode())))


def test_csv_has_the_first_columns_then_all_others() -> None:
    rows = [
        {"target": "a", "data": {"x": 1, "deep": {"y": True}}},
        {"target": "b", "data": {"z": [1, "two"], "x": None}},
    ]
    assert read(csv_rows(rows, ("target", "outcome"))) == [
        ["target", "outcome", "data.x", "data.deep.y", "data.z"],
        ["a", "", "1", "true", ""],
        ["b", "", "", "", '[1, "two"]'],
    ]


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd", "'+cmd"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-x", "'-x"),
        ("\t=1", "'\t=1"),
        (-5, "-5"),
        (-0.5, "-0.5"),
        ("a=1", "a=1"),
        ('quote " and, comma', 'quote " and, comma'),
        ("two\nlines", "two\nlines"),
        ("\x1b[2J\r\x00", r"\x1b[2J\r\x00"),
        ("\ud800", r"\ud800"),
        (False, "false"),
    ],
)
def test_csv_cells(value: object, cell: str) -> None:
    assert read(csv_rows([{"v": value, "w": "x"}])) == [["v", "w"], [cell, "x"]]


def test_a_key_cannot_be_a_formula_either() -> None:
    assert read(csv_rows([{"=1+1": "x"}]))[0] == ["'=1+1"]
