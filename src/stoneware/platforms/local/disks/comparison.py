"""What differs between two root file systems of the store, by what btrfs knows of each file.

Both are read-only snapshots, so nothing moves while they are read. Images of one lineage share their inodes:
a file with the same number and the same time of its last change, which nobody can set, is the same.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from stoneware.dataclass import dataclass

_CHUNK = 1 << 20
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class Difference:
    """A path ("" is the root itself) with what is there in the one and in the other, None for nothing.

    Where a whole directory is on one side only, that directory alone is told.
    """

    path: str
    before: os.stat_result | None
    after: os.stat_result | None


def differences(one: Path, other: Path, below: str = "") -> Iterator[Difference]:
    """Yield what differs between two roots, below a directory that both have. Raises OSError."""
    if not below:
        yield from _unless_unchanged("", one.lstat(), other.lstat())
    waiting = [below]
    while waiting:
        place = waiting.pop()
        before, after = _entries(one, place), _entries(other, place)
        for name in sorted(before.keys() | after.keys()):
            path = f"{place}/{name}" if place else name
            was, now = before.get(name), after.get(name)
            if was and now and stat.S_ISDIR(was.st_mode) and stat.S_ISDIR(now.st_mode):
                waiting.append(path)
            yield from _unless_unchanged(path, was, now)


def _unless_unchanged(
    path: str, was: os.stat_result | None, now: os.stat_result | None
) -> Iterator[Difference]:
    if was is None or now is None or not unchanged(was, now):
        yield Difference(path, was, now)


def _entries(root: Path, place: str) -> dict[str, os.stat_result]:
    with os.scandir(root / place) as entries:
        return {entry.name: entry.stat(follow_symlinks=False) for entry in entries}


def unchanged(was: os.stat_result, now: os.stat_result) -> bool:
    """Say whether two snapshots have the very same inode, as it was."""
    return (
        was.st_ino == now.st_ino
        and was.st_ctime_ns == now.st_ctime_ns
        and was.st_mtime_ns == now.st_mtime_ns
        and was.st_size == now.st_size
        and was.st_mode == now.st_mode
        and (was.st_uid, was.st_gid, was.st_rdev) == (now.st_uid, now.st_gid, now.st_rdev)
    )


def equal(one: Path, other: Path, path: str) -> bool:
    """Say whether two roots have the same at a path: kind, mode, owner, attributes, content; not times.

    Of a directory the content is what `differences` tells. Raises OSError.
    """
    mine, theirs = one / path, other / path
    was, now = mine.lstat(), theirs.lstat()
    if (was.st_mode, was.st_uid, was.st_gid, was.st_rdev) != (
        now.st_mode,
        now.st_uid,
        now.st_gid,
        now.st_rdev,
    ):
        return False
    if attributes(mine) != attributes(theirs):
        return False
    if stat.S_ISLNK(was.st_mode):
        return mine.readlink() == theirs.readlink()
    return not stat.S_ISREG(was.st_mode) or (was.st_size == now.st_size and _same_content(mine, theirs))


def attributes(path: Path) -> dict[str, bytes]:
    """Return a file's extended attributes, capabilities and access lists among them; of a link its own."""
    names = os.listxattr(path, follow_symlinks=False)
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}


def _same_content(mine: Path, theirs: Path) -> bool:
    with os.fdopen(os.open(mine, _FILE), "rb") as one, os.fdopen(os.open(theirs, _FILE), "rb") as other:
        while True:
            content = one.read(_CHUNK)
            if content != other.read(_CHUNK):
                return False
            if not content:
                return True
