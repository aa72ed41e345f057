"""YAML as its JSON part: numbers, true, false and null as JSON writes them, all else is text.

So ``no``, ``on``, ``012`` and ``12:30`` stay what they look like; keys come once. Imported only
where there is YAML to read: PyYAML costs more than all the rest of a start-up.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import yaml

from lmm.model import JSON
from lom.documents.document import Document, Location, is_text

MAX_VALUES = 1_000_000  # aliases count each time they are used
MAX_DEPTH = 64

_TAG = "tag:yaml.org,2002:"


def loader_on(base: Any) -> Any:
    """Return a loader of PyYAML that resolves scalars as JSON does."""

    class Loader(base):  # type: ignore[misc]
        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as PyYAML declares it

    for kind, pattern, first in (
        ("bool", r"true|false", "tf"),
        ("null", r"null|~|", ["n", "~", ""]),
        ("int", r"-?(0|[1-9][0-9]*)", "-0123456789"),
        ("float", r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?", "-0123456789"),
    ):
        Loader.add_implicit_resolver(_TAG + kind, re.compile(rf"({pattern})\Z"), list(first))
    return Loader


@functools.cache
def _loader_class() -> Any:
    return loader_on(getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def parse_yaml(document: Document, content: bytes) -> JSON:
    """Return the value in YAML text, None after noting in the document what is wrong with it."""
    if not is_text(document, content):
        return None
    text = content.decode("utf-8-sig")
    try:
        loader = _loader_class()(text)
        try:
            document.root = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # What stands in quotes comes from the file and may be part of a secret.
        why = re.sub(r"\s*'[^']{2,}'", "", error.problem or "it cannot be read")
        line = text.splitlines()[mark.line : mark.line + 1] if mark else []
        if mark and line and line[0][mark.column : mark.column + 1] == "\t":
            why = "a tab; lines are indented by spaces"
        place = (mark.line + 1, mark.column + 1) if mark else ()
        document.fault((), f"not YAML: {why}", *place)
    except (yaml.YAMLError, RecursionError):
        document.fault((), "not YAML: it holds characters that YAML forbids, or is too deep")
    if document.root is None:
        return None
    try:
        return _Values(document).value(document.root, ())
    except OverflowError as error:
        document.fault((), str(error))
        return None


class _Values:
    """Turns YAML nodes into JSON values, noting what has no place in JSON."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.count = 0

    def value(self, node: yaml.Node, location: Location) -> JSON:
        self.count += 1
        if self.count > MAX_VALUES or len(location) > MAX_DEPTH:
            raise OverflowError(
                f"the file holds more than {MAX_VALUES} values or {MAX_DEPTH} levels, "
                "or an alias inside of itself"
            )
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return dict(self._pairs(node, location))
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.value(item, (*location, i)) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in _SCALARS:
            try:
                return _SCALARS[node.tag](node.value)
            except ValueError as error:
                return self._fault(node, location, str(error))
        # The tag itself is not shown: it may be an unquoted secret that starts with "!".
        return self._fault(node, location, "a tag is not read here; quote text that starts with !")

    def _pairs(self, node: yaml.MappingNode, location: Location) -> Iterator[tuple[str, JSON]]:
        seen: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag not in _SCALARS:
                self._fault(key, location, "a key is a plain text")
                continue
            here = (*location, key.value)
            if key.value == "<<":
                self._fault(key, here, "merge keys are not read; write out what they stand for")
            if key.value in seen:
                line = seen[key.value]
                self._fault(key, here, f"the key stands here a second time (first in line {line})")
                continue
            seen[key.value] = key.start_mark.line + 1
            yield key.value, self.value(value, here)

    def _fault(self, node: yaml.Node, location: Location, message: str) -> None:
        mark = node.start_mark
        self.document.fault(location, message, mark.line + 1, mark.column + 1)


def _integer(text: str) -> int:
    if len(text) > 1000:
        raise ValueError("the number has too many digits; quote it")
    return int(text)


def _number(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError("the number is too large; quote it")
    return number


_SCALARS: dict[str, Callable[[str], JSON]] = {
    f"{_TAG}str": str,
    f"{_TAG}null": lambda text: None,
    f"{_TAG}bool": lambda text: text == "true",
    f"{_TAG}int": _integer,
    f"{_TAG}float": _number,
}
