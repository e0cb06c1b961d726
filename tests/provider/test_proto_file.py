"""Messages and methods made from the text of a `.proto` file, held against protobuf's own library."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from stoneware.provider.proto_file import ProtoFile
from stoneware.provider.protocol import protocol
from stoneware.provider.servicer import Servicer
from stoneware.provider.wire import MessageType
from tests.provider.protobuf_reader import ProtobufFile

TEXT = """
syntax = "proto3";  // a comment
package sample;
message Outer {
  enum Kind { NONE = 0; SOME = 5; }
  message Inner { repeated string words = 2; }
  Kind kind = 1;
  oneof which { bool yes = 3; int64 number = 4; }
  map<string, Inner> inner = 6;
  repeated Outer more = 7;
  bytes data = 8;
  Inner one = 20;
}
message Nothing {}
service Calls { rpc Ask(Nothing) returns (Outer.Inner); }
"""


def made(path: Path, text: str) -> ProtoFile:
    path.write_text(text)
    return ProtoFile(path)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[MessageType, Any]:
    """Return the type of the sample's messages, and protobuf's class of them."""
    path = tmp_path_factory.mktemp("sample") / "sample.proto"
    return made(path, TEXT).message("Outer"), ProtobufFile(path).message("Outer")


def test_messages_are_on_the_wire_as_the_encoding_says(both: tuple[MessageType, Any]) -> None:
    outer, _ = both
    values = {
        "kind": "SOME",
        "number": 300,
        "inner": {"k": {"words": ["a", "bc"]}},
        "more": [{"yes": True}],
        "data": b"\xff",
    }
    wire = (
        b"\x08\x05"  # field 1, a varint
        b"\x20\xac\x02"  # field 4
        b"\x32\x0c\x0a\x01k\x12\x07\x12\x01a\x12\x02bc"  # field 6: key 1, value 2
        b"\x3a\x02\x18\x01"  # field 7, a message with field 3
        b"\x42\x01\xff"  # field 8
    )
    assert outer.encode(values) == wire
    message = outer.decode(wire)
    assert (message.kind, message.number, message.data) == (5, 300, b"\xff")
    assert message.inner["k"].words == ["a", "bc"]
    assert [each.yes for each in message.more] == [True]


def messages(depth: int) -> some.SearchStrategy[dict[str, Any]]:
    """Return values of the sample's messages; a oneof has one of its two at most."""
    inner = some.fixed_dictionaries({}, optional={"words": some.lists(some.text(), max_size=3)})
    fields: dict[str, some.SearchStrategy[Any]] = {
        "kind": some.sampled_from(["NONE", "SOME", 5, 7]),
        "inner": some.dictionaries(some.text(max_size=5), inner, max_size=3),
        "data": some.binary(max_size=300),
        "one": inner,
    }
    if depth:
        fields["more"] = some.lists(messages(depth - 1), max_size=2)
    numbers = some.integers(-(2**63), 2**63 - 1)
    which = some.sampled_from([{}, {"yes": False}, {"yes": True}]) | numbers.map(lambda n: {"number": n})
    return some.tuples(some.fixed_dictionaries({}, optional=fields), which).map(
        lambda pair: pair[0] | pair[1]
    )


@given(values=messages(2))
def test_what_is_written_is_what_protobuf_writes_and_reads(
    both: tuple[MessageType, Any], values: dict[str, Any]
) -> None:
    outer, theirs = both
    wire = outer.encode(values)
    other = theirs(**values)
    # The order of a map is nobody's.
    assert (len(wire), theirs.FromString(wire)) == (other.ByteSize(), other)
    assert_same(outer.decode(wire), theirs.FromString(wire))


def assert_same(ours: Any, theirs: Any) -> None:
    for name in ("kind", "yes", "number", "data"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.one.words == list(theirs.one.words)
    assert {key: value.words for key, value in ours.inner.items()} == {
        key: list(value.words) for key, value in theirs.inner.items()
    }
    assert len(ours.more) == len(theirs.more)
    for one, other in zip(ours.more, theirs.more, strict=True):
        assert_same(one, other)


@given(raw=some.binary(max_size=60))
def test_bytes_that_are_no_message_are_refused_or_read(both: tuple[MessageType, Any], raw: bytes) -> None:
    with contextlib.suppress(ValueError):
        both[0].decode(raw)


@pytest.mark.parametrize(
    "raw", [b"\x42\x05ab", b"\x08", b"\x08" + b"\xff" * 10 + b"\x01", b"\x0b", b"\x0d\x01", b"\x42\x01"]
)
def test_what_ends_early_is_refused(both: tuple[MessageType, Any], raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"end|longer|wire"):
        both[0].decode(raw)


def test_a_value_that_no_field_has_is_refused(both: tuple[MessageType, Any]) -> None:
    with pytest.raises(ValueError, match=r"^Outer has no colour$"):
        both[0].encode({"colour": 1})
    with pytest.raises(AttributeError):
        _ = both[0].decode(b"").colour


def test_methods(tmp_path: Path) -> None:
    [method] = made(tmp_path / "sample.proto", TEXT).methods
    assert (method.name, method.path) == ("Ask", "/sample.Calls/Ask")
    assert [each.name for each in (method.request, method.response)] == ["Nothing", "Outer.Inner"]


def test_a_field_that_is_not_named_is_skipped(tmp_path: Path) -> None:
    text = TEXT.replace("  bytes data = 8;\n", "")
    known = made(tmp_path / "sample.proto", text).message("Outer")
    others = b"\x42\x01\xff" + b"\x49" + b"\1" * 8 + b"\x4d" + b"\1" * 4 + b"\x50\x80\x01"
    assert known.decode(others + b"\x08\x05").kind == 5


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("message Nothing {}", "extend Nothing {}"),
        ("message Nothing {}", "message Nothing {"),
        ("bytes data = 8;", "bytes data = 8 [deprecated = true];"),
        ("bytes data = 8;", "bytes data 8;"),
        ("bytes data = 8;", "Missing data = 8;"),
        ("bytes data = 8;", "repeated int64 data = 8;"),
        ("bytes data = 8;", "repeated Kind data = 8;"),
        ("(Outer.Inner);", "(Outer.Other);"),
        ('"proto3"', '"proto2"'),
        ("rpc Ask(Nothing) returns (Outer.Inner);", "rpc Ask(Nothing);"),
        ("rpc Ask(Nothing) returns (Outer.Inner);", "option old = true;"),
    ],
)
def test_what_the_reader_does_not_know_is_refused(tmp_path: Path, old: str, new: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        made(tmp_path / "sample.proto", TEXT.replace(old, new))


def test_each_method_of_the_protocol_is_served() -> None:
    methods = {method.name for method in protocol().methods}
    assert methods == {name for name in vars(Servicer) if not name.startswith("_")}
    assert {method.path for method in protocol().methods} == {
        f"/tfplugin6.Provider/{name}" for name in methods
    }
