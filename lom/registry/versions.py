"""Versions of plugins: what is one, and which is the newest."""

from __future__ import annotations

import re

from lmm.errors import RequestError

_NUMBER = "(0|[1-9][0-9]*)"
_VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?")


def full_version(text: str) -> str:
    """Return a version with all its numbers: 1.2 gives 1.2.0.

    Raises RequestError (``invalid_request``).
    """
    core, dash, pre = text.partition("-")
    version = core + ".0" * (2 - core.count(".")) + dash + pre
    if len(text) > 255 or not _VERSION.fullmatch(version):
        raise RequestError(
            "invalid_request",
            f"{text!r} is not a version such as 1.2 or 1.2.0 @ $.min_version",
            field="$.min_version",
        )
    return version


class Newest:
    """Sorts versions the newest first, by the precedence of semver.org."""

    def __init__(self, version: str) -> None:
        core, _, pre = version.partition("+")[0].partition("-")
        identifiers = [
            (0, int(one), "") if re.fullmatch(r"\d+", one) else (1, 0, one)
            for one in pre.split(".")
            if one
        ]
        self._key = (tuple(map(int, core.split("."))), not pre, identifiers)

    def __lt__(self, other: Newest) -> bool:
        return self._key > other._key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Newest) and self._key == other._key

    __hash__ = None  # type: ignore[assignment]
