"""Messages as bytes: the encoding of Protocol Buffers, for what `proto_file` reads of a `.proto` file.

protobuf's own library takes a tenth of a second to load, of every command that runs Terraform, and what it is
needed for is this. `tests/provider` holds the one against the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field as default_of
from functools import cached_property
from typing import Any

from stoneware.dataclass import dataclass

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_EMPTY: Mapping[str, Any] = {"string": "", "bytes": b"", "bool": False, "int64": 0}
SCALARS = frozenset(_EMPTY)


@dataclass
class Field:
    """A field of a message. `kind` is a scalar, or the name of a type, which `type` is once it is known."""

    name: str
    number: int
    kind: str
    many: bool = False
    # Written down even where it is what an absent one is: one of several, or a part of a map's entry.
    present: bool = False
    entry: MessageType | None = None  # of a map: a key and a value
    type: MessageType | Mapping[str, int] | None = None

    @property
    def wire(self) -> int:
        """Return how its values are on the wire."""
        enum = isinstance(self.type, Mapping)
        return _VARINT if enum or self.kind in ("bool", "int64") else _BYTES

    def absent(self) -> Any:
        """Return the value of a message that does not have it."""
        if self.entry is not None:
            return {}
        if self.many:
            return []
        return Message(self.type) if isinstance(self.type, MessageType) else _EMPTY.get(self.kind, 0)

    def encoded(self, value: Any) -> bytes:
        """Return one value with its number in front."""
        if self.wire == _VARINT:
            return self._mark + varint(self.number_of(value))
        if isinstance(self.type, MessageType):
            raw = self.type.encode(value)
        else:
            raw = value.encode() if self.kind == "string" else bytes(value)
        return b"%b%b%b" % (self._mark, varint(len(raw)), raw)

    def number_of(self, value: Any) -> int:
        """Return a value as a number: one of an enum may be told by its name."""
        return int(self.type[value] if isinstance(self.type, Mapping) and isinstance(value, str) else value)

    def is_absent(self, value: Any) -> bool:
        """Say whether a value need not be written down."""
        if self.present or isinstance(self.type, MessageType):
            return False
        return not (self.number_of(value) if self.wire == _VARINT else value)

    @cached_property
    def _mark(self) -> bytes:
        return varint(self.number << 3 | self.wire)

    def decoded(self, raw: Any) -> Any:
        """Return a value as it is used: bytes or an unsigned number are what the wire has."""
        if isinstance(self.type, MessageType):
            return self.type.decode(raw)
        if self.kind == "string":
            return raw.decode()
        if self.kind == "bool":
            return raw != 0
        return raw - (1 << 64) if self.wire == _VARINT and raw >> 63 else raw


@dataclass
class MessageType:
    """A type of messages, by its name within its package."""

    name: str
    fields: list[Field] = default_of(default_factory=list)

    @cached_property
    def by_name(self) -> dict[str, Field]:
        """Return its fields by their names."""
        return {each.name: each for each in self.fields}

    @cached_property
    def _by_number(self) -> dict[int, Field]:
        return {each.number: each for each in self.fields}

    def encode(self, values: Mapping[str, Any]) -> bytes:
        """Return a message that has these values; None is no value. Raises ValueError for unknown names."""
        if unknown := values.keys() - self.by_name.keys():
            raise ValueError(f"{self.name} has no {', '.join(sorted(unknown))}")
        parts = []
        for each in sorted(self.fields, key=lambda one: one.number):
            value = values.get(each.name)
            if value is None:
                continue
            if each.entry is not None:
                value = [{"key": key, "value": value[key]} for key in sorted(value)]
            if each.many:
                parts += [each.encoded(one) for one in value]
            elif not each.is_absent(value):
                parts.append(each.encoded(value))
        return b"".join(parts)

    def decode(self, raw: bytes) -> Message:
        """Return what bytes say; what is not known is skipped. Raises ValueError where they end early."""
        message, place = Message(self), 0
        while place < len(raw):
            mark, place = _number(raw, place)
            value, place = _value(raw, place, mark & 7)
            found = self._by_number.get(mark >> 3)
            if found is not None and found.wire == mark & 7:
                message.take(found, found.decoded(value))
        return message


class Message:
    """A message that came, with its fields as attributes; those that did not come are empty."""

    def __init__(self, kind: MessageType) -> None:
        self._kind = kind

    def __getattr__(self, name: str) -> Any:
        if name not in self._kind.by_name:
            raise AttributeError(name)
        return self._kind.by_name[name].absent()

    def take(self, field: Field, value: Any) -> None:
        """Take one value: the last one counts, of a field that has many each does."""
        known = vars(self)
        if field.entry is not None:
            known.setdefault(field.name, {})[value.key] = value.value
        elif field.many:
            known.setdefault(field.name, []).append(value)
        else:
            known[field.name] = value


def varint(number: int) -> bytes:
    """Return a number in groups of seven bits, the lowest ones first."""
    number &= (1 << 64) - 1
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def _number(raw: bytes, place: int) -> tuple[int, int]:
    number = shift = 0
    while place < len(raw) and shift < 70:
        group = raw[place]
        place += 1
        number |= (group & 0x7F) << shift
        if group < 0x80:
            return number & (1 << 64) - 1, place
        shift += 7
    raise ValueError("a number does not end")


def _value(raw: bytes, place: int, wire: int) -> tuple[Any, int]:
    """Return a value and where the next field begins."""
    if wire == _VARINT:
        return _number(raw, place)
    if wire == _BYTES:
        size, place = _number(raw, place)
    elif wire in (_FIXED64, _FIXED32):
        size = 8 if wire == _FIXED64 else 4
    else:
        raise ValueError(f"a field of the wire's type {wire}")
    if place + size > len(raw):
        raise ValueError("a field is longer than its message")
    return raw[place : place + size], place + size
