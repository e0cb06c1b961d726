"""How large the parts of a disk are, computed from what goes into them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from stoneware.dataclass import dataclass
from stoneware.errors import MachineError

VERSION = 1  # of how a disk is laid out and assembled: another one is another disk
MIB = 1 << 20
SECTOR = 512
BLOCK = 4096
_START = MIB  # of the first partition
_END = MIB  # behind the last one: the second copy of the table
_LEAST_BOOT = 64 * MIB  # FAT32 of 512-byte clusters begins at 33 MiB
JOURNAL = 64  # MiB; it does not grow with the disk
_INODE = 256
_GROUP_ROOM = 32 * MIB  # descriptors, and those that are kept for a disk of a thousand times the size
_LEAST_FREE = 128 * MIB  # what a machine can write before its disk has grown
_FREE_SHARE = 10
_SPARE_INODES = 8192
_BYTES_PER_INODE = 16384


class NoRoom(MachineError):
    """What writes a disk, or reads one, found no room for it."""


@dataclass(frozen=True)
class Tree:
    """A directory tree as an ext4 would hold it: blocks of its contents, and inodes."""

    blocks: int
    inodes: int

    @property
    def size(self) -> int:
        """Return the bytes of its contents."""
        return self.blocks * BLOCK


@dataclass(frozen=True)
class Layout:
    """Where the partitions are, in bytes, and how many inodes the root file system has."""

    boot_start: int
    boot_size: int
    root_start: int
    root_size: int
    inodes: int

    @property
    def size(self) -> int:
        """Return the size of the whole disk."""
        return self.root_start + self.root_size + _END


def measure(root: Path) -> Tree:
    """Measure a tree. No link is followed; a file with several names counts once."""
    blocks, inodes, seen = 0, 1, set()
    waiting = [str(root)]
    while waiting:
        names = 0
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                names += 12 + len(os.fsencode(entry.name))
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(entry.path)
                elif status.st_nlink > 1:
                    if (status.st_dev, status.st_ino) in seen:
                        continue
                    seen.add((status.st_dev, status.st_ino))
                inodes += 1
                blocks += blocks_of(status)
        blocks += 1 + names * 3 // (2 * BLOCK)  # a directory; its blocks are not full
    return Tree(blocks, inodes)


def blocks_of(status: os.stat_result) -> int:
    """Return the blocks that an inode's content takes; holes take none."""
    if stat.S_ISLNK(status.st_mode):
        return 1 if status.st_size >= 60 else 0  # shorter ones are in the inode
    if not stat.S_ISREG(status.st_mode):
        return 0
    content = -(-status.st_size // BLOCK)
    held = -(-status.st_blocks * SECTOR // BLOCK)
    return min(content, held + 1)


def layout(tree: Tree, boot: int, *, spare: int = 0) -> Layout:
    """Return the smallest layout for a tree and `boot` bytes of kernel and initramfs; `spare` bytes more."""
    boot_size = max(_LEAST_BOOT, _up(boot * 11 // 10 + 4 * MIB, 4 * MIB))
    root_start = _START + boot_size
    free = max(_LEAST_FREE, tree.size // _FREE_SHARE)
    inodes = tree.inodes * 6 // 5 + _SPARE_INODES
    needed = tree.size + inodes * _INODE + JOURNAL * MIB + _GROUP_ROOM
    size = _up((needed + free) * 103 // 100 + spare, MIB)
    return Layout(_START, boot_size, root_start, size, max(inodes, size // _BYTES_PER_INODE))


def _up(value: int, step: int) -> int:
    return -(-value // step) * step
