"""Copying what is on a volume of one kind to a blank one of the other.

A directory becomes a file system by mkfs.ext4 -d, without a mount: this computer's kernel mounts no file
system that a machine has written. Ids are the same on both kinds.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

from stoneware import process
from stoneware.errors import HostError, InputError
from stoneware.model.resources import DISK
from stoneware.platforms.local.disks import reading
from stoneware.platforms.local.disks.layout import MIB, NoRoom, Tree, measure
from stoneware.platforms.local.host.requirements import check
from stoneware.platforms.local.store import quota as store_quota
from stoneware.platforms.local.store import volume_kinds
from stoneware.platforms.local.store.store import Store
from stoneware.process import ProcessError

_CONF = Path(__file__).with_name("mke2fs.conf")
_INODE, _BYTES_PER_INODE, _SPARE_INODES = 256, 16384, 1024
_FIXED = 160 * MIB  # the journal, descriptors of groups, and those kept for a disk that grows
_FULL = ("No space left", "Disk quota exceeded", "short write")
_MAKING = ("mkfs.ext4",)
_SMALL = "allocate"


def least_size(volume: Path) -> int:
    """Return how large a disk with what is in a volume's directory has to be, in bytes."""
    return _least(measure(volume_kinds.contents(volume)))


def _least(tree: Tree) -> int:
    needed = (tree.size + _inodes(tree) * _INODE + _FIXED) * 105 // 100
    return -(-needed // MIB) * MIB


def _inodes(tree: Tree) -> int:
    return tree.inodes * 6 // 5 + _SPARE_INODES


def faults(store: Store, name: str, kind: str) -> Iterator[str]:
    """Say why a volume cannot become of a kind, as far as that is known while a machine has it."""
    try:
        check(_MAKING if kind == DISK else reading.TOOLS)
    except HostError as error:
        yield f"{error.brief}: {'; '.join(error.resolution.splitlines())}"
    status, figures = os.statvfs(store.data), store.volume_figures(name)
    room = status.f_bavail * status.f_frsize, store_quota.guests_left(store.home, store.data)
    free, used = min(one for one in room if one is not None), figures.used if figures else 0
    if used > free:
        yield f"there is a copy to be made of {used // MIB} MiB, and the store has {free // MIB} MiB left"


def fill(source: Path, made: Path) -> None:
    """Copy what is on a volume to a blank one of the other kind. Raises NoRoom, InputError, MachineError."""
    if volume_kinds.kind_of(made) == DISK:
        _fill_disk(volume_kinds.contents(source), volume_kinds.disk_file(made), source.name)
    else:
        reading.fill_directory(source, made)


def _fill_disk(directory: Path, disk: Path, name: str) -> None:
    check(_MAKING)
    tree, size = measure(directory), disk.stat().st_size
    if size < (least := _least(tree)):
        raise _too_small(name, size, least)
    inodes = max(_inodes(tree), size // _BYTES_PER_INODE)
    limits = reading.limits_of(disk.stat())  # its blocks are still to be written: the tree has them
    argv = [*limits, "mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-N", str(inodes)]
    argv += ["-E", "assume_storage_prezeroed=1", "-d", str(directory), str(disk)]
    try:
        process.run(argv, env={"MKE2FS_CONFIG": str(_CONF)})
    except ProcessError as error:
        # How the kernel ends a program whose processor time is over (setrlimit(2), RLIMIT_CPU).
        if error.returncode in (-signal.SIGKILL, -signal.SIGXCPU):
            raise reading.too_long(name, limits) from error
        if any(word in error.stderr for word in _FULL):
            raise NoRoom("there is no room for the disk", details=error.stderr.strip()) from error
        if _SMALL in error.stderr:
            raise _too_small(name, size, least * 3 // 2) from error
        raise
    with disk.open("rb") as stream:
        os.fsync(stream.fileno())


def _too_small(name: str, size: int, least: int) -> InputError:
    return InputError(
        f"a disk of {size // MIB} MiB is too small for what is on the volume {name!r}",
        resolution=f"stoneware volume convert {name} --size {-(-least // MIB)}m    # or more",
    )
