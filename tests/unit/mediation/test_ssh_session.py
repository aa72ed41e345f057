"""A session's half of RFC 4254, without a connection: what is said for what is heard."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paramiko import Message, common

from lmm.ssh.session import PACKET, WINDOW, Session

FAR = 7


def message(*parts: Any) -> Message:
    made = Message()
    for part in parts:
        if isinstance(part, bool):
            made.add_boolean(part)
        elif isinstance(part, int):
            made.add_int(part)
        else:
            made.add_string(part)
    made.rewind()
    return made


def opened(room: int = 0, packet: int = PACKET) -> tuple[Session, list[Message]]:
    """Return a session that is open, and what it says from now on, read up to the kind."""
    said: list[Message] = []

    def say(one: Message) -> None:
        one.rewind()
        said.append(one)

    session = Session(0, say)
    session.open()
    session.hear(common.MSG_CHANNEL_OPEN_SUCCESS, message(FAR, room, packet))
    said.clear()
    return session, said


def kinds(said: list[Message]) -> list[int]:
    return [one.asbytes()[0] for one in said]


@given(st.lists(st.binary(max_size=300_000), max_size=20))
def test_the_host_hears_of_all_that_was_taken(pieces: list[bytes]) -> None:
    session, said = opened()
    for piece in pieces:
        session.hear(common.MSG_CHANNEL_DATA, message(piece))
        assert session.take() == (piece, b"")
    told = 0
    for one in said:
        assert one.get_byte() == common.cMSG_CHANNEL_WINDOW_ADJUST
        assert one.get_int() == FAR
        told += one.get_int()
    total = sum(map(len, pieces))
    assert total - WINDOW // 8 <= told <= total


@given(st.binary(max_size=5000), st.integers(0, 6000), st.integers(1, 2000))
def test_no_more_is_sent_than_there_is_room_for(data: bytes, room: int, packet: int) -> None:
    session, said = opened(room, packet)
    left = data
    while sent := session.send(left):
        assert sent <= packet
        left = left[sent:]
    assert len(data) - len(left) == min(room, len(data))
    assert session.room == room - (len(data) - len(left))
    session.hear(common.MSG_CHANNEL_WINDOW_ADJUST, message(len(data)))
    while sent := session.send(left):
        left = left[sent:]
    found = b""
    for one in said:
        assert one.get_byte() == common.cMSG_CHANNEL_DATA
        assert one.get_int() == FAR
        found += one.get_binary()
    assert found == data


def test_streams_are_told_apart_and_others_passed_over() -> None:
    session, _ = opened()
    session.hear(common.MSG_CHANNEL_DATA, message("a"))
    session.hear(common.MSG_CHANNEL_EXTENDED_DATA, message(1, "b"))
    session.hear(common.MSG_CHANNEL_EXTENDED_DATA, message(2, "c"))
    session.hear(common.MSG_CHANNEL_DATA, message("d"))
    assert session.take() == (b"ad", b"b")
    assert session.take() == (b"", b"")


def test_the_end() -> None:
    session, said = opened(room=10)
    session.hear(common.MSG_CHANNEL_REQUEST, message("exit-status", False, 3))
    session.hear(common.MSG_CHANNEL_EOF, message())
    session.hear(common.MSG_CHANNEL_CLOSE, message())
    session.close()
    assert (session.exit_status, session.eof_received, session.closed) == (3, True, True)
    assert kinds(said) == [common.MSG_CHANNEL_CLOSE]  # once, as an answer
    assert session.send(b"x") == 0


@pytest.mark.parametrize("wanted", [True, False])
def test_a_request_is_answered_where_an_answer_is_wanted(wanted: bool) -> None:
    session, said = opened()
    session.hear(common.MSG_CHANNEL_REQUEST, message("keepalive@openssh.com", wanted))
    assert kinds(said) == [common.MSG_CHANNEL_FAILURE] * wanted


def test_nothing_is_said_in_a_session_that_was_refused() -> None:
    said: list[Message] = []
    session = Session(0, said.append)
    session.hear(common.MSG_CHANNEL_OPEN_FAILURE, message(1, "no more"))
    session.close()
    assert (session.refusal, session.is_open, said) == ("no more", False, [])


def test_nothing_follows_the_end_of_stdin() -> None:
    session, said = opened(room=10)
    session.send_eof()
    session.send_eof()
    assert session.send(b"x") == 0
    assert kinds(said) == [common.MSG_CHANNEL_EOF]
