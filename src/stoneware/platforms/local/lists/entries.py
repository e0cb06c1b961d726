"""The list of a tree that nobody changes: a line for each name, as `guest/build/lists.sh` writes it.

A list says what `scan` finds in that tree, byte for byte, so the seal goes on the same way whoever made it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path

from stoneware.dataclass import dataclass
from stoneware.files import sha256_hex, write_atomic
from stoneware.platforms.local.lists.changes import OddError
from stoneware.untrusted.bounded import BoundsError, read_descriptor
from stoneware.untrusted.rooted_paths import opened_below

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
IMAGE = ("usr", "lib", "stoneware", "image")
_MOST = 1_000_000  # names of a tree: where there are more, the builder itself lists them
_MOST_BYTES = 256 << 20  # of a list that an image says is its own
_SEARCHED = 1 << 20  # bytes: SCANNED_SIZE of lists.sh
_SUBVOLUME = (2, 256)  # the inode numbers of a subvolume's root, and of the trace of one in a snapshot
# The first digit of four of a mode: setuid, setgid, but not setgid and sticky alone.
_AS_ANOTHER = (2, 4, 5, 6, 7)
_TYPES = {
    stat.S_IFREG: b"f",
    stat.S_IFDIR: b"d",
    stat.S_IFLNK: b"l",
    stat.S_IFIFO: b"p",
    stat.S_IFSOCK: b"s",
    stat.S_IFCHR: b"c",
    stat.S_IFBLK: b"b",
}
# Where other file systems are in a machine: what lies below them in the image is no part of the list.
HIDDEN = frozenset({b"proc", b"sys", b"dev", b"run", b"tmp"})
# What says what the image is comes behind the list. It stands in the list of a parent, but in no image's own.
_OWN = re.compile(rb"/usr/lib/stoneware/image/(files\.[a-z]*|manifest\.json|env|contract\.tsv)")
_RESIDUE = re.compile(rb"/\.[^/]*\.stoneware$")
_DIGEST = re.compile(rb"[0-9a-f]{64}\tf\t")
_HEAD = re.compile(rb"stoneware file list 2 ([0-9a-f]{64}) ([0-9]{1,20})")
# The letters of what the checks ask for, and the files that `scan` leaves for them.
FINDINGS = {
    "c": "changed",
    "u": "unhashed",
    "m": "small",
    "l": "found.logs",
    "t": "found.temporary",
    "w": "found.writable",
    "s": "found.setuid",
    "r": "found.residue",
}
CHANGED, UNHASHED = "c", "u"
NOT_SHOWN, LINKED = "x", "h"  # letters of our own: a file of `_OWN`; a file with several names

Row = tuple[bytes, bytes, bytes, str]  # path, line of files.tsv, inode and change time, letters


@dataclass(frozen=True)
class FileList:
    """A tree's list: parallel, sorted by path. `files` has no digest, but `?`, where none is known."""

    paths: list[bytes]
    files: list[bytes]
    inodes: list[bytes]
    letters: list[str]
    latest: int  # when the last change was, in seconds


def listed(rows: Iterable[Row], latest: int) -> FileList:
    """Return the list that has some rows, in order."""
    ordered = sorted(rows, key=lambda row: row[0] + b"\t")  # as sort(1) does with whole lines
    return FileList(
        [row[0] for row in ordered],
        [row[1] for row in ordered],
        [row[2] for row in ordered],
        [row[3] for row in ordered],
        latest,
    )


def changed_at(inode: bytes) -> int:
    """Return the whole seconds of a change time, which stands behind its inode."""
    return int(inode.partition(b"\t")[2].partition(b".")[0])


def size_of(line: bytes) -> int:
    """Return the bytes of a line's file, 0 for all but regular files."""
    size = line.split(b"\t", 6)[5]
    return 0 if size == b"-" else int(size)


def row_of(
    path: bytes,
    status: os.stat_result,
    target: bytes,
    digests: Mapping[bytes, bytes],
    changed: Collection[bytes] = (),
) -> Row:
    """Return what the lists say of a name. Raises OddError for what they cannot say.

    `digests` are lines of files.tsv that begin with one that is known, by inode and change time. `changed`
    are those inodes and times whose digest is known although the base does not have them.
    """
    if b"\n" in path + target or b"\t" in path + target:
        raise OddError("a name with a newline or a tab")
    kind = _TYPES[stat.S_IFMT(status.st_mode)]
    mode = status.st_mode & 0o7777
    seconds, rest = divmod(status.st_ctime_ns, 10**9)
    # As find(1) prints it (%C@): ten digits behind the point.
    inode = b"%d\t%d.%09d0" % (status.st_ino, seconds, rest)
    size = total = b"-"
    if kind == b"f":
        known = digests.get(inode, b"")
        size, total = b"%d" % status.st_size, known[:64] if _DIGEST.match(known) else b"?"
    columns = (total, kind, b"%o" % mode, b"%d" % status.st_uid, b"%d" % status.st_gid, size, path, target)
    letters = _letters(path, kind, mode, status.st_size)
    if total == b"?" or inode in changed:
        letters += "cm" if 0 < status.st_size <= _SEARCHED else "c"
    if total == b"?":
        letters += UNHASHED
    if kind != b"d" and status.st_nlink > 1:
        letters += LINKED
    return path, b"\t".join(columns), inode, letters


