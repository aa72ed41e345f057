"""Reading an action's input schema: what it says about one parameter, references followed.

Whether a value is valid is decided by ``lmm.contract``; this module only finds names, types and
defaults. Alternatives (``anyOf``, ``oneOf``, ``if``) count together: any of them may hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from lmm.model import JSON
from lom.registry.schemas import (
    ALTERNATIVES,
    CONTENT,
    OTHERS,
    SAME_PLACE,
    References,
    Schema,
    has_marks,
    schemas_in,
)

_NONE: Any = object()
_CERTAIN = ("allOf",)
_POSSIBLE = (*_CERTAIN, *ALTERNATIVES)


class Place(NamedTuple):
    """All schemas that speak about one place in an instance: ``words`` lead from one to others."""

    references: References
    parts: tuple[Schema, ...]
    words: tuple[str, ...]

    @property
    def types(self) -> frozenset[str]:
        """The JSON types that may stand here; empty if the schema says nothing."""
        return frozenset(kind for part in self.parts for kind in _types(part))

    @property
    def closed(self) -> bool:
        """Whether a property that is not declared is a mistake: some are declared and nothing
        says that others are welcome."""
        says = [
            part[word]
            for part in self.parts
            for word in ("additionalProperties", "unevaluatedProperties")
            if word in part
        ]
        return bool(self.names or says) and all(word is False for word in says)

    @property
    def names(self) -> tuple[str, ...]:
        """The declared properties."""
        return tuple(dict.fromkeys(n for part in self.parts for n in part.get("properties", ())))

    def knows(self, name: str) -> bool:
        """Whether a property of this name is declared."""
        return any(_declared(part, name) for part in self.parts)

    def child(self, name: str) -> Place:
        """Return what is said about the property ``name``."""
        return self.inner(one for part in self.parts for one in _of_property(part, name))

    def item(self) -> Place:
        """Return what is said about each item of an array."""
        return self.inner(part.get("items") for part in self.parts)

    def others(self) -> Place:
        """Return what is said about items and about properties that have no name of their own."""
        return self.inner(one for part in self.parts for one in schemas_in(part, *OTHERS))

    def inner(self, schemas: Iterable[Any]) -> Place:
        """Return the place that these schemas speak about."""
        found = self.references.reached(schemas, self.words)
        return Place(self.references, tuple(found.values()), self.words)


def place_of(schema: Schema, words: tuple[str, ...] = _POSSIBLE) -> Place:
    """Return the place of the whole instance."""
    return Place(References(schema), (), words).inner([schema])


def with_defaults(value: JSON, schema: Schema) -> JSON:
    """Return a copy of ``value`` with the defaults of missing properties, at every depth.

    Defaults inside of ``anyOf`` and ``oneOf`` are left alone: which of them holds is not known.
    """
    return _filled(value, place_of(schema, _CERTAIN))


def _filled(value: JSON, place: Place) -> JSON:
    if isinstance(value, list):
        item = place.item()
        return [_filled(one, item) for one in value]
    if not isinstance(value, dict):
        return value
    filled = {name: _filled(one, place.child(name)) for name, one in value.items()}
    for name in place.names:
        child = place.child(name)
        default = next((part["default"] for part in child.parts if "default" in part), _NONE)
        if name not in filled and default is not _NONE:
            filled[name] = _filled(default, child)
    return filled


def write_only_paths(schema: Schema) -> frozenset[str]:
    """Return where secrets stand: JSON pointers such as ``/password`` and ``/auth/token``.

    ``*`` stands for any item of an array and any property that is not named. Of a schema that
    contains itself and holds secrets, everything from the second round on counts.
    """
    if not has_marks(schema):
        return frozenset()
    return frozenset(_write_only(place_of(schema, SAME_PLACE), "", frozenset()))


def pointer(parts: tuple[str, ...]) -> str:
    """Return a JSON pointer (RFC 6901)."""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def _write_only(place: Place, path: str, above: frozenset[int]) -> Iterator[str]:
    parts = frozenset(map(id, place.parts))
    # A schema inside of itself has no end of paths: from the second round on, all is taken.
    if any(part.get("writeOnly") is True for part in place.parts) or (parts and parts <= above):
        yield path
    elif parts:
        above |= parts
        text = place.inner(one for part in place.parts for one in schemas_in(part, CONTENT))
        if any(True for _ in _write_only(text, "", above)):
            yield path
        for name in place.names:
            yield from _write_only(place.child(name), path + pointer((name,)), above)
        yield from _write_only(place.others(), path + "/*", above)


# --- inside --------------------------------------------------------------------------------


def _types(part: Schema) -> list[str]:
    if "type" in part:
        return [part["type"]] if isinstance(part["type"], str) else list(part["type"])
    if "const" in part or "enum" in part:
        return [type_of(value) for value in part.get("enum", [part.get("const")])]
    if "properties" in part:
        return ["object"]
    return ["array"] if "items" in part or "prefixItems" in part else []


def type_of(value: JSON) -> str:
    """Return the JSON type of a value; a whole float counts as ``number``."""
    if value is None:
        return "null"
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
    return kinds.get(type(value), "object")


def _declared(part: Schema, name: str) -> bool:
    return name in part.get("properties", ()) or bool(_patterns(part, name))


def _patterns(part: Schema, name: str) -> list[Any]:
    """Return the schemas of the patterns that the name matches."""
    patterns = part.get("patternProperties", {})
    return [schema for pattern, schema in patterns.items() if _matches(pattern, name)]


def _matches(pattern: str, name: str) -> bool:
    try:
        return bool(re.search(pattern, name))
    except re.error:  # a pattern of ECMA-262 that Python cannot read: give the benefit
        return True


def _of_property(part: Schema, name: str) -> list[Any]:
    if _declared(part, name):
        own = part.get("properties", {})
        return [*([own[name]] if name in own else []), *_patterns(part, name)]
    return [part.get("additionalProperties")]
