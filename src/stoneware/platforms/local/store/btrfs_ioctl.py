"""Deleting one subvolume of btrfs by ioctl.

The request numbers and structures are those of the kernel's include/uapi/linux/btrfs.h.
"""

from __future__ import annotations

import fcntl
import os
import struct

_SNAP_DESTROY = 0x5000940F  # _IOW(0x94, 15, struct btrfs_ioctl_vol_args)
_SUBVOL_SETFLAGS = 0x4008941A  # _IOW(0x94, 26, __u64)


def vol_args(name: str | bytes) -> bytearray:
    """Return a struct btrfs_ioctl_vol_args: __s64 fd, char name[4088]."""
    return bytearray(struct.pack("<q4088s", 0, os.fsencode(name)))  # ioctl takes 1 KiB at most of bytes


def destroy(parent: int, name: str | bytes) -> None:
    """Delete a subvolume in which there are no others. Raises OSError (ENOTEMPTY)."""
    fcntl.ioctl(parent, _SNAP_DESTROY, vol_args(name))


def make_writable(descriptor: int) -> None:
    """Take the read-only flag off a subvolume: nothing in it could be removed otherwise."""
    fcntl.ioctl(descriptor, _SUBVOL_SETFLAGS, bytes(8))
