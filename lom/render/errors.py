"""Errors for people: what was wrong, where, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lom.render.text import clean, paint

_PLACES = ("field", "file", "line")


def error_lines(
    document: Mapping[str, Any], *, color: bool = False, hints: tuple[str, ...] | None = None
) -> Iterator[str]:
    """Yield the lines for an EPS document; ``hints`` stand in for its recovery actions."""
    error = document["error_data"]["error"]
    data = error["data"]
    first, *more = error["message"].split("\n")
    yield f"{paint('error:', 'error', color)} {clean(first)}"
    yield from (f"  {clean(line)}" for line in more)
    for place in _PLACES:
        if place in data and str(data[place]) not in error["message"]:
            yield f"  {place}: {clean(str(data[place]))}"
    for violation in data.get("validation_errors", ()):
        if violation not in error["message"]:
            yield f"  at: {clean(str(violation))}"
    actions = document["error_context"]["recovery_actions"] if hints is None else hints
    for action in actions:
        yield f"  hint: {clean(action)}"


def one_line(document: Mapping[str, Any]) -> str:
    """Return the error's message on one line, made harmless."""
    return clean(" ".join(document["error_data"]["error"]["message"].split("\n")))
