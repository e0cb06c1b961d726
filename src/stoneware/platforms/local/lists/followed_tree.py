"""A tree of names in which what btrfs tells is followed. Only directories that are spoken of are opened."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping

from stoneware.dataclass import dataclass
from stoneware.platforms.local.lists import entries
from stoneware.platforms.local.lists.changes import LINK, MAKE, MKDIR, RENAME, RMDIR, UNLINK, OddError
from stoneware.platforms.local.lists.entries import FileList

_NEW = -1  # the number of what the known list does not have
_OWN_LISTS = [
    b"/".join([*(part.encode() for part in entries.IMAGE), name]) for name in (b"files.tsv", b"files.inodes")
]


@dataclass(frozen=True)
class Wanted:
    """Names of one directory that are to be looked at, and whether each is a directory itself."""

    directory: bytes
    names: Mapping[bytes, bool]


class _Directory:
    """A directory: its number in the known list, and its names once they are needed."""

    __slots__ = ("names", "number")

    def __init__(self, number: int, names: dict[bytes, _Directory | int] | None = None) -> None:
        self.number = number
        self.names = names


_Node = _Directory | int  # a number: of an entry that is no directory


class FollowedTree:
    """The names of a known list, and what becomes of them."""

    def __init__(self, known: FileList) -> None:
        self._known = known
        self._root = _Directory(0)
        self._stale: set[bytes] = set()  # the inodes that are other ones now, under whatever name
        self._own = [self._number_at(path) for path in _OWN_LISTS]

    # -- following -----------------------------------------------------------------------------------------

    def follow(self, kind: int, path: bytes, other: bytes) -> None:
        """Do what a command does to the names. Raises OddError where that cannot be."""
        try:
            self._follow(kind, path, other)
        except LookupError as error:
            raise OddError(f"the command {kind} of {path!r} cannot be followed") from error

    def _follow(self, kind: int, path: bytes, other: bytes) -> None:
        if kind in MAKE:
            self._put(path, _NEW)
        elif kind == MKDIR:
            self._put(path, _Directory(_NEW, {}))
        elif kind == LINK:
            # One name more changes the inode too: its count of names, and so its time.
            self._put(path, _file(self._noted(self._at(other)), other))
        elif kind == RENAME:
            self._put(other, self._noted(self._take(path)))
        elif kind in (UNLINK, RMDIR):
            self._remove(path, directory=kind == RMDIR)
        else:
            self._noted(self._at(path))

    def _remove(self, path: bytes, *, directory: bool) -> None:
        node = self._noted(self._take(path))
        if not directory:
            _file(node, path)
        # btrfs empties a directory before it removes it: else something was followed wrongly.
        elif not isinstance(node, _Directory) or self._names(node):
            raise LookupError(path)

    def _noted(self, node: _Node) -> _Node:
        """Note that an inode has changed."""
        number = _number(node)
        if number != _NEW:
            self._stale.add(_inode(self._known.inodes[number]))
        return node

    def _names(self, directory: _Directory) -> dict[bytes, _Node]:
        if directory.names is None:
            directory.names = self._read(self._known.paths[directory.number])
        return directory.names

    def _read(self, path: bytes) -> dict[bytes, _Node]:
        """Return what the known list has directly in a directory."""
        found: dict[bytes, _Node] = {}
        prefix = b"/" if path == b"/" else path + b"/"
        at, end = self._range(path)
        while at < end:
            name, inside, _ = self._known.paths[at].removeprefix(prefix).partition(b"/")
            if inside:  # further down, of a directory that has been met: all of it is left out
                at = self._range(prefix + name)[1]
                continue
            if name:
                directory = self._known.files[at].startswith(b"-\td\t")
                found[name] = _Directory(at) if directory else at
            at += 1
        return found

    def _range(self, path: bytes) -> tuple[int, int]:
        """Return where in the known list that begins and ends which lies below a directory."""
        paths = self._known.paths
        if path == b"/":
            return 0, len(paths)
        # "0" is the character behind "/".
        begin, end = [bisect_left(paths, path + mark, key=_order) for mark in (b"/", b"0")]
        return begin, end

    def _holder(self, path: bytes) -> tuple[dict[bytes, _Node], bytes]:
        *above, name = path.split(b"/")
        names = self._names(self._root)
        for part in above:
            node = names[part]
            if not isinstance(node, _Directory):
                raise LookupError(path)  # noqa: TRY004 - of what was told, not of the program
            names = self._names(node)
        if not name:
            raise LookupError(path)
        return names, name

    def _at(self, path: bytes) -> _Node:
        if not path:
            return self._root
        names, name = self._holder(path)
        return names[name]

    def _take(self, path: bytes) -> _Node:
        names, name = self._holder(path)
        return names.pop(name)

    def _put(self, path: bytes, node: _Node) -> None:
        names, name = self._holder(path)
        if name in names:
            raise LookupError(path)
        names[name] = node

    def _number_at(self, path: bytes) -> int:
        try:
            return _number(self._at(path))
        except LookupError:
            return _NEW

    # -- what has come of it -------------------------------------------------------------------------------

    def check_own_lists(self) -> None:
        """Raise OddError where the machine has other lists than its parent: it knows other digests then."""
        numbers = [number for number in self._own if number != _NEW]
        changed = any(_inode(self._known.inodes[number]) in self._stale for number in numbers)
        if changed or self._own != [self._number_at(path) for path in _OWN_LISTS]:
            raise OddError("a step has changed the lists of its parent")

    def sort_out(self, hidden: Collection[bytes] = entries.HIDDEN) -> tuple[bytearray, list[Wanted]]:
        """Return a mark for each entry of the known list that is as it was, and what is to be looked at.

        What is below the `hidden` names of the topmost directory is neither.
        """
        marks = bytearray(len(self._known.paths))
        wanted = []
        if self._is_kept(0, b"/"):
            marks[0] = 1
        else:
            wanted.append(Wanted(b"/", {b".": True}))
        waiting = [(b"/", self._root)]
        while waiting:
            above, directory = waiting.pop()
            names = {}
            for name, node in self._names(directory).items():
                inside = isinstance(node, _Directory)
                if inside and above == b"/" and name in hidden:
                    continue
                path, number = entries.below(above, name), _number(node)
                if self._is_kept(number, path):
                    marks[number] = 1
                else:
                    names[name] = inside
                if isinstance(node, _Directory) and not self._mark_closed(marks, node, path):
                    waiting.append((path, node))
            if names:
                wanted.append(Wanted(above, names))
        return marks, wanted + self._linked(marks)

    def _is_kept(self, number: int, path: bytes) -> bool:
        known = self._known
        return (
            number != _NEW and known.paths[number] == path and _inode(known.inodes[number]) not in self._stale
        )

    def _mark_closed(self, marks: bytearray, directory: _Directory, path: bytes) -> bool:
        """Mark all below a directory that is in its place and was never opened; say whether it is one."""
        if directory.names is not None or self._known.paths[directory.number] != path:
            return False
        begin, end = self._range(path)
        marks[begin:end] = b"\1" * (end - begin)
        return True

    def _linked(self, marks: bytearray) -> list[Wanted]:
        """Return further names of files that have changed under another one; they are marked no more."""
        found = []
        for number, letters in enumerate(self._known.letters):
            if entries.LINKED in letters and marks[number]:
                path = self._known.paths[number]
                if not self._is_kept(number, path):
                    marks[number] = 0
                    above, _, name = path.rpartition(b"/")
                    found.append(Wanted(above or b"/", {name: False}))
        return found


def _file(node: _Node, path: bytes) -> _Node:
    """Return what is no directory. Raises LookupError."""
    if isinstance(node, _Directory):
        raise LookupError(path)  # noqa: TRY004 - as above
    return node


def _number(node: _Node) -> int:
    return node.number if isinstance(node, _Directory) else node


def _inode(inode_and_time: bytes) -> bytes:
    return inode_and_time.partition(b"\t")[0]


def _order(path: bytes) -> bytes:
    return path + b"\t"
