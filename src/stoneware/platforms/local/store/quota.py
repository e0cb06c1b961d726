"""Limits of what machines and volumes may take of the store, and a reserve that none of them can touch.

Where the store is in a pool of its own and the kernel has simple quotas, each machine's root, each volume and
each cache has a quota group 1/N with its limit, N being its subvolume's number: subvolumes that a guest makes
inside belong to it as well. So do snapshots of a volume, and what a restore puts into its place: blocks are
charged to the subvolume that wrote them for as long as anything has them, so only all of these together have
figures. A volume's limit is its size and what it and its snapshots had when the last of them was taken, so
that what they hold leaves the volume its size.

All of those are members of the group 2/0, whose limit is what the pool has less the reserve. Our own records
are in the file system's first subvolume, which has no limit: with the guests' part full, every command works.

With quota groups proper (Linux before 6.7) the exclusive blocks of each subvolume are limited, and nothing
keeps several of them from filling the pool. On a btrfs of the computer's own, they are used if they are on.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from stoneware import process
from stoneware.errors import HostError, InputError
from stoneware.files import locked
from stoneware.model.limits import SMALLEST_DISK, parse_size
from stoneware.platforms.local.store import btrfs_nested, qgroups
from stoneware.platforms.local.store.qgroups import CLASSIC, SIMPLE, Figures

DISK_VARIABLE, VOLUME_VARIABLE = "STONEWARE_DEFAULT_DISK", "STONEWARE_DEFAULT_VOLUME_SIZE"
EVERYTHING = qgroups.group(2, 0)
_SHARE = 4  # by default a quarter of what is left: a machine fills its root and volumes, and leaves room
_LEAST_RESERVE, _MOST_RESERVE = 96 << 20, 2 << 30  # bytes; a tenth of the store in between
_HOST_RESERVE = 256 << 20  # bytes of this computer's disk that the pool's sparse file leaves free
_FIRM = 8 << 20  # bytes; smaller changes of the guests' part are not written down
_METADATA = 256 << 20  # bytes; btrfs gives a tenth of a small pool
LEAST_ROOM = 8 << 20  # bytes that the guests must have left for something new to be made


def is_pool(home: Path) -> bool:
    """Say whether the store's file system is its own."""
    return (home / "pool.btrfs").exists()


def prepare(home: Path, data: Path) -> str:
    """Switch quotas on in a store that has none; return a sentence where it held something already.

    Quick where they are on. A kill at any instant leaves a store that the next command prepares. Where quotas
    cannot be seen nothing is done: it would be done again by each command.
    """
    if (
        not is_pool(home)
        or not qgroups.visible()
        or _reserved(data) is not None
        or qgroups.mode(data) == CLASSIC
    ):
        return ""
    with locked(home / "locks" / "pool.lock"):
        if _reserved(data) is not None:
            return ""
        try:
            _widen_metadata(data)
            qgroups.enable(data)
        except OSError as error:
            return f"the store in {home} has no limits: {error}"
        found = [*data.glob("machines/[!.]*/rootfs"), *data.glob("volumes/[!.]*/data")]
        if qgroups.mode(data) == SIMPLE:
            qgroups.create(data, EVERYTHING)
        for path in found:
            variable = DISK_VARIABLE if path.name == "rootfs" else VOLUME_VARIABLE
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                limit(home, data, path, None, variable)
        if qgroups.mode(data) == SIMPLE:
            keep_reserve(home, data)  # last: its limit tells that this has been done
    return f"the machines and volumes in {home} have limits now: see stoneware system df" if found else ""


def has_quotas(data: Path) -> bool:
    """Say whether the store's file system can limit anything."""
    return bool(qgroups.mode(data))


def limit(
    home: Path,
    data: Path,
    subvolume: Path,
    size: int | None,
    variable: str,
    *,
    group: int | None = None,
    more: int = 0,
) -> None:
    """Limit what a subvolume may take, in bytes; None stands for the default.

    That is what the environment's `variable` says, else a quarter of what is left when it is made; at a later
    start it only grows. Raises HostError for a size where this file system has no quotas.

    With simple quotas `group` is the number of a group to belong to instead of one of its own, and `more` is
    what others in it have besides.
    """
    mode = qgroups.mode(data)
    if not mode:
        if size is not None:
            raise _without_quotas(home, data)
        return
    subvolume_number = qgroups.subvolume_id(subvolume)
    number = group if group and mode == SIMPLE else subvolume_number
    wanted = size or default_size(variable) or 0
    if mode != SIMPLE:
        wanted = wanted or _share(home, data, _figures(data, mode, number))
        qgroups.set_limit(data, qgroups.group(0, number), wanted, exclusive=True)
        return
    wanted = wanted + more if wanted else _share(home, data, _figures(data, mode, number))
    own = qgroups.group(1, number)
    qgroups.create(data, own)
    # Before anything is in the group, so that nothing in it is ever without a limit.
    qgroups.set_limit(data, own, wanted)
    if is_pool(home):
        qgroups.assign(data, own, EVERYTHING)
    qgroups.assign(data, qgroups.group(0, subvolume_number), own)


def _without_quotas(home: Path, data: Path) -> HostError:
    brief = f"disks and volumes cannot have a size in {home}"
    if qgroups.visible():
        return HostError(
            brief,
            details="The file system it is on has no quotas.",
            resolution=f"btrfs quota enable --simple {data}    # needs Linux 6.7 and btrfs-progs 6.7",
        )
    return HostError(
        brief,
        details="This system does not show /sys/fs/btrfs, which tells what quotas there are.",
        resolution="run it where /sys/fs/btrfs is there; or leave the size out",
    )


