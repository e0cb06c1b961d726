"""Subvolumes inside subvolumes: finding them without a walk, and removing them however deep they lie.

Any root of a machine may make subvolumes. A snapshot has an empty directory in the place of each, and a
subvolume that holds others cannot be deleted. The kernel lists them by number; deleting one by number ends at
4096 bytes of path, so the directory that it is in is opened by its own number (open_by_handle_at).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stoneware.dataclass import dataclass
from stoneware.errors import MachineError
from stoneware.platforms.local.store.btrfs_ioctl import destroy, make_writable

_INO_LOOKUP = 0xD0009412  # _IOWR(0x94, 18, struct btrfs_ioctl_ino_lookup_args)
_GET_SUBVOL_INFO = 0x81F8943C  # _IOR(0x94, 60, struct btrfs_ioctl_get_subvol_info_args)
_GET_SUBVOL_ROOTREF = 0xD000943D  # _IOWR(0x94, 61, struct btrfs_ioctl_get_subvol_rootref_args)
_MOST_REFS = 255  # BTRFS_MAX_ROOTREF_BUFFER_NUM
_TOP = 256  # BTRFS_FIRST_FREE_OBJECTID: the inode number of each subvolume's root
_HANDLE_KIND, _HANDLE_BYTES = 0x4D, 20  # FILEID_BTRFS_WITHOUT_PARENT: inode, subvolume, generation
_SHOWN = 5  # subvolumes that an error names


@dataclass(frozen=True)
class Nested:
    """A subvolume directly inside another: its number, the inode of the directory it is in, its name."""

    number: int
    directory: int
    parent: int
    name: bytes


def nested_numbers(descriptor: int) -> list[int]:
    """Return the numbers of the subvolumes directly inside an open one, at whatever depth: one call."""
    numbers: list[int] = []
    while True:
        request = bytearray(4096)
        struct.pack_into("=Q", request, 0, numbers[-1] + 1 if numbers else 0)
        try:
            fcntl.ioctl(descriptor, _GET_SUBVOL_ROOTREF, request)
        except OSError as error:
            if error.errno != errno.EOVERFLOW:  # there are more
                raise
        # struct …_rootref_args: __u64 min_treeid, 255 pairs of treeid and dirid, __u8 num_items.
        count = request[8 + _MOST_REFS * 16]
        numbers += [struct.unpack_from("=Q", request, 8 + index * 16)[0] for index in range(count)]
        if count < _MOST_REFS:
            return numbers


def _info(descriptor: int) -> Nested:
    answer = bytearray(504)
    fcntl.ioctl(descriptor, _GET_SUBVOL_INFO, answer)
    number, name, parent, directory = struct.unpack_from("=Q256sQQ", answer)
    return Nested(number, directory, parent, name.rstrip(b"\0"))


@contextlib.contextmanager
def _by_number(somewhere: int, subvolume: int, inode: int) -> Iterator[int]:
    """Open a directory of the file system that `somewhere` is on. Raises OSError (ESTALE: it is gone)."""
    import ctypes

    library: Any = ctypes.CDLL(None, use_errno=True)
    # The last 0: of whatever generation.
    handle = struct.pack("=IiQQI", _HANDLE_BYTES, _HANDLE_KIND, inode, subvolume, 0)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    descriptor = library.open_by_handle_at(somewhere, ctypes.create_string_buffer(handle, len(handle)), flags)
    if descriptor < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), f"inode {inode} of subvolume {subvolume}")
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def delete_all(descriptor: int) -> None:
    """Delete all subvolumes inside an open one, the innermost first, read-only ones too. Raises OSError."""
    # A list and no recursion: a guest decides how deep they lie in each other.
    waiting = nested_numbers(descriptor)
    while waiting:
        try:
            with _by_number(descriptor, waiting[-1], _TOP) as inner:
                found, more = _info(inner), nested_numbers(inner)
        except OSError as error:
            if error.errno not in (errno.ESTALE, errno.ENOENT):
                raise
            waiting.pop()  # gone by itself
            continue
        if more:
            waiting += more
        else:
            _delete(descriptor, found)
            waiting.pop()


def _delete(somewhere: int, found: Nested) -> None:
    with _by_number(somewhere, found.parent, _TOP) as parent:
        # From a read-only subvolume nothing is deleted, no other subvolume either.
        make_writable(parent)
    with _by_number(somewhere, found.parent, found.directory) as directory:
        destroy(directory, found.name)


def exists(somewhere: Path, number: int) -> bool:
    """Say whether a file system has a subvolume of that number that is not deleted, or may have one."""
    # Opened by its number: the kernel answers what its name is for a subvolume that is gone as well.
    descriptor = os.open(somewhere, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with _by_number(descriptor, number, _TOP):
            return True
    except OSError as error:
        return error.errno not in (errno.ESTALE, errno.ENOENT)
    finally:
        os.close(descriptor)


def settle(rootfs: Path) -> None:
    """Make sure that a snapshot of a root file system will hold all of it.

    An empty subvolume, such as systemd-tmpfiles makes for /var/lib/machines, becomes an ordinary directory.
    Raises MachineError where others are: snapshots leave them out.
    """
    if left := left_out(rootfs):
        raise _not_snapshot(left)


def left_out(directory: Path) -> list[str]:
    """Return the subvolumes that a snapshot would leave out; empty ones become directories."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        full = [number for number in nested_numbers(descriptor) if not _turned_plain(descriptor, number)]
        named = [_path(descriptor, number) for number in full[:_SHOWN]]
        return named + [f"subvolume {number}" for number in full[_SHOWN:]]
    finally:
        os.close(descriptor)


