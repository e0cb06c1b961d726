"""The files of a stage as its builder has packed them: a tree to copy from; nothing is unpacked here.

A builder may write anything into its archive. It is read once, within bounds, and kept as an index; links are
followed inside of it, and contents are read from the archive itself. So it cannot reach anything of this
computer, and owners, devices and file capabilities arrive although who bakes is not root.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.machinefile.tree import Entry, Tree
from stoneware.untrusted.bounded import BoundsError
from stoneware.untrusted.rooted_paths import MAX_DEPTH
from stoneware.untrusted.tarstream import Limits, Member, TarReader, parts_of

_MOST_ENTRIES = 1_000_000
_MOST_ATTRIBUTES = 64 << 20  # bytes of all extended attributes
_MODES = {
    "file": stat.S_IFREG,
    "directory": stat.S_IFDIR,
    "link": stat.S_IFLNK,
    "character device": stat.S_IFCHR,
    "block device": stat.S_IFBLK,
    "FIFO": stat.S_IFIFO,
}
_KINDS = {"character device": "character", "block device": "block", "FIFO": "fifo"}


@dataclass(frozen=True)
class _Found:
    """A member, where its content begins, and a number that all names of one file have."""

    member: Member
    offset: int
    inode: int


class ArchiveTree(Tree):
    """The tree in a tar file, which stays where it is while the tree is used. Raises InputError."""

    def __init__(self, archive: Path, whose: str) -> None:
        """Read the index. `whose` names the stage or image in errors."""
        super().__init__(os.fspath(archive), owners=True, hashed=False)
        self._found: dict[str, _Found] = {}
        self._names: dict[str, list[str]] = {"": []}
        try:
            self._read(archive)
        except BoundsError as error:
            raise InputError(
                f"the files of {whose} cannot be read",
                details=f"The archive that its builder has packed {error}.",
                resolution="stoneware bake --no-cache …",
            ) from None
        for names in self._names.values():
            names.sort(key=os.fsencode)  # by bytes, as Go walks a directory

    # -- reading -------------------------------------------------------------------------------------------

    def _read(self, archive: Path) -> None:
        size = archive.stat().st_size
        # What an entry costs beyond its content is in no file: the number of entries is bounded by itself.
        limits = Limits(total=size + _MOST_ENTRIES * 8192, entries=3 * _MOST_ENTRIES)
        attributes = 0
        with archive.open("rb") as stream:
            for number, member in enumerate(TarReader(stream, limits)):
                attributes += sum(len(name) + len(value) for name, value in member.attributes)
                if number >= _MOST_ENTRIES or attributes > _MOST_ATTRIBUTES:
                    raise BoundsError("holds too many files, or too many extended attributes")
                if member.parts:
                    self._add(member, stream.tell(), number + 1)

    def _add(self, member: Member, offset: int, number: int) -> None:
        found = _Found(member, offset, number)
        # In a tar a hard link comes after the file that it is another name of.
        if member.kind == "hard link":
            target = "/".join(parts_of(member.target))
            first = self._found.get(target)
            if first is None or first.member.kind != "file":
                raise BoundsError(f"has a hard link to what is no file of it: {member.name[:200]}")
            found = first
        elif member.kind not in _MODES:
            raise BoundsError(f"has an entry {member.kind}: {member.name[:200]}")
        self._place(member.parts)
        self._found[member.name] = found

    def _place(self, parts: tuple[str, ...]) -> None:
        """List a path in its directory, and that in its own, as far as they are not listed."""
        for depth in range(len(parts), 0, -1):
            path, parent = "/".join(parts[:depth]), "/".join(parts[: depth - 1])
            if path in self._found or path in self._names:
                return
            self._names.setdefault(parent, []).append(parts[depth - 1])
            if depth < len(parts):
                self._names.setdefault(path, [])

    # -- as a tree -----------------------------------------------------------------------------------------

    def link(self, path: str) -> str | None:
        """Return what a symbolic link leads to, or None where there is none."""
        found = self._found.get(path)
        return found.member.target if found is not None and found.member.kind == "link" else None

    def names(self, path: str) -> list[str]:
        """Return the names of all that is in a directory. Raises OSError."""
        if not self._is_directory(path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return list(self._names.get(path, ()))

    def _is_directory(self, path: str) -> bool:
        found = self._found.get(path)
        return path in self._names if found is None else found.member.kind == "directory"

    def stat(self, path: str) -> os.stat_result | None:
        """Return the status of a path that is there."""
        found = self._found.get(path)
        if found is None:
            return _status(stat.S_IFDIR | 0o755, 0, 0, 0, 0) if path in self._names else None
        member = found.member
        mode = _MODES[member.kind] | member.mode
        return _status(mode, member.uid, member.gid, member.size, member.mtime_ns // 1_000_000_000)

    def children(self, path: str) -> Iterator[tuple[str, os.stat_result]]:
        """Yield the paths below a directory, in Go's walking order."""
        # The walk calls itself: a stage some thousand directories deep would end in a RecursionError.
        if path.count("/") >= MAX_DEPTH:
            raise OSError(
                errno.ENAMETOOLONG, f"more than {MAX_DEPTH} directories inside each other", path[:200]
            )
        for each in self._names.get(path, ()) if self._is_directory(path) else ():
            below = f"{path}/{each}" if path else each
            status = self.stat(below)
            if status is not None:
                yield below, status
                if stat.S_ISDIR(status.st_mode):
                    yield from self.children(below)

    def entry(self, name: str, path: str, status: os.stat_result) -> Entry:
        """Return the entry of one path, whose content is read from the archive."""
        found = self._found.get(path)
        if found is None:  # a directory that the archive only implies
            return Entry(name, "directory", stat.S_IMODE(status.st_mode))
        member = found.member
        return Entry(
            name=name,
            kind=_KINDS.get(member.kind, member.kind),
            mode=member.mode,
            size=member.size,
            target=member.target,
            path=self.root,
            uid=member.uid,
            gid=member.gid,
            mtime=member.mtime_ns // 1_000_000_000,
            device=member.device,
            # No real one: further names become hard links.
            inode=(0, found.inode) if member.kind == "file" else None,
            attributes=member.attributes,
            offset=found.offset,
        )


def _status(mode: int, uid: int, gid: int, size: int, mtime: int) -> os.stat_result:
    return os.stat_result((mode, 0, 0, 1, uid, gid, size, mtime, mtime, mtime))
