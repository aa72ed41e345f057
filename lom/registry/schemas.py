"""The JSON Schemas of a manifest: which schemas they are made of, and what references lead to.

What a schema says about one parameter is in ``lom.planning.input_schema``.
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import unquote, urljoin

from lmm.contract import BASE_URI, Violation, json_path

Schema = Mapping[str, Any]

# Keywords of JSON Schema 2020-12 that hold schemas, by what these speak about.
ALTERNATIVES = ("anyOf", "oneOf", "if", "then", "else")  # the same place
SAME_PLACE = ("allOf", *ALTERNATIVES, "dependentSchemas", "not")
OTHERS = (  # items, and properties that have no name of their own
    *("items", "prefixItems", "contains", "unevaluatedItems"),
    *("additionalProperties", "patternProperties", "unevaluatedProperties"),
)
CONTENT = "contentSchema"  # of a text that is JSON
_BY_NAME = frozenset({"properties", "patternProperties", "dependentSchemas"})
_APART = frozenset({"$defs", "definitions", "const", "default", "enum", "examples"})

_STANDARD = "https://json-schema.org/"
_OPEN: Schema = {"additionalProperties": True}
_LOST: Schema = {**_OPEN, "writeOnly": True}  # rather hidden than not


def schemas_in(part: Schema, *words: str) -> Iterator[Any]:
    """Yield the schemas that these keywords of a schema hold."""
    for word in words:
        if word in part:
            inner = part[word]
            if word in _BY_NAME:
                yield from inner.values()
            elif isinstance(inner, list):
                yield from inner
            else:
                yield inner


class References:
    """Follows ``$ref`` and ``$dynamicRef`` inside of one schema, by pointer, anchor and ``$id``."""

    def __init__(self, root: Schema) -> None:
        self._root = root

    def followed(self, part: Schema) -> Iterator[Schema]:
        """Yield what the references of a part of the schema may lead to.

        Where a dynamic one leads depends on the way to its schema: to all that bear its name.
        """
        for word in ("$ref", "$dynamicRef"):
            if word in part:
                uri, _, fragment = part[word].partition("#")
                name = unquote(fragment)
                yield self._found(urljoin(self._known.bases.get(id(part), ""), uri), name)
                if word == "$dynamicRef":
                    yield from self._known.dynamic[name]

    def reached(self, start: Iterable[Any], words: tuple[str, ...]) -> dict[int, Schema]:
        """Return, by id, the schemas to start from and all that references and the keywords
        ``words`` lead to from there."""
        reached: dict[int, Schema] = {}
        waiting = deque(start)
        while waiting:
            part = waiting.popleft()
            if isinstance(part, Mapping) and id(part) not in reached:
                reached[id(part)] = part
                waiting += (*self.followed(part), *schemas_in(part, *words))
        return reached

    def _found(self, uri: str, name: str) -> Schema:
        if uri.startswith((BASE_URI, _STANDARD)):  # neither has secrets
            return _OPEN
        at_anchor = name and not name.startswith("/")
        found: Any = self._known.resources.get((uri, name if at_anchor else ""), _LOST)
        for raw in () if at_anchor else name.split("/")[1:]:
            key = raw.replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(key)] if isinstance(found, list) else found[key]
            except (KeyError, IndexError, ValueError, TypeError):
                return _LOST
        return found if isinstance(found, Mapping) else {}

    @cached_property
    def _known(self) -> _Known:
        known = _Known()
        known.add(self._root, "")
        return known


class _Known:
    """What references can name: a schema by the URI of its resource and its anchor."""

    def __init__(self) -> None:
        self.resources: dict[tuple[str, str], Schema] = {}
        self.dynamic: dict[str, list[Schema]] = defaultdict(list)
        self.bases: dict[int, str] = {}  # of each part, by id, the URI of its resource

    def add(self, value: Any, base: str) -> None:
        """Take note of all parts; what is no schema does no harm."""
        if isinstance(value, list):
            for one in value:
                self.add(one, base)
        if not isinstance(value, Mapping):
            return
        if isinstance(own := value.get("$id"), str):
            base = urljoin(base, own).removesuffix("#")
        if not self.bases or isinstance(own, str):
            self.resources.setdefault((base, ""), value)
        self.bases[id(value)] = base
        for word in ("$anchor", "$dynamicAnchor"):
            if isinstance(anchor := value.get(word), str):
                self.resources.setdefault((base, anchor), value)
                if word == "$dynamicAnchor":
                    self.dynamic[anchor].append(value)
        for one in value.values():
            self.add(one, base)


# -- secrets -----------------------------------------------------------------------------------


def has_marks(schema: Schema) -> bool:
    """Return whether the word ``writeOnly`` stands in the schema at all."""
    return '"writeOnly"' in json.dumps(schema)


def lost_marks(schema: Schema) -> list[Violation]:
    """Return where a schema marks with ``writeOnly`` what is then no secret.

    That are marks which no keyword leads to, and those of the names of properties.
    """
    if not has_marks(schema):
        return []
    references = References(schema)
    reached = references.reached([schema], (*SAME_PLACE, *OTHERS, "properties", CONTENT))
    of_names = [one for part in reached.values() for one in schemas_in(part, "propertyNames")]
    names = references.reached(of_names, SAME_PLACE)
    faults = [
        Violation(json_path(path), "writeOnly: no keyword of JSON Schema 2020-12 leads to it")
        for path, part in _marked(schema)
        if id(part) not in {**reached, **names}
    ]
    if any(part.get("writeOnly") is True for part in names.values()):
        faults.append(Violation("$", "propertyNames: the name of a property cannot be writeOnly"))
    return faults


def _marked(
    value: Any, path: tuple[str | int, ...] = (), by_name: bool = False
) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield path and schema of each mark, but of those in definitions, which may be unused."""
    if isinstance(value, list):
        for number, one in enumerate(value):
            yield from _marked(one, (*path, number))
    elif isinstance(value, Mapping):
        if value.get("writeOnly") is True and not by_name:
            yield path, value
        for word, one in value.items():
            if by_name or word not in _APART:
                yield from _marked(one, (*path, word), word in _BY_NAME and not by_name)
