"""Hides secrets that come back: a plugin may print what it was given, on any stream.

What belongs here: finding secret values in parameters, and their usual spellings in texts.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from lmm.model import JSON

MASK = "********"
SHORTEST = 4  # hiding every "on" or "42" of an answer would destroy it and protect nothing


def places(values: JSON, pointers: Iterable[str]) -> Iterator[tuple[Any, Any]]:
    """Yield container and key of each value that the JSON pointers name.

    ``*`` as a part stands for every member or item, the empty pointer for all members.
    """
    for pointer in pointers:
        parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
        yield from _below(values, parts or ["*"])


def _below(value: JSON, parts: list[str]) -> Iterator[tuple[Any, Any]]:
    if not isinstance(value, dict | list):
        return
    keys: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
    for key in keys:
        if parts[0] not in (key, "*"):
            continue
        if len(parts) == 1:
            yield value, key
        else:
            yield from _below(value[key], parts[1:])


def has_secrets(parameters: JSON, pointers: Iterable[str]) -> bool:
    """Return whether anything at all stands where the pointers point."""
    return any(container[key] not in (None, "") for container, key in places(parameters, pointers))


def secret_texts(parameters: JSON, pointers: Iterable[str]) -> set[str]:
    """Return every text at or below what the pointers name; of several lines, each line too."""
    found: set[str] = set()
    waiting = [container[key] for container, key in places(parameters, pointers)]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            found.update((value, *value.splitlines()))
        elif isinstance(value, dict | list):
            waiting += value.values() if isinstance(value, dict) else value
    return {text for text in found if len(text) >= SHORTEST}


class Redactor:
    """Replaces secrets by a mask: as they are, JSON-escaped, URL-encoded, in base64."""

    def __init__(self, secrets: Iterable[str]) -> None:
        spellings = {spelling for secret in secrets for spelling in _spellings(secret)}
        longest_first = sorted(filter(_is_telling, spellings), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)))
        self._idle = not longest_first

    def text(self, text: str) -> str:
        return text if self._idle else self._pattern.sub(MASK, text)

    def value(self, value: JSON) -> JSON:
        """Return a copy of a JSON value without the secrets, in names as well."""
        if self._idle:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(name): self.value(one) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(one) for one in value]
        return value


def _is_telling(spelling: str) -> bool:
    return len(spelling) >= SHORTEST


def _spellings(secret: str) -> Iterator[str]:
    yield secret
    for ascii_only in (True, False):
        yield json.dumps(secret, ensure_ascii=ascii_only)[1:-1]
    yield quote(secret, safe="")
    yield quote(secret)
    yield quote_plus(secret)
    data = secret.encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3):  # where a group of three bytes may begin within a longer text
            end = len(data) - (before + len(data)) % 3
            encoded = encode(b"\0" * before + data[:end]).decode()
            yield encoded[4:] if before else encoded
