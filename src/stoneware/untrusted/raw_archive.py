"""Disks in the archives that Compute Engine imports: a tar.gz with one file `disk.raw`, in GNU's old format.

It is read block by block, so that nothing of it, such as a map of holes without end, takes memory.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from gzip import GzipFile
from pathlib import Path

from stoneware.errors import InputError

NAME = b"disk.raw"
GIB = 1 << 30
_LARGEST = 64 << 40  # bytes of a disk, as Compute Engine's
_BLOCK = 512
_PIECE = 1 << 20
_MAGIC = b"ustar  \0"  # of GNU's old format; POSIX has ustar\0 and 00
_MAP = (386, 4, 482)  # of the head: where the map of what is no hole begins, its entries, whether more follow
_MORE = (0, 21, 504)  # … of each block of more entries
_ENTRIES = 1 << 19  # of a map of holes
_SIZE = 483  # where the size with its holes is

Sink = Callable[[int, bytes], object]


def unpack(archive: Path, sink: Sink) -> int:
    """Give each piece of the disk with its place, in order, without holes; return the disk's size.

    Raises InputError for what Compute Engine takes no image from.
    """
    try:
        with archive.open("rb") as raw, GzipFile(fileobj=raw, mode="rb") as stream:
            return _unpack(stream, sink)
    except (EOFError, zlib.error, OSError) as error:
        # What gzip finds wrong has no number; what the disk does has one, and is no fault of the archive.
        if isinstance(error, OSError) and error.errno:
            raise
        raise _none(f"It is no gzip archive, or is cut off: {error}.") from None


def _unpack(stream: GzipFile, sink: Sink) -> int:
    head = _exactly(stream, _BLOCK)
    _check_head(head)
    stored = _number(head, 124)
    size, pieces = (_number(head, _SIZE), _sparse(stream, head)) if head[156:157] == b"S" else (stored, None)
    if not 0 < size <= _LARGEST or size % GIB:
        raise _none(f"The disk has {size} bytes; its size has to be a whole number of GiB.")
    at, left = 0, stored
    first = b""
    for offset, length in pieces or [(0, stored)]:
        if offset < at or length > left or offset + length > size:
            raise _none("Its map of holes is wrong.")
        at, left = offset, left - length
        for piece in _pieces(stream, length):
            first = first or (b"" if at else piece)
            sink(at, piece)
            at += len(piece)
    if left:
        raise _none("Its map of holes is wrong.")
    _check_end(stream, stored)
    if first[510:512] != b"\x55\xaa":
        raise _none("The disk has no table of partitions.")
    return size


def _check_head(head: bytes) -> None:
    if head[257:265] != _MAGIC:
        raise _none("It is no tar of GNU's old format.")
    # Its own field counts as blanks.
    if head[148:156].strip(b" \0") != b"%06o" % (sum(head[:148]) + sum(head[156:]) + 8 * 32):
        raise _none("The checksum of its first header is wrong.")
    name = head[:100].rstrip(b"\0").removeprefix(b"./")
    if name != NAME or head[156:157] not in (b"0", b"\0", b"S"):
        raise _none(f"Its first entry is {name[:60].decode(errors='replace')!r}, and not the file disk.raw.")


def _sparse(stream: GzipFile, head: bytes) -> list[tuple[int, int]]:
    """Return place and length of what is no hole. The map is in front of all contents."""
    entries: list[tuple[int, int]] = []
    block, (start, count, more) = head, _MAP
    while True:
        for at in range(start, start + 24 * count, 24):
            if block[at : at + 1] == b"\0":
                break
            entries.append((_number(block, at), _number(block, at + 12)))
        if block[more : more + 1] in (b"\0", b""):
            break
        if len(entries) > _ENTRIES:
            raise _none("Its map of holes has no end.")
        block, (start, count, more) = _exactly(stream, _BLOCK), _MORE
    return entries


def _pieces(stream: GzipFile, length: int) -> Iterator[bytes]:
    while length:
        piece = _exactly(stream, min(length, _PIECE))
        length -= len(piece)
        yield piece


def _check_end(stream: GzipFile, stored: int) -> None:
    """Raise InputError where another entry follows, or the end is missing."""
    _exactly(stream, -stored % _BLOCK)
    if any(_exactly(stream, 2 * _BLOCK)):
        raise _none("It has more than the one file disk.raw.")
    for _ in iter(lambda: stream.read(_PIECE), b""):  # the checksum of gzip comes last
        pass


def _exactly(stream: GzipFile, count: int) -> bytes:
    found = stream.read(count)
    if len(found) != count:
        raise _none("It is cut off.")
    return found


def _number(block: bytes, at: int) -> int:
    """Return a number of 12 characters: octal digits, or bytes where the first has its highest bit set."""
    text = block[at : at + 12]
    if text[:1] >= b"\x80":
        return int(struct.unpack(">Q", text[4:])[0])
    try:
        return int(text.rstrip(b" \0") or b"0", 8)
    except ValueError:
        raise _none("A number in its header is none.") from None


def _none(why: str) -> InputError:
    return InputError(
        "the archive holds no disk that becomes an image",
        details=why,
        resolution="stoneware export IMAGE -o FILE.tar.gz    # makes one that does",
    )
