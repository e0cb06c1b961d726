"""The two kinds of volumes as they are kept: a directory for containers, a disk for virtual machines.

Next to a volume's record is one subvolume: `data` is the directory itself, `disk` holds the disk, a sparse
file. A machine writes inside of them only, so it cannot change of which kind its volume is.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from stoneware.errors import InputError
from stoneware.model.resources import DIRECTORY, DISK
from stoneware.platforms.local.store import btrfs

MIB = 1 << 20
DEFAULT_SIZE = 10 << 30  # bytes of a disk that nobody has said a size for; what is not written takes no room
LARGEST = 64 << 40  # bytes: Compute Engine's largest disk
_FOLDERS = {DIRECTORY: "data", DISK: "disk"}
_FILE = "disk.raw"


def kind_of(volume: Path) -> str:
    """Return of which kind the volume, or the snapshot of one, in a directory is."""
    return DISK if (volume / _FOLDERS[DISK]).is_dir() else DIRECTORY


def contents(volume: Path) -> Path:
    """Return the subvolume with what is on a volume."""
    return volume / _FOLDERS[kind_of(volume)]


def disk_file(volume: Path) -> Path:
    """Return the file that is a volume's disk."""
    return volume / _FOLDERS[DISK] / _FILE


def disk_size(volume: Path) -> int:
    """Return how large a volume's disk is, in bytes."""
    return disk_file(volume).stat().st_size


def size_problem(size: int) -> str:
    """Say what is wrong with the size of a disk, in a sentence; nothing if it is fine."""
    if size % MIB:
        return f"A disk is a whole number of MiB, and {size} bytes are not."
    if size > LARGEST:
        return f"A disk has at most {LARGEST >> 40} TiB."
    return ""


def make_blank(volume: Path, kind: str, size: int) -> Path:
    """Make the subvolume of a new volume, with a disk of so many bytes where it is to be one; return it."""
    made = volume / _FOLDERS[kind]
    btrfs.create(made)
    if kind == DISK:
        made.chmod(0o700)
        with (made / _FILE).open("xb") as stream:
            os.fchmod(stream.fileno(), 0o600)
            stream.truncate(size)
            os.fsync(stream.fileno())
    return made


def is_blank(volume: Path) -> bool:
    """Say whether nothing at all has ever been written on a volume."""
    if kind_of(volume) == DIRECTORY:
        with os.scandir(contents(volume)) as entries:
            return next(entries, None) is None
    with disk_file(volume).open("rb") as stream:
        try:
            os.lseek(stream.fileno(), 0, os.SEEK_DATA)
        except OSError as error:
            # lseek(2): no data behind that place, so all of it is a hole.
            if error.errno != errno.ENXIO:
                raise
            return True
    return False


def grow(volume: Path, name: str, size: int) -> None:
    """Make a volume's disk larger. Raises InputError for a size that is smaller, or no disk's.

    What is on it stays; the machine that mounts it next grows its file system.
    """
    before = disk_size(volume)
    if problem := size_problem(size):
        raise InputError(problem, resolution=f"stoneware volume resize {name} 20g")
    if size < before:
        raise InputError(
            f"the disk {name!r} has {before // MIB} MiB, and a disk only grows",
            details="What is at its end would be lost.",
            resolution=f"stoneware volume resize {name} {before // MIB}m    # or more",
        )
    with disk_file(volume).open("rb+") as stream:
        os.ftruncate(stream.fileno(), size)
        os.fsync(stream.fileno())


def wrong_kind(name: str, wanted: str, machine: str) -> InputError:
    """Return the error for a volume that is not of the kind that a machine needs, with what makes it so."""
    if wanted == DISK:
        return InputError(
            f"the virtual machine {machine!r} cannot have the volume {name!r}, which is a directory",
            details="A kernel of its own mounts disks only.",
            resolution=f"stoneware volume convert {name}    # into a disk; nothing is lost",
        )
    return InputError(
        f"the container {machine!r} cannot have the volume {name!r}, which is a disk",
        details="This computer's kernel mounts no file system that a machine has written.",
        resolution=f"stoneware volume convert {name} --to directory    # nothing is lost",
    )
