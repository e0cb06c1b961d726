"""Requests to btrfs, among them deleting one subvolume.

The request numbers and structures are those of the kernel's include/uapi/linux/btrfs.h.
"""

from __future__ import annotations

import fcntl
import functools
import os
import struct
from typing import Any

_SNAP_DESTROY = 0x5000940F  # _IOW(0x94, 15, struct btrfs_ioctl_vol_args)
_SUBVOL_SETFLAGS = 0x4008941A  # _IOW(0x94, 26, __u64)


def vol_args(name: str | bytes) -> bytearray:
    """Return a struct btrfs_ioctl_vol_args: __s64 fd, char name[4088]."""
    return bytearray(struct.pack("<q4088s", 0, os.fsencode(name)))


def request(descriptor: int, number: int, argument: bytearray) -> None:
    """Make a request while other threads go on; the kernel may answer in the argument. Raises OSError.

    `fcntl.ioctl` holds the interpreter's lock wherever an argument has more than 1 KiB. A snapshot waits for
    the disk, and nothing of us would run meanwhile, such as the answers to Terraform about other machines.
    """
    import ctypes  # not where nothing is made

    buffer = (ctypes.c_char * len(argument)).from_buffer(argument)
    if _ioctl()(descriptor, number, buffer) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@functools.cache
def _ioctl() -> Any:
    import ctypes

    function = ctypes.CDLL(None, use_errno=True).ioctl
    function.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p]
    return function


def destroy(parent: int, name: str | bytes) -> None:
    """Delete a subvolume in which there are no others. Raises OSError (ENOTEMPTY)."""
    request(parent, _SNAP_DESTROY, vol_args(name))


def make_writable(descriptor: int) -> None:
    """Take the read-only flag off a subvolume: nothing in it could be removed otherwise."""
    fcntl.ioctl(descriptor, _SUBVOL_SETFLAGS, bytes(8))
