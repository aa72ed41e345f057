from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm.errors import RequestError
from lom.planning.params import mask_write_only, resolve_parameters, write_only_paths

Schema = dict[str, Any]

SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "gpu_index": {"type": "integer", "minimum": 0, "maximum": 7},
        "name": {"type": "string"},
        "ratio": {"type": "number"},
        "force": {"type": "boolean"},
        "tag": {"type": "array", "items": {"type": "string"}},
        "ids": {"type": "array", "items": {"type": "integer"}},
        "env": {"type": "object", "additionalProperties": {"type": "string"}},
        "limits": {"$ref": "#/$defs/limits"},
        "mixed": {"type": ["integer", "string", "null"]},
        "either": {"oneOf": [{"type": "boolean"}, {"type": "array", "items": {"type": "number"}}]},
        "level": {"enum": [1, 2, "max"]},
        "anything": True,
    },
    "$defs": {
        "limits": {
            "type": "object",
            "properties": {"cpu": {"type": "integer"}, "memory": {"type": "string"}},
        }
    },
}


def resolve(*assignments: str, schema: Schema = SCHEMA, **given: Any) -> dict[str, Any]:
    return resolve_parameters(schema, assignments=assignments, **given)


def violations(*assignments: str, schema: Schema = SCHEMA, **given: Any) -> list[str]:
    with pytest.raises(RequestError) as caught:
        resolve(*assignments, schema=schema, **given)
    assert caught.value.reason == "invalid_parameters"
    found: list[str] = caught.value.data["validation_errors"]
    assert caught.value.message.startswith(found[0])
    assert found[0].endswith(f" @ {caught.value.data['field']}")
    return found


# --- typed by the schema -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("assignments", "expected"),
    [
        ("gpu_index=3", {"gpu_index": 3}),
        ("gpu_index=003", {"gpu_index": 3}),
        ("name=3", {"name": "3"}),
        ("name=null", {"name": "null"}),
        ("name=", {"name": ""}),
        ("name=a=b", {"name": "a=b"}),
        ('name={"a":1}', {"name": '{"a":1}'}),
        ("ratio=3", {"ratio": 3}),
        ("ratio=.5", {"ratio": 0.5}),
        ("ratio=-1e3", {"ratio": -1000.0}),
        ("force=true", {"force": True}),
        ("force=Yes", {"force": True}),
        ("force=on", {"force": True}),
        ("force=false", {"force": False}),
        ("force=no", {"force": False}),
        ("force=OFF", {"force": False}),
        ("tag=a", {"tag": ["a"]}),
        ("tag=a tag=3 tag=a,b", {"tag": ["a", "3", "a,b"]}),
        ('tag=["x"] tag=y', {"tag": ["x", "y"]}),
        ("tag=[x", {"tag": ["[x"]}),
        ("ids=[1,2] ids=03", {"ids": [1, 2, 3]}),
        ("ids=[]", {"ids": []}),
        ('env={"A":"1"}', {"env": {"A": "1"}}),
        ("env.A=1 env.B=true", {"env": {"A": "1", "B": "true"}}),
        ('env={"A":"1"} env.B=2', {"env": {"A": "1", "B": "2"}}),
        ("limits.cpu=2 limits.memory=4", {"limits": {"cpu": 2, "memory": "4"}}),
        ("mixed=3", {"mixed": 3}),
        ("mixed=03", {"mixed": "03"}),
        ("mixed=null", {"mixed": None}),
        ('mixed="3"', {"mixed": '"3"'}),
        ("either=true", {"either": True}),
        ("either=1.5 either=2", {"either": [1.5, 2]}),
        ("either=[1]", {"either": [1]}),
        ("level=1", {"level": 1}),
        ("level=max", {"level": "max"}),
        ("anything=3", {"anything": 3}),
        ("anything=007", {"anything": "007"}),
        ('anything={"a":[1]}', {"anything": {"a": [1]}}),
        ('anything={"a":1,"a":2}', {"anything": '{"a":1,"a":2}'}),
        ('anything=1,"value":2', {"anything": '1,"value":2'}),
        ('anything=1,"x":2', {"anything": '1,"x":2'}),
        ("anything=NaN", {"anything": "NaN"}),
        ("anything=1e999", {"anything": "1e999"}),
        ("anything.deep.er=true", {"anything": {"deep": {"er": True}}}),
        ('name:="x"', {"name": "x"}),
        ("mixed:=3", {"mixed": 3}),
        ("ids:=[4]", {"ids": [4]}),
        ("anything:=null", {"anything": None}),
    ],
)
def test_an_assignment_is_typed_by_the_schema(assignments: str, expected: dict[str, Any]) -> None:
    resolved = resolve(*assignments.split())
    assert resolved == expected
    assert json.dumps(resolved) == json.dumps(expected)  # 1 is not True is not 1.0


