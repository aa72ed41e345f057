"""The protocol of OpenSSH's masters: packets, and what is made of a master that misbehaves."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm.ssh import mux, mux_client
from lmm.ssh.mux import BadPacket, Packet
from tests.support.peers import peer_at

NUMBERS = st.integers(0, 0xFFFFFFFF)
TEXTS = st.binary(max_size=200)
OPENED = Packet(mux.SESSION_OPENED, (mux.REQUEST, 7))
HELLO = Packet(mux.HELLO, (mux.VERSION,))


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    kind = draw(st.sampled_from(sorted(mux.LAYOUTS)))
    values: list[int | bytes] = []
    for sign in mux.LAYOUTS[kind]:
        values.append(draw(NUMBERS) if sign == "I" else draw(TEXTS))
    return Packet(kind, tuple(values))


# -- packets -----------------------------------------------------------------------------------


@given(st.lists(packets(), max_size=5), st.data())
def test_packets_come_out_as_they_went_in_however_they_are_cut(
    sent: list[Packet], data: st.DataObject
) -> None:
    wire = b"".join(mux.encode(packet) for packet in sent)
    received = bytearray()
    found: list[Packet] = []
    while wire:
        size = data.draw(st.integers(1, len(wire)))
        received += wire[:size]
        wire = wire[size:]
        found += mux.take_packets(received)
    assert found == sent
    assert not received


@given(packets(), st.binary(max_size=50))
def test_what_follows_the_layout_is_passed_over(packet: Packet, more: bytes) -> None:
    assert mux.decode(mux.encode(packet)[4:] + more) == packet


@given(packets(), st.data())
def test_a_packet_cut_short_is_none(packet: Packet, data: st.DataObject) -> None:
    body = mux.encode(packet)[4:]
    with pytest.raises(BadPacket):
        mux.decode(body[: data.draw(st.integers(0, len(body) - 1))])


@given(st.binary(max_size=300))
def test_no_bytes_make_anything_but_packets_or_the_one_error(noise: bytes) -> None:
    with contextlib.suppress(BadPacket):
        list(mux.take_packets(bytearray(noise)))


def test_a_packet_that_claims_too_much_is_refused_at_once() -> None:
    with pytest.raises(BadPacket, match="claims"):
        list(mux.take_packets(bytearray(struct.pack(">I", mux.MAX_PACKET_BYTES + 1))))


def test_a_request_is_what_the_protocol_says() -> None:
    values = (0, b"", 0, 0, 0, 0, mux.NO_ESCAPE, b"", b"bash -s")
    expected = "10000002" + "00000000" * 6 + "ffffffff" + "00000000" + "00000007" + b"bash -s".hex()
    assert mux.encode(Packet(mux.NEW_SESSION, values))[4:].hex() == expected


# -- masters that misbehave --------------------------------------------------------------------

Serve = Callable[[socket.socket], None]
Master = Callable[[Serve], str]


@pytest.fixture
def master() -> Iterator[Master]:
    """Make a socket at which a function plays the master for one connection."""
    with contextlib.ExitStack() as stack:

        def play(serve: Serve) -> str:
            path = str(Path(os.environ["XDG_RUNTIME_DIR"], "master"))
            stack.enter_context(peer_at(path, serve))
            return path

        yield play


def says(*packets: Packet, then_leaves: bool = False) -> Serve:
    def serve(peer: socket.socket) -> None:
        peer.sendall(b"".join(mux.encode(packet) for packet in packets))
        if then_leaves:
            peer.shutdown(socket.SHUT_WR)

    return serve


@contextlib.contextmanager
def waking() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


def ask(path: str, patience_s: float = 10.0) -> mux_client.MuxSession:
    with waking() as (wake, _):
        until = time.monotonic() + patience_s
        return mux_client.open_session(path, "bash -s", wake=wake, until=until)


REFUSED = (mux.REQUEST, b"Session open refused by peer")


@pytest.mark.parametrize(
    ("serve", "error", "words"),
    [
        (says(HELLO, Packet(mux.FAILURE, REFUSED)), mux_client.SessionRefused, "refused by peer"),
        (
            says(HELLO, Packet(mux.PERMISSION_DENIED, (0, b"Permission denied"))),
            mux_client.SessionRefused,
            "Permission denied",
        ),
        (says(Packet(mux.HELLO, (5,)), OPENED), mux_client.MasterGone, "version 4"),
        (says(OPENED), mux_client.MasterGone, "version 4"),
        (says(HELLO, Packet(mux.ALIVE, (0, 1))), mux_client.MasterGone, "answered with 0x80000005"),
        (says(then_leaves=True), mux_client.MasterGone, "closed the connection"),
        (says(HELLO, then_leaves=True), mux_client.MasterGone, "closed the connection"),
        (lambda peer: peer.sendall(b"HTTP/1.1 400 Bad"), mux_client.MasterGone, "claims"),
    ],
)
def test_what_is_no_session_is_told(
    master: Master, serve: Serve, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        ask(master(serve))


def test_a_master_that_says_nothing_is_not_waited_for(master: Master) -> None:
    with pytest.raises(mux_client.MasterSilent):
        ask(master(says()), 0.05)


def test_a_host_that_says_nothing_is_told_apart(master: Master) -> None:
    with pytest.raises(mux_client.HostSilent):
        ask(master(says(HELLO)), 0.2)


def test_who_no_longer_waits_is_let_go(master: Master) -> None:
    path = master(says(HELLO))
    with waking() as (wake, ring):
        os.write(ring, b"x")
        with pytest.raises(mux_client.Abandoned):
            mux_client.open_session(path, "bash -s", wake=wake, until=time.monotonic() + 60)


def test_nobody_there_and_a_dead_socket_are_the_same(tmp_path: Path) -> None:
    stale = Path(os.environ["XDG_RUNTIME_DIR"], "stale")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(stale))
    for path in (stale, stale.with_name("none")):
        with pytest.raises(mux_client.MasterGone):
            ask(str(path))


def test_a_session_gives_its_descriptors_and_its_status(master: Master) -> None:
    def serve(peer: socket.socket) -> None:
        received = bytearray()
        requests: list[Packet] = []
        while len(requests) < 2:  # byte by byte: what follows are the descriptors
            received += peer.recv(1)
            requests += mux.take_packets(received)
        assert requests[0] == HELLO
        assert requests[1].values[-1] == b"bash -s"
        stdin, stdout, stderr = (socket.recv_fds(peer, 1, 1)[1][0] for _ in range(3))
        says(HELLO, OPENED)(peer)
        os.write(stdout, os.read(stdin, 100).upper())
        os.write(stderr, b"done")
        for descriptor in (stdin, stdout, stderr):
            os.close(descriptor)
        says(Packet(mux.EXIT_MESSAGE, (7, 41)), then_leaves=True)(peer)

    with ask(master(serve)) as session:
        session.stdin.write(b"hello")
        assert session.stdout.read(100) == b"HELLO"
        assert session.stderr.read(100) == b"done"
        while not session.gone():
            pass
        assert session.status == 41


def test_a_master_that_leaves_during_a_session_leaves_no_status(master: Master) -> None:
    with ask(master(says(HELLO, OPENED, then_leaves=True))) as session:
        while not session.gone():
            pass
        assert session.status is None
