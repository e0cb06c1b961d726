"""A machine's console: files of bounded size, written by its shim, and when what came.

``console.log`` begins at byte 0 of the whole, ``console.log.N`` at byte N; the oldest go. ``console.times``
has pairs of a number of bytes and a time: so many there were by then. The metadata server writes it.
"""

from __future__ import annotations

import contextlib
import os
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path

from stoneware.dataclass import dataclass
from stoneware.untrusted.bounded import BoundsError, read_bounded

PAIR = struct.Struct("<Qd")
FILE = "console.log"
TIMES = "console.times"
_BLOCK = 64 << 10
_MOST_TIMES = 1 << 22  # bytes; the writer keeps a sixteenth
_PIECE = 16 << 20  # bytes of one read at most


@dataclass(frozen=True)
class Part:
    """One file of a console: `base` is where it begins in the whole."""

    base: int
    path: Path


def parts(directory: Path) -> list[Part]:
    """Return the files of the console of the machine in a directory, the oldest first."""
    found = []
    with os.scandir(directory) as entries:
        for entry in entries:
            base = base_of(entry.name)
            if base is not None and entry.is_file(follow_symlinks=False):
                found.append(Part(base, Path(entry.path)))
    return sorted(found, key=lambda part: part.base)


def base_of(name: str) -> int | None:
    """Return where a file begins in the whole console; None for a file that is no part of it."""
    if name == FILE:
        return 0
    number = name.removeprefix(f"{FILE}.")
    # isascii: "²" is a digit to isdigit(), and int() refuses it.
    return int(number) if number != name and number.isascii() and number.isdigit() else None


def span(directory: Path) -> tuple[int, int]:
    """Return the offsets of the first byte that is kept, and of the end."""
    while True:
        there = parts(directory)
        if not there:
            return 0, 0
        try:
            return there[0].base, there[-1].base + there[-1].path.stat().st_size
        except FileNotFoundError:
            continue  # it is older by now than what is kept


def read(directory: Path, offset: int, limit: int = _PIECE) -> tuple[bytes, int]:
    """Return at most `limit` bytes from an offset on, and the offset behind them.

    What is not kept any more is passed over: the bytes then begin later than was asked for.
    """
    while True:
        there = parts(directory)
        for part, following in zip(there, [*there[1:], None], strict=True):
            if following is not None and offset >= following.base:
                continue
            start = max(offset, part.base)
            try:
                with part.path.open("rb") as stream:
                    stream.seek(start - part.base)
                    data = stream.read(limit)
            except FileNotFoundError:
                break  # look again
            if data or following is None:
                return data, start + len(data)
        else:
            return b"", offset


def last_lines(directory: Path, count: int) -> int:
    """Return the offset where the last `count` lines begin. Reads blocks from the end on."""
    first, end = span(directory)
    if count <= 0:
        return end
    # A newline at the very end ends the last line and begins none.
    wanted = count + (_exactly(directory, max(first, end - 1), end) == b"\n")
    at = end
    while at > first:
        start = max(first, at - _BLOCK)
        block = _exactly(directory, start, at)
        found = block.count(b"\n")
        if found >= wanted:
            place = len(block)
            for _ in range(wanted):
                place = block.rfind(b"\n", 0, place)
            return at - len(block) + place + 1
        wanted -= found
        at = start
    return first


def _exactly(directory: Path, start: int, end: int) -> bytes:
    """Return the bytes between two offsets; what is not kept any more is missing at the beginning."""
    pieces = []
    at = start
    while at < end:
        data, behind = read(directory, at, end - at)
        if not data:
            break
        pieces.append(data)
        at = behind
    return b"".join(pieces)


def times(directory: Path) -> list[tuple[int, float]]:
    """Return pairs of bytes and seconds since the epoch, in order: so many bytes were there by then."""
    try:
        data = read_bounded(directory / TIMES, _MOST_TIMES)
    except (OSError, BoundsError):
        return []  # a file that somebody damaged says nothing
    return list(PAIR.iter_unpack(data[: len(data) - len(data) % PAIR.size]))


