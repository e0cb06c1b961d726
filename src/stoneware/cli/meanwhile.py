"""Reading a cluster's files in a process of its own while this one loads what the command needs.

Both take a processor for as long as all else that `down` does before the first machine stops.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from stoneware.dataclass import dataclass


@dataclass(frozen=True)
class Named:
    """What a cluster's files are and what it is called."""

    name: str
    files: tuple[Path, ...]


class Meanwhile:
    """A look at a cluster's files that has begun; in a `with` block, so that its process ends.

    `alone` it begins with `result`, in this process: what can be looked at only once.
    """

    def __init__(self, look: Callable[[], Named], *, alone: bool = False) -> None:
        self._look = look
        self._alone = alone
        self._child = self._answer = -1

    def __enter__(self) -> Self:
        # A process with several threads cannot be copied safely.
        if not self._alone and len(list(Path("/proc/self/task").iterdir())) == 1:
            with contextlib.suppress(OSError):
                self._child, self._answer = _copy(self._look)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child >= 0:
            os.kill(self._child, signal.SIGKILL)  # nobody has waited for it: its number is still its own
            self._wait()

    def result(self) -> Named:
        """Return what was found; where the other process fails, look here, and raise what that raises."""
        if self._child >= 0:
            said = _read(self._answer)
            if self._wait() == 0:
                return _named(said)
        return self._look()

    def _wait(self) -> int:
        """Wait for the other process, and return how it ended."""
        child, self._child = self._child, -1
        os.close(self._answer)
        return os.waitpid(child, 0)[1]


def _copy(look: Callable[[], Named]) -> tuple[int, int]:
    """Start a copy of this process that looks; return its number and where it answers."""
    reader, writer = os.pipe()
    with _without_interrupts():
        child = os.fork()
        if child == 0:
            _answer(look, writer)
    os.close(writer)
    return child, reader


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Let no signal come between: the copy would run what is ours to run at the end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _answer(look: Callable[[], Named], writer: int) -> None:
    """Look and tell, in the copy; never return. What goes wrong is seen, and said, where it is done again."""
    code = 1
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(nothing, number)
        found = look()
        with os.fdopen(writer, "wb") as stream:
            stream.write(json.dumps([found.name, *map(os.fspath, found.files)]).encode())
        code = 0
    finally:
        os._exit(code)


def _read(reader: int) -> bytes:
    parts = []
    while part := os.read(reader, 1 << 16):
        parts.append(part)
    return b"".join(parts)


def _named(said: bytes) -> Named:
    name, *files = json.loads(said)
    return Named(name, tuple(map(Path, files)))
