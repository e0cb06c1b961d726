"""A kernel layer made from another image's, where the two images differ in their applications alone.

What installing a kernel changes follows from the rest of an image: its packages, their settings, the programs
that their scripts call. So the new layer is a snapshot of the other's, with the new image's application in
it, and no builder boots. Whatever is in doubt is no error: the kernel is installed then.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from stoneware.dataclass import dataclass
from stoneware.platforms.local.disks.applications import Applications, owned_places
from stoneware.platforms.local.disks.carrying import CannotCarry, Carrier
from stoneware.platforms.local.disks.comparison import Difference, differences, equal
from stoneware.platforms.local.store import btrfs
from stoneware.platforms.local.store.store import Store
from stoneware.untrusted.bounded import BoundsError, read_descriptor
from stoneware.untrusted.rooted_paths import files_inside, mode_inside, open_inside

_FSTAB = "etc/fstab"
_RELEASES = ("etc/os-release", "usr/lib/os-release")
_IMAGE_LINES = re.compile(rb"^IMAGE_(ID|VERSION)=.*\n", re.MULTILINE)
_SERVICE = "usr/lib/stoneware/image/service"
_BASE_UNITS = "usr/lib/stoneware/base-units"
_SYSTEM_UNITS = ("usr/lib/systemd/system", "lib/systemd/system", "usr/local/lib/systemd/system")
_UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9:_.@-]{0,200}\.service")
_LISTS = "var/lib/dpkg/info"
_MOST_LISTS = 256 << 20  # bytes of what dpkg knows of packages
_MOST_TEXT = 1 << 20
_MOST_CHANGES = 100_000


class Unlike(Exception):
    """The images differ in something that installing a kernel may read or change."""


@dataclass(frozen=True)
class Roots:
    """An image, its layer, and the image that is to have one."""

    image: Path
    layer: Path
    new: Path


@dataclass(frozen=True)
class Changes:
    """How the new image differs from the other: what is the application's, and what has other times only."""

    own: tuple[Difference, ...]
    times: tuple[Difference, ...]


@contextlib.contextmanager
def derived(store: Store, roots: Roots, old_root: str, new_root: str) -> Iterator[Path]:
    """Give the root file system of the new image's layer, to be saved; it is gone afterwards.

    `old_root` and `new_root` are what the two images' fstab calls their root. Raises Unlike with the reason.
    """
    with _doubts():
        changes = compare(roots)
    with store.staging(store.data / "checkpoints") as staged:
        made = staged / "rootfs"
        with _doubts():
            btrfs.snapshot(roots.layer, made, read_only=False)
            _apply(roots, changes, made)
            _call_root(made, old_root, new_root)
        yield made


@contextlib.contextmanager
def _doubts() -> Iterator[None]:
    """Take whatever cannot be read, or done, for a difference."""
    try:
        yield
    except (OSError, BoundsError, CannotCarry, RecursionError) as error:
        raise Unlike(str(error)) from error


def compare(roots: Roots) -> Changes:
    """Return how the new image differs from the other. Raises Unlike, OSError, BoundsError."""
    applications = Applications(_owned(roots.layer), _units(roots))
    own: list[Difference] = []
    times: list[Difference] = []
    for found in differences(roots.image, roots.new):
        directory = all(stat.S_ISDIR(there.st_mode) for there in (found.before, found.after) if there)
        if applications.own(found.path, directory=directory) or _is_release(roots, found):
            _check_untouched(roots, found)
            own.append(found)
        elif found.before and found.after and equal(roots.image, roots.new, found.path):
            times.append(found)
        else:
            raise Unlike(f"/{found.path} is another one")
        if len(own) + len(times) > _MOST_CHANGES:
            raise Unlike(f"more than {_MOST_CHANGES} files are others")
    return Changes(tuple(own), tuple(times))


def _owned(root: Path) -> frozenset[str]:
    lists = files_inside(root, _LISTS, most=_MOST_LISTS)
    return owned_places(text for name, text in lists if name.endswith(".list"))


