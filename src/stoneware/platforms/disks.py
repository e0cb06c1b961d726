"""Images as files for other computers: what a platform is asked for, and the forms that there are."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from stoneware.dataclass import dataclass
from stoneware.errors import InputError


class DiskFormat(StrEnum):
    """A form of export."""

    RAW = "raw"
    QCOW2 = "qcow2"
    VMDK = "vmdk"
    GCE = "gce"  # Compute Engine's: a tar.gz with a disk.raw
    TAR = "tar"  # the root file system alone
    TAR_ZST = "tar.zst"

    @property
    def is_disk(self) -> bool:
        """Say whether it holds a disk that boots."""
        return self not in (DiskFormat.TAR, DiskFormat.TAR_ZST)

    @property
    def is_stream(self) -> bool:
        """Say whether it can be written to a pipe."""
        return self not in (DiskFormat.RAW, DiskFormat.QCOW2, DiskFormat.VMDK)


_SUFFIXES = {
    ".qcow2": DiskFormat.QCOW2,
    ".raw": DiskFormat.RAW,
    ".img": DiskFormat.RAW,
    ".vmdk": DiskFormat.VMDK,
    ".tar.gz": DiskFormat.GCE,
    ".tar": DiskFormat.TAR,
    ".tar.zst": DiskFormat.TAR_ZST,
}


def format_of(path: str) -> DiskFormat:
    """Return the form that a file's name asks for. Raises InputError for a name that asks for none."""
    for suffix, found in _SUFFIXES.items():
        if path.lower().endswith(suffix):
            return found
    raise InputError(
        "there is no form of export for that name",
        details=f"{path!r} ends in none of {', '.join(_SUFFIXES)}.",
        resolution="--format raw|qcow2|vmdk|gce|tar|tar.zst",
    )


@dataclass(frozen=True)
class Export:
    """What is asked for. A `target` of None is standard output; `size` is the disk's, in bytes."""

    image: str
    format: DiskFormat
    target: Path | None
    size: int | None = None
    force: bool = False


class Disks(Protocol):
    """Images as files."""

    def export(self, wanted: Export, progress: Callable[[str], None]) -> None:
        """Write an image to a file, which appears whole or not at all.

        Raises InputError for a file that is there (without `force`), an image without a kernel and a size
        that is too small, and HostError where there is no room or a tool is missing.
        """
        ...
