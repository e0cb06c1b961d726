"""Assembling a disk: a partition table, a boot partition with systemd-boot, the root file system.

Everything is written into a sparse file by mkfs.ext4, mkfs.vfat, mtools and sfdisk: no mount, no loop device,
and the kernel of this computer reads nothing that an image brought. The same root gives the same bytes: ids
and times come from the image.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from stoneware import process
from stoneware.dataclass import dataclass
from stoneware.errors import MachineError
from stoneware.platforms.local.disks.kernel import partition_uuid
from stoneware.platforms.local.disks.layout import JOURNAL, MIB, SECTOR, Layout, NoRoom, Tree, layout, measure
from stoneware.process import ProcessError
from stoneware.untrusted.rooted_paths import open_inside

BOOT, ROOT = "boot", "root"
# Our own, so that no setting of this computer changes the bytes of a disk.
_CONF = Path(__file__).with_name("mke2fs.conf")
_MOST_BOOT = 1 << 30  # bytes of one kernel or initramfs
_TRIES = 3
_SECONDS = 0.5  # between two looks at how far it is
_FULL = ("No space left", "Disk quota exceeded", "short write")
# systemd-boot's program, its name where firmware looks for one, and the partition type of a root (UAPI.2).
_FIRMWARE = {
    "amd64": ("systemd-bootx64.efi", "BOOTX64.EFI", "4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "ttyS0,115200"),
    "arm64": ("systemd-bootaa64.efi", "BOOTAA64.EFI", "b921b045-1df0-41c3-af44-4c6f280d3fae", "ttyAMA0"),
}
_ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Parts:
    """What a disk is assembled from. `epoch` is the time of what has to have one."""

    image: str
    root: Path
    kernel: str
    architecture: str
    epoch: int


@dataclass(frozen=True)
class Contents:
    """What goes into the partitions: the directory of the boot partition, and the root, measured."""

    boot: Path
    tree: Tree


def assemble(parts: Parts, disk: Path, progress: Progress) -> Layout:
    """Write the disk to a new file. Raises NoRoom where there is none, MachineError for a bad root."""
    with tempfile.TemporaryDirectory(dir=disk.parent) as scratch:
        contents = Contents(_boot_files(parts, Path(scratch)), measure(parts.root))
        return _attempts(parts, contents, disk, progress)


def _attempts(parts: Parts, contents: Contents, disk: Path, progress: Progress) -> Layout:
    """Assemble; again with more room where the estimate was too low, as for a tree of attributes."""
    tree = contents.tree
    boot_bytes = sum(path.stat().st_size for path in contents.boot.rglob("*") if path.is_file())
    for attempt in range(_TRIES):
        chosen = layout(tree, boot_bytes, spare=attempt * (tree.size // 4 + 64 * MIB))
        try:
            _write(parts, chosen, contents, disk, progress)
        except ProcessError as error:
            if any(word in error.stderr for word in _FULL):
                raise NoRoom("there is no room for the disk", details=error.stderr.strip()) from error
            if attempt == _TRIES - 1 or "allocate" not in error.stderr:
                raise
        else:
            return chosen
    raise AssertionError("the last attempt returns or raises")


def _write(parts: Parts, chosen: Layout, contents: Contents, disk: Path, progress: Progress) -> None:
    disk.unlink(missing_ok=True)
    with disk.open("xb") as stream:
        os.fchmod(stream.fileno(), 0o600)
        stream.truncate(chosen.size)
    _write_table(parts, chosen, disk)
    _write_boot(parts, chosen, contents.boot, disk)
    _write_root(parts, chosen, contents.tree, disk, progress)


def _environment(parts: Parts) -> dict[str, str]:
    epoch = str(parts.epoch)
    return {
        "SOURCE_DATE_EPOCH": epoch,
        "E2FSPROGS_FAKE_TIME": epoch,
        "MKE2FS_CONFIG": str(_CONF),
        "MTOOLS_SKIP_CHECK": "1",
        # The times in a FAT are local ones.
        "TZ": "UTC",
    }


def _write_table(parts: Parts, chosen: Layout, disk: Path) -> None:
    root_type = _FIRMWARE[parts.architecture][2]
    script = [
        "label: gpt",
        f"label-id: {partition_uuid(parts.image, 'disk')}",
        "unit: sectors",
        _partition(chosen.boot_start, chosen.boot_size, _ESP, partition_uuid(parts.image, BOOT), BOOT),
        _partition(chosen.root_start, chosen.root_size, root_type, partition_uuid(parts.image, ROOT), ROOT),
    ]
    # It is a file: no kernel has to be told of its partitions.
    argv = ["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "--wipe", "never", str(disk)]
    process.run(argv, stdin="\n".join(script) + "\n", env=_environment(parts))


def _partition(start: int, size: int, kind: str, uuid: object, name: str) -> str:
    return f"start={start // SECTOR}, size={size // SECTOR}, type={kind}, uuid={uuid}, name={name}"


def _boot_files(parts: Parts, scratch: Path) -> Path:
    """Lay out what the boot partition holds, from the root; return the directory."""
    program, firmware, _, console = _FIRMWARE[parts.architecture]
    top = scratch / "boot"
    for name in ("EFI/BOOT", "loader/entries"):
        (top / name).mkdir(parents=True)
    sources = {
        f"usr/lib/systemd/boot/efi/{program}": f"EFI/BOOT/{firmware}",
        f"boot/vmlinuz-{parts.kernel}": "vmlinuz",
        f"boot/initrd.img-{parts.kernel}": "initrd.img",
    }
    for source, target in sources.items():
        _copy_out(parts.root, source, top / target)
    (top / "loader/loader.conf").write_text("timeout 0\ndefault stoneware.conf\n")
    options = (
        f"root=PARTUUID={partition_uuid(parts.image, ROOT)} ro console=tty0 console={console} loglevel=4"
    )
    entry = ["title Stoneware", f"version {parts.kernel}", "linux /vmlinuz", "initrd /initrd.img"]
    (top / "loader/entries/stoneware.conf").write_text("\n".join([*entry, f"options {options}", ""]))
    for path in sorted(top.rglob("*"), reverse=True):
        os.utime(path, (parts.epoch, parts.epoch))
    return top


def _copy_out(root: Path, source: str, target: Path) -> None:
    """Copy a file out of the root; its links are read as inside of it. Raises MachineError."""
    try:
        # Not blocking: the image could have a FIFO there.
        descriptor = open_inside(root, source, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise MachineError(f"the image's kernel layer has no /{source}", details=str(error)) from error
    with os.fdopen(descriptor, "rb") as reader:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BOOT:
            raise MachineError(f"/{source} of the image's kernel layer is no file, or too large")
        with target.open("xb") as writer:
            shutil.copyfileobj(reader, writer, MIB)


def _write_boot(parts: Parts, chosen: Layout, boot: Path, disk: Path) -> None:
    volume = partition_uuid(parts.image, BOOT).hex[:8]
    start = chosen.boot_start // SECTOR
    # One sector in a cluster: with larger ones a partition of this size has too few for a FAT32.
    argv = ["mkfs.vfat", "-F", "32", "-s", "1", "-i", volume]
    argv += ["--offset", str(start), str(disk), str(chosen.boot_size // 1024)]
    process.run(argv, env=_environment(parts))
    # In order, since a FAT lists names as they came: the same layer is to give the same bytes.
    names = sorted(path.name for path in boot.iterdir())
    place = f"{disk}@@{chosen.boot_start}"
    process.run(["mcopy", "-s", "-m", "-Q", "-i", place, *names, "::"], env=_environment(parts), cwd=boot)


def _write_root(parts: Parts, chosen: Layout, tree: Tree, disk: Path, progress: Progress) -> None:
    uuid = partition_uuid(parts.image, "file system")
    extended = f"offset={chosen.root_start},hash_seed={partition_uuid(parts.image, 'hashes')}"
    # The file is new and sparse: zeros need not be written into it.
    extended += ",assume_storage_prezeroed=1,root_owner=0:0"
    argv = ["mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "1", "-J", f"size={JOURNAL}", "-U", str(uuid)]
    argv += ["-L", "root", "-N", str(chosen.inodes), "-E", extended, "-d", str(parts.root)]
    argv += [str(disk), f"{chosen.root_size // 1024}k"]
    _run_watched(argv, parts, disk, tree.size, progress)


def _run_watched(argv: list[str], parts: Parts, disk: Path, expected: int, progress: Progress) -> None:
    """Run a program and tell at each quarter how much of the file is written."""
    done = threading.Event()

    def watch() -> None:
        told = 0
        while not done.wait(_SECONDS):
            share = min(99, disk.stat().st_blocks * SECTOR * 100 // max(expected, 1))
            if share // 25 > told:
                told = share // 25
                progress(f"writing the root file system: {told * 25} % of {expected // MIB} MiB")

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        process.run(argv, env=_environment(parts))
    finally:
        done.set()
        watching.join()
