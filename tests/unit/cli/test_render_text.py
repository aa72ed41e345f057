"""Text for people: harmless, measured, cut to fit, whatever a host sent."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lom.render.table import Screen, table
from lom.render.text import clean, clip, duration, flatten, outline, paint, summary, width

HOSTILE = "\x1b]0;owned\x07 \x9b31m a\nb\tc\r\u202egnp.exe \x00 \u2028 \ud800"
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)


def harmless(text: str) -> bool:
    return not any(
        unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp") or one in "\u115f\u3164"
        for one in text
    )


def test_clean_spells_out_what_steers_a_terminal() -> None:
    assert clean(HOSTILE) == (r"\x1b]0;owned\x07 \x9b31m a\nb\tc\r\u202egnp.exe \x00 \u2028 \ud800")
    assert clean("a\u200bb\U000e0041") == r"a\u200bb\U000e0041"  # nobody sees these
    assert clean("gpu01 42 °C, 日本") == "gpu01 42 °C, 日本"


@given(ANY_TEXT)
def test_clean_is_always_harmless(text: str) -> None:
    assert harmless(clean(text))


@given(ANY_TEXT, st.integers(0, 30))
def test_clip_fits(text: str, limit: int) -> None:
    shown = clip(clean(text), limit)
    assert width(shown) <= limit
    assert shown == clean(text) or shown.endswith("…") or limit == 0


@pytest.mark.parametrize(
    ("text", "columns"), [("", 0), ("abc", 3), ("日本", 4), ("e\u0301", 1), ("°", 1)]
)
def test_width_counts_columns(text: str, columns: int) -> None:
    assert width(text) == columns


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.00 s"),
        (0.1234, "0.12 s"),
        (12.34, "12.3 s"),
        (59.96, "60.0 s"),
        (125, "2m05s"),
        (7260, "2h01m"),
    ],
)
def test_duration(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_flatten_names_metrics_by_their_name() -> None:
    metrics = [{"name": "triad", "value": 41.5, "unit": "GB/s", "better": "higher"}]
    data = {"os": {"name": "Debian", "empty": {}}, "disks": [1, 2], "metrics": metrics}
    assert dict(flatten(data)) == {
        "os.name": "Debian",
        "os.empty": {},
        "disks": [1, 2],
        "metrics.triad.value": 41.5,
        "metrics.triad.unit": "GB/s",
    }


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ({}, ""),
        ({"a": 1, "b": True, "c": None, "d": 0.1 + 0.2}, "a=1  b=true  d=0.3"),
        ({"os": {"name": "Debian 12", "version": 12}}, "os.name=Debian 12  os.version=12"),
        ({"tags": ["x", "y"], "gpus": [{"i": 0}, {"i": 1}], "none": []}, "tags=x,y  gpus=[2]"),
        ({"stdout": "two\nlines\n"}, r"stdout=two\nlines\n"),
        (
            {"metrics": [{"name": "triad", "value": 41.25, "unit": "GB/s"}], "gpu": 3},
            "gpu=3  triad 41.25 GB/s",
        ),
        ({"metrics": "of another kind"}, "metrics=of another kind"),
    ],
)
def test_summary(data: dict[str, Any], line: str) -> None:
    assert summary(data) == line


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(ANY_TEXT, JSON_VALUES, max_size=4))
def test_any_answer_becomes_harmless_text(data: dict[str, Any]) -> None:
    line = summary(data, 80)
    assert harmless(line)
    assert len(line) <= 80
    assert all(map(harmless, outline(data)))


def test_a_summary_of_a_huge_answer_is_short() -> None:
    assert len(summary({"stdout": "x" * 8_000_000})) == 1000


def test_outline_shows_nested_values_and_blocks() -> None:
    data = {
        "exit_code": 0,
        "stdout": "one\n\ttwo\n",
        "os": {"name": "Debian"},
        "load": [0.5, 0.25],
        "disks": [{"mount": "/", "free": 7}, {"mount": "/srv"}, ["x", "y"], "two\nlines"],
        "none": [],
        "empty": {},
    }
    assert list(outline(data)) == [
        "exit_code: 0",
        "stdout:",
        "  | one",
        "  |         two",
        "os:",
        "  name: Debian",
        "load: 0.5, 0.25",
        "disks:",
        "  - mount: /",
        "    free: 7",
        "  - mount: /srv",
        "  - - x",
        "    - y",
        "  -",
        "    | two",
        "    | lines",
        "none: none",
        "empty: {}",
    ]


def test_table_aligns_and_has_no_trailing_space() -> None:
    text = table(("target", "detail"), [["web1", "ok"], ["日本", ""]], Screen())
    assert text == "TARGET  DETAIL\nweb1    ok\n日本\n"


@pytest.mark.parametrize("columns", [5, 20, 40, 80, 200])
def test_table_fits_the_terminal(columns: int) -> None:
    rows = [["gpu-with-a-long-name-01", "ok", "0.12 s", "os=Debian " * 20], ["web1", "", "", ""]]
    text = table(("target", "outcome", "time", "detail"), rows, Screen(columns), styled=1)
    assert max(map(width, text.splitlines())) <= max(columns, 10)


def test_a_wide_terminal_keeps_names_and_outcomes_whole() -> None:
    rows = [["gpu01", "invalid_output", "0.12 s", "long " * 40]]
    line = table(("target", "outcome", "time", "detail"), rows, Screen(60)).splitlines()[1]
    assert line.startswith("gpu01   invalid_output  0.12 s  long long")
    assert line.endswith("…")


def test_colour_surrounds_the_outcome_only_when_asked() -> None:
    rows = [["web1", "failed", "why"]]
    plain = table(("target", "outcome", "detail"), rows, Screen(), styled=1)
    colored = table(("target", "outcome", "detail"), rows, Screen(color=True), styled=1)
    assert "\x1b" not in plain
    assert "web1    \x1b[31mfailed\x1b[0m   why" in colored
    assert paint("x", "no such style", True) == "x"


def test_hosts_cannot_colour_or_break_a_table() -> None:
    text = table(("target", "detail"), [["web1", HOSTILE]], Screen(color=False))
    assert len(text.splitlines()) == 2
    assert harmless(text.replace("\n", ""))
