"""Reading D-Bus messages that an attacker may have written: bounded in size, and of a few kinds only.

jeepney writes our messages; its reader trusts what it reads (an array of empty structures never ends).
"""

from __future__ import annotations

import struct

from stoneware.dataclass import dataclass

# D-Bus itself allows 128 MiB, which a machine could make us hold for each command.
LARGEST = 1 << 16  # bytes; the answers that are waited for have a few hundred
RETURN, ERROR, SIGNAL = 2, 3, 4
_FIXED = 16  # bytes at the front of each message
_NUMBERS = {"y": "B", "b": "I", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q"}
# What the fields of a header have to be: path, interface, member, error, reply serial, destination, sender,
# signature, descriptors, container. No array, structure or variant is among them: nothing can nest.
_FIELDS = {1: "o", 2: "s", 3: "s", 4: "s", 5: "u", 6: "s", 7: "s", 8: "g", 9: "u", 10: "o"}

Value = str | int


class MalformedError(ValueError):
    """What came is not a message, or not such as is waited for."""


@dataclass(frozen=True)
class Received:
    """One message: its kind, the path that a signal is about, what an answer answers, its body, not read."""

    kind: int
    path: str
    error: str
    reply_to: int
    signature: str
    body: bytes
    order: str

    def first(self) -> Value | None:
        """Return the body's first value, a number or text, also in a variant; None where there is none.

        Raises MalformedError.
        """
        if not self.signature:
            return None
        reader = _Reader(self.body, self.order)
        kind = self.signature[0]
        return reader.value(reader.text("g") if kind == "v" else kind)


def size_of(start: bytes) -> int | None:
    """Return the size of the message that begins so, None while that is not known. Raises MalformedError."""
    if len(start) < _FIXED:
        return None
    order = {b"l": "<", b"B": ">"}.get(start[:1])
    # Byte 3 is the version of the protocol.
    if order is None or start[3] != 1:
        raise MalformedError("no message of D-Bus")
    body, _serial, fields = struct.unpack_from(f"{order}III", start, 4)
    size = _up(_FIXED + fields, 8) + body
    if size > LARGEST:
        raise MalformedError(f"a message of {size} bytes")
    return int(size)


def read(data: bytes) -> Received:
    """Read one whole message, as long as `size_of` says. Raises MalformedError."""
    order = "<" if data[:1] == b"l" else ">"
    size, _serial, fields_size = struct.unpack_from(f"{order}III", data, 4)
    reader = _Reader(data[: _FIXED + fields_size], order, _FIXED)
    fields: dict[int, Value] = {}
    while reader.more():
        number, value = reader.field()
        fields[number] = value
    path, error, signature = (str(fields.get(number, "")) for number in (1, 4, 8))
    body = data[len(data) - size :]
    return Received(data[1], path, error, int(fields.get(5, 0)), signature, body, order)


def _up(position: int, step: int) -> int:
    return (position + step - 1) // step * step


class _Reader:
    """Goes through bytes; each step is checked against the end."""

    def __init__(self, data: bytes, order: str, position: int = 0) -> None:
        self._data, self._order, self._at = data, order, position

    def more(self) -> bool:
        return self._at < len(self._data)

    def field(self) -> tuple[int, Value]:
        # D-Bus aligns each structure to eight bytes.
        self._at = _up(self._at, 8)
        number = self._number("B")
        kind = self.text("g")
        if _FIELDS.get(number) != kind:
            raise MalformedError(f"a header field {number} of type {kind!a}")
        return number, self.value(kind)

    def value(self, kind: str) -> Value:
        if kind in ("s", "o", "g"):
            return self.text(kind)
        if kind not in _NUMBERS:
            raise MalformedError(f"a value of type {kind!a}")
        return self._number(_NUMBERS[kind])

    def text(self, kind: str) -> str:
        size = self._number("B" if kind == "g" else "I")
        # A zero byte that the size does not count ends each text.
        return self._take(size + 1)[:-1].decode(errors="replace")

    def _number(self, code: str) -> int:
        size = struct.calcsize(code)
        self._at = _up(self._at, size)
        return int(struct.unpack(self._order + code, self._take(size))[0])

    def _take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise MalformedError("cut off")
        taken = self._data[self._at : end]
        self._at = end
        return taken