def group_of(data: Path, subvolume: Path, group: int | None = None) -> int | None:
    """Return the number of the group that a subvolume belongs to; None where there are no simple quotas."""
    return (group or qgroups.subvolume_id(subvolume)) if qgroups.mode(data) == SIMPLE else None


def join(data: Path, subvolume: Path, group: int | None) -> None:
    """Let a snapshot count to the group of what it was taken from, as all that this wrote does anyhow."""
    if group is not None:
        qgroups.assign(data, qgroups.group(0, qgroups.subvolume_id(subvolume)), qgroups.group(1, group))


def _share(home: Path, data: Path, known: Figures | None) -> int:
    left = guests_left(home, data)
    if left is None:
        status = os.statvfs(data)
        left = status.f_bavail * status.f_frsize
    used, before = (known.used + known.held, known.limit or 0) if known else (0, 0)
    return max(SMALLEST_DISK, before, used + left // _SHARE)


def default_size(variable: str) -> int | None:
    """Return what the environment says that a machine's root or a volume may take, in bytes, or None."""
    text = os.environ.get(variable, "")
    if not text:
        return None
    size = parse_size(text, f"{variable}=20g stoneware …")
    if size < SMALLEST_DISK:
        raise InputError(
            f"{variable}={text} is too small", resolution=f"{variable}=20g stoneware …    # 64m is the least"
        )
    return size


def figures(data: Path, subvolume: Path, group: int | None = None) -> Figures | None:
    """Return what a subvolume, or all in its group, has and may have; None where there are no quotas."""
    mode = qgroups.mode(data)
    if not mode:
        return None
    own = group if group and mode == SIMPLE else qgroups.subvolume_id(subvolume)
    return _figures(data, mode, own)


def group_figures(data: Path, group: int) -> Figures | None:
    """Return what all in a group have and may have; None where there is no such group."""
    return _figures(data, SIMPLE, group) if qgroups.mode(data) == SIMPLE else None


def _figures(data: Path, mode: str, number: int) -> Figures | None:
    if mode == SIMPLE:
        return qgroups.figures(data, qgroups.group(1, number))
    return qgroups.figures(data, qgroups.group(0, number), exclusive=True)


def reserve(data: Path) -> int:
    """Return the bytes of a pool that guests cannot have."""
    return min(max(_size(data) // 10, _LEAST_RESERVE), _MOST_RESERVE)


def keep_reserve(home: Path, data: Path) -> None:
    """Let guests have what is free now, less the reserve; forks nothing.

    What is free changes with our own files, with images, and with the disk that the pool's sparse file is on.
    """
    if not is_pool(home) or qgroups.mode(data) != SIMPLE:
        return
    known = qgroups.figures(data, EVERYTHING)
    if known is None:
        return
    status = os.statvfs(data)
    room = status.f_bavail * status.f_frsize - reserve(data)
    # The pool's file is sparse: where the disk under it is full, btrfs turns read-only for all quotas.
    room = min(room, shutil.disk_usage(home).free - _HOST_RESERVE)
    wanted = max(known.used + known.held + room, 1)
    if known.limit is None or abs(known.limit - wanted) >= _FIRM:
        qgroups.set_limit(data, EVERYTHING, wanted)


def guests_left(home: Path, data: Path) -> int | None:
    """Return how much all machines and volumes together may still write; None without a reserve."""
    known = qgroups.figures(data, EVERYTHING) if is_pool(home) else None
    return None if known is None else known.left


def forget_removed(data: Path) -> None:
    """Remove the groups of subvolumes that are gone, with all that was written to them.

    What a builder wrote and a checkpoint has still counts to the builder's group.
    """
    if qgroups.mode(data) != SIMPLE:
        return
    for number in list(qgroups.groups(data, 0)):  # of snapshots: they are in a group that is not theirs
        known = qgroups.figures(data, qgroups.group(0, number))
        if known and not known.used and not known.held and not btrfs_nested.exists(data, number):
            qgroups.remove(data, qgroups.group(0, number))
    for number in list(qgroups.groups(data, 1)):
        known = qgroups.figures(data, qgroups.group(1, number))
        if known and not known.used and not known.held and not btrfs_nested.exists(data, number):
            qgroups.remove(data, qgroups.group(0, number))
            qgroups.remove(data, qgroups.group(1, number))


def _reserved(data: Path) -> int | None:
    known = qgroups.figures(data, EVERYTHING)
    return None if known is None else known.limit


def _size(data: Path) -> int:
    status = os.statvfs(data)
    return status.f_blocks * status.f_frsize


def _widen_metadata(data: Path) -> None:
    """Have btrfs set aside room for metadata: mkfs makes it so small that data soon leave none for more."""
    total, used = _metadata(data)
    wanted = min(_METADATA, _size(data) // 10)
    if total < wanted // 2 and used < _METADATA and os.statvfs(data).f_bavail > 2 * wanted // 4096:
        process.run(["btrfs", "balance", "start", "-m", data], check=False)


def _metadata(data: Path) -> tuple[int, int]:
    directory = Path("/sys/fs/btrfs") / qgroups.file_system_id(data) / "allocation/metadata"
    try:
        return int((directory / "total_bytes").read_text()), int((directory / "bytes_used").read_text())
    except OSError:
        return _METADATA, 0  # unknown: leave it alone
