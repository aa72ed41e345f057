"""Frames: the plugin's bytes are found among noise, however the stream is cut into chunks."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from lmm.bootstrap import END_LINE_BYTES, NOISE_BYTES, End, Frame

NONCE, OTHER = "a1" * 16, "b2" * 16
START = f"\n##rune-{NONCE} start\n".encode()


def end_line(text: str, nonce: str = NONCE) -> bytes:
    return f"\n##rune-{nonce} end {text}\n".encode()


def fed(chunks: list[bytes], *, eager: bool = False) -> tuple[Frame, bytes]:
    body = bytearray()
    frame = Frame(NONCE, body.extend, eager=eager)
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
    if START in noise or any(f"\n##rune-{NONCE} end".encode() in part for part in (noise, body)):
        return
    data = noise + START + body + end_line("3 exit ") + after
    frame, found = fed(cut(data, places))
    assert (frame.noise, found, frame.end) == (noise, body, End(3, "exit", ""))


@given(body=tricky, places=places)
def test_whoever_is_eager_may_get_the_hosts_newline(body: bytes, places: list[int]) -> None:
    """It is not waited for whether it is the host's, but for that of an empty line."""
    if f"\n##rune-{NONCE} end".encode() in body:
        return
    frame, found = fed(cut(START + body + end_line("3 exit "), places), eager=True)
    assert frame.end == End(3, "exit", "")
    assert found == body + b"\n" * frame.has_extra
    assert not (frame.has_extra and body[-1:] in (b"", b"\n"))


@given(lines=st.lists(st.sampled_from([b"a", b"#", b"##rune-", b"x y"]), min_size=1))
def test_whoever_is_eager_gets_each_line_at_once(lines: list[bytes]) -> None:
    body = bytearray()
    frame = Frame(NONCE, body.extend, eager=True)
    frame.feed(START)
    for number, line in enumerate(lines, 1):
        frame.feed(line)
        frame.feed(b"\n")
        assert body == b"".join(one + b"\n" for one in lines[:number])


@given(body=tricky, places=places)
def test_without_an_end_nothing_is_lost(body: bytes, places: list[int]) -> None:
    if f"\n##rune-{NONCE} end".encode() in body:
        return
    for eager in (False, True):
        frame, found = fed(cut(START + body, places), eager=eager)
        assert (frame.started, found, frame.end) == (True, body, None)


@given(noise=tricky, places=places)
def test_an_end_without_a_start(noise: bytes, places: list[int]) -> None:
    if NONCE.encode() in noise:
        return
    frame, found = fed(cut(noise + end_line("100 missing python3"), places))
    assert (frame.started, frame.noise, found) == (False, noise, b"")
    assert frame.end == End(100, "missing", "python3")


@given(before=tricky, places=places)
def test_markers_count_at_the_start_of_a_line_only(before: bytes, places: list[int]) -> None:
    """Whoever knows the nonce and has no line of their own says nothing by it."""
    before = before.replace(b"\n", b"") + b"x"
    inline = end_line("0 exit ")[1:]
    data = before + START[1:] + START + before + inline + before + end_line("3 exit ")
    frame, found = fed(cut(data, places))
    assert frame.noise == before + START[1:]
    assert found == before + inline + before
    assert frame.end == End(3, "exit", "")


@given(body=tricky, places=places)
def test_a_start_may_name_the_nonce_of_the_end(body: bytes, places: list[int]) -> None:
    """What was kept is framed by the nonce of the connection that it was kept under."""
    if any(nonce.encode() in body for nonce in (NONCE, OTHER)):
        return
    start = f"\n##rune-{NONCE} start {OTHER}\n".encode()
    data = start + body + end_line("1 exit ") + end_line("3 exit ", OTHER)
    frame, found = fed(cut(data, places))
    assert found == body + end_line("1 exit ")
    assert frame.end == End(3, "exit", "")


def test_noise_is_bounded() -> None:
    """The last whole lines are kept."""
    lines = [b"%0999d\n" % number for number in range(200)]
    frame, found = fed([*lines, START + b"x" + end_line("0 exit ")])
    assert frame.noise == b"".join(lines)[-(NOISE_BYTES // 1000) * 1000 :]
    assert found == b"x"


def test_something_like_an_end_line_is_output() -> None:
    almost = f"\n##rune-{NONCE} end ".encode() + b"z" * END_LINE_BYTES
    frame, found = fed([START + almost, b"more"])
    assert (frame.end, found) == (None, almost + b"more")


def test_no_number_is_too_large() -> None:
    """A status has three digits at most; Python refuses to read 5000."""
    odd = end_line(f"{'9' * 5000} exit ")
    frame, found = fed([START + odd + end_line("1 exit ")])
    assert (frame.end, found) == (End(1, "exit"), odd)
