"""The schemas: examples of the README, required fields, agreement of the two validators."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest
import referencing
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm.contract import SPECS, authority, check_schema, spec_validator

SPECS_DIR = Path(__file__).resolve().parents[3] / "specs"
FILES = ("inventory_v1", "config_v1", "policy_v1")  # that people write
README = (SPECS_DIR / "README.md").read_text(encoding="utf-8")
DOCUMENTS: dict[str, Any] = {
    name: json.loads((SPECS_DIR / f"{name}.json").read_text(encoding="utf-8"))
    for name in (*SPECS, "common")
}


class Example(NamedTuple):
    spec: str
    valid: bool
    message: Any


EXAMPLES = [
    Example(spec, verdict == "valid", json.loads(text))
    for spec, verdict, text in re.findall(
        r"<!-- example: (\w+) (valid|invalid) -->\n```json\n(.*?)```", README, re.DOTALL
    )
]
VALID = [example for example in EXAMPLES if example.valid]


# -- the documents -----------------------------------------------------------------------------


def test_every_json_block_of_the_readme_is_an_example() -> None:
    assert README.count("```json") == len(EXAMPLES)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("valid", [True, False])
def test_every_message_has_examples(spec: str, valid: bool) -> None:
    assert [e for e in EXAMPLES if e.spec == spec and e.valid is valid]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: f"{e.spec}-{e.valid}")
def test_example(example: Example) -> None:
    assert (spec_validator(example.spec).violations(example.message) == []) is example.valid


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document_is_a_schema_with_its_own_id(name: str) -> None:
    document = DOCUMENTS[name]
    assert check_schema(document) == []
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert document["$id"] == f"https://rune.dev/specs/{name}.json"


def test_every_file_is_known() -> None:
    files = {path.stem for path in SPECS_DIR.glob("*.json")}
    assert files == {*DOCUMENTS, "eps_codes"}


def test_readme_states_the_version() -> None:
    assert f"Version {DOCUMENTS['common']['version']} " in README


@cache
def plain_validator(text: str) -> Any:
    """Return an unadorned jsonschema validator, which finds all documents without reading any."""
    registry: Any = referencing.Registry()
    for document in DOCUMENTS.values():
        registry = registry.with_resource(
            document["$id"], referencing.Resource.from_contents(document)
        )
    return jsonschema.Draft202012Validator(json.loads(text), registry=registry)


# -- required fields ---------------------------------------------------------------------------


def resolve(schema: Any, document: Any) -> tuple[Any, Any]:
    file, _, pointer = schema["$ref"].partition("#")
    document = DOCUMENTS[file.removesuffix(".json")] if file else document
    found = document
    for part in pointer.split("/")[1:]:
        found = found[part]
    return found, document


def applied(schema: Any, document: Any, value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the subschemas (and their documents) that hold for ``value``, with all they name."""
    if not isinstance(schema, dict):
        return
    yield schema, document
    if "$ref" in schema:
        yield from applied(*resolve(schema, document), value)
    branches = [*schema.get("allOf", [])]
    branches += [b for b in (*schema.get("anyOf", []), *schema.get("oneOf", [])) if fits(b, value)]
    if "if" in schema:
        branches.append(schema.get("then" if fits(schema["if"], value) else "else", {}))
    for branch in branches:
        yield from applied(branch, document, value)


def fits(schema: Any, value: Any) -> bool:
    based = {"$id": "https://rune.dev/specs/branch.json", **schema}
    return bool(plain_validator(json.dumps(based)).is_valid(value))


def required_fields(
    schema: Any, document: Any, value: Any, path: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], int]]:
    """Yield the path of every required field of a valid value and the schema that requires it."""
    for found, home in applied(schema, document, value):
        for name in found.get("required", []):
            yield (*path, name), id(found)
        if isinstance(value, dict):
            named = found.get("properties", {})
            for name in value:
                child = named.get(name, found.get("additionalProperties", {}))
                yield from required_fields(child, home, value[name], (*path, name))
        if isinstance(value, list) and "items" in found:
            for index, item in enumerate(value):
                yield from required_fields(found["items"], home, item, (*path, index))