def _letters(path: bytes, kind: bytes, mode: int, size: int) -> str:
    found = NOT_SHOWN if _OWN.fullmatch(path) else ""
    if kind == b"f" and mode >> 9 in _AS_ANOTHER:
        found += "s"
    # Sticky directories are made for everybody to write to.
    if mode & 0o002 and (kind == b"f" or (kind == b"d" and mode < 0o1000)):
        found += "w"
    if path.startswith(b"/var/log/") and kind == b"f" and size > 0:
        found += "l"
    if path.startswith(b"/var/tmp/"):
        found += "t"
    if _RESIDUE.search(path):
        found += "r"
    return found


def below(path: bytes, name: bytes) -> bytes:
    """Return the path of a name in a directory; that of the topmost one is `/`."""
    return b"/" + name if path == b"/" else path + b"/" + name


def look(directory: int, name: bytes) -> tuple[os.stat_result, bytes]:
    """Return what a name in an open directory is, and where it leads if it is a link. Raises OddError."""
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if status.st_ino in _SUBVOLUME and name != b".":
        raise OddError("a subvolume")
    target = os.readlink(name, dir_fd=directory) if stat.S_ISLNK(status.st_mode) else b""
    return status, target


def walk(root: Path) -> FileList:
    """List a read-only tree by looking at each name in it. Raises OddError and OSError."""
    digests = _noted(root)
    top = os.open(root, DIRECTORY)
    try:
        rows = [row_of(b"/", *look(top, b"."), digests)]
        for path, status, target in _below(top):
            rows.append(row_of(path, status, target, digests))
            if len(rows) > _MOST:
                raise OddError(f"more than {_MOST} names")
    finally:
        os.close(top)
    return listed(rows, last_change(rows))


def last_change(rows: Iterable[Row]) -> int:
    """Return when the last of some changes was, in whole seconds."""
    return max((changed_at(row[2]) for row in rows), default=0)


def _below(top: int) -> Iterator[tuple[bytes, os.stat_result, bytes]]:
    """Give all names below an open directory: path, status, and where a link leads."""
    # By descriptors and without recursion: a guest decides how deep it goes and how long paths are.
    waiting = [(os.dup(top), b"/", iter(_names(top)))]
    try:
        while waiting:
            here, above, names = waiting[-1]
            name = next(names, b"")
            if not name:
                os.close(waiting.pop()[0])
                continue
            status, target = look(here, name)
            path = below(above, name)
            yield path, status, target
            if stat.S_ISDIR(status.st_mode):
                inner = os.open(name, DIRECTORY, dir_fd=here)
                waiting.append((inner, path, iter(_names(inner))))
    finally:
        for left, _, _ in waiting:
            os.close(left)


def _names(directory: int) -> list[bytes]:
    with os.scandir(directory) as found:
        return [os.fsencode(entry.name) for entry in found]


def _noted(root: Path) -> dict[bytes, bytes]:
    """Return the lines that an image has of its own files, by inode and change time.

    Those of an image that came from elsewhere are of other inodes, so nothing that is here has them.
    """
    top = os.open(root, DIRECTORY)
    try:
        with opened_below(top, IMAGE) as directory:
            files, inodes = [_content(directory, name).split(b"\n") for name in ("files.tsv", "files.inodes")]
    except (FileNotFoundError, NotADirectoryError, BoundsError):
        return {}  # an image whose files no seal has listed
    finally:
        os.close(top)
    return dict(zip(inodes, files, strict=False))


def _content(directory: int, name: str) -> bytes:
    descriptor = os.open(name, FILE, dir_fd=directory)
    try:
        return read_descriptor(descriptor, _MOST_BYTES)
    finally:
        os.close(descriptor)


def known_list(root: Path, make: Callable[[Path], FileList] = walk) -> FileList:
    """Return the list of a checkpoint or image of the store; it is made once and kept next to its root.

    Raises OddError and OSError.
    """
    kept = root.parent / "files.list"
    try:
        return _read(kept.read_bytes())
    except (FileNotFoundError, ValueError):
        found = make(root)
    blocks = [b"\n".join(texts) for texts in (found.paths, found.files, found.inodes)]
    text = b"\n\n".join([*blocks, "\n".join(found.letters).encode()])
    write_atomic(kept, f"stoneware file list 2 {sha256_hex(text)} {found.latest}\n\n".encode() + text)
    return found


def _read(text: bytes) -> FileList:
    """Read what `known_list` has written. Raises ValueError for anything else."""
    head, _, rest = text.partition(b"\n\n")
    says = _HEAD.fullmatch(head)
    if says is None or says[1].decode() != sha256_hex(rest):
        raise ValueError("not a list, or not the whole of it")
    paths, files, inodes, letters = rest.split(b"\n\n", 3)
    return FileList(
        paths.split(b"\n"),
        files.split(b"\n"),
        inodes.split(b"\n"),
        letters.decode("ascii").split("\n"),
        int(says[2]),
    )
