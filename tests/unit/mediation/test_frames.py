"""Frames: the plugin's bytes are found among noise, however the stream is cut into chunks."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from lmm.bootstrap import END_LINE_BYTES, NOISE_BYTES, End, Frame

NONCE = "a1" * 16
START = f"##rune-{NONCE} start\n".encode()


def end_line(text: str) -> bytes:
    return f"##rune-{NONCE} end {text}\n".encode()


def fed(chunks: list[bytes]) -> tuple[Frame, bytes]:
    body = bytearray()
    frame = Frame(NONCE, body.extend)
    for chunk in chunks:
        frame.feed(chunk)
    frame.close()
    return frame, bytes(body)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    bounds = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in itertools.pairwise(bounds)]


# bytes rich in what frames are made of
tricky = st.lists(
    st.sampled_from([b"#", b"##rune-", NONCE.encode(), b" start\n", b"\n", b" end ", b"x\xff"])
    | st.binary(max_size=4),
    max_size=12,
).map(b"".join)
places = st.lists(st.integers(min_value=0, max_value=10_000), max_size=12)


@given(noise=tricky, body=tricky, after=tricky, places=places)
def test_any_chunks(noise: bytes, body: bytes, after: bytes, places: list[int]) -> None:
    if START in noise or any(f"##rune-{NONCE} end".encode() in part for part in (noise, body)):
        return
    data = noise + START + body + end_line("3 exit ") + after
    frame, found = fed(cut(data, places))
    assert (frame.noise, found, frame.end) == (noise, body, End(3, "exit", ""))


@given(body=tricky, places=places)
def test_without_an_end_nothing_is_lost(body: bytes, places: list[int]) -> None:
    if f"##rune-{NONCE} end".encode() in body:
        return
    frame, found = fed(cut(START + body, places))
    assert (frame.started, found, frame.end) == (True, body, None)


@given(noise=tricky, places=places)
def test_an_end_without_a_start(noise: bytes, places: list[int]) -> None:
    if NONCE.encode() in noise:
        return
    frame, found = fed(cut(noise + end_line("100 missing python3"), places))
    assert (frame.started, frame.noise, found) == (False, noise, b"")
    assert frame.end == End(100, "missing", "python3")


def test_noise_is_bounded() -> None:
    frame, found = fed([b"n" * 1000] * 200 + [START + b"x" + end_line("0 exit ")])
    assert len(frame.noise) == NOISE_BYTES
    assert found == b"x"


def test_something_like_an_end_line_is_output() -> None:
    almost = f"##rune-{NONCE} end ".encode() + b"z" * END_LINE_BYTES
    frame, found = fed([START + almost, b"more"])
    assert (frame.end, found) == (None, almost + b"more")
