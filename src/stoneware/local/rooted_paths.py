"""Opening a path of a root file system from outside as that root would: no link, no `..` leads out of it."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from pathlib import Path
from typing import Any

_OPENAT2 = 437  # of all architectures
_RESOLVE_NO_MAGICLINKS, _RESOLVE_IN_ROOT = 0x02, 0x10
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
_LIBRARY: Any = ctypes.CDLL(None, use_errno=True)


def open_inside(root: Path, path: str, flags: int) -> int:
    """Open `path` with its links read as inside of `root` (openat2). Raises OSError."""
    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, _RESOLVE_NO_MAGICLINKS | _RESOLVE_IN_ROOT)
        found = _LIBRARY.syscall(_OPENAT2, top, os.fsencode(path), ctypes.c_char_p(how), len(how))
    finally:
        os.close(top)
    if found < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return int(found)


def mode_inside(root: Path, path: str) -> int:
    """Return the mode of what is at a path of a root, 0 where nothing is; a link to nothing is a link."""
    for flags in (os.O_PATH, os.O_PATH | os.O_NOFOLLOW):
        try:
            descriptor = open_inside(root, path, flags)
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise
            continue
        try:
            return os.fstat(descriptor).st_mode
        finally:
            os.close(descriptor)
    return 0
