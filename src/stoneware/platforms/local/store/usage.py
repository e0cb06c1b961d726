"""What uses the space of a store: machines, volumes, caches, and what images and checkpoints share."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path

from stoneware.files import locked
from stoneware.model.machine import Phase
from stoneware.platforms.local.disks import disks
from stoneware.platforms.local.machines.record import Paths
from stoneware.platforms.local.machines.runners import runner_of
from stoneware.platforms.local.platform import LocalPlatform
from stoneware.platforms.local.store import prune, qgroups
from stoneware.platforms.local.store import quota as store_quota
from stoneware.platforms.local.store.qgroups import Figures
from stoneware.platforms.local.store.store import Store
from stoneware.platforms.upkeep import Item, Room, Row, Usage

_RECORDS = qgroups.group(0, 5)  # the file system's first subvolume: records, consoles, bakes' directories
_ENDED = (Phase.STOPPED, Phase.FAILED, Phase.CREATED)


def measure(platform: LocalPlatform, wanted: Collection[str] = ()) -> Usage:
    """Measure a store, by its quota groups: nothing is walked but the directories of bakes."""
    store = platform.store
    items = {
        "images": _images(platform),
        "machines": _machines(platform),
        "volumes": _volumes(store),
        "snapshots": _snapshots(store),
        "disks": _disks(store),
        "caches": _caches(store),
        "leftovers": _leftovers(store),
    }
    room = _room(store)
    rows = [
        _shared(store, items, room, prune.unused_images(platform, wanted=wanted)),
        *(
            _row(kind, items[kind])
            for kind in ("machines", "volumes", "snapshots", "disks", "caches", "leftovers")
        ),
    ]
    return Usage(tuple(rows), items, room)


def _row(kind: str, items: Iterable[Item]) -> Row:
    found = list(items)
    idle = [item for item in found if not item.active]
    return Row(kind, len(found), len(found) - len(idle), _sum(found), _sum(idle))


def _sum(items: Iterable[Item]) -> int | None:
    sizes = [item.size for item in items]
    return None if None in sizes else sum(size or 0 for size in sizes)


def _shared(store: Store, items: dict[str, tuple[Item, ...]], room: Room, unused: int) -> Row:
    """Return what images and checkpoints have together: all that nothing else has."""
    total = len(store.image_ids()) + len(store.checkpoint_keys())
    records = qgroups.figures(store.data, _RECORDS)
    others = [_sum(items[kind]) for kind in ("machines", "volumes", "snapshots", "caches")]
    size = None
    if store_quota.is_pool(store.home) and records is not None and None not in others:
        size = max(0, room.used - records.used - sum(other or 0 for other in others))
    return Row("images and checkpoints", total, total - unused, size, None if unused else 0)


def _images(platform: LocalPlatform) -> tuple[Item, ...]:
    store = platform.store
    used = {machine.image_id for machine in platform.machines()}
    sizes = {image: store.image_document(image).get("size_bytes") for image in store.image_ids()}
    return tuple(Item(image, image in used, size) for image, size in sizes.items())


def _machines(platform: LocalPlatform) -> tuple[Item, ...]:
    return tuple(
        _measured(platform.store, found.name, found.phase not in _ENDED, _root(platform.store, found.name))
        for found in platform.machines()
    )


def _root(store: Store, machine: str) -> Path:
    paths = Paths(store.data / "machines" / machine)
    return runner_of(paths).directory(paths)


def _volumes(store: Store) -> tuple[Item, ...]:
    found = []
    for volume in store.volumes():
        try:
            figures = store.volume_figures(volume.name)
        except OSError:  # removed meanwhile
            figures = Figures(0, 0, None)
        found.append(_item(volume.name, bool(volume.machines), figures))
    return tuple(found)


def _snapshots(store: Store) -> tuple[Item, ...]:
    """Return the snapshots. What they have is their volume's, and nobody's where that is gone: once each."""
    groups, counted = store.snapshot_groups(), store.volume_groups()
    found = []
    for name in sorted(groups):
        group = groups[name]
        figures = None if group is None or group in counted else store_quota.group_figures(store.data, group)
        counted |= {group}
        there = store.find_volume(name.partition("@")[0]) is not None
        found.append(Item(name, there, _had(group, figures)))
    return tuple(found)


def _had(group: int | None, figures: Figures | None) -> int | None:
    if group is None:
        return None  # without simple quotas it is unknown
    return figures.used + figures.held if figures else 0


def _caches(store: Store) -> tuple[Item, ...]:
    names = sorted(path.name for path in (store.data / "cache").glob("[!.]*"))
    return tuple(_measured(store, name, False, f"cache/{name}") for name in names)


def _disks(store: Store) -> tuple[Item, ...]:
    return tuple(
        Item(disk.key, store.has_image(disk.image), _walked(disk.path.parent))
        for disk in disks.stored_disks(store)
        if disk.image
    )


def _measured(store: Store, name: str, active: bool, place: str | Path) -> Item:
    try:
        found = store_quota.figures(store.data, store.data / place)
    except OSError:  # removed meanwhile
        return Item(name, active, 0)
    return _item(name, active, found)


def _item(name: str, active: bool, found: Figures | None) -> Item:
    return Item(name, active, found.used + found.held, found.limit) if found else Item(name, active, None)


def _leftovers(store: Store) -> tuple[Item, ...]:
    """Return the directories of bakes, and what could not be removed."""
    found = []
    for path in sorted((store.data / "builds").glob("[!.]*")):
        found.append(Item(path.name, _lives(store, path.name), _walked(path)))
    found += [Item(f"{path.parent.name}/{path.name}", False, _walked(path)) for path in store.broken()]
    return tuple(found)


def _lives(store: Store, build: str) -> bool:
    with contextlib.suppress(TimeoutError), locked(store.build_lock_path(build), timeout=0):
        return False
    return True


def _walked(path: Path) -> int:
    size = 0
    for directory, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                size += (Path(directory) / name).lstat().st_blocks * 512
    return size


def _room(store: Store) -> Room:
    status = os.statvfs(store.data)
    pool = store_quota.is_pool(store.home)
    left = store_quota.guests_left(store.home, store.data)
    return Room(
        total=status.f_blocks * status.f_frsize,
        used=(status.f_blocks - status.f_bfree) * status.f_frsize,
        free=status.f_bavail * status.f_frsize,
        reserve=store_quota.reserve(store.data) if left is not None else None,
        left=left,
        host_free=shutil.disk_usage(store.home).free if pool else None,
    )
