"""What validators say, what they keep to themselves, and which schemas are refused."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm.contract import (
    SchemaValidator,
    Violation,
    check_schema,
    json_path,
    spec_validator,
    validator_for,
)

METRICS = {"properties": {"metrics": {"$ref": "https://rune.dev/specs/common.json#/$defs/metrics"}}}


def said(schema: dict[str, Any], value: Any) -> list[str]:
    return [str(violation) for violation in validator_for(schema).violations(value)]


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        (
            {"properties": {"gpu_index": {"maximum": 7}}},
            {"gpu_index": 9},
            ["9 is greater than the maximum of 7 @ $.gpu_index"],
        ),
        ({"required": ["a"]}, {}, ["'a' is a required property @ $"]),
        ({"type": "object"}, [1, 2], ["the array is not of type 'object' @ $"]),
        (
            {"items": {"type": "string"}},
            ["a", {"b": 1}],
            ["the object is not of type 'string' @ $[1]"],
        ),
        (
            {"properties": {"entrypoint": {}}, "additionalProperties": False},
            {"entypoint": 1, "zz": 2},
            ["unknown field 'entypoint', did you mean 'entrypoint'?; unknown field 'zz' @ $"],
        ),
        (
            {"properties": {"odd name": False}},
            {"odd name": 1},
            ['False schema does not allow the value @ $["odd name"]'],
        ),
        (
            {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
            {"a": 1, "b": 2},
            ["exactly one of 'a', 'b' is required @ $"],
        ),
        (
            {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
            {},
            ["at least one of 'a', 'b' is required @ $"],
        ),
        (
            {"anyOf": [{"enum": ["x"]}, {"type": "array"}]},
            "y",
            ["'y' is not one of ['x'] or 'y' is not of type 'array' @ $"],
        ),
        (
            {"anyOf": [{"type": "null"}, {"properties": {"n": {"type": "integer"}}}]},
            {"n": "1"},
            ["'1' is not of type 'integer' @ $.n"],
        ),
        (
            {"prefixItems": [{}], "items": False},
            [1, 2],
            ["has more items than the schema allows @ $"],
        ),
        (
            {"pattern": "^[0-9]+$", "description": "a number"},
            "x",
            ["'x' does not match '^[0-9]+$' (a number) @ $"],
        ),
        (
            METRICS,
            {"metrics": [{"name": "x", "value": 1, "unit": "ms"}]},
            ["'better' is a required property @ $.metrics[0]"],
        ),
    ],
)
def test_words(schema: dict[str, Any], value: Any, expected: list[str]) -> None:
    assert check_schema(schema) == []
    assert said(schema, value) == expected


def test_patterns_are_ecma_262() -> None:
    assert said({"pattern": "^a$"}, "a\n") == ["'a\\n' does not match '^a$' @ $"]
    assert said({"pattern": r"^\d$"}, "٣") == [r"'٣' does not match '^\\d$' @ $"]


def test_a_pattern_that_backtracks_ends() -> None:
    assert len(said({"pattern": "^(a|a)*(?=b)c$"}, "a" * 60 + "b")) == 1


def test_words_of_the_fast_path_where_python_cannot_read_the_pattern() -> None:
    schema = {"patternProperties": {r"^\p{L}$": {"type": "integer"}}}
    assert check_schema(schema) == []
    assert said(schema, {"é": "hunter2"}) == ['the value is not of type "integer" @ $["é"]']


SECRET = "hunter2 zebra"


@pytest.mark.parametrize(
    "password",
    [
        {"type": "integer", "writeOnly": True},
        {"writeOnly": True, "minLength": 99},
        {"minLength": 99, "pattern": "^x", "enum": ["x"], "writeOnly": True},
        {"writeOnly": True, "anyOf": [{"type": "integer"}, {"maxLength": 1}]},
        {"writeOnly": True, "not": {"type": "string"}},
        {"writeOnly": True, "$ref": "#/$defs/number"},
        {"allOf": [{"$ref": "#/$defs/number"}, {"writeOnly": True}]},
        {"format": "x", "oneOf": [{"writeOnly": True, "type": "integer"}, {"type": "null"}]},
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_secrets_stand_in_no_message(password: dict[str, Any], wrapped: bool) -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"password": password, "name": {"maxLength": 1}},
        "$defs": {"number": {"type": "integer"}},
    }
    value: dict[str, Any] = {"password": SECRET, "name": "shown"}
    if wrapped:
        schema["oneOf"] = [{"required": ["a"]}, {"minProperties": 9}]
    messages = said(schema, value)
    assert SECRET not in "".join(messages)
    assert "hunter2" not in "".join(messages)
    assert "'shown' is too long @ $.name" in messages
    assert any(message.endswith("@ $.password") for message in messages)


def test_a_secret_below_a_secret_object() -> None:
    schema = {
        "properties": {"login": {"writeOnly": True, "properties": {"pin": {"type": "string"}}}}
    }
    assert said(schema, {"login": {"pin": 98765}}) == [
        "the value is not of type 'string' @ $.login.pin"
    ]


def test_a_secret_that_also_stands_elsewhere_and_is_met_late() -> None:
    schema = {
        "properties": {
            "names": {"items": {"maxLength": 1}},
            "pin": {"type": "integer", "writeOnly": True},
        }
    }
    messages = said(schema, {"names": [SECRET] * 30, "pin": SECRET})
    assert messages[0] == "the value is too long @ $.names[0]"
    assert SECRET not in "".join(messages)


def test_messages_and_their_number_are_bounded() -> None:
    schema = {"items": {"type": "integer"}}
    messages = said(schema, ["x" * 10_000] * 100)
    assert len(messages) == 20
    assert max(map(len, messages)) < 330
    assert messages[0].endswith("is not of type 'integer' @ $[0]")


@pytest.mark.parametrize("value", [{1: 2}, {"a": object()}, {"a": b"x"}])
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    [violation] = validator_for({"properties": {"a": {"type": "string"}}}).violations(value)
    assert violation.message.startswith("not a JSON value: ")


@pytest.mark.parametrize(
    ("schema", "where"),
    [
        (True, "$"),
        (3, "$"),
        ([], "$"),
        ({"type": "foo"}, "$.type"),
        ({"required": "a"}, "$.required"),
        ({"properties": {"a": {"minimum": "1"}}}, "$.properties.a.minimum"),
        ({"properties": {"a": {"pattern": "("}}}, "$.properties.a.pattern"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, '$["$schema"]'),
        ({"$ref": "#/$defs/no"}, "$"),
        ({"$ref": "https://example.org/x.json"}, "$"),
        ({"$ref": "file:///etc/passwd"}, "$"),
        ({"$ref": "https://rune.dev/specs/eps_codes.json"}, "$"),
        ({"$ref": "https://rune.dev/specs/../README.md"}, "$"),
    ],
)
def test_unusable_schema(schema: Any, where: str) -> None:
    [violation] = check_schema(schema)
    assert violation.path == where
    assert violation.message


@pytest.mark.parametrize(
    "schema",
    [
        {},
        METRICS,
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}},
    ],
)
def test_usable_schema(schema: dict[str, Any]) -> None:
    assert check_schema(schema) == []


def test_an_unusable_schema_cannot_become_a_validator() -> None:
    with pytest.raises(ValueError, match="not present in a registry"):
        SchemaValidator({"$ref": "https://example.org/x.json"})


def test_equal_schemas_share_a_validator() -> None:
    assert validator_for({"type": "object", "minProperties": 1}) is validator_for(
        {"minProperties": 1, "type": "object"}
    )


@pytest.mark.parametrize(
    ("parts", "path"),
    [
        ([], "$"),
        (["a", 0, "b_c", "d-e"], "$.a[0].b_c.d-e"),
        (["odd name", 'q"', "$x"], '$["odd name"]["q\\""]["$x"]'),
    ],
)
def test_json_path(parts: list[str | int], path: str) -> None:
    assert json_path(parts) == path


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers()))
def test_any_object_fits_the_empty_schema(value: dict[str, int]) -> None:
    assert validator_for({}).violations(value) == []


def test_unknown_spec() -> None:
    with pytest.raises(ValueError, match="references"):
        spec_validator("../../etc/passwd")


def test_violation_is_a_value() -> None:
    assert Violation("$.a", "wrong") == Violation("$.a", "wrong")
    assert str(Violation("$.a", "wrong")) == "wrong @ $.a"


def test_imports_are_cheap_and_jsonschema_comes_only_with_a_refusal() -> None:
    script = """
import sys
import lmm.contract, lmm.envelope, lmm.eps
heavy = {"jsonschema", "jsonschema_rs", "referencing", "pydantic", "yaml", "rich", "paramiko"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
for name in lmm.contract.SPECS:
    lmm.contract.spec_validator(name)
good = {"payload": {"result": "success", "output_data": {}}}
assert not lmm.contract.spec_validator("bpcs_output_v2").violations(good)
assert heavy & set(sys.modules) == {"jsonschema_rs"}, heavy & set(sys.modules)
assert lmm.contract.spec_validator("bpcs_output_v2").violations({})
assert "jsonschema" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
