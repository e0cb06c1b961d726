"""Disks that somebody else has made: which form a file has, read from its first bytes; what is refused.

A form is never guessed by QEMU, which would take what a raw disk's first bytes say for the file's. A disk
that refers to other files is refused: they would be files of this computer.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from pathlib import Path

from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.platforms.local.disks import qcow2_tables, vmdk_tables

RAW, QCOW2, VMDK = "raw", "qcow2", "vmdk"
SECTOR = 512
_QCOW2, _VMDK = b"QFI\xfb", b"KDMV"
_HEAD = 64 << 10
_QCOW2_HEADER = struct.Struct(">4sIQIIQI")  # up to the encryption; qcow2's specification
_FEATURES_AT = 72  # of version 3: those that a reader has to know
_CORRUPT, _DATA_FILE, _WIDE = 1 << 1, 1 << 2, 1 << 4
_VMDK_DESCRIPTOR = struct.Struct("<QQ")  # at byte 28: where the description is, and how long, in sectors
_MOST_DESCRIPTION = 1 << 20
SUFFIXES = (".qcow2", ".raw", ".img", ".vmdk", ".vhd", ".vhdx", ".vdi")
# What the first bytes of a file that is a whole file system or another container are.
_OTHER = (
    (0, b"conectix", "a disk in the form VHD"),
    (0, b"vhdxfile", "a disk in the form VHDX"),
    (64, b"\x7f\x10\xda\xbe", "a disk in the form VDI"),
    (0, b"# Disk DescriptorFile", "the description of a VMDK whose content is in other files"),
    (0, b"COWD", "a disk in an old form of VMware's"),
    (0, b"QED\0", "a disk in the form QED"),
)
_WHOLE = (
    (0, b"LUKS\xba\xbe", "an encrypted disk (LUKS)"),
    (0, b"XFSB", "an XFS file system"),
    (1080, b"\x53\xef", "an ext file system"),
    (0x10040, b"_BHRfS_M", "a btrfs file system"),
)
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")  # archives: any bytes anywhere
_TABLE = (510, b"\x55\xaa")
_GPT = b"EFI PART"
FILES_INSTEAD = (
    "tar -C / --one-file-system --xattrs --acls --numeric-owner -cf /tmp/root.tar .    # in the machine;"
    " then: stoneware import root.tar -t NAME"
)


@dataclass(frozen=True)
class ForeignDisk:
    """A disk in a file: its form, and how many bytes its machine sees."""

    path: Path
    form: str
    size: int


def recognise(path: Path) -> ForeignDisk | None:
    """Return the disk that a file holds, None where it holds something else (an archive, one hopes).

    Raises InputError for a disk that is damaged, refers to other files, or has no partition table.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        head = os.pread(descriptor, _HEAD + 512, 0)
        if head.startswith(_PACKED):
            return None
        if head.startswith(_QCOW2):
            return ForeignDisk(path, QCOW2, _qcow2(path, head, descriptor))
        if head.startswith(_VMDK):
            return ForeignDisk(path, VMDK, _vmdk(path, head, descriptor))
        if found := _first(head, _OTHER):
            raise InputError(
                f"{path.name} is {found}, which is not read here",
                resolution=f"qemu-img convert -O qcow2 {path.name} disk.qcow2",
            )
        size = os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
    return _raw(path, head, size)


def _raw(path: Path, head: bytes, size: int) -> ForeignDisk | None:
    at, magic = _TABLE
    named = path.name.lower().endswith(SUFFIXES)
    if found := _first(head, _WHOLE):
        raise _tableless(path, found)
    # A tar archive has text where a disk has the mark of its table.
    if head[at : at + 2] == magic or head[SECTOR : SECTOR + 8] == _GPT:
        whole = _size_of_table(head)
        if size % SECTOR or size < whole:
            raise InputError(
                f"{path.name} is cut off: "
                + (f"its disk has {whole} bytes, the file {size}" if whole else f"no disk has {size} bytes"),
                resolution="copy the disk again",
            )
        return ForeignDisk(path, RAW, size)
    if named:
        raise _tableless(path, "no disk of a form that is known here")
    return None


