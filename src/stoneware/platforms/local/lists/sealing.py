"""The list of a builder that is sealed: its parent's, with what btrfs knows to have changed since."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import compress
from pathlib import Path

from stoneware.platforms.local.lists import entries
from stoneware.platforms.local.lists.changes import Change, OddError, changes
from stoneware.platforms.local.lists.entries import FINDINGS, FileList, Row
from stoneware.platforms.local.lists.followed_tree import FollowedTree, Wanted
from stoneware.platforms.local.lists.hashes import hashed
from stoneware.platforms.local.store import btrfs, btrfs_nested
from stoneware.untrusted.rooted_paths import opened_below


def source_list(source: Path, base: Path) -> FileList:
    """Return the list of a read-only root: that of the base it was made from, with what has changed since.

    It is kept, with all digests: who bakes a last step again has the files listed by those of the step
    before. Raises OddError and OSError.
    """
    if source == base:
        return entries.known_list(base)
    return entries.known_list(source, lambda root: hashed(_made_from(base, root), root))


def _made_from(base: Path, root: Path) -> FileList:
    try:
        # With what is below /tmp and the like, which the seal will remove.
        return list_changed(entries.known_list(base), changes(base, root), root, hidden=frozenset())
    except OddError:
        return entries.walk(root)


def list_root(parent: Path, rootfs: Path, staged: Path, known: FileList | None = None) -> bytes:
    """Return, as a tar, the files that `scan` of lists.sh would write for a machine's root as it is now.

    `parent` is the read-only root that the machine's was made from, perhaps with steps between, and `known`
    its list. `staged` is where a snapshot is made for the while. Raises OddError and OSError: then the
    machine looks for itself.
    """
    if known is None:
        known = entries.known_list(parent)
    # Before the snapshot: what changes in the same second counts as unsure.
    scanned = int(time.time())
    btrfs.delete(staged)  # of a command that was killed
    _check_nested(rootfs)
    btrfs.snapshot(rootfs, staged, read_only=True)
    try:
        # Once more: one may have been made while the snapshot was.
        _check_nested(rootfs)
        return packed(list_changed(known, changes(parent, staged), staged), scanned)
    finally:
        btrfs.delete(staged)


def _check_nested(rootfs: Path) -> None:
    """Raise OddError for a root with subvolumes inside: a snapshot has other things in their place."""
    descriptor = os.open(rootfs, entries.DIRECTORY)
    try:
        if btrfs_nested.nested_numbers(descriptor):
            raise OddError("subvolumes inside")
    finally:
        os.close(descriptor)


def list_changed(
    known: FileList, told: Sequence[Change], root: Path, *, hidden: Collection[bytes] = entries.HIDDEN
) -> FileList:
    """Return the list of a tree that differs from a known one by the commands told; only that is looked at.

    What is below the `hidden` names is left out. Raises OddError and OSError.
    """
    tree = FollowedTree(known)
    for change in told:
        tree.follow(*change)
    tree.check_own_lists()
    marks, wanted = tree.sort_out(hidden)
    columns = (known.paths, known.files, known.inodes, known.letters)
    kept: Iterator[Row] = compress(zip(*columns, strict=True), marks)
    rows = _rows(root, wanted, known)
    return entries.listed([*kept, *rows], max(known.latest, entries.last_change(rows)))


def _rows(root: Path, wanted: Sequence[Wanted], known: FileList) -> list[Row]:
    digests = dict(zip(known.inodes, known.files, strict=True))
    changed = frozenset(compress(known.inodes, (entries.CHANGED in letters for letters in known.letters)))
    top = os.open(root, entries.DIRECTORY)
    try:
        return [row for place in wanted for row in _looked_at(top, place, digests, changed)]
    finally:
        os.close(top)


def _looked_at(
    top: int, place: Wanted, digests: Mapping[bytes, bytes], changed: Collection[bytes]
) -> Iterator[Row]:
    parts = tuple(os.fsdecode(part) for part in place.directory.split(b"/") if part)
    # Part by part and through no link: were the tree not what we think it is, this must not lead out of it.
    with opened_below(top, parts) as directory:
        for name, inside in place.names.items():
            path = place.directory if name == b"." else entries.below(place.directory, name)
            status, target = entries.look(directory, name)
            # The stream and the snapshot are of one moment, so a difference is a fault of what follows it.
            if stat.S_ISDIR(status.st_mode) != inside:
                raise OddError(f"{path!r} is not what was told")
            yield entries.row_of(path, status, target, digests, changed)


def packed(found: FileList, scanned: int) -> bytes:
    """Return a list as the files that `scan` writes, in a tar. `scanned`: when it was made, in seconds."""
    shown = [entries.NOT_SHOWN not in letters for letters in found.letters]
    files = list(compress(found.files, shown))
    # What changed within the last second might change again within the same tick of the clock.
    inodes = [
        b"-\t-" if found.latest >= scanned - 1 and entries.changed_at(inode) >= scanned - 1 else inode
        for inode in compress(found.inodes, shown)
    ]
    noted = [
        (path, letters)
        for path, letters in zip(compress(found.paths, shown), compress(found.letters, shown), strict=True)
        if letters
    ]
    return _tar(
        {
            "files.new": files,
            "files.inodes": inodes,
            **{
                FINDINGS[letter]: [path for path, letters in noted if letter in letters]
                for letter in FINDINGS
            },
            # The last one: where it is there, all are.
            "files.totals": [b"%d %d" % (len(files), sum(map(entries.size_of, files)))],
        }
    )


def _tar(content: Mapping[str, Sequence[bytes]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, lines in content.items():
            text = b"\n".join([*lines, b""])
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    return stream.getvalue()
