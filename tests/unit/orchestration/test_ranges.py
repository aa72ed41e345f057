from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lom.inventory.ranges import MAX_LENGTH, MAX_NAMES, RangeError, expand, has_range


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web1", "web1"),
        ("n[1-3]", "n1 n2 n3"),
        ("n[08-11]", "n08 n09 n10 n11"),
        ("n[1,3,5-6]x", "n1x n3x n5x n6x"),
        ("n[3,1]", "n3 n1"),
        ("n[1,1-2]", "n1 n2"),
        ("n[0-10/5]", "n0 n5 n10"),
        ("n[00]", "n00"),
        ("n[0-1]", "n0 n1"),
        ("r[1-2]n[01-02]", "r1n01 r1n02 r2n01 r2n02"),
        ("[1-2]", "1 2"),
        ("[::1]:22", "[::1]:22"),
        ("ops@[::1]:[22-23]", "ops@[::1]:22 ops@[::1]:23"),
        ("127.0.1.[1-2]", "127.0.1.1 127.0.1.2"),
        ("n[999-1001]", "n999 n1000 n1001"),
        ("n[099-101]", "n099 n100 n101"),
        ("n[09-101/46]", "n09 n55 n101"),
    ],
)
def test_expand(text: str, expected: str) -> None:
    assert expand(text) == expected.split()
    assert has_range(text) == (expected != text)


@pytest.mark.parametrize(
    "text",
    [
        *("n[", "n]", "n[]", "n[1", "n1]", "n[1]]", "n[[1]]", "n[a]", "n[1-]", "n[-1]", "n[1--2]"),
        *("n[1-2/]", "n[1/2]", "n[1 2]", "n[1,]", "n[2-1]", "n[0-1/0]", "n[1-01]", "n[٣]"),
        *(f"n[1-{MAX_NAMES + 1}]", "n[0-999][0-999]", f"n[{'9' * 19}]", f"n[0-{'9' * 18}]"),
    ],
)
def test_refused(text: str) -> None:
    assert has_range(text)
    with pytest.raises(RangeError) as caught:
        expand(text)
    assert 0 <= caught.value.offset < len(text)


def test_as_many_names_as_allowed() -> None:
    assert len(expand(f"n[1-{MAX_NAMES}]")) == MAX_NAMES


@pytest.mark.parametrize("ranges", ["", "[1]", "[1-9]", "[1-9][1-9]", "[::1]"])
def test_no_name_is_longer_than_allowed(ranges: str) -> None:
    """Before any is made: a short text stands for names that would fill the memory."""
    room = MAX_LENGTH - len(expand(ranges)[0])
    assert {len(name) for name in expand("n" * room + ranges)} == {MAX_LENGTH}
    for text in ("n" * (room + 1) + ranges, "n" * 1_000_000 + ranges, f"n{ranges}" + "n" * 512):
        with pytest.raises(RangeError, match="a name has more than 512 characters"):
            expand(text)


@given(
    st.lists(st.integers(0, 9999), min_size=1, max_size=20, unique=True),
    st.sampled_from([0, 4]),
    st.sampled_from(["", "n", "gpu-"]),
    st.sampled_from(["", ".example"]),
)
@settings(max_examples=100, deadline=None)
def test_names_written_as_a_range_come_back(
    numbers: list[int], width: int, before: str, after: str
) -> None:
    texts = [f"{number:0{width}d}" for number in numbers]
    assert expand(f"{before}[{','.join(texts)}]{after}") == [before + t + after for t in texts]
    low, high = min(numbers), max(numbers)
    assert expand(f"{before}[{low:0{width}d}-{high:0{width}d}]") == [
        f"{before}{number:0{width}d}" for number in range(low, high + 1)
    ]


@given(st.text("[]0123456789-,/:a.", max_size=30))
@settings(max_examples=200, deadline=None)
def test_any_text_expands_or_is_refused(text: str) -> None:
    with contextlib.suppress(RangeError):
        found = expand(text)
        assert 1 <= len(found) <= MAX_NAMES
        assert len(set(found)) == len(found)
