"""A directory tree as an ordered list of entries, read through ignore rules and never outside its root."""

from __future__ import annotations

import errno
import hashlib
import os
import stat as stat_module
from collections.abc import Iterator
from dataclasses import dataclass, field

from stoneware.machinefile import gopath
from stoneware.machinefile.digests import DigestCache
from stoneware.machinefile.ignore import Matcher, ParentMatch
from stoneware.untrusted.rooted_paths import MAX_DEPTH

_MAX_LINKS = 255


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of an archive. `path` is where its content is on this computer, `data` that of a heredoc.

    `kind` is file, directory, link, fifo, character, block or socket; `mode` are the permission bits.
    The content begins at `offset` of what is at `path`.
    """

    name: str
    kind: str
    mode: int
    size: int = 0
    target: str = ""
    digest: str = ""
    path: str = ""
    uid: int = 0
    gid: int = 0
    mtime: int = 0  # seconds
    device: int = 0
    data: bytes | None = None
    inode: tuple[int, int] | None = None  # (device, inode) of a file with several names
    attributes: tuple[tuple[str, bytes], ...] = ()  # extended ones (file capabilities), of a stage only
    offset: int = 0


_KINDS = {
    stat_module.S_IFREG: "file",
    stat_module.S_IFDIR: "directory",
    stat_module.S_IFLNK: "link",
    stat_module.S_IFIFO: "fifo",
    stat_module.S_IFCHR: "character",
    stat_module.S_IFBLK: "block",
    stat_module.S_IFSOCK: "socket",
}


@dataclass
class Tree:
    """A root directory to copy from.

    The context is hashed, and its owners do not count (they are 0). A stage keeps its owners and is not
    hashed: the key of what is copied from it holds the stage's own key.
    """

    root: str
    ignore: Matcher = field(default_factory=Matcher)
    cache: DigestCache = field(default_factory=DigestCache)
    owners: bool = False
    hashed: bool = True

    def real(self, path: str) -> str:
        """Return the path inside the root with all symbolic links followed inside it; it need not exist.

        Both paths are relative to the root, which itself is "". Raises OSError (ELOOP).
        """
        waiting = [part for part in path.split("/") if part not in {"", "."}][::-1]
        done: list[str] = []
        links = 0
        while waiting:
            part = waiting.pop()
            if part == "..":
                del done[-1:]  # above the root there is nothing, so `..` of it is the root
                continue
            target = self.link("/".join([*done, part]))
            if target is None:
                done.append(part)
                continue
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, "too many levels of symbolic links", path)
            if target.startswith("/"):
                done.clear()  # what a link calls absolute begins at the tree's root, not at this computer's
            waiting.extend([each for each in target.split("/") if each not in {"", "."}][::-1])
        return "/".join(done)

    def link(self, path: str) -> str | None:
        """Return what a symbolic link at a path leads to, or None where there is none."""
        host = self.host(path)
        try:
            return os.readlink(host)  # noqa: PTH115 - pathlib would clean the target
        except OSError:
            return None

    def names(self, path: str) -> list[str]:
        """Return the names of all that is in a directory. Raises OSError."""
        return os.listdir(self.host(path))  # noqa: PTH208 - names are wanted

    def host(self, path: str) -> str:
        """Return where a path of the tree is on this computer."""
        return f"{self.root}/{path}" if path else self.root

    def stat(self, path: str) -> os.stat_result | None:
        """Return the status of a path that is there and not ignored, without following its last link."""
        try:
            status = os.lstat(self.host(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        if path and self.ignore.patterns and self.ignore.matches(path):
            return status if stat_module.S_ISDIR(status.st_mode) and self._has_children(path) else None
        return status

    def _has_children(self, path: str) -> bool:
        """Return whether an ignored directory holds something an exception takes back."""
        if not self.ignore.may_hold_exceptions(path):
            return False
        return any(True for _ in self.children(path))

    def children(self, path: str) -> Iterator[tuple[str, os.stat_result]]:
        """Yield the paths below a directory that are not ignored, in Go's walking order."""
        yield from self._walk(path, self._parent_match(path))

    def _parent_match(self, path: str) -> ParentMatch:
        parent: ParentMatch = ()
        parts = path.split("/") if path else []
        for depth in range(1, len(parts) + 1):
            parent = self.ignore.match("/".join(parts[:depth]), parent)[1]
        return parent

    def _walk(self, path: str, parent: ParentMatch) -> Iterator[tuple[str, os.stat_result]]:
        matcher = self.ignore
        host = self.host(path)
        if path.count("/") >= MAX_DEPTH:
            raise OSError(
                errno.ENAMETOOLONG, f"more than {MAX_DEPTH} directories inside each other", host[:200]
            )
        with os.scandir(host) as listing:
            # By bytes, as Go: their order is part of the digest.
            found = sorted(listing, key=lambda entry: os.fsencode(entry.name))
        for entry in found:
            name = f"{path}/{entry.name}" if path else entry.name
            ignored, answers = matcher.match(name, parent) if matcher.patterns else (False, ())
            if not entry.is_dir(follow_symlinks=False):
                if not ignored:
                    yield name, entry.stat(follow_symlinks=False)
                continue
            if not ignored:
                yield name, entry.stat(follow_symlinks=False)
                yield from self._walk(name, answers)
            elif matcher.may_hold_exceptions(name):
                yield from self._below_ignored(name, entry, answers)

    def _below_ignored(
        self, name: str, entry: os.DirEntry[str], answers: ParentMatch
    ) -> Iterator[tuple[str, os.stat_result]]:
        """Yield what exceptions take back, the ignored directory itself before the first of it."""
        shown = False
        for child in self._walk(name, answers):
            if not shown:
                yield name, entry.stat(follow_symlinks=False)
                shown = True
            yield child

    def entry(self, name: str, path: str, status: os.stat_result) -> Entry:
        """Return the entry of one path of the tree, under the name it has in the archive."""
        kind = _KINDS[stat_module.S_IFMT(status.st_mode)]
        host = self.host(path)
        regular = kind == "file"
        return Entry(
            name=name,
            kind=kind,
            mode=stat_module.S_IMODE(status.st_mode),
            size=status.st_size if regular else 0,
            target=os.readlink(host) if kind == "link" else "",  # noqa: PTH115
            digest=self.cache.digest(host, status) if regular and self.hashed else "",
            path=host,
            uid=status.st_uid if self.owners else 0,
            gid=status.st_gid if self.owners else 0,
            mtime=int(status.st_mtime),
            device=status.st_rdev if kind in {"character", "block"} else 0,
            inode=(status.st_dev, status.st_ino) if regular and status.st_nlink > 1 else None,
            attributes=_attributes(host) if self.owners else (),
        )


def _attributes(path: str) -> tuple[tuple[str, bytes], ...]:
    names = sorted(os.listxattr(path, follow_symlinks=False))
    return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names)


def relative(path: str) -> str:
    """Return a path as one relative to a tree's root: cleaned, not above it, "" for the root itself."""
    return gopath.clean("/" + path)[1:]


def content_digest(entries: tuple[Entry, ...]) -> str:
    """Return the SHA-256 of what a copy of the entries makes: names, kinds, modes, owners, content."""
    digest = hashlib.sha256()
    for entry in entries:
        # Without times: a fresh checkout of the same files is the same step.
        fields = (
            entry.name,
            entry.kind,
            f"{entry.mode:o}",
            entry.digest or entry.target,
            f"{entry.uid}:{entry.gid}:{entry.device}",
        )
        digest.update(b"".join(os.fsencode(text) + b"\0" for text in fields))
    return digest.hexdigest()
