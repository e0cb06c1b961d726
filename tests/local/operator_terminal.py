"""A terminal with a program in it, as an operator has one."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

STONEWARE = (sys.executable, "-m", "stoneware.cli.main")


class OperatorTerminal:
    """Runs a program as the first of a session on a pty; what it shows is in `seen`."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], *, rows: int = 30, columns: int = 90):
        self.seen = b""
        self.code: int | None = None
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            try:
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
                os.execvpe(argv[0], list(argv), {**os.environ, **env})  # noqa: S606
            finally:
                os._exit(99)
        self.before = termios.tcgetattr(self.master)

    def __enter__(self) -> OperatorTerminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.master)

    def send(self, data: bytes) -> None:
        os.write(self.master, data)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def wait_for(self, text: bytes, seconds: float = 300) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < deadline, (text, self.seen)
            self._read(0.1)

    def typed(self) -> list[int]:
        """Return the terminal's local flags, to compare: raw or not."""
        flags = termios.tcgetattr(self.master)[3]
        assert isinstance(flags, int)
        return [flags & (termios.ICANON | termios.ECHO | termios.ISIG)]

    def is_raw(self) -> bool:
        return not termios.tcgetattr(self.master)[3] & termios.ICANON

    def end(self, seconds: float = 300) -> int:
        """Wait for the program's end and return its exit code."""
        deadline = time.monotonic() + seconds
        while self.code is None:
            assert time.monotonic() < deadline, self.seen
            self._read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        self._read(0)
        return self.code

    def _read(self, wait: float) -> None:
        while select.select([self.master], [], [], wait)[0]:
            try:
                data = os.read(self.master, 65536)
            except OSError:  # nobody has it open any more
                return
            self.seen += data
            wait = 0
