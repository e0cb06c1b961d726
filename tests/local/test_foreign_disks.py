"""Disks from elsewhere: what a file is by its first bytes, and which partition is the root."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path
from typing import Any

import pytest

from stoneware.errors import InputError, MachineError
from stoneware.platforms.local.disks import choosing
from stoneware.platforms.local.disks.choosing import report_of, root_of
from stoneware.platforms.local.disks.foreign import ForeignDisk, recognise
from stoneware.platforms.local.disks.reader import command_line
from stoneware.process import run, which

ROOT_TYPE = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"
GENERIC = "0fc63daf-8483-4772-8e79-3d69d8477de4"


def qcow2(**changes: int) -> bytes:
    found = {"version": 3, "backing": 0, "length": 0, "bits": 16, "size": 1 << 30, "crypt": 0, "features": 0}
    found |= changes
    names = ("version", "backing", "length", "bits", "size", "crypt")
    head = struct.pack(">4sIQIIQI", b"QFI\xfb", *(found[name] for name in names))
    return head.ljust(72, b"\0") + struct.pack(">Q", found["features"]) + b"/secret.raw".ljust(1000, b"\0")


def mapped(l1: list[int], l2: list[int], size: int = 4 << 16) -> bytes:
    """Return a qcow2 with a table of tables at its second cluster, and the first table at its third."""
    head = bytearray(qcow2()[:1000].ljust(1 << 16, b"\0"))
    head[8:20] = bytes(12)
    struct.pack_into(">IQ", head, 36, len(l1), 1 << 16)
    tables = (struct.pack(f">{len(each)}Q", *each).ljust(1 << 16, b"\0") for each in (l1, l2))
    return (bytes(head) + b"".join(tables)).ljust(size, b"\0")[:size]


AT_END = (1 << 64) - 1


def vmdk(
    text: str, *, capacity: int = 2048, tables: tuple[int, ...] = (4,), grains: tuple[int, ...] = (8, 0, 1),
    directory: int = 3, entries: int = 512,
) -> bytes:  # fmt: skip
    """Return a VMDK with a directory at its sector 3, a table at 4 and a grain at 8."""
    head = b"KDMV" + struct.pack("<IIQQQQIQQ", 3, 0, capacity, 128, 1, 2, entries, 0, directory)
    found = head.ljust(512, b"\0") + text.encode().ljust(1024, b"\0")
    found += struct.pack(f"<{len(tables)}I", *tables).ljust(512, b"\0")
    return found + struct.pack(f"<{len(grains)}I", *grains).ljust(2048, b"\0") + b"grain".ljust(512, b"\0")


def gpt(last: int = 2) -> bytes:
    return bytes(510) + b"\x55\xaa" + b"EFI PART" + bytes(24) + last.to_bytes(8, "little") + bytes(984)


def file(tmp_path: Path, content: bytes, name: str = "disk.qcow2") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def test_a_disk_is_known_by_its_content(tmp_path: Path) -> None:
    path = file(tmp_path, qcow2())
    assert recognise(path) == ForeignDisk(path, "qcow2", 1 << 30)
    path = file(tmp_path, vmdk('parentCID=ffffffff\ncreateType="streamOptimized"\n'))
    assert recognise(path) == ForeignDisk(path, "vmdk", 1 << 20)
    path = file(tmp_path, gpt(), "x")
    assert recognise(path) == ForeignDisk(path, "raw", 1536)


def test_tables_of_a_whole_disk_are_followed(tmp_path: Path) -> None:
    for entries in ([3 << 16], [1 << 62 | 3 << 16 | 77, 0], [1]):
        path = file(tmp_path, mapped([2 << 16, 0], entries))
        assert recognise(path) == ForeignDisk(path, "qcow2", 1 << 30)


def test_tables_of_a_whole_vmdk_are_followed(tmp_path: Path) -> None:
    # As VMware streams it: what the first header does not know yet is in one at the end.
    streamed = vmdk("", directory=AT_END) + vmdk("")[:512] + bytes(512)
    for content in (vmdk(""), vmdk("", tables=(0,)), vmdk("", capacity=1 << 17, tables=(4, 0)), streamed):
        path = file(tmp_path, content)
        found = recognise(path)
        assert found is not None
        assert found.form == "vmdk"


@pytest.mark.tool
@pytest.mark.skipif(which("qemu-img") is None, reason="needs qemu-img")
@pytest.mark.parametrize("kind", ["streamOptimized", "monolithicSparse"])
def test_a_vmdk_of_qemus_is_whole_until_it_is_cut(tmp_path: Path, kind: str) -> None:
    raw, path = tmp_path / "raw", tmp_path / "disk.vmdk"
    raw.write_bytes(bytes(1 << 20) + random.Random(1).randbytes(1 << 20) + bytes(62 << 20))  # noqa: S311
    run(["qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", f"subformat={kind}", raw, path])
    assert recognise(path) == ForeignDisk(path, "vmdk", 64 << 20)
    with path.open("r+b") as stream:
        stream.truncate(1 << 20)
    with pytest.raises(InputError, match=r"disk.vmdk is damaged"):
        recognise(path)


def test_an_archive_is_none(tmp_path: Path) -> None:
    assert recognise(file(tmp_path, b"./etc".ljust(257, b"\0") + b"ustar".ljust(900, b"\0"), "x.tar")) is None
    assert recognise(file(tmp_path, b"\x28\xb5\x2f\xfd" + bytes(100), "x.tar.zst")) is None
    assert recognise(file(tmp_path, b"", "empty")) is None
    assert recognise(file(tmp_path, b"\x1f\x8b".ljust(510) + b"\x55\xaa" + bytes(100), "x.tar.gz")) is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (qcow2(backing=80, length=11), "disk.qcow2 is not a whole disk"),
        (qcow2(features=4), "disk.qcow2 is not a whole disk"),
        (qcow2(features=2), "the disk disk.qcow2 is damaged"),
        (qcow2(version=9), "the disk disk.qcow2 is damaged"),
        (qcow2(bits=40), "the disk disk.qcow2 is damaged"),
        (qcow2(size=0), "the disk disk.qcow2 is damaged"),
        (qcow2(crypt=1), "disk.qcow2 is encrypted"),
        (mapped([2 << 16], [3 << 16])[: 3 << 16], "the disk disk.qcow2 is damaged"),  # its content is gone
        (mapped([2 << 16], [1 << 62 | 9 << 16]), "the disk disk.qcow2 is damaged"),
        (mapped([9 << 16], []), "the disk disk.qcow2 is damaged"),  # its table is
        (mapped([513], []), "the disk disk.qcow2 is damaged"),
        (mapped([2 << 16], [])[: 1 << 16], "the disk disk.qcow2 is damaged"),  # all tables are
        (gpt(last=3), "disk.qcow2 is cut off: its disk has 2048 bytes, the file 1536"),
        (qcow2()[:60], "the disk disk.qcow2 is damaged"),
        (vmdk('parentCID=12345678\ncreateType="monolithicSparse"\n'), "disk.qcow2 is not a whole disk"),
        (vmdk('createType="monolithicFlat"\n'), "disk.qcow2 is not a whole disk"),
        (vmdk("", capacity=0), "the disk disk.qcow2 is damaged"),
        (vmdk("", entries=0), "the disk disk.qcow2 is damaged"),
        (vmdk("", entries=1 << 31), "the disk disk.qcow2 is damaged"),
        (vmdk("")[: 8 * 512], "the disk disk.qcow2 is damaged"),  # its content is gone
        (vmdk("", tables=(99,)), "the disk disk.qcow2 is damaged"),  # its table is
        (vmdk("", directory=1 << 40), "the disk disk.qcow2 is damaged"),  # all tables are
        (vmdk("", directory=AT_END), "the disk disk.qcow2 is damaged"),
        (vmdk("", capacity=(1 << 54) - 1), "the disk disk.qcow2 is damaged"),
        (b"# Disk DescriptorFile\n", "the description of a VMDK whose content is in other files"),
        (b"vhdxfile" + bytes(600), "a disk in the form VHDX"),
        (b"LUKS\xba\xbe" + bytes(600), "it is an encrypted disk (LUKS)"),
        (bytes(1080) + b"\x53\xef" + bytes(100), "it is an ext file system"),
        (b"XFSB" + bytes(600), "it is an XFS file system"),
        (bytes(2048), "it is no disk of a form that is known here"),
        (gpt() + b"x", "disk.qcow2 is cut off"),
    ],
)
def test_what_is_no_whole_disk_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(InputError) as caught:
        recognise(file(tmp_path, content))
    assert said in str(caught.value)
    assert caught.value.resolution


def test_the_name_of_what_a_disk_is_based_on_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        recognise(file(tmp_path, qcow2(backing=80, length=11)))
    assert "'/secret.raw'" in caught.value.details
    assert "qemu-img convert" in caught.value.resolution


# -- the report ----------------------------------------------------------------------------------------------


def partition(number: int, **changes: Any) -> dict[str, Any]:
    found = {"number": number, "type": GENERIC, "filesystem": "ext4", "directory": "", "why": ""}
    return found | changes


def report(*partitions: Any, table: str = "gpt", filesystem: str = "") -> bytes:
    return json.dumps({"table": table, "filesystem": filesystem, "partitions": partitions}).encode()


def test_the_partition_with_a_system_on_it() -> None:
    esp = partition(1, filesystem="vfat")
    found = report_of(report(esp, partition(2, filesystem="btrfs", directory="@rootfs"), partition(3)))
    root = root_of(found, "x")
    assert (root.number, root.directory) == (2, "@rootfs")
    assert choosing.left_out(found, root) == ["3 (ext4)"]


def test_of_several_the_one_whose_type_is_that_of_a_root() -> None:
    found = report_of(
        report(partition(1, directory="."), partition(2, directory=".", type=ROOT_TYPE.upper()))
    )
    assert root_of(found, "x").number == 2


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (report(partition(1, directory="."), partition(2, directory=".")), "x has 2 Linux systems on it"),
        (report(table="dos"), "x has a partition table of the old kind (MBR)"),
        (report(table="", filesystem="ext4"), "x has no partition table: it is ext4 as a whole"),
        (report(table=""), "x has no partition table: there is nothing on it"),
        (report(), "x has no partitions"),
        (report(partition(2, filesystem="crypto_LUKS")), "the partition 2 of x is encrypted (LUKS)"),
        (report(partition(1, filesystem="LVM2_member")), "the partition 1 of x is a part of LVM"),
        (report(partition(1, why="bad superblock")), "the file system of partition 1 of x cannot be read"),
        (report(partition(1, filesystem="ntfs")), "x has no root file system of a Linux"),
    ],
)
def test_disks_without_one_root(found: bytes, said: str) -> None:
    with pytest.raises(InputError) as caught:
        root_of(report_of(found), "x")
    assert str(caught.value) == said
    assert caught.value.resolution


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[" * 5000,
        b'{"table": "gpt", "filesystem": ""}',
        b'{"table": "gpt", "filesystem": "", "partitions": {}}',
        report(partition(0)),
        report(partition(True)),
        report(partition(1, directory="../..")),
        report(partition(1, why="\x1b[2J")),
        report(partition(1, filesystem="x" * 400)),
        report(*([partition(1)] * 300)),
        report(None),
    ],
)
def test_a_report_that_cannot_be(line: bytes) -> None:
    with pytest.raises(MachineError, match="reports what cannot be"):
        report_of(line)


# -- the machine that reads ----------------------------------------------------------------------------------


def nodes(argv: list[str]) -> list[dict[str, Any]]:
    return [json.loads(argv[at + 1]) for at, word in enumerate(argv) if word == "-blockdev"]


@pytest.mark.parametrize("form", ["raw", "qcow2", "vmdk"])
def test_its_qemu_reads_the_disk_in_the_form_that_was_found_and_nothing_else(form: str) -> None:
    argv = command_line(form, "tcg", 7, 8, 9)
    foreign, changes = nodes(argv)
    assert (foreign["driver"], foreign["read-only"], foreign["file"]["filename"]) == (
        form,
        True,
        "/dev/fdset/1",
    )
    assert foreign.get("backing", "none") == ("none" if form == "raw" else None)
    assert (changes["backing"], changes["file"]["filename"]) == ("foreign", "/disks/changes.qcow2")
    assert "-netdev" not in argv
    assert "-nodefaults" in argv
    assert "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny" in argv
    assert "fd=7,set=1" in argv
