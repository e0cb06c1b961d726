"""What differs between two read-only snapshots, as btrfs knows: the stream of `btrfs send --no-data -p`.

The kernel compares the two trees block by block and leaves out what they share, so its work grows with what
has changed and not with what there is. The stream says what to do, one command after another, to make the
second snapshot of a copy of the first one. Numbers and forms are those of the kernel's fs/btrfs/send.h.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from stoneware.platforms.local.store import qgroups
from stoneware.platforms.local.store.btrfs_ioctl import request

_SEND = 0x40489426  # _IOW(0x94, 38, struct btrfs_ioctl_send_args)
_NO_FILE_DATA = 0x1
_HEAD = struct.Struct("<13sI")
_COMMAND = struct.Struct("<IHI")  # length of what follows, kind, checksum
_VALUE = struct.Struct("<HH")  # kind, length
_PATH, _PATH_TO, _PATH_LINK = 15, 16, 17
_SNAPSHOT, _END = 2, 21
# A guest decides how long a stream is: who changes more than fits in here has its files walked over instead.
MOST_BYTES = 64 << 20
MOST_COMMANDS = 300_000

# What a command does to names. All others change what is at `path`, and leave its name.
MAKE = frozenset({3, 5, 6, 7, 8})  # a file, device, FIFO, socket or link
MKDIR, RENAME, LINK, UNLINK, RMDIR = 4, 9, 10, 11, 12
_KNOWN = frozenset(range(3, 21)) | {22}

# The command, the path, and where that goes, or what a LINK is another name of.
Change = tuple[int, bytes, bytes]


class OddError(Exception):
    """Something is not as it is expected to be: then the files are listed by walking over all of them."""


def changes(parent: Path, snapshot: Path) -> list[Change]:
    """Return the commands that make `snapshot` of `parent`, in their order. Raises OddError and OSError."""
    # A file of a fixed size takes no more than its bound, whatever a guest has done; a pipe would have to be
    # closed, and the kernel answers that with a signal.
    stream = os.memfd_create("stoneware-changes", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(stream, MOST_BYTES)
        fcntl.fcntl(stream, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
        _send(parent, snapshot, stream)
        with mmap.mmap(stream, MOST_BYTES, prot=mmap.PROT_READ) as held:
            return list(parse(held))
    finally:
        os.close(stream)


def _send(parent: Path, snapshot: Path, stream: int) -> None:
    # struct btrfs_ioctl_send_args: fd, clone sources (none), parent, flags, version, reserved
    wanted = struct.pack("<qQQQQI28x", stream, 0, 0, qgroups.subvolume_id(parent), _NO_FILE_DATA, 0)
    top = os.open(snapshot, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        request(top, _SEND, bytearray(wanted))
    finally:
        os.close(top)


def parse(stream: bytes | mmap.mmap) -> Iterator[Change]:
    """Give the commands of a stream. Raises OddError for what is no stream, and for one that is too long."""
    try:
        yield from _parsed(stream)
    except struct.error as error:
        raise OddError(f"the stream ends early: {error}") from error


def _parsed(stream: bytes | mmap.mmap) -> Iterator[Change]:
    magic, version = _HEAD.unpack_from(stream)
    if magic != b"btrfs-stream\0" or version != 1:
        raise OddError("not a stream of version 1")
    offset = _HEAD.size
    for number in range(MOST_COMMANDS):
        length, kind, _ = _COMMAND.unpack_from(stream, offset)
        begin, offset = offset + _COMMAND.size, offset + _COMMAND.size + length
        if offset > len(stream):
            raise OddError("a command is longer than the stream")
        if kind == _END:
            return
        if number == 0 and kind == _SNAPSHOT:
            continue
        if number == 0 or kind not in _KNOWN:
            raise OddError(f"the command {kind} is not known")
        yield _change(kind, stream[begin:offset])
    raise OddError("too many commands")


def _change(kind: int, body: bytes) -> Change:
    path, other, offset = None, b"", 0
    while offset < len(body):
        name, length = _VALUE.unpack_from(body, offset)
        value = body[offset + _VALUE.size : offset + _VALUE.size + length]
        if len(value) != length:
            raise OddError("a value is longer than its command")
        offset += _VALUE.size + length
        if name == _PATH:
            path = value
        elif name in (_PATH_TO, _PATH_LINK):
            other = value
    if path is None:
        raise OddError(f"the command {kind} has no path")
    return kind, path, other
