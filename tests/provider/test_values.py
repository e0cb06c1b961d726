"""Terraform's values in Python and back."""

from __future__ import annotations

from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest

from stoneware.provider.schema import Schema
from stoneware.provider.values import (
    Attribute,
    Bool,
    List,
    Map,
    Number,
    Object,
    Objects,
    String,
    Type,
    Unknown,
    pack,
    unpack,
)

PAIR = (Attribute("a", Number(), "One."), Attribute("b", String(), "Other."))
NOT_NULL = msgpack.ExtType(12, msgpack.packb({1: False}))


@pytest.mark.parametrize(
    ("kind", "wire", "value"),
    [
        (Number(), "0.1", 0.1),
        (Number(), 7, 7),
        (Bool(), True, True),
        (String(), "0.1", "0.1"),
        (List(Number()), ["2.5", 1], [2.5, 1]),
        (Map(Number()), {"k": "2.5"}, {"k": 2.5}),
        (Object(PAIR), {"a": "2.5", "b": None}, {"a": 2.5, "b": None}),
        (Objects(PAIR), [{"a": 1, "b": "x"}], [{"a": 1, "b": "x"}]),
        (Objects(PAIR), [Unknown], [Unknown]),
        (Map(Number()), {"k": Unknown}, {"k": Unknown}),
    ],
)
def test_there_and_back(kind: Type, wire: Any, value: Any) -> None:
    assert kind.decode(wire) == value
    assert kind.encode(value) == wire


@pytest.mark.parametrize(
    "kind", [Number(), String(), List(Number()), Map(String()), Object(PAIR), Objects(PAIR)]
)
@pytest.mark.parametrize("value", [None, Unknown])
def test_null_and_unknown_stay(kind: Type, value: Any) -> None:
    assert kind.decode(value) is value
    assert kind.encode(value) is value


def test_a_field_that_was_left_out_is_null() -> None:
    assert Object(PAIR).encode({"a": 2.0}) == {"a": 2, "b": None}


def test_what_is_not_known_on_the_wire() -> None:
    assert unpack(msgpack.packb({"a": NOT_NULL, "b": msgpack.ExtType(0, b"\0")})) == {
        "a": Unknown,
        "b": Unknown,
    }
    assert msgpack.unpackb(pack([Unknown])) == [msgpack.ExtType(0, b"\0")]
    assert (pack(None), unpack(b"")) == (b"", None)
    with pytest.raises(TypeError):
        pack([object()])


def test_what_means_the_same_stays_as_it_was_written() -> None:
    schema = Schema([*PAIR, Attribute("c", List(String()), "More.")])
    given = {"a": "2.50", "b": "x", "c": Unknown}
    assert schema.encode({"a": 2.5, "b": "y", "c": ["z"]}, given) == {"a": "2.50", "b": "y", "c": ["z"]}
    assert schema.encode({"a": 2.5}) == {"a": "2.5", "b": None, "c": None}
    assert schema.decode({"a": "2.5", "gone": 1}) == {"a": 2.5}
    assert (schema.encode(None), schema.decode(None)) == (None, None)
