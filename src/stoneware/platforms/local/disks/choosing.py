"""Which partition of a foreign disk is the root file system, by what the machine that reads it says. Pure.

That machine has a hostile disk in it, so its report is held against a shape before it is believed.
"""

from __future__ import annotations

import re
from typing import Any

from stoneware.dataclass import dataclass
from stoneware.errors import InputError, MachineError
from stoneware.platforms.local.disks.foreign import FILES_INSTEAD
from stoneware.untrusted.bounded import BoundsError, bounded_json

MOST_REPORT = 256 << 10  # bytes
_MOST_PARTITIONS = 256
_DEPTH = 8
# Nothing that a terminal would obey: these words are shown.
_WORD = re.compile(r"[ a-zA-Z0-9:;,./()_+@=-]{0,300}")
_DIRECTORIES = (".", "@rootfs", "@", "root")  # of btrfs: where distributions have the root
# Partition types of a root for each processor (UAPI.2, the Discoverable Partitions Specification).
_ROOT_TYPES = ("4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "b921b045-1df0-41c3-af44-4c6f280d3fae")
_SYSTEMS = ("ext2", "ext3", "ext4", "xfs", "btrfs")
_BOOT = "vfat"
_HIDING = {  # what blkid calls it, what it is, what to do
    "crypto_LUKS": ("encrypted (LUKS)", "its content is read in its own machine only"),
    "LVM2_member": ("a part of LVM", "partitions alone are read"),
    "linux_raid_member": ("a part of a RAID", "partitions alone are read"),
    "zfs_member": ("a part of ZFS", "Debian's kernel does not read it"),
}


@dataclass(frozen=True)
class Partition:
    """What was found in a partition. `directory` is where the root of a Linux is in it, if one is."""

    number: int
    type: str
    filesystem: str
    directory: str
    why: str  # it could not be mounted

    @property
    def words(self) -> str:
        """Say which it is."""
        return f"{self.number} ({self.filesystem or 'nothing that is known'})"


@dataclass(frozen=True)
class Report:
    """What is on a disk: the kind of its table, or the file system that is there instead."""

    table: str
    filesystem: str
    partitions: tuple[Partition, ...]


def report_of(line: bytes) -> Report:
    """Return a report after looking at all of it. Raises MachineError for one that cannot be."""
    try:
        document = bounded_json(line, MOST_REPORT, _DEPTH)
        partitions = tuple(_partition(each) for each in _list(document["partitions"]))
        return Report(_word(document, "table"), _word(document, "filesystem"), partitions)
    except (BoundsError, KeyError, TypeError) as error:
        raise MachineError(
            "what reads the disk reports what cannot be",
            details=str(error),
            resolution="do not use this disk: something in it may have taken over the machine that reads it",
        ) from error


def _list(value: object) -> list[Any]:
    if not isinstance(value, list) or len(value) > _MOST_PARTITIONS:
        raise BoundsError("has no list of partitions")
    return value


def _partition(document: Any) -> Partition:
    number = document["number"]
    # JSON's true is an int to Python.
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number <= _MOST_PARTITIONS:
        raise BoundsError("has a partition of no number")
    directory = _word(document, "directory")
    if directory and directory not in _DIRECTORIES:
        raise BoundsError("has a root in a directory that was not asked for")
    return Partition(
        number,
        _word(document, "type").lower(),
        _word(document, "filesystem"),
        directory,
        _word(document, "why"),
    )


def _word(document: Any, key: str) -> str:
    value = document[key]
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise BoundsError(f"has no such {key}")
    return value


def root_of(report: Report, name: str) -> Partition:
    """Return the partition with the root file system. Raises InputError unless there is exactly one."""
    if report.table != "gpt":
        raise _other_table(report, name)
    roots = [each for each in report.partitions if each.directory]
    if len(roots) > 1:
        typed = [each for each in roots if each.type in _ROOT_TYPES]
        roots = typed if len(typed) == 1 else roots
    if len(roots) > 1:
        raise InputError(
            f"{name} has {len(roots)} Linux systems on it",
            details=f"They are in the partitions {', '.join(each.words for each in roots)}.",
            resolution=FILES_INSTEAD,
        )
    if not roots:
        raise _no_root(report, name)
    return roots[0]


def left_out(report: Report, root: Partition) -> list[str]:
    """Return the other partitions with files in words, but that of the firmware."""
    others = [each for each in report.partitions if each != root and each.filesystem not in ("", _BOOT)]
    return [each.words for each in others]


def _other_table(report: Report, name: str) -> InputError:
    if report.table == "dos":
        return InputError(
            f"{name} has a partition table of the old kind (MBR)",
            details="Disks with a GPT are read.",
            resolution=FILES_INSTEAD,
        )
    if report.table == "PMBR":  # what protects a GPT from old programs, without that
        return InputError(
            f"{name} has a partition table (GPT) that cannot be read: it is damaged, or the disk cut off",
            resolution="copy the disk again",
        )
    found = f"it is {report.filesystem} as a whole" if report.filesystem else "there is nothing on it"
    return InputError(
        f"{name} has no partition table: {found}",
        details="A disk with a GPT is read.",
        resolution=FILES_INSTEAD,
    )


def _no_root(report: Report, name: str) -> InputError:
    if not report.partitions:
        return InputError(f"{name} has no partitions", resolution="was the system installed on this disk?")
    for each in report.partitions:
        if each.filesystem in _HIDING:
            what, reason = _HIDING[each.filesystem]
            return InputError(
                f"the partition {each.number} of {name} is {what}",
                details=f"No other has a Linux, and {reason}.",
                resolution=FILES_INSTEAD,
            )
    for each in report.partitions:
        if each.filesystem in _SYSTEMS and each.why:
            return InputError(
                f"the file system of partition {each.number} of {name} cannot be read",
                details=f"{each.filesystem}: {each.why}",
                resolution="start its machine and shut it down in order; then copy the disk again",
            )
    return InputError(
        f"{name} has no root file system of a Linux",
        details=f"Its partitions are {', '.join(each.words for each in report.partitions)}; "
        f"{', '.join(_SYSTEMS)} are read, and a root has /etc/os-release.",
        resolution=FILES_INSTEAD,
    )
