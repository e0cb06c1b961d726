"""Reading a root file system that somebody else has made, from outside: no link, no `..` leads out of it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stoneware.untrusted.bounded import BoundsError, read_descriptor

_OPENAT2 = 437  # of all architectures
_RESOLVE_NO_MAGICLINKS, _RESOLVE_IN_ROOT = 0x02, 0x10
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
MAX_DEPTH = 512  # directories inside each other, of what is read or copied
_MOST_FILES = 100_000

Parts = tuple[str, ...]


def open_inside(root: Path, path: str, flags: int) -> int:
    """Open `path` with its links read as inside of `root` (openat2). Raises OSError."""
    import ctypes

    library: Any = ctypes.CDLL(None, use_errno=True)
    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # The struct open_how of openat2, which Python has no function for.
        how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, _RESOLVE_NO_MAGICLINKS | _RESOLVE_IN_ROOT)
        found = library.syscall(_OPENAT2, top, os.fsencode(path), ctypes.c_char_p(how), len(how))
    finally:
        os.close(top)
    if found < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return int(found)


def mode_inside(root: Path, path: str) -> int:
    """Return the mode of what is at a path of a root, 0 for nothing; a link to nothing is a link."""
    for flags in (os.O_PATH, os.O_PATH | os.O_NOFOLLOW):
        try:
            descriptor = open_inside(root, path, flags)
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise
            continue
        try:
            return os.fstat(descriptor).st_mode
        finally:
            os.close(descriptor)
    return 0


def files_inside(root: Path, path: str, *, most: int) -> list[tuple[str, bytes]]:
    """Return the regular files below a directory of a root: relative path and content, sorted.

    Links in it are not followed, and nothing but regular files is opened; a missing directory is an empty
    one. Raises BoundsError for more than `most` bytes in all, too many files, or too deep a tree.
    """
    try:
        top = open_inside(root, path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
        return []
    found: list[tuple[str, bytes]] = []
    try:
        waiting: list[Parts] = [()]
        while waiting:
            parts = waiting.pop()
            if len(parts) > MAX_DEPTH:
                raise BoundsError(f"has more than {MAX_DEPTH} directories inside each other")
            with opened_below(top, parts) as here, os.scandir(here) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append((*parts, entry.name))
                    elif entry.is_file(follow_symlinks=False):
                        content = _read(here, entry.name, most)
                        most -= len(content)
                        found.append(("/".join((*parts, entry.name)), content))
                    if len(found) + len(waiting) > _MOST_FILES:
                        raise BoundsError(f"has more than {_MOST_FILES} files")
    finally:
        os.close(top)
    return sorted(found)


def _read(directory: int, name: str, most: int) -> bytes:
    descriptor = os.open(name, _FILE, dir_fd=directory)
    try:
        return read_descriptor(descriptor, most)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def opened_below(top: int, parts: Parts) -> Iterator[int]:
    """Open a directory below an open one, part by part; a link on the way is an error (OSError)."""
    descriptor = os.dup(top)
    try:
        for part in parts:
            inner = os.open(part, _DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def is_directory_at(directory: int, name: str) -> bool:
    """Say whether a name in an open directory is a directory, and no link to one."""
    return stat.S_ISDIR(mode_at(directory, name))


def mode_at(directory: int, name: str) -> int:
    """Return the mode of a name in an open directory, 0 where there is nothing."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return 0
