"""Foreign text and files read within bounds: sizes, depths and kinds are checked before anything is parsed.

What is refused raises `BoundsError`, a ValueError whose text completes the sentence "FILE …"; the caller
knows whose fault that is and what to type.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import select
import signal
import stat
import time
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from types import FrameType
from typing import Any

# What nothing that people or programs write by hand reaches, and no parser's stack minds.
MAX_DEPTH = 64
MAX_DOCUMENT = 64 << 20
WRITER_PATIENCE = 2.0  # seconds for a program to open a FIFO that it writes to

# A string, closed or not: the rest of the text is then one. Linear in any text.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.|\\\Z)*+"?', re.DOTALL)
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS = bytes(code for code in range(256) if code not in _STEPS)
_SURROGATE = re.compile("[\ud800-\udfff]")
_WRITTEN_SURROGATE = re.compile(rb"\\u[dD][89abAB]")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class BoundsError(ValueError):
    """Text or a file that is too large, too deep, of the wrong kind, or not what it should be."""


def bounded_json(text: str | bytes, max_bytes: int = MAX_DOCUMENT, max_depth: int = MAX_DEPTH) -> Any:
    """Return the value of a JSON text, with lone surrogates replaced by U+FFFD.

    Raises BoundsError for more than `max_bytes` bytes, brackets nested deeper than `max_depth`, NaN, infinite
    or over-long numbers, text that is not UTF-8, and text that is not JSON. Never raises RecursionError.
    """
    raw = text.encode(errors="replace") if isinstance(text, str) else text
    if len(raw) > max_bytes:
        raise BoundsError(f"is larger than {max_bytes} bytes")
    # Most documents have fewer brackets than that, and need not be read for their depth.
    if raw.count(b"[") + raw.count(b"{") > max_depth and depth_of(raw) > max_depth:
        raise BoundsError(f"is nested deeper than {max_depth} levels")
    try:
        value = _DECODER.decode(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BoundsError(f"is not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise BoundsError(f"is no JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except BoundsError:
        raise
    except ValueError:  # whole numbers of thousands of digits
        raise BoundsError("holds a number of too many digits") from None
    return without_surrogates(value) if _WRITTEN_SURROGATE.search(raw) else value


def depth_of(raw: bytes) -> int:
    """Return how deep the brackets of a JSON text are nested, those in strings not counted."""
    if raw.count(b"[") + raw.count(b"{") < 2:
        return raw.count(b"[") + raw.count(b"{")
    # A state of Terraform's has thousands of both, and each command on a cluster reads it several times.
    brackets = _STRING.sub(b"", raw).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets), initial=0))


def without_surrogates(value: Any) -> Any:
    """Return JSON data in which every lone surrogate, which no UTF-8 can hold, is U+FFFD."""
    if isinstance(value, str):
        return _SURROGATE.sub(_REPLACEMENT, value)
    if isinstance(value, dict):
        return {without_surrogates(key): without_surrogates(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_surrogates(item) for item in value]
    return value


def read_bounded(path: Path | str, max_bytes: int = MAX_DOCUMENT) -> bytes:
    """Return a regular file's content; links are followed, a FIFO or a device is never waited for.

    Raises BoundsError for anything but a regular file and for more than `max_bytes` bytes, OSError otherwise.
    """
    # Neither waits for the writer of a FIFO, nor makes a terminal that of this process.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        return read_descriptor(descriptor, max_bytes)
    finally:
        os.close(descriptor)


def read_object(path: Path) -> dict[str, Any]:
    """Return a file's JSON object, or an empty one where the file is missing, too large or torn."""
    try:
        value = bounded_json(read_bounded(path))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def read_descriptor(descriptor: int, max_bytes: int) -> bytes:
    """Return what an open regular file holds. Raises BoundsError as `read_bounded` does."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise BoundsError(f"is {kind_of(status.st_mode)}, not a regular file")
    parts: list[bytes] = []
    left = max_bytes + 1  # one more than there may be tells that it is too large
    while left and (part := os.read(descriptor, min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    if not left:
        raise BoundsError(f"is larger than {max_bytes} bytes")
    return b"".join(parts)


_KINDS = {
    stat.S_IFREG: "a regular file",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
    stat.S_IFLNK: "a symbolic link",
}


def kind_of(mode: int) -> str:
    """Return in words what a file of this mode is: `a FIFO`."""
    return _KINDS.get(stat.S_IFMT(mode), "of an unknown kind")


def why_no_file(path: Path, shown: str = "") -> str:
    """Say why a path is not that of a regular file, as a sentence about `shown`; nothing where it is one."""
    named = shown or str(path)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return f"there is no file {named}"
    except (OSError, ValueError) as error:  # a NUL byte in its name
        return f"cannot read {named}: {getattr(error, 'strerror', None) or error}"
    return "" if stat.S_ISREG(mode) else f"{named} is {kind_of(mode)}, not a regular file"


def no_constant(word: str) -> Any:
    """Refuse NaN and Infinity, for `parse_constant` of json."""
    raise BoundsError(f"holds {word}, which is no JSON number")


def finite(digits: str) -> float:
    """Return a number, for `parse_float` of json. Raises BoundsError where it is too large for one."""
    value = float(digits)
    if not math.isfinite(value):
        raise BoundsError(f"holds the number {digits[:20]}, which is too large")
    return value


_DECODER = json.JSONDecoder(parse_constant=no_constant, parse_float=finite)


def read_input(path: Path, max_bytes: int) -> bytes:
    """Return what a file of the user holds, a pipe of the shell's (`<(…)`) included.

    Raises OSError where it cannot be read and BoundsError for more than `max_bytes` bytes, and for a FIFO
    that no process opens to write to within a moment.
    """
    if "\0" in str(path):
        raise BoundsError("has a NUL byte in its name")
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        _await_writer(descriptor)
        return _read_stream(descriptor, max_bytes)
    finally:
        os.close(descriptor)


def _await_writer(descriptor: int) -> None:
    """Wait for the writer of a FIFO that has a name: until there is one, it reads as empty."""
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        return
    if str(Path(f"/proc/self/fd/{descriptor}").readlink()).startswith("pipe:"):
        return  # a pipe of the shell's, whose writer may have ended already
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    if not waiting.poll(WRITER_PATIENCE * 1000):
        raise BoundsError("is a FIFO that no process writes to")


def _read_stream(descriptor: int, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    left = max_bytes + 1
    while left:
        try:
            part = os.read(descriptor, min(left, 1 << 20))
        except BlockingIOError:
            select.select([descriptor], [], [])
            continue
        if not part:
            return b"".join(parts)
        parts.append(part)
        left -= len(part)
    raise BoundsError(f"is larger than {max_bytes} bytes")


def parts_until(descriptor: int, deadline: float) -> Iterator[bytes]:
    """Yield what comes through a pipe, as it comes, until its writers have ended.

    Raises TimeoutError where the deadline (`time.monotonic`) passes while nothing comes.
    """
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    while True:
        if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError
        part = os.read(descriptor, 1 << 16)
        if not part:
            return
        yield part


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise BoundsError when what is done takes longer: for patterns of others, which may take for ever.

    It is the processor's time that counts: on a busy computer all takes long. Python's own matching is
    interrupted. Only the main thread can be: others call what may take long through `untrusted.apart`.
    """

    def over(_number: int, _frame: FrameType | None) -> None:
        raise BoundsError(f"takes longer than {seconds:g} seconds")

    began = time.process_time()
    before = signal.signal(signal.SIGPROF, over)
    rest, interval = signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        if rest:  # an outer limit continues with what it has left; 0 would switch it off
            signal.setitimer(signal.ITIMER_PROF, max(rest - (time.process_time() - began), 0.001), interval)
