"""Parameters: from ``-p KEY=VALUE``, documents and references to secrets to one validated object.

A value is only ever data: nothing in it is expanded, looked up or run. Only ``secrets`` refer to
something else.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from lmm.contract import Violation, json_path, validator_for
from lmm.envelope import loads_request
from lmm.errors import RequestError
from lmm.model import JSON, SecretRef
from lmm.redact import MASK, NOTHING, Redactor, places, secrets_in
from lom.names import did_you_mean, shown
from lom.planning.input_schema import (
    Place,
    place_of,
    pointer,
    type_of,
    with_defaults,
    write_only_paths,
)

__all__ = ["mask_write_only", "pointer_of", "resolve_parameters", "write_only_paths"]

MAX_DEPTH = 100

MAX_DIGITS = 1000

_NOT_JSON: Any = object()
_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_INTEGER = re.compile(r"-?[0-9]+")
_NUMBER = re.compile(r"-?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_PART = re.compile(r"(?:[^.\\]|\\.)+", re.DOTALL)
_KEY = re.compile(rf"{_PART.pattern}(?:\.{_PART.pattern})*", re.DOTALL)
_ASSIGNMENT = re.compile(r"(?P<key>(?:[^\\=]|\\.)+?)(?P<forced>:?)=(?P<text>.*)", re.DOTALL)

Key = tuple[str, ...]


def resolve_parameters(
    schema: Mapping[str, Any],
    *,
    assignments: Sequence[str] = (),
    document: Mapping[str, JSON] | None = None,
    secrets: Mapping[str, SecretRef] | None = None,
    action: str = "",
) -> dict[str, JSON]:
    """Return the input parameters: ``document``, over it ``assignments``, then ``secrets``, then
    the schema's defaults for what is missing.

    An assignment is ``key=text``, typed by the schema, or ``key:=JSON``; a key with dots leads
    into objects (``\\.`` is a dot of the name). Raises RequestError (``invalid_parameters``) with
    every violation in ``validation_errors``, or ``secret_unavailable``; no secret stands in it.
    """
    place = place_of(schema)
    redactor = NOTHING
    try:
        values: dict[str, JSON] = _plain(dict(document or {}), ())
        references = {_split(key): reference for key, reference in (secrets or {}).items()}
        given = _group(assignments)
        for key, texts in given.items():
            if key in references:
                raise _Refused(key, "it is given both as a value and as a secret")
            _put(values, key, _value(key, texts, _at(place, key)))
        for key, reference in references.items():
            types = _at(place, key).types
            _put(values, key, _typed(reference.resolve(), types or frozenset({"string"})))
        _plain(values, ())
    except _Refused as refused:
        violations = [refused.violation]
    else:
        violations = []
        known = _without_unknown(values, place, (), violations)
        complete: dict[str, JSON] = with_defaults(known, schema)
        validator = validator_for(_marked(schema, references))
        pointers = {*map(pointer, references), *write_only_paths(schema)}
        redactor = Redactor(secrets_in(complete, pointers))
        violations += validator.violations(complete, redactor.text)
    if violations:
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        raise redactor.error(
            RequestError(
                "invalid_parameters",
                f"{violations[0]}{more}",
                field=violations[0].path,
                validation_errors=[str(violation) for violation in violations],
                **({"action": action} if action else {}),
            )
        )
    return complete


def pointer_of(key: str) -> str:
    """Return the JSON pointer of a dotted key: ``auth.token`` gives ``/auth/token``."""
    return pointer(_split(key))


def mask_write_only(values: Mapping[str, JSON], pointers: frozenset[str]) -> dict[str, JSON]:
    """Return a copy of the parameters that can be shown: what the pointers name is masked."""
    masked: dict[str, JSON] = copy.deepcopy(dict(values))
    for container, key in places(masked, pointers):
        container[key] = MASK
    return masked


# --- texts to values -----------------------------------------------------------------------


class _Refused(Exception):
    """The parameters cannot even be put together."""

    def __init__(self, path: Sequence[str | int], message: str) -> None:
        self.violation = Violation(json_path(path), message)


class _Text(NamedTuple):
    """What stands after ``key=``, or with ``forced`` after ``key:=``."""

    text: str
    forced: bool


def _group(assignments: Sequence[str]) -> dict[Key, list[_Text]]:
    """Return what is given for each key, in the order in which the keys first come."""
    grouped: dict[Key, list[_Text]] = {}
    for number, assignment in enumerate(assignments, 1):
        found = _ASSIGNMENT.fullmatch(assignment)
        if not found:  # the text is not shown: it may be a secret that lost its key
            raise _Refused((), f"parameter {number} of the command line is not KEY=VALUE")
        given = _Text(found["text"], found["forced"] == ":")
        grouped.setdefault(_split(found["key"]), []).append(given)
    return grouped


def _split(key: str) -> Key:
    if not _KEY.fullmatch(key):
        raise _Refused((), f"{shown(key)} is not a parameter: names joined by dots")
    return tuple(re.sub(r"\\(.)", r"\1", part) for part in _PART.findall(key))


def _at(place: Place, key: Key) -> Place:
    for name in key:
        place = place.child(name)
    return place


def _value(key: Key, given: Sequence[_Text], place: Place) -> JSON:
    array = "array" in place.types
    if len(given) > 1 and (not array or any(one.forced for one in given)):
        raise _Refused(key, f"given {len(given)} times; only an array may be, and not with :=")
    first = given[0]
    if first.forced:
        value = _json(first.text)
        if value is _NOT_JSON:
            raise _Refused(key, "what stands after := is not JSON")
        return value
    others = place.types - {"array"}
    if not array or (len(given) == 1 and others and type_of(_json(first.text)) != "array"):
        return _typed(first.text, others)
    items: list[JSON] = []
    for one in given:
        value = _json(one.text)
        items += value if isinstance(value, list) else [_typed(one.text, place.item().types)]
    return items


def _typed(text: str, types: frozenset[str]) -> JSON:
    """Return the text as the first of null, boolean, integer, number, array, object that is
    allowed and fits, else as a string.

    Where a string is allowed, too, or nothing is said, only what JSON itself spells so counts:
    with ``[integer, string]`` ``3`` is a number and ``03`` a text. A text that fits nothing stays
    one, and the schema's own violation says what is wrong with it.
    """
    if types == {"string"}:
        return text
    value = _json(text)
    kind = "string" if value is _NOT_JSON else type_of(value)
    if not types:
        return text if value is _NOT_JSON else value
    if kind in types and kind != "string":
        return value
    if kind == "integer" and "number" in types:
        return value
    if "string" in types:
        return text
    if "boolean" in types and text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    if types & {"integer", "number"} and _INTEGER.fullmatch(text) and len(text) <= MAX_DIGITS:
        return int(text)
    if "number" in types and _NUMBER.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return text


def _json(text: str) -> JSON:
    """Return the one JSON value that the text is, ``_NOT_JSON`` if it is not one."""
    try:
        found = loads_request(b'{"value":' + text.encode() + b"}", "the parameter")
    except (RequestError, UnicodeEncodeError):
        return _NOT_JSON
    return found["value"] if len(found) == 1 else _NOT_JSON


def _put(values: dict[str, JSON], key: Key, value: JSON) -> None:
    for depth, name in enumerate(key[:-1], 1):
        values = values.setdefault(name, {})
        if not isinstance(values, dict):
            raise _Refused(key[:depth], f"not an object, so it has no {key[depth]!r}")
    values[key[-1]] = value


# --- the whole object ----------------------------------------------------------------------


def _plain(value: Any, path: tuple[str | int, ...]) -> JSON:
    """Return a copy of ``value`` made of JSON values only."""
    if len(path) > MAX_DEPTH:
        raise _Refused(path[:3], f"nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise _Refused(path, "the name of a parameter is not text")
        return {_plain(n, (*path, n)): _plain(one, (*path, n)) for n, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, (*path, index)) for index, one in enumerate(value)]
    if isinstance(value, str):
        if not _is_text(value):
            raise _Refused(path, "the text is not UTF-8")
        return value
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise _Refused(path, f"a {type(value).__name__} (or NaN, Infinity) is not a JSON value")


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _without_unknown(
    value: JSON, place: Place, path: tuple[str | int, ...], found: list[Violation]
) -> JSON:
    """Return ``value`` without unknown properties; each is noted in ``found``."""
    if isinstance(value, list):
        item = place.item()
        return [
            _without_unknown(one, item, (*path, index), found) for index, one in enumerate(value)
        ]
    if not isinstance(value, dict):
        return value
    known = {}
    for name, one in value.items():
        if place.closed and not place.knows(name):
            message = f"unknown parameter {shown(name)}{did_you_mean(name, place.names)}"
            found.append(Violation(json_path((*path, name)), message))
        else:
            known[name] = _without_unknown(one, place.child(name), (*path, name), found)
    return known


def _marked(schema: Mapping[str, Any], secrets: Iterable[Key]) -> Mapping[str, Any]:
    """Return the schema with the secrets marked ``writeOnly``, so that no violation shows them."""
    marks: list[dict[str, Any]] = []
    for key in secrets:
        mark: dict[str, Any] = {"writeOnly": True}
        for name in reversed(key):
            mark = {"properties": {name: mark}}
        marks.append(mark)
    return {**schema, "allOf": [*schema.get("allOf", ()), *marks]} if marks else schema