def _size_of_table(head: bytes) -> int:
    """Return how large a GPT says that the disk is, 0 without one: its second copy is in the last sector."""
    if head[SECTOR : SECTOR + 8] != _GPT or len(head) < SECTOR + 40:
        return 0
    (last,) = struct.unpack_from("<Q", head, SECTOR + 32)
    return int(last + 1) * SECTOR


def packed_disk(head: bytes) -> str:
    """Return what disk the first bytes of what an archive unpacks to are, "" where they are none."""
    if head.startswith(_QCOW2):
        return "a qcow2 disk"
    if head.startswith(_VMDK):
        return "a VMDK disk"
    at, magic = _TABLE
    if head[at : at + 2] == magic or head[SECTOR : SECTOR + 8] == _GPT:
        return "a raw disk"
    return _first(head, _OTHER) or _first(head, _WHOLE)


def _tableless(path: Path, what: str) -> InputError:
    return InputError(
        f"{path.name} has no partition table: it is {what}",
        details="A disk with a GPT is read, raw or as qcow2 or VMDK.",
        resolution=FILES_INSTEAD,
    )


def _first(head: bytes, known: tuple[tuple[int, bytes, str], ...]) -> str:
    return next((what for at, magic, what in known if head[at : at + len(magic)] == magic), "")


def _qcow2(path: Path, head: bytes, descriptor: int) -> int:
    if len(head) < _FEATURES_AT + 8:
        raise damaged(path, "it ends in its header")
    _, version, backing, backing_length, cluster_bits, size, encrypted = _QCOW2_HEADER.unpack_from(head)
    (features,) = struct.unpack_from(">Q", head, _FEATURES_AT) if version >= 3 else (0,)
    if version not in (2, 3):
        raise damaged(path, f"it says that it has version {version}")
    if features & _CORRUPT:
        raise damaged(path, "QEMU has marked it as corrupt")
    if backing:
        name = head[backing : backing + min(backing_length, 200)].decode(errors="replace")
        raise _elsewhere(path, f"It is what has changed since another disk: {name!r}.")
    if features & _DATA_FILE:
        raise _elsewhere(path, "Its content is in another file.")
    if encrypted:
        raise InputError(
            f"{path.name} is encrypted", resolution=f"qemu-img convert -O qcow2 {path.name} disk.qcow2"
        )
    if not 9 <= cluster_bits <= 21 or not SECTOR <= size < 1 << 63:
        raise damaged(path, f"it says that it is {size} bytes large, in clusters of 2^{cluster_bits}")
    if why := qcow2_tables.fault(descriptor, head, cluster_bits, wide=bool(features & _WIDE)):
        raise damaged(path, why)
    return int(size)


def _vmdk(path: Path, head: bytes, descriptor: int) -> int:
    if len(head) < SECTOR:
        raise damaged(path, "it ends in its header")
    version, _, capacity = struct.unpack_from("<IIQ", head, 4)
    at, length = _VMDK_DESCRIPTOR.unpack_from(head, 28)
    if version not in (1, 2, 3) or not 0 < capacity < 1 << 54:
        raise damaged(path, f"it says that it has version {version} and {capacity} sectors")
    text = b""
    if at:
        text = os.pread(descriptor, min(length * SECTOR, _MOST_DESCRIPTION), min(at * SECTOR, 1 << 62))
    parent = re.search(rb"^\s*parentCID\s*=\s*([0-9a-fA-F]+)", text, re.MULTILINE)
    if parent and parent[1].lower() != b"ffffffff":
        raise _elsewhere(path, "It is what has changed since another disk.")
    kind = re.search(rb'^\s*createType\s*=\s*"(\w+)"', text, re.MULTILINE)
    if kind and kind[1] not in (b"monolithicSparse", b"streamOptimized"):
        raise _elsewhere(path, f"Its content is in other files ({kind[1].decode()[:40]}).")
    if why := vmdk_tables.fault(descriptor, head):
        raise damaged(path, why)
    return int(capacity) * SECTOR


def _elsewhere(path: Path, details: str) -> InputError:
    return InputError(
        f"{path.name} is not a whole disk",
        details=details,
        resolution=f"qemu-img convert -O qcow2 {path.name} whole.qcow2    # where the others are",
    )


def damaged(path: Path, details: str) -> InputError:
    """Return the error of a disk that cannot be read."""
    return InputError(
        f"the disk {path.name} is damaged", details=details, resolution=f"qemu-img check {path.name}"
    )