@pytest.mark.parametrize(
    ("assignments", "expected"),
    [
        ("gpu_index=x", "'x' is not of type 'integer' @ $.gpu_index"),
        ("gpu_index=3.0", "'3.0' is not of type 'integer' @ $.gpu_index"),
        ("gpu_index=1_0", "'1_0' is not of type 'integer' @ $.gpu_index"),
        ("gpu_index=9", "9 is greater than the maximum of 7 @ $.gpu_index"),
        ("force=1", "'1' is not of type 'boolean' @ $.force"),
        ("ratio=nan", "'nan' is not of type 'number' @ $.ratio"),
        ("ratio=1e999", "'1e999' is not of type 'number' @ $.ratio"),
        ("ids=1 ids=x", "'x' is not of type 'integer' @ $.ids[1]"),
        ("env=x", "'x' is not of type 'object' @ $.env"),
        ("name:=3", "3 is not of type 'string' @ $.name"),
        ("name:={", "what stands after := is not JSON @ $.name"),
        ("name=a name=b", "given 2 times; only an array may be, and not with := @ $.name"),
        ("ids:=[1] ids=2", "given 2 times; only an array may be, and not with := @ $.ids"),
        ("name=a name.b=c", "not an object, so it has no 'b' @ $.name"),
        ("=x", "parameter 1 of the command line is not KEY=VALUE @ $"),
        (".a=x", "'.a' is not a parameter: names joined by dots @ $"),
        ("a..b=x", "'a..b' is not a parameter: names joined by dots @ $"),
        ("a.=x", "'a.' is not a parameter: names joined by dots @ $"),
        ("gpu_idx=1", "unknown parameter 'gpu_idx'; did you mean 'gpu_index'? @ $.gpu_idx"),
        ("limits.cpus=1", "unknown parameter 'cpus'; did you mean 'cpu'? @ $.limits.cpus"),
        ("name=\udcff", "the text is not UTF-8 @ $.name"),
    ],
)
def test_what_is_refused(assignments: str, expected: str) -> None:
    assert violations(*assignments.split()) == [expected]


def test_all_violations_are_told_at_once() -> None:
    found = violations("gpu_index=9", "nmae=x", document={"ratio": "a", "limits": {"cpu": "b"}})
    assert sorted(found) == [
        "'a' is not of type 'number' @ $.ratio",
        "'b' is not of type 'integer' @ $.limits.cpu",
        "9 is greater than the maximum of 7 @ $.gpu_index",
        "unknown parameter 'nmae'; did you mean 'name'? @ $.nmae",
    ]


def test_an_assignment_without_a_key_is_not_repeated() -> None:
    assert violations("name=x", "hunter2") == [
        "parameter 2 of the command line is not KEY=VALUE @ $"
    ]


# --- documents, defaults, unknown names --------------------------------------------------------


def test_assignments_go_over_the_document_and_leave_it_alone() -> None:
    document = {"limits": {"cpu": 1, "memory": "1G"}, "tag": ["a"], "name": "n"}
    before = copy.deepcopy(document)
    assert resolve("limits.cpu=2", "tag=b", document=document) == {
        "limits": {"cpu": 2, "memory": "1G"},
        "tag": ["b"],
        "name": "n",
    }
    assert document == before


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (Path("/x"), "PosixPath"),
        (math.nan, "float"),
        ({1: 2}, "name of a parameter is not text"),
        ({"a": [b"x"]}, "bytes"),
        ("\ud800", "not UTF-8"),
    ],
)
def test_a_document_holds_json_values_only(value: Any, why: str) -> None:
    assert why in violations(document={"anything": value})[0]


def test_a_document_that_is_too_deep_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(3000):
        deep = {"a": deep}
    assert "levels deep" in violations(document={"anything": deep})[0]
    assert "levels deep" in violations("anything." + "a." * 3000 + "a=1")[0]


def test_defaults_reach_into_objects_and_arrays_and_are_copies() -> None:
    schema: Schema = {
        "properties": {
            "list": {"type": "array", "default": []},
            "null": {"default": None},
            "outer": {"properties": {"inner": {"default": {"x": [1]}}}},
            "absent": {"properties": {"inner": {"default": 1}}},
            "made": {"default": {}, "properties": {"inner": {"default": 2}}},
            "rows": {"items": {"$ref": "#/$defs/row"}},
            "maybe": {"anyOf": [{"properties": {"a": {"default": 1}}}, {"type": "null"}]},
        },
        "allOf": [{"properties": {"more": {"default": "m"}}}],
        "$defs": {"row": {"properties": {"n": {"type": "integer", "default": 0}}}},
    }
    before = copy.deepcopy(schema)
    document = {"outer": {}, "rows": [{}, {"n": 5}], "maybe": {}}
    resolved = resolve(schema=schema, document=document)
    assert resolved == {
        "outer": {"inner": {"x": [1]}},
        "rows": [{"n": 0}, {"n": 5}],
        "maybe": {},
        "list": [],
        "null": None,
        "made": {"inner": 2},
        "more": "m",
    }
    resolved["list"].append(1)
    resolved["outer"]["inner"]["x"].append(2)
    assert schema == before
    assert resolve("list=1", schema=schema)["list"] == [1]


