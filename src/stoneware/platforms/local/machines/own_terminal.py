"""The terminal that we run in, while a command in a machine has it: raw, its size followed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import termios
import tty
from collections.abc import Iterator

_NO_SIZE = struct.pack("HHHH", 0, 0, 0, 0)


def ours() -> int | None:
    """Return a standard stream that is a terminal, or None."""
    return next((stream for stream in (0, 1, 2) if os.isatty(stream)), None)


def resize(master: int) -> None:
    """Give a pty the size of our terminal, if we have one."""
    terminal = ours()
    if terminal is not None:
        with contextlib.suppress(OSError):
            size = fcntl.ioctl(terminal, termios.TIOCGWINSZ, _NO_SIZE)
            fcntl.ioctl(master, termios.TIOCSWINSZ, size)


class Raw:
    """Our terminal in raw mode: all keys are the command's. It is as it was before at the end, always."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._before = termios.tcgetattr(descriptor)

    def take(self) -> None:
        """Make it raw (again)."""
        # NOW: the default drops what has been typed already.
        tty.setraw(self._descriptor, termios.TCSANOW)

    def give_back(self) -> None:
        """Make it what it was; one that is gone is no error."""
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self._descriptor, termios.TCSANOW, self._before)


@contextlib.contextmanager
def raw(descriptor: int) -> Iterator[Raw]:
    """Have a terminal in raw mode."""
    taken = Raw(descriptor)
    try:
        taken.take()
        yield taken
    finally:
        taken.give_back()