def since(directory: Path, moment: float) -> int:
    """Return the offset of the first line that came at a time or later."""
    first, end = span(directory)
    known = times(directory)
    at = bisect_left(known, moment, key=lambda pair: pair[1])
    if at == len(known):
        return (
            end if known and known[-1][0] >= end else _line_start(directory, _before(known, at, first), end)
        )
    return _line_start(directory, _before(known, at, first), end)


def until(directory: Path, moment: float) -> int:
    """Return the offset behind the last line that had come by a time."""
    first, end = span(directory)
    known = times(directory)
    at = bisect_right(known, moment, key=lambda pair: pair[1])
    if at == len(known):
        return end
    return min(end, max(first, known[at - 1][0] if at else first))


def _before(known: Sequence[tuple[int, float]], at: int, first: int) -> int:
    return max(first, known[at - 1][0]) if at else first


def _line_start(directory: Path, offset: int, end: int) -> int:
    """Return where the first line begins that begins at an offset or later."""
    first = span(directory)[0]
    if offset <= first:
        return first
    at = offset - 1
    while at < end:
        data, behind = read(directory, at, _BLOCK)
        if not data:
            return end
        place = data.find(b"\n")
        if place >= 0:
            return behind - len(data) + place + 1
        at = behind
    return end


def remember(directory: Path, known: int | None) -> int | None:
    """Note how many bytes of a console there are by now, and return it.

    `known` is what this returned before, None at first. The time is that of the last write.
    """
    try:
        newest = parts(directory)[-1]
        status = newest.path.stat()
    except (OSError, IndexError):
        return known
    size = newest.base + status.st_size
    # The metadata server has just started: its predecessor may have noted some of it.
    if known is None:
        with contextlib.suppress(OSError):
            seen = times(directory)
            known = seen[-1][0] if seen else 0
    if size == (known or 0):
        return size
    with contextlib.suppress(OSError):  # a full disk: the next time says it as well
        with (directory / TIMES).open("ab") as stream:
            os.fchmod(stream.fileno(), 0o600)
            length = stream.seek(0, os.SEEK_END)
            stream.write(PAIR.pack(size, status.st_mtime_ns // 1000 / 10**6))  # as people are shown it
        if length >= MOST_PAIRS * PAIR.size:
            _thin(directory)
    return size


MOST_PAIRS = 16384


def _thin(directory: Path) -> None:
    """Forget times of bytes that are gone, and every other one of the older half."""
    first = span(directory)[0]
    known = times(directory)
    kept = [pair for pair in known if pair[0] > first]
    half = len(kept) // 2
    if len(kept) > MOST_PAIRS // 2:
        # Never all that is old: `logs --since` of long ago is only less exact then.
        kept = [*kept[1:half:2], *kept[half:]]
    new = directory / f".{TIMES}.new"
    new.write_bytes(b"".join(PAIR.pack(*pair) for pair in kept))
    new.rename(directory / TIMES)


class Clock:
    """Tells when what stands at an offset had come; offsets are asked for in order."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known: list[tuple[int, float]] = []

    def at(self, offset: int) -> float | None:
        """Return the time of a byte; None where it is not known (yet)."""
        if not self._known or self._known[-1][0] <= offset:
            with contextlib.suppress(OSError):
                self._known = times(self._directory)
        place = bisect_right(self._known, offset, key=lambda pair: pair[0])
        if place < len(self._known):
            return self._known[place][1]
        with contextlib.suppress(OSError, IndexError):  # not noted: not later than the last of all
            return parts(self._directory)[-1].path.stat().st_mtime
        return None


def lines(data: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of some output with the offset of each, the last one perhaps without its end."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", start) + 1 or len(data)
        yield offset + start, data[start:end]
        start = end
