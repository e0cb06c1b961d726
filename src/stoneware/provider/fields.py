"""Attribute types that the `tf` framework lacks: exact numbers, objects, and lists of objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from tf.gen import tfplugin_pb2 as pb
from tf.schema import Attribute
from tf.types import Unknown


class Real:
    """A number that may have a fraction.

    Terraform sends what no binary float can hold exactly, such as 0.1, as text, and expects the same back.
    """

    def encode(self, value: Any) -> Any:
        """Return an int as it is and everything else as decimal text."""
        if value is None or value is Unknown:
            return value
        return int(value) if float(value).is_integer() else str(Decimal(str(value)))

    def decode(self, value: Any) -> Any:
        """Return an int or a float."""
        return float(value) if isinstance(value, str) else value

    def semantically_equal(self, one: Any, other: Any) -> bool:
        """Compare two decoded values."""
        return bool(one == other)

    def tf_type(self) -> bytes:
        """Return Terraform's name of the type."""
        return b'"number"'


class Object:
    """An object, which is a dict in Python: None stands for a field that was left out."""

    nesting = pb.Schema.Object.SINGLE

    def __init__(self, fields: Sequence[Attribute]) -> None:
        self.fields = {field.name: field for field in fields}

    def encode(self, value: Any) -> Any:
        """Return the object with all of its fields."""
        return self._one(value, "encode")

    def decode(self, value: Any) -> Any:
        """Return a dict."""
        return self._one(value, "decode")

    def _one(self, item: Mapping[str, Any] | None, way: str) -> Any:
        if item is None or item is Unknown:
            return item
        return {name: getattr(field.type, way)(item.get(name)) for name, field in self.fields.items()}

    def semantically_equal(self, one: Any, other: Any) -> bool:
        """Compare two decoded values."""
        return bool(one == other)


class Objects(Object):
    """A list of objects; the order matters."""

    nesting = pb.Schema.Object.LIST

    def encode(self, value: Any) -> Any:
        """Return each object with all of its fields."""
        return self._each(value, "encode")

    def decode(self, value: Any) -> Any:
        """Return a list of dicts."""
        return self._each(value, "decode")

    def _each(self, value: Any, way: str) -> Any:
        if value is None or value is Unknown:
            return value
        return [self._one(item, way) for item in value]


class ObjectAttribute(Attribute):  # type: ignore[misc]  # the framework has no type hints
    """An attribute that is an object, each field described and required or optional."""

    kind: type[Object] = Object

    def __init__(self, name: str, fields: Sequence[Attribute], **options: Any) -> None:
        super().__init__(name, self.kind(fields), **options)
        self.fields = fields

    def to_pb(self) -> Any:
        """Return the schema as the plugin protocol has it."""
        return pb.Schema.Attribute(
            name=self.name,
            nested_type=pb.Schema.Object(
                attributes=[field.to_pb() for field in self.fields], nesting=self.kind.nesting
            ),
            description=self.description,
            description_kind=pb.StringKind.MARKDOWN,
            required=bool(self.required),
            optional=bool(self.optional),
            computed=bool(self.computed),
            sensitive=bool(self.sensitive),
        )


class ObjectsAttribute(ObjectAttribute):
    """An attribute that is a list of objects."""

    kind = Objects
