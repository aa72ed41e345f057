"""What an input schema marks with ``writeOnly`` is a secret, whatever leads to the mark."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lmm.contract import SPECS, authority, check_schema
from lmm.errors import RequestError, spec_text
from lmm.redact import secrets_in
from lom.planning.input_schema import write_only_paths
from lom.registry.manifest import load_plugin
from tests.support.plugins import manifest_of

SECRET = {"type": "string", "writeOnly": True}
ROOT = "https://example.org/root"
DEFINED = {
    "by-anchor": {**SECRET, "$anchor": "secret"},
    "by-id": {**SECRET, "$id": "urn:x:secret"},
    "by-relative-id": {**SECRET, "$id": "/parts/secret.json"},
    "dynamic": {**SECRET, "$dynamicAnchor": "s"},
    "in-id": {"$id": "urn:x:more", "$defs": {"s": {**SECRET, "$anchor": "inner"}}},
}


@pytest.mark.parametrize(
    ("rules", "paths"),
    [
        ({"unevaluatedProperties": SECRET}, ["/*"]),
        ({"dependentSchemas": {"user": {"properties": {"a": SECRET}}}}, ["/a"]),
        ({"not": {"not": {"properties": {"a": SECRET}}}}, ["/a"]),
        ({"properties": {"a": {"unevaluatedItems": SECRET}}}, ["/a/*"]),
        ({"properties": {"a": {"contains": SECRET}}}, ["/a/*"]),
        ({"properties": {"a": {"contentSchema": {"properties": {"b": SECRET}}}}}, ["/a"]),
        ({"properties": {"a": {"$ref": "#secret"}}}, ["/a"]),
        ({"properties": {"a": {"$ref": "urn:x:secret"}}}, ["/a"]),
        ({"properties": {"a": {"$ref": "../parts/secret.json"}}}, ["/a"]),
        ({"properties": {"a": {"$ref": "urn:x:more#inner"}}}, ["/a"]),
        ({"properties": {"a": {"$ref": "urn:x:more#/$defs/s"}}}, ["/a"]),
        ({"properties": {"a": {"$dynamicRef": "#s"}}}, ["/a"]),
        # refused elsewhere; if it came here nevertheless, it is rather hidden than not
        ({"properties": {"a": {"$ref": "urn:x:unknown"}}}, ["/a"]),
        ({"properties": {"a": {"$ref": "https://rune.dev/specs/common.json"}}}, []),
    ],
)
def test_every_keyword_that_leads_to_a_mark_is_followed(
    rules: dict[str, Any], paths: list[str]
) -> None:
    schema = {"$id": "https://example.org/a/root.json", **rules, "$defs": DEFINED}
    assert write_only_paths(schema) == frozenset(paths)


def test_references_out_of_a_schema_lead_to_no_secret() -> None:
    assert not any('"writeOnly": true' in spec_text(f"{name}.json") for name in SPECS)


KEYWORDS = {
    **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), list),
    **dict.fromkeys(("properties", "patternProperties", "dependentSchemas"), dict),
    **dict.fromkeys(("if", "then", "else", "not", "items", "contains"), None),
    **dict.fromkeys(("additionalProperties", "unevaluatedProperties", "unevaluatedItems"), None),
}
# A definition refers to later ones only: one that applies itself to the same place has no end.
DEFINITIONS = {"x": {"$anchor": "x"}, "y": {"$dynamicAnchor": "y"}, "z": {"$id": "urn:z"}}


def _reference(rng: random.Random, names: str) -> dict[str, str]:
    name = rng.choice(names)
    uris = {"x": ["#x", f"{ROOT}#x"], "y": ["#y", f"{ROOT}#y"], "z": ["urn:z", "urn:z#"]}[name]
    if name == "y" and rng.random() < 0.5:
        return {"$dynamicRef": "#y"}
    return {"$ref": rng.choice([*uris, f"#/$defs/{name}", f"{ROOT}#/$defs/{name}"])}


def _schema(rng: random.Random, depth: int, names: str) -> Any:
    if depth == 0 or rng.random() < 0.1:
        return rng.choice([True, {"type": "string"}, {"writeOnly": True}, {"writeOnly": True}])
    made: dict[str, Any] = {}
    for word in rng.sample(sorted(KEYWORDS), rng.randint(1, 3)):
        kind = KEYWORDS[word]
        inner = [_schema(rng, depth - 1, names) for _ in range(rng.randint(1, 2))]
        named = dict(zip("ab", inner, strict=False))
        made[word] = inner if kind is list else named if kind else inner[0]
    if names and rng.random() < 0.5:
        made |= _reference(rng, names)
    return made


def _value(rng: random.Random, depth: int) -> Any:
    if depth == 0 or rng.random() < 0.3:
        return f"text {rng.random()}"
    inner = [_value(rng, depth - 1) for _ in range(2)]
    return rng.choice([inner, dict(zip("ab", inner, strict=True)), {"c": inner[0]}])


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


@given(st.integers(0, 2**32).map(random.Random))
def test_what_a_validator_sees_marked_is_a_secret(rng: random.Random) -> None:
    defined = {
        name: {**_object(_schema(rng, 2, "xyz".partition(name)[2])), **own}
        for name, own in DEFINITIONS.items()
    }
    schema = {**_object(_schema(rng, 3, "xyz")), "$id": ROOT, "$defs": defined}
    assume(not check_schema(schema))
    paths = write_only_paths(schema)
    seen: list[Any] = []
    judge = authority(schema, on_secret=seen.append)
    for value in ({"a": _value(rng, 3), "b": _value(rng, 2)} for _ in range(5)):
        seen.clear()
        list(judge.iter_errors(value))
        assert secrets_in({"all": seen}, ["/all"]) <= secrets_in(value, paths)


@pytest.mark.parametrize(
    ("rules", "fault"),
    [
        (
            {"dependencies": {"a": {"properties": {"b": SECRET}}}},
            "writeOnly: no keyword of JSON Schema 2020-12 leads to it"
            " @ $.capabilities[0].input_schema.dependencies.a.properties.b",
        ),
        (
            {"propertyNames": {"$ref": "#/$defs/s"}, "$defs": {"s": SECRET}},
            "propertyNames: the name of a property cannot be writeOnly"
            " @ $.capabilities[0].input_schema",
        ),
    ],
)
def test_a_mark_that_makes_nothing_secret_is_refused(
    tmp_path: Path, rules: dict[str, Any], fault: str
) -> None:
    with pytest.raises(RequestError) as caught:
        load_plugin(_plugin(tmp_path, rules), "here")
    assert caught.value.data["validation_errors"] == [fault]


@pytest.mark.parametrize(
    "rules",
    [
        {"$defs": {"unused": SECRET}},
        {"properties": {"writeOnly": True, "default": SECRET, "properties": SECRET}},
        {"properties": {"a": {"default": {"writeOnly": True}}}},
    ],
)
def test_what_is_no_lost_mark_is_taken(tmp_path: Path, rules: dict[str, Any]) -> None:
    assert load_plugin(_plugin(tmp_path, rules), "here").name == "t-plugin"


def _plugin(folder: Path, rules: dict[str, Any]) -> Path:
    (folder / "main.sh").write_text("exit 0\n", encoding="utf-8")
    manifest = manifest_of("t.plugin", input_schema={"type": "object", **rules})
    (folder / "plugin.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder
