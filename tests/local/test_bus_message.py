"""What is read from the bus of a machine: right messages are, all others end in one error, and quickly."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jeepney import HeaderFields, Message, MessageType
from jeepney.low_level import Endianness, Header

from stoneware.platforms.local.machines.bus_message import (
    ERROR,
    LARGEST,
    RETURN,
    SIGNAL,
    MalformedError,
    read,
    size_of,
)


def message(
    kind: MessageType,
    fields: dict[HeaderFields, object],
    body: tuple[object, ...] = (),
    order: Endianness = Endianness.little,
) -> bytes:
    return bytes(Message(Header(order, kind.value, 0, 1, -1, 7, fields), body).serialise())


ANSWER = {HeaderFields.reply_serial: 3, HeaderFields.sender: ":1.0"}


@pytest.mark.parametrize("order", list(Endianness))
@pytest.mark.parametrize(
    ("signature", "body", "first"),
    [("s", ("text",), "text"), ("v", (("i", -5),), -5), ("v", (("s", "x"),), "x"), ("o", ("/a/b",), "/a/b")],
)
def test_answers(order: Endianness, signature: str, body: tuple[object, ...], first: object) -> None:
    data = message(MessageType.method_return, {**ANSWER, HeaderFields.signature: signature}, body, order)
    assert size_of(data[:16]) == len(data)
    found = read(data)
    assert (found.kind, found.reply_to, found.first()) == (RETURN, 3, first)


def test_errors_and_signals() -> None:
    fields = {**ANSWER, HeaderFields.error_name: "org.example.No", HeaderFields.signature: "s"}
    found = read(message(MessageType.error, fields, ("because",)))
    assert (found.kind, found.error, found.first()) == (ERROR, "org.example.No", "because")
    fields = {HeaderFields.path: "/a", HeaderFields.interface: "b.c", HeaderFields.member: "D"}
    found = read(message(MessageType.signal, fields))
    assert (found.kind, found.path, found.first()) == (SIGNAL, "/a", None)


@pytest.mark.parametrize("signature", ["a()", "av", "(s)", "vv", "", "z", "a" * 200])
def test_other_types_are_not_read(signature: str) -> None:
    body = b"\x00" * 64
    fields = {**ANSWER, HeaderFields.signature: signature}
    header = Header(
        Endianness.little, MessageType.method_return.value, 0, 1, len(body), 7, fields
    ).serialise()
    data = header + b"\x00" * (-len(header) % 8) + body
    assert size_of(data[:16]) == len(data)
    found = read(data)
    if signature:
        with pytest.raises(MalformedError):
            found.first()


def test_a_field_of_another_type_is_not_read() -> None:
    data = bytearray(message(MessageType.method_return, ANSWER))
    place = data.index(b"\x01u\x00")
    data[place + 1] = ord("a")
    with pytest.raises(MalformedError):
        read(bytes(data))


def test_a_message_that_is_too_large_is_not_waited_for() -> None:
    data = bytearray(message(MessageType.method_return, ANSWER))
    data[4:8] = LARGEST.to_bytes(4, "little")
    with pytest.raises(MalformedError):
        size_of(bytes(data[:16]))
    assert size_of(b"l\x02\x00\x01") is None


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=300))
@example(b"l\x02\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x08\x00\x00\x00\x01\x03a()\x00\x00\x00")
def test_whatever_comes(data: bytes) -> None:
    for start in (b"", b"l\x02\x00\x01", b"B\x04\x00\x01"):
        try:
            size = size_of(start + data)
            if size is not None and size <= len(start + data):
                read((start + data)[:size]).first()
        except MalformedError:
            pass
