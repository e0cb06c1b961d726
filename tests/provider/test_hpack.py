"""Header fields on the wire: the examples of RFC 7541, and what is none."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as some

from stoneware.provider.hpack import HeaderReader, written

# Appendix C.4: three requests on one connection, with Huffman's code and a table that grows.
REQUESTS = [
    ("828684418cf1e3c2e5f23a6ba0ab90f4ff", []),
    ("828684be5886a8eb10649cbf", [(b"cache-control", b"no-cache")]),
    ("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf", [(b"custom-key", b"custom-value")]),
]


def test_requests_of_the_standard() -> None:
    reader = HeaderReader()
    for block, more in REQUESTS:
        fields = dict(reader.read(bytes.fromhex(block)))
        assert fields[b":authority"] == b"www.example.com"
        assert all(fields[name] == value for name, value in more)
    last = [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/index.html")]
    assert reader.read(bytes.fromhex("828785")) == last


def test_what_no_longer_fits_is_forgotten() -> None:
    reader = HeaderReader()
    first = b"\x40\x01a" + b"\x7f\xd1\x0e" + b"x" * 2000  # a name of one letter, a value of 2000
    assert reader.read(first) == [(b"a", b"x" * 2000)]
    assert reader.read(b"\xbe") == [(b"a", b"x" * 2000)]
    reader.read(first)
    reader.read(b"\x40\x01b\x01y")
    assert reader.read(b"\xbe\xbf") == [(b"b", b"y"), (b"a", b"x" * 2000)]
    with pytest.raises(ValueError, match="early"):
        reader.read(b"\xc0")  # the first one
    assert reader.read(b"\x20") == []  # a table for nothing
    with pytest.raises(ValueError, match="early"):
        reader.read(b"\xbe")


@given(fields=some.lists(some.tuples(some.binary(max_size=20), some.binary(max_size=400)), max_size=5))
def test_what_is_written_is_read(fields: list[tuple[bytes, bytes]]) -> None:
    assert HeaderReader().read(written(fields)) == fields


@given(block=some.binary(max_size=40))
def test_any_bytes_are_read_or_refused(block: bytes) -> None:
    with contextlib.suppress(ValueError):
        HeaderReader().read(block)


@pytest.mark.parametrize(
    "block",
    [
        "80",  # no number
        "be",  # nothing is remembered
        "3fe21f",  # a table of 4097 bytes
        "ffffffffffff",  # a number without an end
        "400161",  # no value
        "40016105",  # a value that is cut off
        "40016184ffffffff",  # the end of Huffman's code as text
        "4001618118",  # an `a` in 5 bits, then bits that are not all set
        "40016182ffff",  # more filling than seven bits
    ],
)
def test_what_is_no_block_is_refused(block: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        HeaderReader().read(bytes.fromhex(block))
