"""Standard output and error as all commands have them: safe to look at, their faults told in words.

Whatever is written as text is made visible here, once for all commands. What is a machine's own output,
`logs` and `exec`, is written as bytes, to `buffer`; what has colours of ours goes to `styled` and has been
made visible part by part.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any

from stoneware.errors import StonewareError
from stoneware.untrusted.visible import visible_lines


class OutputError(StonewareError):
    """Standard output takes nothing any more: its disk is full, or its device is gone."""


class GuardedStream:
    """A stream whose faults are ours to tell: a closed pipe is BrokenPipeError, all else OutputError.

    With `quiet`, for standard error, they are dropped: there is no stream left for them.
    """

    def __init__(self, stream: Any, *, quiet: bool, faults: list[str] | None = None) -> None:
        self._stream = stream
        self._quiet = quiet
        self._faults: list[str] = [] if faults is None else faults

    def __getattr__(self, name: str) -> Any:
        """Give everything else of the stream below."""
        return getattr(self._stream, name)

    def write(self, data: Any) -> int:
        """Write as the stream below does."""
        if data:  # libraries write nothing at all to learn what a stream takes
            with self._told():
                self._stream.write(data)
        return len(data)

    def writelines(self, lines: Any) -> None:
        """Write several pieces."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush as the stream below does."""
        with self._told():
            self._stream.flush()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
            if self._faults and not self._quiet:  # the library that wrote before may have caught it
                raise OutputError(f"the output cannot be written: {self._faults[0]}")
        except BrokenPipeError:
            discard(self._stream)
            if not self._quiet:
                raise
        except OSError as error:
            # A non-blocking terminal or pipe that is full for the moment: nothing is wrong with it.
            if error.errno == errno.EAGAIN:
                raise
            discard(self._stream)
            self._faults.append(error.strerror or "unknown reason")
            if not self._quiet:
                raise OutputError(f"the output cannot be written: {self._faults[0]}") from error


class VisibleStream(GuardedStream):
    """A text stream on which everything is visible; `styled` is the same without that."""

    @property
    def buffer(self) -> Any:
        """Return the stream of bytes below."""
        return GuardedStream(self._stream.buffer, quiet=self._quiet, faults=self._faults)

    @property
    def styled(self) -> GuardedStream:
        """Return the stream for text with colours and cursor movements of our own."""
        return GuardedStream(self._stream, quiet=self._quiet, faults=self._faults)

    def write(self, data: str) -> int:
        """Write text, with everything in it made visible."""
        if not isinstance(data, str):
            raise TypeError(f"text is written here, not {type(data).__name__}")
        super().write(visible_lines(data))
        return len(data)


def styled(stream: Any) -> Any:
    """Return what takes colours and cursor movements of ours for a stream."""
    return getattr(stream, "styled", stream)


def discard(stream: Any) -> None:
    """Let what a stream still holds, and what comes, go nowhere: nothing may fail when the process ends."""
    with contextlib.suppress(OSError, ValueError):
        sink = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(sink, stream.fileno())
        finally:
            os.close(sink)


def open_missing() -> None:
    """Open /dev/null where a standard descriptor is closed, or the next file opened would take its number."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            # As they are for all programs, so for those that are started from here.
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:  # Python has none where its descriptor was closed
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Make standard output and error safe while a command runs."""
    before = sys.stdout, sys.stderr
    # Wrapped already: once more would escape everything twice.
    if isinstance(before[0], VisibleStream):
        yield
        return
    for stream in before:
        if hasattr(stream, "reconfigure"):  # a locale without our arrows, names that are no UTF-8
            stream.reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = VisibleStream(before[0], quiet=False), VisibleStream(before[1], quiet=True)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