def _units(roots: Roots) -> frozenset[str]:
    """Return the name of both images' unit for a service of their own, which no builder starts."""
    names = {_text(root, _SERVICE).decode("ascii", "replace").strip() for root in (roots.image, roots.new)}
    name = names.pop()
    if names or not _UNIT.fullmatch(name) or name.startswith("stoneware"):
        return frozenset()
    known = _text(roots.layer, _BASE_UNITS).decode("ascii", "replace").split()
    system = any(mode_inside(roots.layer, f"{place}/{name}") for place in _SYSTEM_UNITS)
    return frozenset() if name in known or system else frozenset({name})


def _text(root: Path, path: str) -> bytes:
    try:
        descriptor = open_inside(root, path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return b""
    try:
        return read_descriptor(descriptor, _MOST_TEXT)
    finally:
        os.close(descriptor)


def _is_release(roots: Roots, found: Difference) -> bool:
    """Say whether it is the file that names the system, and the image's own name alone differs in it."""
    if found.path not in _RELEASES or found.before is None or found.after is None:
        return False
    if not (stat.S_ISREG(found.before.st_mode) and found.before.st_mode == found.after.st_mode):
        return False
    was, now = (_IMAGE_LINES.sub(b"", _text(root, found.path)) for root in (roots.image, roots.new))
    return was == now


def _check_untouched(roots: Roots, found: Difference) -> None:
    """Raise Unlike where installing the kernel has changed what is to be replaced."""
    there = _status(roots.layer / found.path)
    if (there is None) != (found.before is None):
        raise Unlike(f"/{found.path} is changed by the kernel's packages")
    if found.before is None:
        return
    if not equal(roots.image, roots.layer, found.path):
        raise Unlike(f"/{found.path} is changed by the kernel's packages")
    if found.after is None and stat.S_ISDIR(found.before.st_mode):
        for more in differences(roots.image, roots.layer, found.path):
            raise Unlike(f"/{more.path} is changed by the kernel's packages")


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _apply(roots: Roots, changes: Changes, made: Path) -> None:
    """Put the application's files into the snapshot of the layer."""
    with Carrier(roots.new, made) as carrier:
        directories = []
        for found in changes.own:
            both = found.before is not None and found.after is not None
            if both and _is_directory(found.before) and _is_directory(found.after):
                carrier.describe(found.path)
                directories.append(found.path)
                continue
            if found.before is not None:
                carrier.remove(found.path)
        for found in changes.own:
            if found.after is not None and found.path not in directories:
                carrier.put(found.path)
        carrier.finish()
        _set_times(roots, changes, carrier)


def _is_directory(status: os.stat_result | None) -> bool:
    return status is not None and stat.S_ISDIR(status.st_mode)


def _set_times(roots: Roots, changes: Changes, carrier: Carrier) -> None:
    """Set times as after an install: those of the new image where the kernel's packages set none."""
    own = {found.path for found in changes.own if _is_directory(found.after) and found.before is not None}
    parents = {found.path.rpartition("/")[0] for found in changes.own} | {""}
    kept = {found.path for found in changes.times} | parents
    for path in sorted(own | kept, reverse=True):
        layer, image = (roots.layer / path).lstat(), (roots.image / path).lstat()
        untouched = layer.st_mtime_ns == image.st_mtime_ns and layer.st_ino == image.st_ino
        carrier.set_times(path, (roots.new / path).lstat() if untouched or path in own else layer)


def _call_root(made: Path, old_root: str, new_root: str) -> None:
    """Have the fstab name the root of the new image's disk. Raises Unlike where it names another."""
    old, new = (f"PARTUUID={name} / ".encode() for name in (old_root, new_root))
    descriptor = open_inside(made, _FSTAB, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "r+b"):
        text, status = read_descriptor(descriptor, _MOST_TEXT), os.fstat(descriptor)
        # Written over in place, so the length has to be the same, and no other name may have the same file.
        if text.count(old) != 1 or len(old) != len(new) or status.st_nlink != 1:
            raise Unlike("/etc/fstab is changed by the kernel's packages")
        os.pwrite(descriptor, new, text.index(old))
        os.utime(descriptor, ns=(status.st_atime_ns, status.st_mtime_ns))
