"""Moving bytes between our own standard streams and the pipes or the pty of a command in a machine.

Our streams are never handed in: what has a terminal as a descriptor can type into it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import stat
import struct
import termios
import threading
from collections.abc import Callable

from stoneware.platforms.local.machines.runner import Terminal

_CHUNK = 1 << 20  # bytes
_SPARE = 1 << 20  # bytes that a pty may still say when its command has ended
_QUIET = 100  # milliseconds without a word after which such a pty is done


def waiting(reader: int) -> int:
    """Return how many bytes can be read from a pipe now."""
    (size,) = struct.unpack("i", fcntl.ioctl(reader, termios.FIONREAD, struct.pack("i", 0)))
    return int(size)


def pipe() -> tuple[int, int]:
    """Make a pipe that holds as much as is moved at once."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    widen(writer)
    return reader, writer


def _is_pipe(descriptor: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def widen(descriptor: int) -> None:
    """Let a pipe hold as much as is moved at once; anything else stays as it is."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _CHUNK)


class _Flow:
    """A thread that moves bytes until it is told to finish; it waits for nothing else then."""

    def __init__(self) -> None:
        self.error: OSError | None = None  # what our own side said
        self._told, self._tell = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to move."""
        self._thread.start()

    def finish(self) -> None:
        """Tell it to end, and wait until it has."""
        os.write(self._tell, b".")
        # It may never have been started, where what was to be relayed failed to begin.
        if self._thread.ident is not None:
            self._thread.join()
        os.close(self._tell)
        os.close(self._told)

    def _run(self) -> None:
        raise NotImplementedError

    def _wait(self, descriptor: int, event: int) -> bool:
        """Wait for a descriptor; return False once told to finish."""
        poll = select.poll()
        poll.register(descriptor, event)
        poll.register(self._told, select.POLLIN)
        return all(found != self._told for found, _ in poll.poll())


class Outflow(_Flow):
    """From a command's pipe, which becomes its own, or its pty to a descriptor of ours (None: nowhere).

    When ours takes no more, the pipe is closed, so that the command learns of it as by a pipe of its own; of
    a pty `failed` is called.
    """

    def __init__(
        self,
        source: int,
        target: int | None,
        *,
        pty: Terminal | None = None,
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        os.set_blocking(source, False)  # the machine can open the pipe as well, and read what we were told of
        self._source, self._target, self._pty, self._failed = source, target, pty, failed
        self._splice = pty is None and target is not None

    def _run(self) -> None:
        if self._target is not None:
            widen(self._target)
        try:
            while self._wait(self._source, select.POLLIN):
                if not self._move(_CHUNK):
                    return
            if self._pty is not None:
                self._drain_pty()
            else:
                # What the command left running may hold the pipe for ever, and fill it.
                left = waiting(self._source)
                while left > 0 and waiting(self._source) and (moved := self._move(left)):
                    left -= max(0, moved)
        except OSError as error:
            self.error = error
            self._failed()
        finally:
            if self._pty is None:
                os.close(self._source)

    def finish(self) -> None:
        """Tell it to end once it has moved what the command has said, and wait until it has."""
        if self._pty is not None:
            self._pty.close_slave()  # so that its end can be seen
        super().finish()

    def _drain_pty(self) -> None:
        poll = select.poll()
        poll.register(self._source, select.POLLIN)
        left = _SPARE
        while left > 0 and poll.poll(_QUIET) and (moved := self._move(left)):
            left -= max(0, moved)

    def _move(self, most: int) -> int:
        """Return how many bytes, up to `most`, it moved; 0 at the end, -1: try again. An OSError is ours."""
        if self._splice and self._target is not None:
            try:
                return os.splice(self._source, self._target, most, flags=os.SPLICE_F_NONBLOCK)
            except BlockingIOError:  # nothing is there, or there is no room for it
                _writable(self._target)
                return -1
            except OSError as error:
                if error.errno != errno.EINVAL:  # as of a terminal, or a file opened to append
                    raise
                self._splice = False
        try:
            data = os.read(self._source, min(most, _CHUNK))
        except BlockingIOError:
            return -1
        except OSError:  # the last one has closed the pty
            return 0
        if self._target is not None:
            _write_all(self._target, data)
        return len(data)


def _write_all(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(target, view) :]
        except BlockingIOError:  # somebody else has made our output so
            _writable(target)


def _writable(target: int) -> None:
    poll = select.poll()
    poll.register(target, select.POLLOUT)
    poll.poll()


class Tail(_Flow):
    """Reads a pipe, which becomes its own, and keeps the last `keep` bytes."""

    def __init__(self, source: int, keep: int) -> None:
        super().__init__()
        os.set_blocking(source, False)
        self._source, self._keep, self._said = source, keep, bytearray()

    def said(self) -> bytes:
        """Return what came last; call `finish` first."""
        return bytes(self._said[-self._keep :])

    def _run(self) -> None:
        try:
            while self._wait(self._source, select.POLLIN):
                if not self._take(_CHUNK):
                    return
            self._take(waiting(self._source))
        finally:
            os.close(self._source)

    def _take(self, most: int) -> bool:
        try:
            data = os.read(self._source, most) if most else b""
        except BlockingIOError:
            return True
        # All of it is read though little is kept: a full pipe would stop the command.
        self._said += data[-self._keep :]
        del self._said[: -self._keep]
        return bool(data)


class Inflow(_Flow):
    """From a descriptor of ours to a command's pipe or pty, which does not block; `ended` closes that."""

    def __init__(self, source: int, target: int, *, ended: Callable[[], None]) -> None:
        super().__init__()
        self._source, self._target, self._ended = source, target, ended
        self._splice = _is_pipe(source) and _is_pipe(target)

    def _run(self) -> None:
        # Ours too: a megabyte at a time instead of 64 KiB is fewer switches between processes.
        widen(self._source)
        widen(self._target)
        try:
            while self._wait(self._source, select.POLLIN):
                moved = self._splice_some() if self._splice else self._copy_some()
                if not moved:
                    self._ended()
                    return
        except OSError as error:
            self.error = error
            self._ended()

    def _splice_some(self) -> bool:
        """Move what a pipe of ours holds without copying it; False at its end.

        What a file holds is never moved so: the machine would have pages of this computer's cache.
        """
        try:
            return os.splice(self._source, self._target, _CHUNK) > 0
        except BlockingIOError:
            return self._wait(self._target, select.POLLOUT)
        except OSError:
            self._splice = False  # not between pipes after all
            return True

    def _copy_some(self) -> bool:
        data = self._read()
        return bool(data) and self._write(data)

    def _read(self) -> bytes:
        while True:
            try:
                return os.read(self._source, _CHUNK)
            except BlockingIOError:
                if not self._wait(self._source, select.POLLIN):
                    return b""

    def _write(self, data: bytes) -> bool:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._target, view) :]
            except BlockingIOError:
                if not self._wait(self._target, select.POLLOUT):
                    return False
            except OSError:  # the command takes no more
                return False
        return True
