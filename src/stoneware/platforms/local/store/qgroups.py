"""Quota groups of btrfs: limits of what subvolumes may take, by ioctl, and what they have, from sysfs.

Simple quotas (Linux 6.7) charge what is written to the subvolume that wrote it, cost nothing where blocks are
shared, and can be switched on at any time. Older kernels have only quota groups proper, which count shared
and exclusive blocks. The request numbers and structures are those of include/uapi/linux/btrfs.h.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from stoneware.dataclass import dataclass

SIMPLE, CLASSIC = "squota", "qgroup"  # as sysfs calls the two modes
_QUOTA_CTL = 0xC0109428  # _IOWR(0x94, 40, struct btrfs_ioctl_quota_ctl_args)
_ASSIGN = 0x40189429  # _IOW(0x94, 41, struct btrfs_ioctl_qgroup_assign_args)
_CREATE = 0x4010942A  # _IOW(0x94, 42, struct btrfs_ioctl_qgroup_create_args)
_LIMIT = 0x8030942B  # _IOR(0x94, 43, struct btrfs_ioctl_qgroup_limit_args)
_INO_LOOKUP = 0xD0009412  # _IOWR(0x94, 18, struct btrfs_ioctl_ino_lookup_args)
_FS_INFO = 0x8400941F  # _IOR(0x94, 31, struct btrfs_ioctl_fs_info_args)
_SYNC = 0x9408  # _IO(0x94, 8)
_ENABLE, _ENABLE_SIMPLE = 1, 4  # BTRFS_QUOTA_CTL_…
_MAX_RFER, _MAX_EXCL = 1, 2  # BTRFS_QGROUP_LIMIT_…
_NONE = (1 << 64) - 1
_FIRST_FREE_OBJECTID = 256
_SYSFS = Path("/sys/fs/btrfs")


@dataclass(frozen=True)
class Figures:
    """What a group has and may have, in bytes: `used` is on the disk, `held` about to be written."""

    used: int
    held: int
    limit: int | None

    @property
    def left(self) -> int | None:
        """Return how much more may be written; None without a limit."""
        return None if self.limit is None else max(0, self.limit - self.used - self.held)


def group(level: int, number: int) -> int:
    """Return the id of a group, which people write LEVEL/NUMBER. Level 0 are the subvolumes themselves."""
    return level << 48 | number


def file_system_id(path: Path) -> str:
    """Return the UUID of the btrfs a path is on, as sysfs has it."""
    raw = _ask(path, _FS_INFO, bytes(1024))[16:32].hex()
    return "-".join((raw[:8], raw[8:12], raw[12:16], raw[16:20], raw[20:]))


def visible() -> bool:
    """Say whether this system shows what it knows of quotas; in some containers it does not."""
    return _SYSFS.is_dir()


def _directory(path: Path) -> Path:
    return _directory_of(path, path.stat().st_dev)


# By the device as well: a store that was mounted again may have another file system under its path.
@functools.lru_cache(maxsize=64)
def _directory_of(path: Path, _device: int) -> Path:
    return _SYSFS / file_system_id(path) / "qgroups"


def _read(directory: Path, name: str) -> str:
    with open(f"{directory}/{name}", encoding="ascii") as stream:  # noqa: PTH123 (on the way of each command)
        return stream.read().strip()


def mode(path: Path) -> str:
    """Return SIMPLE or CLASSIC, or an empty string where quotas are off."""
    directory = _directory(path)
    with contextlib.suppress(FileNotFoundError):
        return _read(directory, "mode")
    return CLASSIC if directory.is_dir() else ""  # a kernel that knows no other


def enable(path: Path) -> None:
    """Switch quotas on: simple ones where the kernel has them. Raises OSError where it has none at all."""
    try:
        _ask(path, _QUOTA_CTL, struct.pack("<QQ", _ENABLE_SIMPLE, 0))
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
        _ask(path, _QUOTA_CTL, struct.pack("<QQ", _ENABLE, 0))


def create(path: Path, number: int) -> None:
    """Make a group; one that exists is left as it is."""
    with _unless(errno.EEXIST):
        _ask(path, _CREATE, struct.pack("<QQ", 1, number))


def remove(path: Path, number: int) -> None:
    """Remove a group; one that is missing, or still in use, is left as it is."""
    with _unless(errno.ENOENT, errno.EBUSY):
        _ask(path, _CREATE, struct.pack("<QQ", 0, number))


def assign(path: Path, member: int, parent: int) -> None:
    """Make a group a member of one of a higher level, to whose figures it then counts."""
    with _unless(errno.EEXIST):
        _ask(path, _ASSIGN, struct.pack("<QQQ", 1, member, parent))


def set_limit(path: Path, number: int, size: int | None, *, exclusive: bool = False) -> None:
    """Limit a group's bytes, or those that it shares with no other; None takes the limit away."""
    value = _NONE if size is None else size
    limits = (_MAX_EXCL, 0, value) if exclusive else (_MAX_RFER, value, 0)
    _ask(path, _LIMIT, struct.pack("<6Q", number, *limits, 0, 0))


def figures(path: Path, number: int, *, exclusive: bool = False) -> Figures | None:
    """Return a group's figures as they are now, or None where there is no such group."""
    directory = _directory(path) / f"{number >> 48}_{number & (1 << 48) - 1}"
    word = "exclusive" if exclusive else "referenced"
    try:
        values = {
            name: int(_read(directory, name))
            for name in (word, f"max_{word}", "limit_flags", "rsv_data", "rsv_meta_prealloc")
        }
    except OSError:
        return None
    limited = values["limit_flags"] & (_MAX_EXCL if exclusive else _MAX_RFER)
    return Figures(
        used=values[word],
        held=values["rsv_data"] + values["rsv_meta_prealloc"],
        limit=values[f"max_{word}"] if limited else None,
    )


def groups(path: Path, level: int) -> Iterator[int]:
    """Return the numbers of the groups of a level."""
    for entry in _directory(path).glob(f"{level}_*"):
        yield int(entry.name.partition("_")[2])


def subvolume_id(path: Path) -> int:
    """Return the number of the subvolume that a directory is in."""
    found = _ask(path, _INO_LOOKUP, struct.pack("<QQ4080s", 0, _FIRST_FREE_OBJECTID, b""))
    return int(struct.unpack_from("<Q", found)[0])


def commit(path: Path) -> None:
    """Write everything out, and have the kernel go on freeing what deleted subvolumes had."""
    _ask(path, _SYNC, b"")


def _ask(path: Path, request: int, argument: bytes) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not argument:
            fcntl.ioctl(descriptor, request)
            return b""
        answer = bytearray(argument)  # of bytes ioctl takes 1 KiB at most
        fcntl.ioctl(descriptor, request, answer)
        return bytes(answer)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _unless(*numbers: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in numbers:
            raise
