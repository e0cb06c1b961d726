"""The streams of a command in a virtual machine, between its ports and descriptors of ours.

A token that only the two sides know stands before and after what is the command's: what an earlier command
has left in a port comes before it, and everything has come once it is there again.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
from collections.abc import Callable

_CHUNK = 1 << 16  # bytes
_MOST_BEFORE = 1 << 24  # bytes that an earlier command may have left
_LONGEST = 128  # bytes of the line that the token is in, behind it
# Behind the token: process id and terminal at the beginning, the exit code at the end, nothing of errors.
BEGINNING = re.compile(rb" ([0-9]{1,7}) (-|/dev/pts/[0-9]{1,5})")
END = re.compile(rb" ([0-9]{1,3})")


class Splitter:
    """Finds what is the command's in a stream: `feed` takes what comes, and returns what is passed on."""

    def __init__(self, token: bytes) -> None:
        self._token, self._kept, self._before = token, b"", 0
        self.beginning: bytes | None = None  # what stands behind the first token, once it has come
        self.end: bytes | None = None

    def feed(self, data: bytes) -> bytes:
        """Return what of the data, and of what was kept back, is the command's. Raises ValueError."""
        self._kept += data
        if self.beginning is None:
            self._before += len(data)
            self.beginning = self._line()
            if self.beginning is None:
                if self._before > _MOST_BEFORE:
                    raise ValueError("no command begins")
                return b""
        if self.end is not None:
            return b""
        place = self._kept.find(self._token)
        if place >= 0:
            said, self._kept = self._kept[:place], self._kept[place:]
            self.end = self._line()
            return said
        # What may be the beginning of the token waits for more.
        keep = next((size for size in range(len(self._token) - 1, 0, -1) if self._ends_with(size)), 0)
        said, self._kept = self._kept[: len(self._kept) - keep], self._kept[len(self._kept) - keep :]
        return said

    def _ends_with(self, size: int) -> bool:
        return self._kept.endswith(self._token[:size])

    def _line(self) -> bytes | None:
        """Take a line with the token, if it is there, and return what is behind the token."""
        place = self._kept.find(self._token)
        if place < 0:
            self._kept = self._kept[-len(self._token) :]
            return None
        after = place + len(self._token)
        end = self._kept.find(b"\n", after, after + _LONGEST)
        if end < 0:
            if len(self._kept) - after > _LONGEST:
                raise ValueError("a line that does not end")
            self._kept = self._kept[place:]
            return None
        line, self._kept = self._kept[after:end], self._kept[end + 1 :]
        return line


class FromMachine(threading.Thread):
    """Passes on what a command says. `target` (its own, None: nowhere) is closed at the end."""

    def __init__(
        self, port: socket.socket, target: int | None, token: bytes, told: Callable[[], None]
    ) -> None:
        super().__init__(daemon=True)
        self.split = Splitter(token)
        self.lost = False  # it ended before the command's end
        self.refused = False  # the target takes no more
        self._port, self._target, self._told = port, target, told

    def run(self) -> None:
        """Move bytes until the end."""
        try:
            while self.split.end is None:
                known = self.split.beginning
                data = self._port.recv(_CHUNK)
                said = self.split.feed(data) if data else b""
                self.lost = not data
                # Read on where the target takes no more: a port that is full would keep the end from coming.
                if said and self._target is not None and not self.refused:
                    self._write(said)
                if known is not self.split.beginning:
                    self._told()
                if self.lost:
                    break
        except (OSError, ValueError):
            self.lost = True
        finally:
            if self._target is not None:
                os.close(self._target)
            self._told()

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._target or 0, view) :]
        except OSError:
            self.refused = True
            self._told()


class ToMachine(threading.Thread):
    """Hands a command its input, from a descriptor that becomes its own; unless `raw` in counted pieces."""

    def __init__(self, source: int, port: socket.socket, token: bytes, *, raw: bool) -> None:
        super().__init__(daemon=True)
        self._source, self._port, self._raw = source, port, raw
        self._token = token

    def run(self) -> None:
        """Move bytes until the end of the source."""
        with contextlib.suppress(OSError):
            self._port.sendall(self._token + b"\n")
            while data := os.read(self._source, _CHUNK):
                self._port.sendall(data if self._raw else b"%d\n%b" % (len(data), data))
            # A port has no end of its own, so inside.sh is told where the input's is.
            if not self._raw:
                self._port.sendall(b"0\n")
        os.close(self._source)
