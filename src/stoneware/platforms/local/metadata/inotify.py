"""Directories that the kernel watches for us: inotify(7) by way of the C library.

Not asyncinotify: its import starts `ldconfig`, in the server that the first `run` waits for, and an event
takes six times as long; a console that grows fast makes thousands of them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from pathlib import Path

MODIFY, CREATE, MOVED_TO = 0x2, 0x100, 0x80
_CLOSE_WRITE, _DELETE, _DELETE_SELF, _MOVE_SELF, _IGNORED = 0x8, 0x200, 0x400, 0x800, 0x8000
REPLACED = _CLOSE_WRITE | MOVED_TO | _DELETE | _DELETE_SELF | _MOVE_SELF  # files got new content, or went
_HEADER = struct.Struct("=iIII")


class Inotify:
    """Directories whose entries the kernel watches."""

    def __init__(self, events: int = REPLACED) -> None:
        self._events = events
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.descriptor < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        self._paths: dict[int, Path] = {}

    def add(self, path: Path) -> bool:
        """Watch a directory; return False where that cannot be."""
        watch = self._libc.inotify_add_watch(self.descriptor, os.fsencode(path), self._events)
        if watch >= 0:
            self._paths[watch] = path
        return bool(watch >= 0)

    def remove(self, path: Path) -> None:
        """Watch a directory no longer."""
        for watch in [watch for watch, known in self._paths.items() if known == path]:
            del self._paths[watch]
            self._libc.inotify_rm_watch(self.descriptor, watch)

    def read(self) -> set[Path]:
        """Return the directories in which something happened."""
        changed: set[Path] = set()
        with contextlib.suppress(BlockingIOError):
            data = os.read(self.descriptor, 65536)
            place = 0
            while place < len(data):
                watch, event, _, length = _HEADER.unpack_from(data, place)
                place += _HEADER.size + length
                if watch == -1:  # the queue was too short for all
                    changed.update(self._paths.values())
                elif watch in self._paths:
                    changed.add(self._paths[watch])
                    if event & _IGNORED:  # the directory is gone
                        del self._paths[watch]
        return changed
