"""Time windows of the week, as rules write them: ``Mon-Fri 08:00-18:00 Europe/Amsterdam``.

They mean the clock on the wall of that zone: an hour that summer time skips never comes, one that
it repeats is in the window both times.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo, available_timezones

from lom.names import did_you_mean

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY_MINUTES = 24 * 60
_TEXT = re.compile(r"(?:(\S+)\s+)?(\d\d):(\d\d)-(\d\d):(\d\d)\s+(\S+)")


@dataclass(frozen=True, slots=True)
class Window:
    """Minutes of the day from ``start`` up to ``end``, on days that count from Monday as 0.

    With ``end`` not after ``start`` it goes over midnight and belongs to the day it begins on.
    """

    days: frozenset[int]
    start: int
    end: int
    zone: str

    def holds(self, instant: datetime) -> bool:
        """Whether an instant, which knows its zone, lies in the window."""
        local = instant.astimezone(ZoneInfo(self.zone))
        minute = local.hour * 60 + local.minute
        today = local.weekday() in self.days
        if self.start < self.end:
            return today and self.start <= minute < self.end
        yesterday = (local.weekday() - 1) % 7 in self.days
        return (today and minute >= self.start) or (yesterday and minute < self.end)


def parse_window(text: str) -> Window:
    """Return the window that a text means. Raises ValueError saying what is wrong with it."""
    found = _TEXT.fullmatch(text.strip())
    if not found:
        raise ValueError(
            f"{text!r} is not a time window; write it as 'Mon-Fri 08:00-18:00 Europe/Amsterdam'"
        )
    days, *clock, zone = found.groups()
    from_hour, from_minute, to_hour, to_minute = map(int, clock)
    start, end = from_hour * 60 + from_minute, to_hour * 60 + to_minute
    if from_minute > 59 or to_minute > 59 or start >= _DAY_MINUTES or end > _DAY_MINUTES:
        raise ValueError(f"{text!r} holds a time that no clock shows")
    if start == end:
        raise ValueError(f"{text!r} begins when it ends; a whole day is 00:00-24:00")
    _check_zone(zone)
    return Window(_days(days) if days else frozenset(range(7)), start, end, zone)


def _days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        begin = _day(first)
        end = _day(last) if dash else begin
        found.update((begin + step) % 7 for step in range((end - begin) % 7 + 1))
    return frozenset(found)


def _day(text: str) -> int:
    name = text.capitalize()
    if name not in DAYS:
        raise ValueError(f"{text!r} is not a day{did_you_mean(text, DAYS)}; days are Mon to Sun")
    return DAYS.index(name)


def _check_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        known = available_timezones()
        if not known:
            raise ValueError("this machine has no time zones; install its package tzdata") from None
        raise ValueError(f"{name!r} is not a time zone{did_you_mean(name, known)}") from None
