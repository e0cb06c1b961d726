"""A full or failing disk under the store, in words: what is full, how much is free, what to do."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from stoneware.errors import HostError
from stoneware.platforms.local.store import quota as store_quota

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
LEAST_ROOM = 4 << 20  # bytes; with less than that nothing works any more
LEAST_HOST_ROOM = 32 << 20  # bytes of the disk that the pool's sparse file is on
_MIB = 1 << 20


class StoreFull(HostError):
    """There is no room in the store, or on the disk that it is on."""


@contextlib.contextmanager
def clear_errors(home: Path) -> Iterator[None]:
    """Turn a full disk or a failing file system under the store into an error that says what to do."""
    try:
        yield
    except OSError as error:
        told = explain(home, error)
        if told is None:
            raise
        raise told from error


def explain(home: Path, error: OSError) -> HostError | None:
    """Return the error in our words where it is that of a full, read-only or failing disk, else None."""
    if error.errno not in DISK_ERRORS:
        return None
    # An ioctl's error has no file name: ours are made to the store alone.
    if is_read_only(home / "data") or (error.errno == errno.EROFS and not error.filename):
        return read_only(home, str(error))
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return full(home, str(error))
    return HostError(
        f"the file system under {home} cannot be written",
        details=f"{error}\nA sparse store file on a full disk does this: {_host(home)}.",
        resolution="make room on that disk, then run the command again",
    )


def check_room(home: Path, data: Path) -> None:
    """Raise HostError when the store is full: whatever a machine writes is lost then, its reports as well."""
    if is_read_only(data):
        raise read_only(home)
    status = os.statvfs(data)
    left = store_quota.guests_left(home, data)
    if status.f_bavail * status.f_frsize < LEAST_ROOM or (left is not None and left < LEAST_ROOM):
        raise full(home)
    if store_quota.is_pool(home) and shutil.disk_usage(home).free < LEAST_HOST_ROOM:
        raise full(home)


def is_read_only(data: Path) -> bool:
    """Say whether the kernel has made the store's file system read-only, as btrfs does where it fails to."""
    try:
        return bool(os.statvfs(data).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def full(home: Path, why: str = "") -> StoreFull:
    """Return the error for a store without room."""
    details = "\n".join(line for line in (why, _figures(home)) if line)
    if store_quota.is_pool(home) and _free(home) < LEAST_HOST_ROOM:
        return StoreFull(
            f"the disk under the store in {home} is full",
            details=details,
            resolution=f"df -h {home}    # make room there, then run the command again",
        )
    return StoreFull(
        f"the store in {home} is full",
        details=details,
        resolution="stoneware prune    # removes what nothing uses; see also `stoneware system df`",
    )


def read_only(home: Path, why: str = "") -> HostError:
    """Return the error for a store that the kernel lets no process write to any more."""
    lines = (
        why,
        "btrfs does this when it cannot write: mostly the disk under its sparse file is full.",
        _host(home),
    )
    return HostError(
        f"the store in {home} is read-only",
        details="\n".join(line for line in lines if line),
        resolution=f"df -h {home}    # make room there and run the command again: it mounts the store again",
    )


def _figures(home: Path) -> str:
    """Return how much is free where, as a line."""
    try:
        status = os.statvfs(home / "data")
    except OSError:
        return _host(home)
    text = f"free in the store: {status.f_bavail * status.f_frsize // _MIB} MiB"
    left = None
    with contextlib.suppress(OSError):
        left = store_quota.guests_left(home, home / "data")
    if left is not None:
        text += f", of that for machines and volumes: {left // _MIB} MiB"
    return f"{text}; {_host(home)}" if store_quota.is_pool(home) else text


def _host(home: Path) -> str:
    return f"free on the disk of {home}: {_free(home) // _MIB} MiB"


def _free(home: Path) -> int:
    try:
        return shutil.disk_usage(home).free
    except OSError:
        return 0