def shown(paths: list[str]) -> str:
    """Return the first of some places as lines, and how many more there are."""
    lines = [repr(path)[1:-1] for path in paths[:_SHOWN]]
    return "\n".join(lines + ([f"and {len(paths) - _SHOWN} more"] if len(paths) > _SHOWN else []))


def _turned_plain(somewhere: int, number: int) -> bool:
    """Replace an empty subvolume by a directory; say whether there is none any more."""
    try:
        with _by_number(somewhere, number, _TOP) as inner:
            found, status = _info(inner), os.fstat(inner)
        _replace(somewhere, found, status)
    except OSError as error:
        # Full, read-only, or gone: its machine goes on running meanwhile.
        return error.errno in (errno.ESTALE, errno.ENOENT)
    return True


def _replace(somewhere: int, found: Nested, status: os.stat_result) -> None:
    with _by_number(somewhere, found.parent, found.directory) as directory:
        os.rmdir(found.name, dir_fd=directory)  # refuses where something is in it
        # Shut until it has the owner and the mode of what it replaces.
        os.mkdir(found.name, 0o700, dir_fd=directory)
        created = os.open(found.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
        try:
            os.fchown(created, status.st_uid, status.st_gid)
            os.fchmod(created, status.st_mode & 0o7777)
            os.utime(created, ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            os.close(created)


def _path(somewhere: int, number: int) -> str:
    """Return where a nested subvolume is, as the machine would say it, shortened where that is very long."""
    try:
        with _by_number(somewhere, number, _TOP) as inner:
            found = _info(inner)
    except OSError:
        return f"subvolume {number}"
    request = bytearray(4096)
    struct.pack_into("=QQ", request, 0, found.parent, found.directory)
    try:
        fcntl.ioctl(somewhere, _INO_LOOKUP, request)
    except OSError:  # deeper than a path can say
        return f"…/{os.fsdecode(found.name)}"
    return f"/{os.fsdecode(bytes(request[16:]).partition(bytes(1))[0] + found.name)}"


def _not_snapshot(paths: list[str]) -> MachineError:
    count = len(paths)
    what = "there is a btrfs subvolume" if count == 1 else f"there are {count} btrfs subvolumes"
    return MachineError(
        f"{what} in the machine",
        details=f"{shown(paths)}\nSnapshots leave out what is in a subvolume: the image would not have it.",
        resolution="make an ordinary directory there, or delete the subvolume at the end of the step",
    )
