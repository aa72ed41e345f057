"""Kinds of option values that click does not have."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import click

from lmm.errors import RequestError
from lom.settings.values import LONGEST_S

if TYPE_CHECKING:
    from lmm.model import SecretRef

_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}

_AGES = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


class Seconds(click.ParamType[float]):
    """A duration in seconds, more than 0."""

    name = "seconds"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            seconds = float(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        if not (math.isfinite(seconds) and seconds > 0):
            self.fail(f"{value} is not more than 0 seconds", param, ctx)
        if seconds > LONGEST_S:
            self.fail(f"{value} is more than {LONGEST_S:.0f} seconds", param, ctx)
        return seconds


class Size(click.ParamType[int]):
    """A size in bytes, at least 1; ``K``, ``M`` and ``G`` count in powers of 1024."""

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        found = re.fullmatch(r"(\d{1,15})([KMG]?)(?:i?B)?", str(value), re.IGNORECASE | re.ASCII)
        size = int(found[1]) * _UNITS[found[2].upper()] if found else 0
        if size < 1:
            self.fail(f"{value!r} is not a size such as 65536, 64K or 16M", param, ctx)
        return size


class Age(click.ParamType[float]):
    """A duration in seconds, written with a unit: ``30d``, ``12h``, ``90m``, ``2w``, ``45s``."""

    name = "age"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        found = re.fullmatch(r"(\d{1,6})([smhdw])", str(value), re.ASCII)
        if not found:
            self.fail(f"{value!r} is not an age such as 30d, 12h or 2w", param, ctx)
        return int(found[1]) * _AGES[found[2]]


def secret_references(texts: tuple[str, ...]) -> dict[str, SecretRef]:
    """Return ``KEY=env:NAME`` and ``KEY=file:PATH`` as references by key.

    Raises RequestError; its message never shows what stands after ``=``.
    """
    from lmm.model import SecretRef

    references: dict[str, SecretRef] = {}
    for text in texts:
        key, equals, reference = text.partition("=")
        if not key or not equals:
            raise RequestError(
                "invalid_usage",
                "--secret takes KEY=env:NAME or KEY=file:PATH, never a value",
                command="rune run",
            )
        if key in references:
            raise RequestError("invalid_usage", f"--secret gives {key} twice", command="rune run")
        references[key] = SecretRef(reference)
    return references
