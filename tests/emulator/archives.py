"""Archives as Compute Engine imports them, made by hand: a sparse `disk.raw` in GNU's old format."""

from __future__ import annotations

import gzip
import uuid
from pathlib import Path

GIB = 1 << 30
SECTOR = 512


def table(partition: str = "") -> bytes:
    """Return the beginning of a disk with a GPT that has a partition of this id."""
    data = bytearray(40 * SECTOR)
    data[510:512] = b"\x55\xaa"
    data[512:520] = b"EFI PART"
    data[512 + 72 : 512 + 88] = (2).to_bytes(8, "little") + (128).to_bytes(4, "little") * 2
    data[1024:1040] = b"\1" * 16
    data[1040:1056] = uuid.UUID(partition).bytes_le if partition else b"\2" * 16
    return bytes(data)


def packed(
    pieces: dict[int, bytes] | None = None,
    *,
    size: int = GIB,
    name: bytes = b"disk.raw",
    magic: bytes = b"ustar  \0",
    kind: bytes = b"S",
    more: bytes = b"",
) -> bytes:
    """Return the tar, not compressed: `pieces` of the disk by their places; `more` follows the disk."""
    found = sorted((pieces if pieces is not None else {0: table()}).items())
    stored = sum(len(piece) for _, piece in found)
    entries = b"".join(_octal(place) + _octal(len(piece)) for place, piece in found)
    head = bytearray(SECTOR)
    head[: len(name)] = name
    head[100:108] = b"0000644\0"
    head[124:136] = _octal(stored)
    head[156:157] = kind
    head[257:265] = magic
    head[386 : 386 + len(entries[:96])] = entries[:96]
    head[482] = len(entries) > 96
    head[483:495] = _octal(size)
    head[148:156] = b"%06o\0 " % (sum(head[:148]) + sum(head[156:]) + 8 * 32)
    maps = b""
    rest = entries[96:]
    while rest:
        block, rest = rest[:504], rest[504:]
        maps += block.ljust(504, b"\0") + bytes([bool(rest)]) + bytes(7)
    data = b"".join(piece for _, piece in found)
    return bytes(head) + maps + data + bytes(-stored % SECTOR) + more + bytes(2 * SECTOR)


def _octal(number: int) -> bytes:
    return b"%011o\0" % number if number < 8**11 else b"\x80\0\0\0" + number.to_bytes(8, "big")


def write(path: Path, tar: bytes) -> Path:
    """Write a tar, compressed."""
    path.write_bytes(gzip.compress(tar, 1))
    return path
