"""Subvolumes of btrfs by ioctl: a snapshot after every step must not cost a process each.

The request numbers and structures are those of the kernel's include/uapi/linux/btrfs.h.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from stoneware.platforms.local.store import btrfs_nested
from stoneware.platforms.local.store.btrfs_ioctl import destroy, request, vol_args
from stoneware.untrusted import removal

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SUBVOL_CREATE = 0x5000940E  # _IOW(0x94, 14, struct btrfs_ioctl_vol_args)
_SNAP_CREATE_V2 = 0x50009417  # _IOW(0x94, 23, struct btrfs_ioctl_vol_args_v2)
_SUBVOL_GETFLAGS = 0x80089419  # _IOR(0x94, 25, __u64)
_FS_INFO = 0x8400941F  # _IOR(0x94, 31, struct btrfs_ioctl_fs_info_args)
_FICLONE = 0x40049409  # _IOW(0x94, 9, int), of all file systems that share blocks
_RDONLY = 1 << 1  # BTRFS_SUBVOL_RDONLY
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_FIRST_FREE_OBJECTID = 256  # the inode number of every subvolume's root


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def on_btrfs(path: Path) -> bool:
    """Say whether a directory lies on a btrfs file system."""
    with _opened(path) as descriptor:
        try:
            fcntl.ioctl(descriptor, _FS_INFO, bytes(1024))
        except OSError as error:
            if error.errno in (errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP):
                return False
            raise
    return True


def share_blocks(source: int, target: int) -> None:
    """Give an open file another's content, without a copy. Raises OSError, as between two file systems."""
    fcntl.ioctl(target, _FICLONE, source)


def is_subvolume(path: Path) -> bool:
    """Say whether a path is the root of a subvolume (on a file system known to be btrfs)."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    return status.st_ino == _FIRST_FREE_OBJECTID


def create(path: Path) -> None:
    """Create an empty subvolume."""
    with _opened(path.parent) as parent:
        request(parent, _SUBVOL_CREATE, vol_args(path.name))


def snapshot(source: Path, target: Path, *, read_only: bool) -> None:
    """Snapshot a subvolume, a running machine's too: the kernel writes out its dirty pages first."""
    with _opened(source) as origin, _opened(target.parent) as parent:
        flags = _RDONLY if read_only else 0
        # struct btrfs_ioctl_vol_args_v2: fd, transid, flags, unused[4], char name[4040]
        wanted = struct.pack("<qQQ4Q4040s", origin, 0, flags, 0, 0, 0, 0, os.fsencode(target.name))
        request(parent, _SNAP_CREATE_V2, bytearray(wanted))


def exchange(one: Path, other: Path) -> None:
    """Let two directories of one file system change places, both at once. Raises OSError."""
    import ctypes  # not where nothing is restored

    rename = ctypes.CDLL(None, use_errno=True).renameat2
    rename.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(other))


def is_read_only(path: Path) -> bool:
    """Say whether a subvolume is read-only."""
    with _opened(path) as descriptor:
        flags = struct.unpack("<Q", fcntl.ioctl(descriptor, _SUBVOL_GETFLAGS, bytes(8)))[0]
    return bool(flags & _RDONLY)


def delete(path: Path) -> None:
    """Delete a subvolume and those that a guest made inside it; a missing one is no error."""
    with contextlib.suppress(FileNotFoundError), _opened(path.parent) as parent:
        delete_at(parent, path.name)


def delete_at(parent: int, name: str) -> None:
    """Do what `delete` does, for a name in an open directory: no path can be too long."""
    try:
        destroy(parent, name)
    except FileNotFoundError:
        return
    except OSError as error:
        # ENOTEMPTY (EBUSY on some kernels) is what a subvolume with subvolumes inside answers.
        if error.errno not in (errno.ENOTEMPTY, errno.EBUSY, errno.EROFS):
            raise
        descriptor = os.open(name, _OPEN, dir_fd=parent)
        try:
            btrfs_nested.delete_all(descriptor)
        finally:
            os.close(descriptor)
        destroy(parent, name)


def remove_tree(path: Path) -> None:
    """Remove a file or directory that is, or holds, subvolumes; whatever is in it. A missing one is no error.

    Raises OSError.
    """
    if is_subvolume(path):
        delete(path)
    else:
        removal.remove_tree(path, mounted=delete_at)
