"""Hides secrets that come back: a host may print what it was given, on any stream.

What belongs here: which values of an invocation are secret, and hiding them in bytes, texts, values
and errors. How a secret may be spelt belongs in ``spellings``.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from lmm.errors import RequestError, RuneError
from lmm.model import JSON, Invocation, SecretRef, Target

if TYPE_CHECKING:
    from lmm.spellings import Finder, Span

MASK = "********"
SHORTEST = 4  # hiding every "on" or "42" of an answer would destroy it and protect nothing

_LITERALS = {b"true", b"false", b"null"}  # stay, though such a text is hidden
_SYNTAX = re.compile(rb'[][{}",:]')  # between values
_LEAST = 4  # digits of base64 or hex at the end of a text that may go on as a secret
_INTEGER = re.compile(r"[-+]?[0-9]{1,400}")
_DECIMAL = re.compile(r"[-+]?[0-9]{0,400}\.?[0-9]{1,400}(?:[eE][-+]?[0-9]{1,3})?")

Secret = str | int | float
E = TypeVar("E", bound=RuneError)


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


def secrets_in(parameters: JSON, pointers: Iterable[str]) -> set[Secret]:
    """Return every text and number at or below what the pointers name.

    Truth values are no secrets: there are two of them.
    """
    return _leaves(container[key] for container, key in places(parameters, pointers))


def _leaves(values: Iterable[JSON]) -> set[Secret]:
    found: set[Secret] = set()
    waiting = list(values)
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict | list):
            waiting += value.values() if isinstance(value, dict) else value
        elif isinstance(value, str | int | float) and not isinstance(value, bool):
            found.add(value)
    return found


def redactor_of(invocation: Invocation) -> Redactor:
    """Return what hides all that the host of an invocation is given in secret."""
    parameters = invocation.message["payload"]["input_parameters"]
    return redactor_for(invocation.target, parameters, invocation.write_only)


def redactor_for(target: Target, parameters: JSON, pointers: Iterable[str]) -> Redactor:
    """Return what hides the secret parameters, and the passwords and passphrase of the target."""
    return _redactor(frozenset(secrets_in(parameters, pointers) | resolved(target.secrets)))


def resolved(references: Iterable[SecretRef]) -> set[Secret]:
    """Return the secrets that the references name, without those that cannot be read: they cannot
    have been sent either."""
    found: set[Secret] = set()
    for reference in references:
        with contextlib.suppress(RequestError):
            found.add(reference.line())
    return found


def _parsed(texts: Iterable[str]) -> set[Secret]:
    """Return the texts and numbers inside of the texts that are JSON, at any depth."""
    found: set[Secret] = set()
    waiting = list(texts)
    while waiting:
        text = waiting.pop()
        if text.lstrip().startswith(("{", "[", '"')):
            with contextlib.suppress(ValueError, RecursionError):
                inner = _leaves([json.loads(text)]) - found
                found |= inner
                waiting += [one for one in inner if isinstance(one, str)]
    return found


def _number(text: str) -> int | float:
    return int(text) if _INTEGER.fullmatch(text) else float(text)


def _is_telling(number: int | float) -> bool:
    """Whether the number has as many characters as a secret text must have."""
    if isinstance(number, float):
        if not math.isfinite(number):
            return False
        number = int(number) if number.is_integer() else number
    return len(json.dumps(abs(number))) >= SHORTEST


def _spelt(finder: Finder, value: JSON) -> set[bytes]:
    """Return the secrets that stand in the JSON of a value, as they are spelt there."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    data = text.encode("utf-8", "backslashreplace")
    # a layer of escapes more: it is JSON itself
    return {data[begin:end] for begin, end in finder.spans(data, more=1)}


