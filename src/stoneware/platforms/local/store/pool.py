"""The btrfs file system under the store: the one HOME is on, or a sparse file that is loop-mounted."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from stoneware import process
from stoneware.errors import HostError, InputError
from stoneware.files import locked
from stoneware.platforms.local.store import btrfs
from stoneware.platforms.local.store import walls as store_walls
from stoneware.platforms.local.store.errors import clear_errors

GIB = 1 << 30
DEFAULT_SIZE = 100 * GIB
SMALLEST_SIZE = 1 * GIB
# discard: what is freed in the store becomes free on the disk under the sparse file.
# Not compressed: each machine reads its files from a snapshot of its own, so each boot would decompress them.
_OPTIONS = f"noatime,discard=async,{store_walls.MOUNT_OPTIONS}"
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": GIB, "T": 1 << 40}


@contextlib.contextmanager
def usable(home: Path) -> Iterator[None]:
    """Turn a HOME that cannot be a directory of ours into an error that says so."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        raise HostError(
            f"there can be no store in {home}",
            details=f"{error.filename or home}: {error.strerror}",
            resolution="STONEWARE_HOME=/another/directory stoneware …",
        ) from error


def parse_size(text: str) -> int:
    """Return a size such as `20G` or `1.5T` in bytes. Raises InputError."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise InputError(f"{text!r} is not a size", resolution="STONEWARE_POOL_SIZE=20G stoneware …")
    size = float(match[1]) * _UNITS[match[2].upper()]
    # truncate(2) takes a signed number; beyond it the error would speak of an invalid argument.
    if size >= 1 << 63:
        raise InputError(f"{text[:40]!r} is more than a file system holds", resolution="for example: 20G")
    return int(size)


def pool_size(home: Path, wanted: str | None) -> int:
    """Return the size of a new pool file: as wanted, else 100 GiB or 90 % of the free space if that is less.

    Raises HostError where there is not room for even a small one.
    """
    if wanted:
        size = parse_size(wanted)
        if size < SMALLEST_SIZE:
            raise InputError(
                f"STONEWARE_POOL_SIZE={wanted} is too small for a store",
                resolution="STONEWARE_POOL_SIZE=20G stoneware …    # 1G is the least",
            )
        return size
    free = shutil.disk_usage(home).free
    # The file is sparse, but a btrfs that finds its device full turns read-only: it must not promise more.
    size = min(DEFAULT_SIZE, free * 9 // 10)
    if size < SMALLEST_SIZE:
        raise HostError(
            f"there is no room for a store in {home}",
            details=f"{free / GIB:.1f} GiB are free there, {SMALLEST_SIZE / GIB:.0f} are needed.",
            resolution="STONEWARE_HOME=/a/bigger/disk stoneware …",
        )
    return size - size % (1 << 20)


def is_mounted(home: Path, data: Path) -> bool:
    """Say whether HOME/data is another file system than HOME: two stat calls, no process."""
    try:
        return os.stat(data).st_dev != os.stat(home).st_dev  # noqa: PTH116 (one call each, on the fast path)
    except FileNotFoundError:
        return False


def make(home: Path) -> None:
    """Make HOME/data on a btrfs file system. The caller holds the store's lock."""
    data, pool = home / "data", home / "pool.btrfs"
    if btrfs.on_btrfs(home):
        data.mkdir(exist_ok=True)
        return
    size = pool_size(home, os.environ.get("STONEWARE_POOL_SIZE"))
    # Under another name until it is a file system: a kill would leave one that cannot be mounted.
    staged = home / ".pool.btrfs.new"
    with clear_errors(home):
        staged.unlink(missing_ok=True)
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.truncate(size)
        # Metadata once: a second copy in the same file helps little, and each commit would write it too.
        process.run(["mkfs.btrfs", "-q", "-m", "single", "-L", "stoneware", staged])
        staged.replace(pool)
        data.mkdir(exist_ok=True)


def mount(home: Path) -> None:
    """Mount the pool file at HOME/data if it is not mounted, for later commands as well."""
    data, pool = home / "data", home / "pool.btrfs"
    if not pool.exists() or is_mounted(home, data):
        return
    with locked(home / "locks" / "pool.lock"):
        if is_mounted(home, data):
            return
        data.mkdir(exist_ok=True)
        command = ["mount", "-t", "btrfs", "-o", f"loop,{_OPTIONS}", str(pool), str(data)]
        # Where the first process sees it: in a namespace of this command's the mount would end with it.
        store_walls.outermost(command)
        if not is_mounted(home, data):
            _mount_here(home, command)


def _mount_here(home: Path, command: list[str]) -> None:
    try:
        process.run(command)
    except process.ProcessError as error:
        # Mounted nowhere here: a failed file system that is still in use cannot be mounted a second time.
        if process.run(["losetup", "-j", home / "pool.btrfs"], check=False).stdout:
            raise held_elsewhere(home) from error
        raise HostError(
            f"the store's file system {home}/pool.btrfs cannot be mounted",
            details=error.details,
            resolution="stoneware doctor    # checks btrfs and loop devices",
        ) from error


def held_elsewhere(home: Path) -> HostError:
    """Return the error for a store whose failed file system another program still has mounted."""
    return HostError(
        f"the store in {home} is read-only, and something keeps it from being mounted again",
        details="Its failed file system lives on in the mount namespace of another program.",
        resolution=f"grep -l {home}/data /proc/[0-9]*/mountinfo    # end those, then run it again",
    )


def unmount(home: Path) -> None:
    """Unmount the pool, or the store's directory that is bound onto itself; a loop device goes with it."""
    data = home / "data"
    if store_walls.is_mount_point(data):
        process.run(["umount", data])
