"""Reading tar archives that somebody hostile has written: bounded, one entry at a time, nothing believed.

`tarfile` reads the single blocks. It is not used for whole archives: it keeps every entry, recurses for each
extended header, and reads one of any declared size into memory. Sparse files, which only GNU tar's `--sparse`
writes, are refused.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from typing import Protocol

from stoneware.dataclass import dataclass
from stoneware.untrusted.bounded import BoundsError
from stoneware.untrusted.rooted_paths import MAX_DEPTH

_BLOCK = 512
_CHUNK = 1 << 20
_LONGEST_NAME = 255  # bytes, of one part of a path
_ENTRY_COST = 4096  # bytes that an entry counts in addition to its content: what it takes on a disk
_PADDING = (
    1 << 20
)  # bytes after the end of an archive that are read, for a writer that fills up its last record
_KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.CONTTYPE: "file",
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "link",
    tarfile.LNKTYPE: "hard link",
    tarfile.CHRTYPE: "character device",
    tarfile.BLKTYPE: "block device",
    tarfile.FIFOTYPE: "FIFO",
}
_EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_LONG = {tarfile.GNUTYPE_LONGNAME: "path", tarfile.GNUTYPE_LONGLINK: "linkpath"}
_SPARSE = "GNU.sparse."
_ATTRIBUTE = "SCHILY.xattr."
_READ = ("path", "linkpath", "size", "mtime", "uid", "gid")
_RECORD = re.compile(rb"([0-9]{1,7}) ([^=\0]{1,256})=")
_TIME = re.compile(r"(-?[0-9]{1,18})(?:\.([0-9]{1,30}))?")
_LATEST = 1 << 33  # seconds; file systems end a little later


class TornError(BoundsError):
    """An archive that ends too early: its writer may have failed."""


class Stream(Protocol):
    """What an archive is read from: `read` returns less than asked only at the end."""

    def read(self, size: int = -1, /) -> bytes:
        """Read up to `size` bytes."""
        ...


@dataclass(frozen=True)
class Limits:
    """What an archive may ask of us. `total` is in bytes, with 4096 for each entry added to its content."""

    total: int
    entries: int = 2_000_000
    depth: int = MAX_DEPTH  # directories inside each other
    extended: int = 1 << 20  # bytes of one extended header: names, times, attributes


@dataclass(frozen=True)
class Member:
    """One entry. `parts` are its path's, without `.`; none at all is the archive's root.

    `kind` is file, directory, link, hard link, or in words what else it is; `target` is a link's, as written.
    `attributes` are the extended ones, by name; `device` is that of a device.
    """

    parts: tuple[str, ...]
    kind: str
    mode: int
    mtime_ns: int
    size: int
    target: str
    uid: int = 0
    gid: int = 0
    attributes: tuple[tuple[str, bytes], ...] = ()
    device: int = 0

    @property
    def name(self) -> str:
        """Return the path in one piece."""
        return "/".join(self.parts) or "."


class TarReader:
    """Goes through an archive. What it refuses raises BoundsError, whose text completes “the archive …”."""

    def __init__(self, stream: Stream, limits: Limits) -> None:
        self._stream = stream
        self._limits = limits
        self._left = limits.total
        self._entries = 0
        self._content = 0  # bytes of the present entry that have not been read
        self._padding = 0

    def __iter__(self) -> Iterator[Member]:
        """Yield the entries; the content of one is read, or passed over, before the next."""
        extended: dict[str, str] = {}
        while (block := self._header()) is not None:
            size, kind = block.size, block.type
            if kind in _EXTENDED or kind in _LONG:
                found = self._extension(kind, self._small(size))
                extended = {**extended, **found} if kind != tarfile.XGLTYPE else extended
                continue
            member = _member(block, extended)
            extended = {}
            self._check(member)
            self._begin(member.size)
            yield member
            for _ in self.content():
                pass
            self._read(self._padding)
        self._end()

    def content(self) -> Iterator[bytes]:
        """Yield the content of the present entry, in pieces."""
        while self._content:
            piece = self._read(min(self._content, _CHUNK))
            self._content -= len(piece)
            yield piece

    def _begin(self, size: int) -> None:
        self._content, self._padding = size, -size % _BLOCK

    def _header(self) -> tarfile.TarInfo | None:
        block = self._stream.read(_BLOCK)
        if not block.strip(b"\0"):
            if len(block) in (0, _BLOCK):
                return None  # the end, or the first of two blocks of zeros
            raise TornError("ends in the middle of an entry")
        if len(block) < _BLOCK:
            raise TornError("ends in the middle of an entry")
        self._entries += 1
        self._spend(_ENTRY_COST)
        if self._entries > self._limits.entries:
            raise BoundsError(f"has more than {self._limits.entries} entries")
        try:
            found = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError, OverflowError) as error:
            raise BoundsError(f"is damaged: {error}") from None
        if found.size < 0:
            raise BoundsError("is damaged: it has an entry of a negative size")
        return found

    def _small(self, size: int) -> bytes:
        if size > self._limits.extended:
            raise BoundsError(f"has an extended header of {size} bytes")
        self._spend(size)
        data = self._read(size)
        self._read(-size % _BLOCK)
        return data

    def _extension(self, kind: bytes, data: bytes) -> dict[str, str]:
        if kind in _LONG:
            return {_LONG[kind]: _text(data.partition(b"\0")[0])}
        return _records(data) if kind != tarfile.XGLTYPE else {}

    def _check(self, member: Member) -> None:
        if len(member.parts) > self._limits.depth:
            raise BoundsError(f"is more than {self._limits.depth} directories deep")
        self._spend(member.size)

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise BoundsError(f"holds more than {self._limits.total} bytes, which is all there is room for")

    def _read(self, size: int) -> bytes:
        data = self._stream.read(size) if size else b""
        if len(data) < size:
            raise TornError("ends in the middle of an entry")
        return data

    def _end(self) -> None:
        """Read what fills up the last record, so that its writer can end; nothing that goes on for ever."""
        left = _PADDING
        while left and (data := self._stream.read(min(left, 1 << 16))):
            left -= len(data)


def _member(block: tarfile.TarInfo, extended: dict[str, str]) -> Member:
    if block.type == tarfile.GNUTYPE_SPARSE or _SPARSE in extended:
        raise BoundsError("holds a sparse file, as tar --sparse writes it")
    kind = _KINDS.get(block.type, "of an unknown kind")
    name, target = extended.get("path", block.name), extended.get("linkpath", block.linkname)
    if "\0" in target:
        raise BoundsError("has a link with a zero byte in it")
    parts = parts_of(name)
    if not parts and kind != "directory":
        raise BoundsError("has an entry without a name")
    # As all readers of tar have it: of the known kinds only files have content.
    known = kind != "of an unknown kind"
    size = 0 if known and kind != "file" else _size(block, extended)
    mtime = _time(extended["mtime"]) if "mtime" in extended else int(block.mtime) * 1_000_000_000
    latest = _LATEST * 1_000_000_000
    return Member(
        parts,
        kind,
        block.mode & 0o7777,
        max(-latest, min(latest, mtime)),
        size,
        target,
        _number(block.uid, extended, "uid"),
        _number(block.gid, extended, "gid"),
        _attributes(extended),
        _device(block) if kind in ("character device", "block device") else 0,
    )


def _device(block: tarfile.TarInfo) -> int:
    if not (0 <= block.devmajor < 1 << 12 and 0 <= block.devminor < 1 << 20):
        raise BoundsError("is damaged: it has a device of numbers that there are not")
    return os.makedev(block.devmajor, block.devminor)


def _number(own: int, extended: dict[str, str], key: str) -> int:
    text = extended.get(key)
    if text is None:
        return own
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise BoundsError(f"is damaged: the {key} of an entry is no number")
    return int(text)


def _attributes(extended: dict[str, str]) -> tuple[tuple[str, bytes], ...]:
    return tuple(
        (key.removeprefix(_ATTRIBUTE), value.encode("utf-8", "surrogateescape"))
        for key, value in extended.items()
        if key.startswith(_ATTRIBUTE)
    )


def parts_of(name: str) -> tuple[str, ...]:
    """Return the parts of a path in an archive. Raises BoundsError for one that leads out, or is no name."""
    if "\0" in name:
        raise BoundsError("has a name with a zero byte in it")
    if name.startswith("/"):
        raise BoundsError(f"names a file outside of itself: {name[:200]}")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise BoundsError(f"names a file outside of itself: {name[:200]}")
    if any(len(os.fsencode(part)) > _LONGEST_NAME for part in parts):
        raise BoundsError(f"has a name of more than {_LONGEST_NAME} bytes")
    return parts


def _size(block: tarfile.TarInfo, extended: dict[str, str]) -> int:
    return _number(block.size, extended, "size")


def _time(text: str) -> int:
    """Return nanoseconds; 0 for what is no time."""
    match = _TIME.fullmatch(text)
    if match is None:
        return 0
    fraction = int((match[2] or "0")[:9].ljust(9, "0"))
    return int(match[1]) * 1_000_000_000 + fraction


def _records(data: bytes) -> dict[str, str]:
    """Return the records of a pax header that matter here, or that we refuse."""
    found: dict[str, str] = {}
    place = 0
    while place < len(data) and data[place : place + 1] != b"\0":
        match = _RECORD.match(data, place)
        length = int(match[1]) if match else 0
        end = place + length
        if match is None or end > len(data) or end <= match.end() or data[end - 1 : end] != b"\n":
            raise BoundsError("is damaged: it has a torn extended header")
        key = _text(match[2])
        if key in _READ or key.startswith(_ATTRIBUTE):
            found[key] = _text(data[match.end() : end - 1])
        elif key.startswith(_SPARSE):
            found[_SPARSE] = ""
        place = end
    return found


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def read_files(stream: Stream, limits: Limits) -> dict[str, bytes]:
    """Return the regular files of an archive by their path without `./`. Raises BoundsError."""
    reader = TarReader(stream, limits)
    return {member.name: b"".join(reader.content()) for member in reader if member.kind == "file"}
