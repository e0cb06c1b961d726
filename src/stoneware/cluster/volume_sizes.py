"""How large a cluster's volumes are to be: disks grow in place, what a directory may take changes."""

from __future__ import annotations

from collections.abc import Iterator

from stoneware.cluster.model import Desired, Observed
from stoneware.compose.model import ClusterVolume
from stoneware.errors import InputError

_UNITS = (("GiB", 30), ("MiB", 20), ("KiB", 10))


def size_changes(volume: ClusterVolume, observed: Observed) -> Iterator[str]:
    """Say how the size of a volume that is there changes; a disk that is larger than asked for stays."""
    for wanted, found in sizes(volume, observed):
        if volume.name in observed.disks:
            yield f"grows from {found} to {wanted}, and what is on it stays"
        else:
            yield f"may take {wanted}{f' instead of {found}' if found else ''}"


def sizes(volume: ClusterVolume, observed: Observed) -> Iterator[tuple[str, str]]:
    """Yield, where a volume that is there has another size than is wanted, both: nothing for no limit."""
    size, name = volume.size, volume.name
    if size is None or volume.external:
        return
    found = observed.disks.get(name) or observed.limits.get(name) or 0
    larger = name in observed.disks and found > size
    if found != size and not larger and (name in observed.disks or name in observed.limits):
        yield _words(size), _words(found) if found else ""


def check_sizes(desired: Desired, observed: Observed, applied: Desired | None) -> None:
    """Raise InputError where the file lets a disk be smaller than it did before."""
    for name, volume in desired.volumes.items():
        before = applied.volumes.get(name) if applied else None
        size, said = volume.size, before.size if before else None
        now = observed.disks.get(name, 0)
        # Only where the file says less than before: a disk that `volume resize` has made larger stays.
        if size is not None and said is not None and size < min(said, now):
            raise InputError(
                f"the disk {name} has {_words(now)}, and a disk only grows",
                details=f"The file says {_words(size)} now; what is at the disk's end would be lost.",
                resolution=f"write {volume.size_key}: {_short(now)}, or more",
                location=volume.place,
            )


def _words(size: int) -> str:
    for unit, power in _UNITS:
        if size % (1 << power) == 0:
            return f"{size >> power} {unit}"
    return f"{size} bytes"


def _short(size: int) -> str:
    number, unit = _words(size).split()
    return number if unit == "bytes" else f"{number}{unit[0].lower()}"
