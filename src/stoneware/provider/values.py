"""The types of Terraform's values, and what is not known before an apply.

`decode` makes a Python value of what came over the protocol, `encode` makes it fit for the protocol again.
Null is None both ways. `Unknown` may stand for any value, also within a list, a map or an object.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from enum import Enum
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]

from stoneware.dataclass import dataclass


class _Marker(Enum):
    UNKNOWN = "known after the apply"


Unknown: Final = _Marker.UNKNOWN


class Type:
    """A type whose values are the same in Python and on the wire."""

    name: Any  # as Terraform writes it in JSON

    def encode(self, value: Any) -> Any:
        """Return a Python value as the protocol has it."""
        return value

    def decode(self, value: Any) -> Any:
        """Return a value of the protocol as Python has it."""
        return value


class String(Type):
    """A text."""

    name = "string"


class Bool(Type):
    """True or false."""

    name = "bool"


class Number(Type):
    """An int or a float.

    Terraform sends what no binary float can hold exactly, such as 0.1, as text, and expects the same back.
    """

    name = "number"

    def encode(self, value: Any) -> Any:
        """Return an int as it is and everything else as decimal text."""
        if value is None or value is Unknown:
            return value
        # As text, 0.1 stays 0.1: as a double Terraform would compare 0.1000000000000000055 with it.
        return int(value) if float(value).is_integer() else str(Decimal(str(value)))

    def decode(self, value: Any) -> Any:
        """Return an int or a float."""
        return float(value) if isinstance(value, str) else value


class List(Type):
    """A list of values of one type."""

    def __init__(self, element: Type) -> None:
        self.element = element
        self.name = ["list", element.name]

    def encode(self, value: Any) -> Any:
        """Return each element as the protocol has it."""
        return _each(self.element.encode, value)

    def decode(self, value: Any) -> Any:
        """Return each element as Python has it."""
        return _each(self.element.decode, value)


class Map(Type):
    """A map from texts to values of one type."""

    def __init__(self, element: Type) -> None:
        self.element = element
        self.name = ["map", element.name]

    def encode(self, value: Any) -> Any:
        """Return each value as the protocol has it."""
        return _of_each(self.element.encode, value)

    def decode(self, value: Any) -> Any:
        """Return each value as Python has it."""
        return _of_each(self.element.decode, value)


@dataclass(frozen=True)
class Attribute:
    """One attribute, or a field of an object; `description` is Markdown.

    What is neither required nor optional is computed by us alone. `default` (Unknown: none) is planned where
    a configuration leaves the attribute out. `requires_replace`: another value takes another object.
    """

    name: str
    type: Type
    description: str
    required: bool = False
    optional: bool = False
    computed: bool = False
    sensitive: bool = False
    requires_replace: bool = False
    default: Any = Unknown


class Object(Type):
    """An object, which is a dict in Python: None stands for a field that was left out."""

    nesting = "SINGLE"

    def __init__(self, fields: Sequence[Attribute]) -> None:
        self.fields = {field.name: field for field in fields}

    def encode(self, value: Any) -> Any:
        """Return the object with all of its fields."""
        return self._one(value, "encode")

    def decode(self, value: Any) -> Any:
        """Return a dict of all fields."""
        return self._one(value, "decode")

    def _one(self, item: Any, way: str) -> Any:
        if item is None or item is Unknown:
            return item
        return {name: getattr(field.type, way)(item.get(name)) for name, field in self.fields.items()}


class Objects(Object):
    """A list of objects; the order matters."""

    nesting = "LIST"

    def encode(self, value: Any) -> Any:
        """Return each object with all of its fields."""
        return _each(super().encode, value)

    def decode(self, value: Any) -> Any:
        """Return a list of dicts."""
        return _each(super().decode, value)


def _each(change: Callable[[Any], Any], value: Any) -> Any:
    if value is None or value is Unknown:
        return value
    return [change(item) for item in value]


def _of_each(change: Callable[[Any], Any], value: Any) -> Any:
    if value is None or value is Unknown:
        return value
    return {key: change(item) for key, item in value.items()}


def pack(value: Any) -> bytes:
    """Return an encoded value as MessagePack; null is nothing."""
    return b"" if value is None else bytes(msgpack.packb(value, default=_extension))


def unpack(data: bytes) -> Any:
    """Return the encoded value of MessagePack. Whatever else is said of what is not known is left out."""
    return msgpack.unpackb(data, ext_hook=lambda _code, _data: Unknown) if data else None


def _extension(value: Any) -> Any:
    if value is Unknown:
        # Extension type 0 is the protocol's mark of an unknown value, whatever its data.
        return msgpack.ExtType(0, b"\0")
    raise TypeError(f"Terraform has no value like {value!r}")
