"""The disks of a virtual machine: a copy of its image's, which shares its blocks; the firmware's store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from stoneware.platforms.local.host.firmware import FIRMWARE_VARIABLES
from stoneware.platforms.local.store import btrfs

ROOT, PRISTINE, FIRMWARE = "root.raw", "pristine.raw", "vars.fd"


def clone(source: Path, target: Path) -> None:
    """Make a file that shares the blocks of another, both in the store."""
    with source.open("rb") as reader, target.open("wb") as writer:
        os.fchmod(writer.fileno(), 0o600)
        btrfs.share_blocks(reader.fileno(), writer.fileno())


def furnish(directory: Path, copy: Callable[[Path], None], *, pristine: bool = False) -> None:
    """Make a machine's disks in a new subvolume; `copy` writes a copy of its image's disk to a path.

    With `pristine` that one stays as it is, and each start makes another.
    """
    btrfs.create(directory)
    directory.chmod(0o700)
    # Each machine its own: the firmware writes into it what it is to boot.
    shutil.copyfile(FIRMWARE_VARIABLES, directory / FIRMWARE)
    (directory / FIRMWARE).chmod(0o600)
    copy(directory / (PRISTINE if pristine else ROOT))


def forget_changes(directory: Path) -> None:
    """Give a machine its disk as it was at first, where that was kept."""
    if (directory / PRISTINE).exists():
        clone(directory / PRISTINE, directory / ROOT)
