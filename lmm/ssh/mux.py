"""Speaks to a ControlMaster of OpenSSH in its own protocol, version 4.

The protocol is PROTOCOL.mux in OpenSSH's sources; mux.c there says what a master does. Packets
are a length and a body of 32-bit numbers and strings; a session's descriptors are passed beside
them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

VERSION = 4
HELLO = 0x00000001
NEW_SESSION = 0x10000002
ALIVE_CHECK = 0x10000004
TERMINATE = 0x10000005
STOP_LISTENING = 0x10000009
OK = 0x80000001
PERMISSION_DENIED = 0x80000002
FAILURE = 0x80000003
EXIT_MESSAGE = 0x80000004
ALIVE = 0x80000005
SESSION_OPENED = 0x80000006

# What stands in a packet after its type: numbers (I) and strings (s). A packet may be longer,
# by extensions or by environment strings, which RUNE neither sends nor needs.
LAYOUTS = {
    HELLO: "I",
    NEW_SESSION: "IsIIIIIss",
    ALIVE_CHECK: "I",
    TERMINATE: "I",
    STOP_LISTENING: "I",
    OK: "I",
    PERMISSION_DENIED: "Is",
    FAILURE: "Is",
    EXIT_MESSAGE: "II",
    ALIVE: "II",
    SESSION_OPENED: "II",
}
MAX_PACKET_BYTES = 256 * 1024  # as many as ssh takes for a whole packet
NO_ESCAPE = 0xFFFFFFFF
REQUEST = 0  # one request in each connection needs no other number


class BadPacket(Exception):
    """What came is no packet of this protocol."""


@dataclass(frozen=True, slots=True)
class Packet:
    """A message: its type and the values of its layout."""

    kind: int
    values: tuple[int | bytes, ...] = ()


def encode(packet: Packet) -> bytes:
    """Return the packet as it goes over the wire."""
    parts = [struct.pack(">I", packet.kind)]
    for value in packet.values:
        if isinstance(value, int):
            parts.append(struct.pack(">I", value))
        else:
            parts += (struct.pack(">I", len(value)), value)
    body = b"".join(parts)
    return struct.pack(">I", len(body)) + body


def decode(body: bytes) -> Packet:
    """Return the message of a packet's body; of an unknown type only that type.

    Raises BadPacket for one that is too short: whoever sends it is no master.
    """
    try:
        (kind,) = struct.unpack_from(">I", body)
        values: list[int | bytes] = []
        at = 4
        for sign in LAYOUTS.get(kind, ""):
            (number,) = struct.unpack_from(">I", body, at)
            at += 4
            if sign == "s":
                if at + number > len(body):
                    raise BadPacket("a string is longer than its packet")
                values.append(body[at : at + number])
                at += number
            else:
                values.append(number)
    except struct.error:
        raise BadPacket("a packet is shorter than its layout") from None
    return Packet(kind, tuple(values))


def take_packets(received: bytearray) -> Iterator[Packet]:
    """Take every whole packet off the front of ``received``. Raises BadPacket."""
    while len(received) >= 4:
        (length,) = struct.unpack_from(">I", received)
        if length > MAX_PACKET_BYTES:
            raise BadPacket(f"a packet claims {length} bytes")
        if len(received) < 4 + length:
            return
        body = bytes(received[4 : 4 + length])
        del received[: 4 + length]
        yield decode(body)
