"""Ranges in names: ``gpu[01-64]``, ``node[1,3,5-9]``, ``r[1-4]n[1-8]``, ``disk[0-10/2]``.

Brackets around something with a colon are no range but an IPv6 address (``[::1]:22``).
"""

from __future__ import annotations

import itertools
import math
import re

MAX_NAMES = 100_000
MAX_LENGTH = 512  # characters of a name: a host has at most 253, beside a user and a port

_BRACKET = re.compile(r"\[([^\[\]]*)\]")
_ITEM = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18})(?:/([0-9]{1,18}))?)?")


class RangeError(ValueError):
    """A range that cannot be read; ``offset`` is where in the text it went wrong."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


def has_range(text: str) -> bool:
    """Whether ``text`` holds brackets that are (or are meant as) a range."""
    return any(":" not in found[1] for found in _BRACKET.finditer(text)) or (
        text.count("[") != text.count("]")
    )


def expand(text: str) -> list[str]:
    """Return the names that ``text`` stands for, the last bracket counting fastest.

    Zero padding is kept (``[08-10]`` gives 08, 09, 10); a name comes once. A text without
    brackets gives itself. Raises RangeError, also when it stands for more than 100,000 names, or
    for one of more than 512 characters.
    """
    if "[" not in text and "]" not in text and len(text) <= MAX_LENGTH:
        return [text]
    parts: list[list[str]] = []
    end = 0
    for found in _BRACKET.finditer(text):
        parts.append([_literal(text, end, found.start())])
        end = found.end()
        content = found[1]
        parts.append([found[0]] if ":" in content else _numbers(content, found.start() + 1))
        if math.prod(map(len, parts)) > MAX_NAMES:
            raise RangeError(f"the range stands for more than {MAX_NAMES} names", found.start())
    parts.append([_literal(text, end, len(text))])
    if sum(max(map(len, part)) for part in parts) > MAX_LENGTH:
        raise RangeError(f"a name has more than {MAX_LENGTH} characters", 0)
    return list(dict.fromkeys(map("".join, itertools.product(*parts))))


def _literal(text: str, start: int, end: int) -> str:
    for offset in range(start, end):
        if text[offset] in "[]":
            raise RangeError("a bracket has no partner", offset)
    return text[start:end]


def _numbers(content: str, offset: int) -> list[str]:
    numbers: list[str] = []
    for item in content.split(","):
        found = _ITEM.fullmatch(item)
        if not found:
            raise RangeError(
                "a range holds numbers, as in [1-9], [01-64], [1,3,5-9] or [0-10/2]", offset
            )
        first, last, step = found[1], found[2] or found[1], int(found[3] or 1)
        if int(last) < int(first):
            raise RangeError(f"the range runs backwards; write {last}-{first}", offset)
        if step == 0:
            raise RangeError("a step of 0 never ends", offset)
        if len(last) > 1 and last[0] == "0" and len(last) != len(first):
            raise RangeError("both ends need the same zero padding, as in [001-128]", offset)
        values = range(int(first), int(last) + 1, step)
        if len(values) + len(numbers) > MAX_NAMES:
            raise RangeError(f"the range stands for more than {MAX_NAMES} names", offset)
        numbers += [f"{value:0{len(first)}d}" for value in values]
        offset += len(item) + 1
    return numbers