class Redactor:
    """Replaces secrets by a mask, in whatever spelling; safe to use from several threads.

    A text counts from four characters on, without the white space around it, and each of its
    lines by itself; a number from four characters on, wherever a number of its value stands. Of a
    text that is JSON, the texts and numbers in it count as well.
    ``finder`` is None if there is nothing to hide.
    """

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        given = set(secrets)
        given |= _parsed(one for one in given if isinstance(one, str))
        whole = [one for one in given if isinstance(one, str)]
        lines = (line.strip() for text in whole for line in (text, *text.splitlines()))
        texts = {line for line in lines if len(line) >= SHORTEST and line not in MASK}
        numbers = {one for one in given if not isinstance(one, str)}
        numbers.update(map(_number, filter(_DECIMAL.fullmatch, texts)))
        numbers = {abs(number) for number in numbers if _is_telling(number)}
        self.finder: Finder | None = None
        if texts or numbers:
            from lmm.spellings import Finder  # of no use to a start without secrets

            self.finder = Finder(texts, numbers)

    def bytes(self, data: bytes, *, cut: bool = False) -> bytes:
        """Return the bytes without the secrets, in as many lines as before.

        With ``cut``, what may be the beginning of one at the end is hidden as well.
        """
        if self.finder is None:
            return data
        spans = self.finder.spans(data, cut_from=_LEAST if cut else None)
        return _masked(data, spans) if spans else data

    def text(self, text: str) -> str:
        """Return the text without the secrets."""
        if self.finder is None:
            return text
        data = text.encode("utf-8", "backslashreplace")
        spans = self.finder.spans(data)
        return _masked(data, spans).decode("utf-8", "replace") if spans else text

    def value(self, value: JSON) -> JSON:
        """Return a JSON value without the secrets, in names as well; the value itself if there
        are none. The mask stands for a number, too."""
        if self.finder is None:
            return value
        spelt = _spelt(self.finder, value)
        if not spelt:
            return value
        hidden = self._hidden(value)
        return self._covered(hidden) if any(map(_SYNTAX.search, spelt)) else hidden

    def _covered(self, value: JSON) -> JSON:
        """Return the value with masks in the smallest parts that together spell a secret."""
        assert self.finder
        if not isinstance(value, dict | list) or _spelt(self.finder, value) <= _LITERALS:
            return value
        if isinstance(value, list):
            items = [self._covered(one) for one in value]
            return items if _spelt(self.finder, items) <= _LITERALS else [MASK]
        members = {name: self._covered(one) for name, one in value.items()}
        is_clean = _spelt(self.finder, members) <= _LITERALS
        return members if is_clean else dict.fromkeys(value, MASK)

    def error(self, error: E) -> E:
        """Return the error without the secrets. Its reason stays, and the names of its data."""
        if self.finder is None:
            return error
        data = {name: self._covered(self._hidden(one)) for name, one in error.data.items()}
        hidden = type(error)(error.reason, self.text(error.message), **data)
        hidden.__cause__ = error.__cause__
        return hidden

    def _hidden(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self._hidden(name): self._hidden(one) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [self._hidden(one) for one in value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return MASK if self.finder and self.finder.has(value) else value
        return value


NOTHING = Redactor()


@functools.lru_cache(maxsize=8)
def _redactor(secrets: frozenset[Secret]) -> Redactor:
    """Return the one redactor for targets that are given the same: a long key takes 2 ms."""
    return Redactor(secrets)


class Lines:
    """Hides secrets in lines that are told one by one, though a secret may go over several.

    A line that may begin one waits for the next, also where only its end speaks against it: that
    may be what the host writes ahead of its own line when a plugin was cut off. What has come back
    from ``add`` and ``end`` is as many lines as were added, in order, without their ends.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._finder = redactor.finder
        self._data = b""  # all that may yet belong to a secret
        self._told = 0  # bytes at its beginning that were told

    def add(self, line: bytes, *, is_told: bool = False) -> list[bytes]:
        """Take a line with its end; return those that can be told now.

        One that ``is_told`` already only counts for what comes after it.
        """
        if self._finder is None:
            return [] if is_told else [line.removesuffix(b"\n")]
        self._data += line
        spans = self._finder.spans(self._data)
        if is_told:
            self._tell(len(self._data), spans)
            return []
        printed = self._data.removesuffix(b"\n")
        begins = self._finder.unfinished(printed, _LEAST)
        if len(printed) - begins < SHORTEST:  # too little to tell anything, if nothing follows
            begins = self._finder.unfinished(self._data, _LEAST)
        if begins < len(self._data):
            begins = self._data.rfind(b"\n", 0, begins) + 1
        return self._tell(max(begins, self._told), spans)

    def end(self, *, cut: bool) -> list[bytes]:
        """Return the lines that still wait; ``cut`` if there might have been more."""
        if self._finder is None:
            return []
        spans = self._finder.spans(self._data, cut_from=_LEAST if cut else None)
        return self._tell(len(self._data), spans)

    def _tell(self, end: int, spans: list[Span]) -> list[bytes]:
        assert self._finder
        text = _masked(self._data, spans, self._told, end)
        crossing = (begin for begin, after in spans if after > end)
        keep = min(end, self._finder.unfinished(self._data, 1), *crossing)
        self._data, self._told = self._data[keep:], end - keep
        return text.removesuffix(b"\n").split(b"\n") if text else []


def _masked(data: bytes, spans: Iterable[Span], begin: int = 0, end: int | None = None) -> bytes:
    """Return the bytes from ``begin`` to ``end`` with the spans hidden, in as many lines."""
    end = len(data) if end is None else end
    parts, at = [], begin
    for first, after in spans:
        first, after = max(first, begin), min(after, end)
        if first < after:
            hidden = (MASK.encode() if part else b"" for part in data[first:after].split(b"\n"))
            parts += [data[at:first], b"\n".join(hidden)]
            at = after
    return b"".join([*parts, data[at:end]])
