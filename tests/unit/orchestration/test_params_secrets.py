from __future__ import annotations

import copy
import json
import traceback
from typing import Any

import pytest

from lmm.errors import RequestError
from lmm.model import SecretRef
from lom.planning.params import mask_write_only, pointer_of, resolve_parameters, write_only_paths

Schema = dict[str, Any]


def resolve(*assignments: str, schema: Schema, **given: Any) -> dict[str, Any]:
    return resolve_parameters(schema, assignments=assignments, **given)


def violations(*assignments: str, schema: Schema, **given: Any) -> list[str]:
    with pytest.raises(RequestError) as caught:
        resolve(*assignments, schema=schema, **given)
    assert caught.value.reason == "invalid_parameters"
    found: list[str] = caught.value.data["validation_errors"]
    assert caught.value.message.startswith(found[0])
    assert found[0].endswith(f" @ {caught.value.data['field']}")
    return found


SECRET = "hunter2secret"


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> SecretRef:
    monkeypatch.setenv("RUNE_TEST_SECRET", SECRET)
    return SecretRef("env:RUNE_TEST_SECRET")


@pytest.mark.parametrize(
    ("schema", "key", "expected"),
    [
        ({}, "password", {"password": SECRET}),
        ({}, "auth.token", {"auth": {"token": SECRET}}),
        ({"properties": {"a": {"type": "string"}}}, "a", {"a": SECRET}),
        ({"properties": {"a": {"type": ["null", "string"]}}}, "a", {"a": SECRET}),
        ({}, "a\\.b", {"a.b": SECRET}),
    ],
)
def test_a_secret_is_put_in_place(
    secret: SecretRef, schema: Schema, key: str, expected: dict[str, Any]
) -> None:
    assert resolve(schema=schema, secrets={key: secret}) == expected


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [("integer", "42", 42), ("boolean", "true", True), ("string", "42", "42"), (None, "42", "42")],
)
def test_a_secret_is_typed_by_the_schema(
    monkeypatch: pytest.MonkeyPatch, kind: str | None, text: str, expected: Any
) -> None:
    monkeypatch.setenv("RUNE_TEST_SECRET", text)
    schema = {"properties": {"a": {"type": kind} if kind else {}}}
    resolved = resolve(schema=schema, secrets={"a": SecretRef("env:RUNE_TEST_SECRET")})
    assert json.dumps(resolved["a"]) == json.dumps(expected)


@pytest.mark.parametrize(
    "rule",
    [
        {"type": "integer"},
        {"maxLength": 3},
        {"minLength": 99},
        {"pattern": "^x"},
        {"enum": ["a", "b"]},
        {"const": "a"},
        {"not": {"type": "string"}},
        {"anyOf": [{"type": "integer"}, {"maxLength": 2}]},
        {"oneOf": [{"minLength": 1}, {"minLength": 2}]},
        {"type": "array", "items": {"type": "integer"}},
        {"if": {"minLength": 1}, "then": {"maxLength": 1}},
        {"format": "date", "maxLength": 1},
    ],
)
@pytest.mark.parametrize("marked", [True, False])
def test_no_violation_repeats_a_secret(secret: SecretRef, rule: Schema, marked: bool) -> None:
    rule = {**rule, "writeOnly": True} if marked else rule
    schema = {"properties": {"auth": {"properties": {"token": rule}}}}
    with pytest.raises(RequestError) as caught:
        resolve(schema=schema, secrets={"auth.token": secret})
    error = caught.value
    told = [*traceback.format_exception(error), error.message, json.dumps(error.data)]
    assert not [one for one in told if SECRET in one]
    assert error.data["field"].startswith("$.auth.token")


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"auth": {"maxProperties": 0}}},
        {"maxProperties": 0},
        {"properties": {"auth": {"const": {"token": "a"}}}},
        {"properties": {"auth": {"not": {"required": ["token"]}}}},
        {"anyOf": [{"required": ["x"]}, {"properties": {"auth": {"type": "string"}}}]},
        {"properties": {"other": {}}},
    ],
)
def test_no_violation_around_a_secret_repeats_it(secret: SecretRef, schema: Schema) -> None:
    with pytest.raises(RequestError) as caught:
        resolve(schema=schema, secrets={"auth.token": secret})
    assert SECRET not in caught.value.message + json.dumps(caught.value.data)


def test_a_secret_is_given_once() -> None:
    given = {"name": SecretRef("env:RUNE_TEST_UNSET")}
    assert violations("name=x", schema={}, secrets=given) == [
        "it is given both as a value and as a secret @ $.name"
    ]


def test_a_secret_that_cannot_be_resolved() -> None:
    with pytest.raises(RequestError, match="RUNE_TEST_UNSET is not set") as caught:
        resolve(schema={}, secrets={"name": SecretRef("env:RUNE_TEST_UNSET")})
    assert caught.value.reason == "secret_unavailable"


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({}, []),
        ({"properties": {"writeOnly": {"type": "boolean"}}}, []),
        (
            {"properties": {"password": {"writeOnly": True}, "a": {"writeOnly": False}}},
            ["/password"],
        ),
        (
            {"properties": {"auth": {"properties": {"token": {"writeOnly": True}}}}},
            ["/auth/token"],
        ),
        ({"properties": {"a/b~c": {"writeOnly": True}}}, ["/a~1b~0c"]),
        (
            {
                "properties": {"a": {"$ref": "#/$defs/s"}},
                "$defs": {"s": {"type": "string", "writeOnly": True}},
            },
            ["/a"],
        ),
        ({"allOf": [{"properties": {"a": {"writeOnly": True}}}]}, ["/a"]),
        ({"anyOf": [{"properties": {"a": {"writeOnly": True}}}, {}]}, ["/a"]),
        ({"properties": {"a": {"oneOf": [{"type": "null"}, {"writeOnly": True}]}}}, ["/a"]),
        ({"properties": {"l": {"items": {"properties": {"p": {"writeOnly": True}}}}}}, ["/l/*/p"]),
        ({"additionalProperties": {"writeOnly": True}}, ["/*"]),
        ({"writeOnly": True}, [""]),
    ],
)
def test_write_only_paths(schema: Schema, expected: list[str]) -> None:
    assert write_only_paths(schema) == frozenset(expected)


def test_masking_shows_everything_but_secrets() -> None:
    values = {
        "a": 1,
        "auth": {"token": "s", "user": "u"},
        "rows": [{"p": "s"}, {"q": 1}],
        "~/": "s",
    }
    before = copy.deepcopy(values)
    masked = mask_write_only(values, frozenset({"/auth/token", "/rows/*/p", "/~0~1", "/none/x"}))
    assert masked == {
        "a": 1,
        "auth": {"token": "********", "user": "u"},
        "rows": [{"p": "********"}, {"q": 1}],
        "~/": "********",
    }
    assert values == before
    assert mask_write_only({"a": 1}, frozenset({""})) == {"a": "********"}


@pytest.mark.parametrize(
    ("key", "pointer"), [("a", "/a"), ("a.b", "/a/b"), ("a\\.b", "/a.b"), ("a/b.~", "/a~1b/~0")]
)
def test_the_pointer_of_a_key(key: str, pointer: str) -> None:
    assert pointer_of(key) == pointer
