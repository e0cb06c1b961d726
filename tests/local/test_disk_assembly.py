"""What a disk keeps of a tree, seen by debugfs; the same bytes each time; trees that are hard to hold."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from stoneware import process
from stoneware.errors import MachineError
from stoneware.platforms.local.disks import assembly
from stoneware.platforms.local.disks import layout as disk_layout
from stoneware.platforms.local.disks.layout import MIB, Layout, NoRoom, Tree

pytestmark = [
    pytest.mark.tool,
    pytest.mark.skipif(os.geteuid() != 0, reason="owners and capabilities are root's to set"),
]

IMAGE = "sha256:" + "5" * 64
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
ACL = bytes.fromhex(
    "02000000 01000600ffffffff 02000600e8030000 04000400ffffffff 10000600ffffffff 20000400ffffffff"
)
EPOCH = 1_700_000_000


def tree(top: Path) -> Path:
    """Make a root file system as small as one can be: what boots it, and one of everything that is odd."""
    root = top / "root"
    for name in ("boot", "usr/lib/systemd/boot/efi", "odd", "empty"):
        (root / name).mkdir(parents=True)
    (root / "boot/vmlinuz-6.1").write_bytes(b"kernel" * 1000)
    (root / "boot/initrd.img-6.1").write_bytes(os.urandom(3 * MIB))
    for name in ("systemd-bootx64.efi", "systemd-bootaa64.efi"):
        (root / "usr/lib/systemd/boot/efi" / name).write_bytes(b"MZ")
    odd = root / "odd"
    (odd / "owned").write_text("x")
    os.chown(odd / "owned", 1000, 100_000)
    (odd / "owned").chmod(0o4750)
    (odd / "capable").write_text("x")
    os.setxattr(odd / "capable", "security.capability", CAPABILITY)
    os.setxattr(odd / "owned", "user.large", b"z" * 3000)
    (odd / "listed").write_text("x")
    os.setxattr(odd / "listed", "system.posix_acl_access", ACL)
    os.link(odd / "owned", odd / "again")
    (odd / "short").symlink_to("/etc/passwd")
    (odd / "long").symlink_to("x" * 200)
    os.mkfifo(odd / "fifo")
    os.mknod(odd / "device", 0o20666, os.makedev(1, 3))
    with (odd / "sparse").open("wb") as stream:
        stream.write(b"a" * 4096)
        stream.seek(300 * MIB)
        stream.write(b"b" * 4096)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(odd / "socket"))
    (odd / "a \\ name\twith $(odd) 'things'\n").write_text("x")
    os.utime(odd / "owned", (1, 1))
    return root


def assembled(root: Path, disk: Path, architecture: str = "amd64") -> Layout:
    parts = assembly.Parts(IMAGE, root, "6.1", architecture, EPOCH)
    return assembly.assemble(parts, disk, lambda _: None)


def in_disk(disk: Path, layout: Layout, command: str) -> str:
    return process.run(["debugfs", "-R", command, f"{disk}?offset={layout.root_start}"]).stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Layout, Path]:
    top = tmp_path_factory.mktemp("disk")
    root = tree(top)
    return top / "disk.raw", assembled(root, top / "disk.raw"), root


def test_owners_modes_and_attributes_are_kept(made: tuple[Path, Layout, Path]) -> None:
    disk, layout, _ = made
    owned = in_disk(disk, layout, "stat /odd/owned")
    assert re.search(r"Mode:\s+04750\b", owned)
    assert re.search(r"User:\s+1000\s+Group:\s+100000\b", owned)
    assert re.search(r"Links: 2\b", owned)
    assert "mtime: 0x00000001" in owned
    assert "user.large (3000)" in owned
    inode = re.search(r"Inode: (\d+)", owned)
    assert inode
    assert inode[0] in in_disk(disk, layout, "stat /odd/again")
    capable = in_disk(disk, layout, "stat /odd/capable")
    assert "security.capability (20)" in capable
    assert "system.posix_acl_access" in in_disk(disk, layout, "stat /odd/listed")


def test_links_devices_and_holes_are_kept(made: tuple[Path, Layout, Path]) -> None:
    disk, layout, _ = made
    assert 'Fast link dest: "/etc/passwd"' in in_disk(disk, layout, "stat /odd/short")
    assert "Size: 200" in in_disk(disk, layout, "stat /odd/long")
    assert "Type: FIFO" in in_disk(disk, layout, "stat /odd/fifo")
    assert "Type: socket" in in_disk(disk, layout, "stat /odd/socket")
    assert "Device major/minor number: 01:03" in in_disk(disk, layout, "stat /odd/device")
    sparse = in_disk(disk, layout, "stat /odd/sparse")
    assert f"Size: {300 * MIB + 4096}" in sparse
    assert re.search(r"Blockcount: (16|24)\b", sparse)
    assert "things'" in in_disk(disk, layout, "ls -l /odd")
    assert disk.stat().st_blocks * 512 < 20 * MIB


def test_no_tool_finds_a_fault(made: tuple[Path, Layout, Path], tmp_path: Path) -> None:
    disk, layout, _ = made
    process.run(["e2fsck", "-f", "-n", f"{disk}?offset={layout.root_start}"])
    assert "No problems found" in process.run(["sgdisk", "-v", disk]).stdout
    process.run(["dd", f"if={disk}", f"of={tmp_path / 'boot'}", "bs=1M", "skip=1", "count=64", "status=none"])
    process.run(["fsck.vfat", "-n", tmp_path / "boot"])
    entry = process.run(["mtype", "-i", f"{disk}@@{layout.boot_start}", "::/loader/entries/stoneware.conf"])
    uuid = re.search(r"root=PARTUUID=(\S+) ", entry.stdout)
    assert uuid
    assert uuid[1].upper() in process.run(["sgdisk", "-i", "2", disk]).stdout


def test_the_same_tree_gives_the_same_bytes(made: tuple[Path, Layout, Path]) -> None:
    # The first assembly has changed the times at which files were read; in the store there are none such.
    found = []
    for name in ("second.raw", "third.raw"):
        disk = made[0].with_name(name)
        assembled(made[2], disk)
        with disk.open("rb") as stream:
            found.append(hashlib.file_digest(stream, "sha256").digest())
        disk.unlink()
    assert found[0] == found[1]


def test_arm_has_its_own_program_and_root(made: tuple[Path, Layout, Path]) -> None:
    _, _, root = made
    disk = made[0].with_name("arm.raw")
    layout = assembled(root, disk, "arm64")
    assert "BOOTAA64" in process.run(["mdir", "-b", "-/", "-i", f"{disk}@@{layout.boot_start}", "::"]).stdout
    assert "B921B045-1DF0-41C3-AF44-4C6F280D3FAE" in process.run(["sgdisk", "-i", "2", disk]).stdout


def test_a_tree_that_was_measured_too_small_gets_more_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one is whose files have many large attributes: of their blocks no size tells."""
    root = tree(tmp_path)
    (root / "large").write_bytes(os.urandom(80 * MIB))
    real, asked = disk_layout.layout, []

    def small(measured: Tree, boot: int, *, spare: int = 0) -> Layout:
        asked.append(spare)
        found = real(measured, boot, spare=spare)
        return found if spare else replace(found, root_size=130 * MIB, inodes=2000)

    monkeypatch.setattr(assembly, "layout", small)
    layout = assembled(root, tmp_path / "disk.raw")
    assert len(asked) == 2
    process.run(["e2fsck", "-f", "-n", f"{tmp_path / 'disk.raw'}?offset={layout.root_start}"])


def test_what_boots_is_read_inside_of_the_root_only(tmp_path: Path) -> None:
    root = tree(tmp_path)
    (tmp_path / "secret").write_text("of this computer")
    (root / "boot/vmlinuz-6.1").unlink()
    (root / "boot/vmlinuz-6.1").symlink_to(tmp_path / "secret")
    with pytest.raises(MachineError, match=r"has no /boot/vmlinuz-6\.1"):
        assembled(root, tmp_path / "disk.raw")
    (root / "boot/vmlinuz-6.1").unlink()
    os.mkfifo(root / "boot/vmlinuz-6.1")
    with pytest.raises(MachineError, match="is no file"):
        assembled(root, tmp_path / "disk.raw")


def test_a_full_disk_is_told_as_one(tmp_path: Path) -> None:
    root = tree(tmp_path)
    (root / "large").write_bytes(os.urandom(40 * MIB))
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "stoneware-test", small], check=True)
    try:
        with pytest.raises(NoRoom):
            assembled(root, small / "disk.raw")
    finally:
        subprocess.run(["umount", small], check=True)
