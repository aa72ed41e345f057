"""Text for people: made harmless, measured in columns, cut to fit.

Whatever came from a host passes ``clean`` before a terminal sees it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

# C0 and C1 controls (ESC and the one-byte CSI among them), line and paragraph separators, what
# turns the writing direction or cannot be seen (format characters, fillers), lone surrogates.
_HARMFUL = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160"
    "\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f\u3164\ud800-\udfff\ufeff"
    "\uffa0\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

COLORS = {
    "bold": "1",
    "dim": "2",
    "ok": "32",
    "failed": "31",
    "unreachable": "35",
    "timed_out": "33",
    "invalid_output": "31",
    "cancelled": "33",
    "lost": "35",
    "skipped": "2",
    "slow": "31",
    "drifted": "33",
    "too_few": "33",
    "invalid": "35",
    "no_data": "2",
    "worse": "31",
    "better": "32",
    "missing": "2",
    "warn": "33",
    "fail": "31",
    "broken": "31",
    "shadowed": "2",
    "error": "1;31",
}


def clean(text: str) -> str:
    """Return ``text`` on one line, with every character that could steer a terminal spelt out."""
    return _HARMFUL.sub(_spell, text)


def _spell(match: re.Match[str]) -> str:
    character = match[0]
    if character.isascii():
        return _SHORT.get(character) or f"\\x{ord(character):02x}"
    return character.encode("ascii", "backslashreplace").decode()


def paint(text: str, style: str, color: bool) -> str:
    """Return ``text`` in the colour of ``style`` (an outcome or a key of COLORS)."""
    code = COLORS.get(style) if color else None
    return f"\x1b[{code}m{text}\x1b[0m" if code and text else text


def width(text: str) -> int:
    """Return how many columns of a terminal ``text`` takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.combining(character) or character == "\u200d":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def clip(text: str, limit: int) -> str:
    """Return ``text`` in at most ``limit`` columns, the cut marked by an ellipsis."""
    if width(text) <= limit:
        return text
    taken, room = [], limit - 1
    for character in text:
        room -= _columns(character)
        if room < 0:
            break
        taken.append(character)
    return "".join(taken) + "…" if limit > 0 else ""


def duration(seconds: float) -> str:
    """Return a duration as people write it: ``0.12 s``, ``41.0 s``, ``3m05s``, ``2h01m``."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"


def counted(summary: Mapping[str, int], color: bool = False) -> str:
    """Return ``198 ok, 2 timed out``: the words of which there are some, in their colours."""
    return ", ".join(
        paint(f"{count} {word.replace('_', ' ')}", word, color)
        for word, count in summary.items()
        if count
    )


def scalar(value: Any) -> str:
    """Return a JSON scalar as people read it; floats with six digits, strings as they are."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted path, value) for everything in nested objects; lists stay whole.

    A list of metrics is keyed by their names, so that each has its own path.
    """
    for key, item in value.items():
        path = prefix + str(key)
        if key == "metrics" and is_metrics(item):
            for metric in item:
                yield f"{path}.{metric['name']}.value", metric["value"]
                yield f"{path}.{metric['name']}.unit", metric.get("unit")
        elif isinstance(item, Mapping) and item:
            yield from flatten(item, path + ".")
        else:
            yield path, item


def is_metrics(value: Any) -> bool:
    """Tell whether ``value`` is a list of metrics: objects with a name and a value."""
    return isinstance(value, list) and all(
        isinstance(one, Mapping) and "name" in one and "value" in one for one in value
    )


def summary(data: Mapping[str, Any], limit: int = 1000) -> str:
    """Return the scalars of ``data`` on one line of at most ``limit`` characters."""
    parts: list[str] = []
    room = limit
    for part in _parts(data):
        parts.append(part[: room + 1])
        room -= len(part) + 2
        if room < 0:
            break
    return clip("  ".join(parts), limit)


def _parts(data: Mapping[str, Any]) -> Iterator[str]:
    metrics: Any = data.get("metrics")
    measured: list[dict[str, Any]] = metrics if is_metrics(metrics) else []
    for path, value in flatten({k: v for k, v in data.items() if v is not measured}):
        if isinstance(value, str | int | float):
            yield clean(f"{path}={scalar(value)[:2000]}")
        elif isinstance(value, list) and value:
            short = len(value) <= 4 and all(isinstance(one, str | int | float) for one in value)
            shown = ",".join(map(scalar, value))[:2000] if short else f"[{len(value)}]"
            yield clean(f"{path}={shown}")
    for one in measured:
        unit = one.get("unit")
        yield clean(f"{one['name']} {scalar(one['value'])}" + (f" {unit}" if unit else ""))


def outline(value: Any, indent: str = "") -> Iterator[str]:
    """Yield the lines of a JSON value as an indented outline, strings of many lines as blocks."""
    if isinstance(value, list):
        for item in value:
            if isinstance(item, Mapping | list) and item:
                lines = outline(item, indent + "  ")
                yield f"{indent}- {next(lines)[len(indent) + 2 :]}"
                yield from lines
            else:
                yield from _entry(f"{indent}-", item, indent)
        return
    for key, item in value.items():
        yield from _entry(f"{indent}{clean(str(key))}:", item, indent)


def _entry(label: str, item: Any, indent: str) -> Iterator[str]:
    if isinstance(item, str) and "\n" in item:
        yield label
        for line in item.removesuffix("\n").split("\n"):
            yield f"{indent}  | {clean(line.expandtabs())}"
    elif isinstance(item, Mapping | list):
        plain = isinstance(item, list) and all(isinstance(one, str | int | float) for one in item)
        if not item:
            yield f"{label} {'none' if isinstance(item, list) else '{}'}"
        elif plain and len(", ".join(map(scalar, item))) <= 80:
            yield f"{label} {clean(', '.join(map(scalar, item)))}"
        else:
            yield label
            yield from outline(item, indent + "  ")
    else:
        yield f"{label} {clean(scalar(item))}".rstrip()
