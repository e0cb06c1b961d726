"""Messages and methods made from the text of a `.proto` file."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoneware.provider.proto_file import ProtoFile
from stoneware.provider.protocol import protocol
from stoneware.provider.servicer import Servicer

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
}
message Nothing {}
service Calls { rpc Ask(Nothing) returns (Outer.Inner); }
"""


def made(path: Path, text: str) -> ProtoFile:
    path.write_text(text)
    return ProtoFile(path)


def test_messages_are_on_the_wire_as_the_encoding_says(tmp_path: Path) -> None:
    outer = made(tmp_path / "sample.proto", TEXT).message("Outer")
    message = outer(kind="SOME", number=300, more=[{"yes": True}], data=b"\xff")
    message.inner["k"].words.extend(["a", "bc"])
    wire = (
        b"\x08\x05"  # field 1, a varint
        b"\x20\xac\x02"  # field 4
        b"\x32\x0c\x0a\x01k\x12\x07\x12\x01a\x12\x02bc"  # field 6: key 1, value 2
        b"\x3a\x02\x18\x01"  # field 7, a message with field 3
        b"\x42\x01\xff"  # field 8
    )
    assert message.SerializeToString(deterministic=True) == wire
    assert outer.FromString(wire) == message
    assert message.WhichOneof("which") == "number"


def test_methods(tmp_path: Path) -> None:
    [method] = made(tmp_path / "sample.proto", TEXT).methods
    assert (method.name, method.path) == ("Ask", "/sample.Calls/Ask")
    names = [each.DESCRIPTOR.full_name for each in (method.request, method.response)]
    assert names == ["sample.Nothing", "sample.Outer.Inner"]


def test_a_field_that_is_not_named_is_skipped(tmp_path: Path) -> None:
    text = TEXT.replace("  bytes data = 8;\n", "")
    assert (
        made(tmp_path / "sample.proto", text).message("Outer").FromString(b"\x42\x01\xff\x08\x05").kind == 5
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("message Nothing {}", "extend Nothing {}"),
        ("message Nothing {}", "message Nothing {"),
        ("bytes data = 8;", "bytes data = 8 [deprecated = true];"),
        ("bytes data = 8;", "bytes data 8;"),
        ("bytes data = 8;", "Missing data = 8;"),
        ("rpc Ask(Nothing) returns (Outer.Inner);", "rpc Ask(Nothing);"),
        ("rpc Ask(Nothing) returns (Outer.Inner);", "option old = true;"),
    ],
)
def test_what_the_reader_does_not_know_is_refused(tmp_path: Path, old: str, new: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        made(tmp_path / "sample.proto", TEXT.replace(old, new))


def test_each_method_of_the_protocol_is_served() -> None:
    methods = {method.name for method in protocol().methods}
    assert methods == {name for name in vars(Servicer) if not name.startswith("_")}
    assert {method.path for method in protocol().methods} == {
        f"/tfplugin6.Provider/{name}" for name in methods
    }
