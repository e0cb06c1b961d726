"""Removing directory trees that somebody else has shaped: of any depth, with any names, and by descriptors.

`shutil.rmtree` and path strings end at 4096 bytes and at Python's recursion limit. Here a directory is always
named relative to an open one, links are never followed, and three descriptors are open at a time.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from dataclasses import field
from pathlib import Path

from stoneware.dataclass import dataclass

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MANY = 10_000  # names of directories that are kept of one directory at a time
# Removes the file system's own kind of directory (a subvolume), given the directory it is in and its name.
Special = Callable[[int, str], None]


@dataclass
class _Level:
    """A directory on the way down: its name in the one above, what it is, and what is to be removed in it."""

    name: str
    identity: tuple[int, int]  # device and inode
    waiting: list[str] = field(default_factory=list)


def remove_tree(path: Path, *, mounted: Special | None = None) -> None:
    """Remove a file or a directory with all that is below it; a missing one is no error.

    `mounted` is called for a directory that is on another device than the one it is in, such as a subvolume.
    Without it that is an error: nothing that is mounted there shall be emptied. Raises OSError.
    """
    try:
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        remove_at(parent, path.name, mounted=mounted)
    finally:
        os.close(parent)


def remove_at(parent: int, name: str, *, mounted: Special | None = None) -> None:
    """Do what `remove_tree` does, for a name in an open directory."""
    device = os.fstat(parent).st_dev
    inner = _enter(parent, name, device, mounted)
    if inner is None:
        return
    removal = _Removal(inner, _identity(parent), mounted)
    try:
        removal.run(name)
    finally:
        os.close(removal.here)


def _enter(parent: int, name: str, device: int, mounted: Special | None) -> int | None:
    """Open a directory that is to be emptied; what is anything else is removed at once."""
    try:
        inner = os.open(name, _OPEN, dir_fd=parent)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        os.unlink(name, dir_fd=parent)
        return None
    if os.fstat(inner).st_dev == device:
        return inner
    os.close(inner)
    if mounted is None:
        raise OSError(errno.EBUSY, "a file system is mounted there", name)
    mounted(parent, name)
    return None


class _Removal:
    """One removal under way: `here` is the directory that is being emptied."""

    def __init__(self, here: int, above: tuple[int, int], mounted: Special | None) -> None:
        self.here = here
        self._above = above  # what the top is in
        self._mounted = mounted

    def run(self, name: str) -> None:
        levels = [_Level(name, _identity(self.here))]
        while levels:
            level = levels[-1]
            # Looked through again when its names are used up: there may be more than are kept.
            level.waiting = level.waiting or _clear(self.here)
            if not level.waiting:
                levels.pop()
                # Up by `..`, as a descriptor for each level would be too many; where that leads is then
                # checked.
                self._go(os.open("..", _OPEN, dir_fd=self.here))
                self._check(levels[-1].identity if levels else self._above)
                os.rmdir(level.name, dir_fd=self.here)
                continue
            child = level.waiting.pop()
            inner = _enter(self.here, child, level.identity[0], self._mounted)
            if inner is not None:
                self._go(inner)
                levels.append(_Level(child, _identity(inner)))

    def _go(self, directory: int) -> None:
        os.close(self.here)
        self.here = directory

    def _check(self, expected: tuple[int, int]) -> None:
        if _identity(self.here) != expected:
            raise OSError(errno.ESTALE, "a directory was moved while it was being removed")


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _clear(directory: int) -> list[str]:
    """Remove what is not a directory; return the names of directories that are left, many at most."""
    found: list[str] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                found.append(entry.name)
                if len(found) >= _MANY:
                    break
            else:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(entry.name, dir_fd=directory)
    return found
