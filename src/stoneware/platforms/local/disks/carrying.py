"""Carrying files from one root file system of the store to another, whoever has shaped them.

The target is a snapshot that nothing runs in. Its directories are opened part by part, so that no link leads
out of it; contents share their blocks. Owners, modes, attributes, times, holes and hard links stay.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from stoneware.platforms.local.disks.comparison import attributes
from stoneware.platforms.local.store import btrfs
from stoneware.untrusted import removal
from stoneware.untrusted.rooted_paths import is_directory_at, opened_below

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class CannotCarry(Exception):
    """What is there is not carried: a device, or a file that has names elsewhere."""


class Carrier:
    """Carries files from `source`, which is read-only, into `target`."""

    def __init__(self, source: Path, target: Path) -> None:
        self._source = source
        self._target = target
        self._top = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._linked: dict[int, tuple[str, int, int]] = {}  # inode: where it is, names so far, names in all

    def __enter__(self) -> Carrier:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._top)

    @contextlib.contextmanager
    def _parent(self, path: str) -> Iterator[tuple[int, str]]:
        *parts, name = path.split("/")
        with opened_below(self._top, tuple(parts)) as directory:
            yield directory, name

    def remove(self, path: str) -> None:
        """Remove what is at a path of the target, with all that is below it."""
        with self._parent(path) as (directory, name):
            removal.remove_at(directory, name)

    def put(self, path: str) -> None:
        """Put what the source has at a path, with all that is below it, where the target has nothing.

        Raises CannotCarry, OSError.
        """
        made: list[str] = []
        waiting = [path]
        while waiting:
            place = waiting.pop()
            if stat.S_ISDIR((self._source / place).lstat().st_mode):
                made.append(place)
                waiting += [f"{place}/{entry.name}" for entry in (self._source / place).iterdir()]
            self._put_one(place)
        for place in reversed(made):  # what came into them has changed their times
            self.set_times(place, (self._source / place).lstat())

    def _put_one(self, path: str) -> None:
        status = (self._source / path).lstat()
        with self._parent(path) as (directory, name):
            if self._link(path, status, directory, name):
                return
            if stat.S_ISDIR(status.st_mode):
                # Shut until `_describe` gives it its own mode.
                os.mkdir(name, 0o700, dir_fd=directory)
            elif stat.S_ISLNK(status.st_mode):
                os.symlink((self._source / path).readlink(), name, dir_fd=directory)
            elif stat.S_ISREG(status.st_mode):
                self._share(path, directory, name)
            elif stat.S_ISFIFO(status.st_mode):
                os.mkfifo(name, 0o600, dir_fd=directory)
            else:
                raise CannotCarry(f"/{path} is a device or a socket")
            self._describe(path, status, directory, name)

    def _link(self, path: str, status: os.stat_result, directory: int, name: str) -> bool:
        """Make another name of a file that is there already, if it is one."""
        if status.st_nlink == 1 or stat.S_ISDIR(status.st_mode):
            return False
        first, names, _ = self._linked.get(status.st_ino, (path, 0, 0))
        self._linked[status.st_ino] = (first, names + 1, status.st_nlink)
        if not names:
            return False
        with self._parent(first) as (origin, other):
            os.link(other, name, src_dir_fd=origin, dst_dir_fd=directory, follow_symlinks=False)
        return True

    def _share(self, path: str, directory: int, name: str) -> None:
        with (
            os.fdopen(os.open(self._source / path, _FILE), "rb") as reader,
            os.fdopen(os.open(name, _NEW, 0o600, dir_fd=directory), "wb") as writer,
        ):
            btrfs.share_blocks(reader.fileno(), writer.fileno())

    def describe(self, path: str) -> None:
        """Give a directory that both have the source's mode, owner and attributes."""
        with self._parent(path) as (directory, name):
            if not is_directory_at(directory, name):
                raise CannotCarry(f"/{path} is no directory")
            self._describe(path, (self._source / path).lstat(), directory, name)

    def _describe(self, path: str, status: os.stat_result, directory: int, name: str) -> None:
        # The owner first: with a new one the kernel takes setuid bits and capabilities away.
        os.chown(name, status.st_uid, status.st_gid, dir_fd=directory, follow_symlinks=False)
        place = Path(f"/proc/self/fd/{directory}/{name}")
        if not stat.S_ISLNK(status.st_mode):  # the others are no links: they have just been looked at
            os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=directory)
        wanted, there = attributes(self._source / path), attributes(place)
        for attribute in there.keys() - wanted.keys():
            os.removexattr(place, attribute, follow_symlinks=False)
        for attribute, value in wanted.items():
            if there.get(attribute) != value:
                os.setxattr(place, attribute, value, follow_symlinks=False)
        _set_times(directory, name, status)

    def set_times(self, path: str, status: os.stat_result) -> None:
        """Give a file of the target the times of another."""
        if not path:
            os.utime(self._top, ns=(status.st_atime_ns, status.st_mtime_ns))
            return
        with self._parent(path) as (directory, name):
            _set_times(directory, name, status)

    def finish(self) -> None:
        """Raise CannotCarry where a file has names among what was not carried."""
        for first, names, all_names in self._linked.values():
            if names != all_names:
                raise CannotCarry(f"/{first} has other names elsewhere")


def _set_times(directory: int, name: str, status: os.stat_result) -> None:
    os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=directory, follow_symlinks=False)
