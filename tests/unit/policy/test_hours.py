"""Time windows: weekdays, midnight, zones and the two nights of summer time."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lom.settings.policy.hours import Window, parse_window

AMSTERDAM = ZoneInfo("Europe/Amsterdam")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("window", "instant", "holds"),
    [
        # 2025-01-06 is a Monday; Amsterdam is one hour ahead of UTC in winter, two in summer.
        ("Mon-Fri 08:00-18:00 Europe/Amsterdam", "2025-01-06T06:59", False),
        ("Mon-Fri 08:00-18:00 Europe/Amsterdam", "2025-01-06T07:00", True),
        ("Mon-Fri 08:00-18:00 Europe/Amsterdam", "2025-01-06T16:59:59", True),
        ("Mon-Fri 08:00-18:00 Europe/Amsterdam", "2025-01-06T17:00", False),
        ("Mon-Fri 08:00-18:00 Europe/Amsterdam", "2025-07-07T06:00", True),
        ("Mon-Fri 08:00-18:00 Europe/Amsterdam", "2025-01-11T12:00", False),
        ("08:00-18:00 UTC", "2025-01-11T12:00", True),
        ("sat,SUN 00:00-24:00 UTC", "2025-01-11T00:00", True),
        ("sat,SUN 00:00-24:00 UTC", "2025-01-12T23:59", True),
        ("sat,SUN 00:00-24:00 UTC", "2025-01-13T00:00", False),
        ("Fri-Mon 00:00-24:00 UTC", "2025-01-06T12:00", True),
        ("Fri-Mon 00:00-24:00 UTC", "2025-01-07T12:00", False),
        # over midnight: the window belongs to the day it begins on
        ("Fri 22:00-06:00 UTC", "2025-01-10T21:59", False),
        ("Fri 22:00-06:00 UTC", "2025-01-10T22:00", True),
        ("Fri 22:00-06:00 UTC", "2025-01-11T05:59", True),
        ("Fri 22:00-06:00 UTC", "2025-01-11T06:00", False),
        ("Fri 22:00-06:00 UTC", "2025-01-11T22:30", False),
        ("Sun 22:00-06:00 UTC", "2025-01-13T01:00", True),
        ("Mon 22:00-06:00 UTC", "2025-01-13T01:00", False),
        # 2025-03-30: 02:00 becomes 03:00 in Amsterdam, 01:00 UTC
        ("Sun 02:00-03:00 Europe/Amsterdam", "2025-03-30T00:59", False),
        ("Sun 02:00-03:00 Europe/Amsterdam", "2025-03-30T01:00", False),
        ("Sun 03:00-04:00 Europe/Amsterdam", "2025-03-30T01:00", True),
        # 2025-10-26: 03:00 becomes 02:00 in Amsterdam, 01:00 UTC
        ("Sun 02:00-03:00 Europe/Amsterdam", "2025-10-26T00:30", True),
        ("Sun 02:00-03:00 Europe/Amsterdam", "2025-10-26T01:30", True),
        ("Sun 02:00-03:00 Europe/Amsterdam", "2025-10-26T02:00", False),
        # a weekday is that of the zone
        ("Mon 00:00-24:00 Pacific/Auckland", "2025-01-05T12:00", True),
    ],
)
def test_a_window_means_the_clock_on_the_wall(window: str, instant: str, holds: bool) -> None:
    assert parse_window(window).holds(utc(instant)) is holds


@given(
    instant=st.datetimes(
        min_value=datetime(2000, 1, 1), max_value=datetime(2035, 1, 1), timezones=st.just(UTC)
    ),
    start=st.integers(0, 1439),
    end=st.integers(0, 1439),
    days=st.frozensets(st.integers(0, 6)),
)
def test_a_window_and_its_complement_share_the_week(
    instant: datetime, start: int, end: int, days: frozenset[int]
) -> None:
    if start == end:
        return
    every = frozenset(range(7))
    inside = Window(every, start, end, "Europe/Amsterdam").holds(instant)
    assert inside != Window(every, end, start, "Europe/Amsterdam").holds(instant)
    some = Window(days, start, end, "Europe/Amsterdam").holds(instant)
    others = Window(every - days, start, end, "Europe/Amsterdam").holds(instant)
    assert (some or others) == inside
    assert not (some and others)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Mon-Fri 08:00-18:00", "write it as 'Mon-Fri 08:00-18:00 Europe/Amsterdam'"),
        ("8-18 UTC", "is not a time window"),
        ("Mon 08:60-18:00 UTC", "a time that no clock shows"),
        ("Mon 24:00-08:00 UTC", "a time that no clock shows"),
        ("Mon 08:00-24:01 UTC", "a time that no clock shows"),
        ("08:00-08:00 UTC", "a whole day is 00:00-24:00"),
        ("Mo 08:00-18:00 UTC", "'Mo' is not a day; did you mean 'Mon'?"),
        ("Mon- 08:00-18:00 UTC", "'' is not a day"),
        ("08:00-18:00 Europe/Amsterdm", "did you mean 'Europe/Amsterdam'?"),
        ("08:00-18:00 ../../etc/passwd", "is not a time zone"),
        ("08:00-18:00 Europe", "is not a time zone"),
    ],
)
def test_a_wrong_window_says_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        parse_window(text)