def test_a_default_is_validated_like_anything_else() -> None:
    schema = {"properties": {"n": {"type": "integer", "default": "x"}}}
    assert violations(schema=schema) == ["'x' is not of type 'integer' @ $.n"]


PROPERTIES: Schema = {"properties": {"known": {}}}


@pytest.mark.parametrize(
    ("schema", "accepted"),
    [
        ({}, True),
        ({"type": "object"}, True),
        (PROPERTIES, False),
        ({**PROPERTIES, "additionalProperties": True}, True),
        ({**PROPERTIES, "additionalProperties": {"type": "string"}}, True),
        ({**PROPERTIES, "additionalProperties": False}, False),
        ({"additionalProperties": False}, False),
        ({**PROPERTIES, "unevaluatedProperties": False}, False),
        ({**PROPERTIES, "patternProperties": {"^unk": {}}}, True),
        ({**PROPERTIES, "patternProperties": {"^x": {}}}, False),
        ({**PROPERTIES, "allOf": [{"properties": {"unknown": {}}}]}, True),
        ({**PROPERTIES, "oneOf": [{"properties": {"unknown": {}}}, {"required": ["y"]}]}, True),
        ({"$ref": "#/$defs/a", "$defs": {"a": PROPERTIES}}, False),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"properties": {"unknown": {}}}}}, True),
        ({"properties": {"unknown": True}}, True),
        ({"properties": {"unknown": False}}, False),
    ],
)
def test_which_unknown_parameters_are_refused(schema: Schema, accepted: bool) -> None:
    if accepted:
        assert resolve("unknown=x", schema=schema) == {"unknown": "x"}
    else:
        assert len(violations("unknown=x", schema=schema)) == 1


def test_a_schema_inside_of_itself() -> None:
    schema: Schema = {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": {
                "properties": {
                    "n": {"type": "integer"},
                    "key": {"type": "string", "writeOnly": True},
                    "next": {"$ref": "#/$defs/node"},
                },
            }
        },
    }
    assert resolve("next.next.n=3", schema=schema) == {"next": {"next": {"n": 3}}}
    assert violations("next.next.m=3", schema=schema)[0].endswith("@ $.next.next.m")
    deep = resolve("next.next.next.key=hunter2", schema=schema)
    assert "hunter2" not in json.dumps(mask_write_only(deep, write_only_paths(schema)))


# --- data stays data -----------------------------------------------------------------------------

HOSTILE = [
    *("env:HOME", "file:/etc/passwd", "{{ssm:x}}", "${HOME}", "$(id)", "`id`", "@/etc/passwd"),
    *("a\nb", "a\0b", "'\"\\", "~", "*", "%s", "\U0001f600", " x "),
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_value_is_only_ever_data(text: str) -> None:
    expected = {"name": text, "anything": text, "tag": [text]}
    assert resolve(f"name={text}", f"anything={text}", f"tag={text}") == expected
    assert resolve(document=expected) == expected


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_arrives_unchanged(text: str) -> None:
    assert resolve(f"name={text}") == {"name": text}
    assert resolve(f"anything:={json.dumps(text)}") == {"anything": text}


SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text("ab1 é")
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
JSON_VALUES = st.recursive(
    SCALARS | NUMBERS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)
ASSIGNMENTS = st.text(max_size=20) | st.from_regex(r"[a-z_.\\:]{1,9}=.{0,9}", fullmatch=True)


@settings(max_examples=100, deadline=None)
@given(JSON_VALUES)
def test_every_json_value_arrives_unchanged(value: Any) -> None:
    assert resolve(f"anything:={json.dumps(value)}") == {"anything": value}
    if not isinstance(value, str):
        assert resolve(f"anything={json.dumps(value)}") == {"anything": value}


@settings(max_examples=150, deadline=None)
@given(st.lists(ASSIGNMENTS, max_size=4))
def test_any_assignments_resolve_or_are_refused(assignments: list[str]) -> None:
    for schema in (SCHEMA, {}):
        try:
            json.dumps(resolve(*assignments, schema=schema))
        except RequestError as error:
            json.dumps(error.data)