REQUIRED = [
    (example.spec, number, path, source)
    for number, example in enumerate(VALID)
    for path, source in required_fields(
        DOCUMENTS[example.spec], DOCUMENTS[example.spec], example.message
    )
]


def wrong_type(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes"
    if isinstance(value, int | float):
        return str(value)
    return {dict: [], list: {}, str: 7.5, type(None): []}[type(value)]


def test_every_required_of_every_schema_is_met_by_an_example() -> None:
    def demands(node: Any) -> Iterator[Any]:
        if isinstance(node, dict):
            if isinstance(node.get("required"), list):
                yield node
            for key, child in node.items():
                if key != "if":
                    yield from demands(child)
        elif isinstance(node, list):
            for child in node:
                yield from demands(child)

    met = {source for *_, source in REQUIRED}
    assert [node for document in DOCUMENTS.values() for node in demands(document)]
    assert [n for d in DOCUMENTS.values() for n in demands(d) if id(n) not in met] == []


@pytest.mark.parametrize("number", range(len(VALID)), ids=lambda n: f"{VALID[n].spec}-{n}")
def test_required_fields_removed_or_of_a_wrong_type(number: int) -> None:
    spec, _, message = VALID[number]
    paths = {path for _, owner, path, _ in REQUIRED if owner == number}
    assert paths
    for path in paths:
        removed, wrong = copy.deepcopy(message), copy.deepcopy(message)
        del at(removed, path[:-1])[path[-1]]
        at(wrong, path[:-1])[path[-1]] = wrong_type(at(message, path))
        assert spec_validator(spec).violations(removed), f"without {path}"
        assert spec_validator(spec).violations(wrong), f"wrong type of {path}"


def at(message: Any, path: tuple[str | int, ...]) -> Any:
    for part in path:
        message = message[part]
    return message


# -- the two validators ------------------------------------------------------------------------


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["", "ok", "2.0.0", "a\n", "0" * 32, "0" * 16, "a" * 129, "local", "2026-01-02T03:04:05Z"]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, 1, 1.0, -1, 255, 256, 100.5, 1e300, 10**400])
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    children: Any = ()
    if isinstance(value, dict | list):
        children = value.items() if isinstance(value, dict) else enumerate(value)
    for key, child in children:
        yield from places(child, (*path, key))


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, Any]:
    """Draw an example with up to three places deleted, replaced, or given something more."""
    example = draw(st.sampled_from(EXAMPLES))
    message = copy.deepcopy(example.message)
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(list(places(message))))
        how = draw(st.sampled_from(["delete", "replace", "transplant", "add"]))
        value = draw(VALUES)
        if how == "transplant":
            other = draw(st.sampled_from(EXAMPLES)).message
            value = copy.deepcopy(at(other, draw(st.sampled_from(list(places(other))))))
        if how == "add":
            here = at(message, path)
            if isinstance(here, dict):
                here[draw(TEXTS)] = value
            elif isinstance(here, list):
                here.append(value)
        elif not path:
            message = value
        elif how == "delete":
            del at(message, path[:-1])[path[-1]]
        else:
            at(message, path[:-1])[path[-1]] = value
    return example.spec, message


@settings(max_examples=200)
@given(mutated())
def test_fast_path_and_authority_agree(case: tuple[str, Any]) -> None:
    spec, message = case
    accepted = spec_validator(spec).violations(message) == []
    assert authority(DOCUMENTS[spec]).is_valid(message) is accepted
    # Python's own $ differs from ECMA-262's before a final newline, so only without those; and it
    # does not read the classes of Unicode, which ECMA-262 has
    if not re.search(r"\\n\"", json.dumps(message)) and spec not in FILES:
        assert plain_validator(json.dumps(DOCUMENTS[spec])).is_valid(message) is accepted


@given(mutated())
def test_a_refusal_has_words(case: tuple[str, Any]) -> None:
    spec, message = case
    for violation in spec_validator(spec).violations(message):
        assert violation.message
        assert violation.path.startswith("$")
        assert str(violation) == f"{violation.message} @ {violation.path}"
