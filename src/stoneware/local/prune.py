"""Removing what nothing uses any more."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stoneware import process
from stoneware.files import locked
from stoneware.local import bases, btrfs
from stoneware.local.platform import LocalPlatform
from stoneware.local.store import Store
from stoneware.platform import Machine, Phase


@dataclass(frozen=True)
class Unused:
    """What `prune` removes: names and ids by kind."""

    machines: tuple[str, ...]
    images: tuple[str, ...]
    checkpoints: tuple[str, ...]
    caches: tuple[str, ...]

    @property
    def empty(self) -> bool:
        """Say whether there is nothing to remove."""
        return not (self.machines or self.images or self.checkpoints or self.caches)


def unused(platform: LocalPlatform, *, everything: bool = False) -> Unused:
    """Return what nothing uses: stopped machines, images without a tag, checkpoints of no image, caches.

    An image that a machine was made from is kept. With `everything`, images are only kept for a machine's
    sake, whatever their tags, and of the checkpoints only the bases. While a bake runs, checkpoints and
    caches are left alone.
    """
    store = platform.store
    machines = platform.machines()
    stopped = [machine for machine in machines if _is_done(machine)]
    names = {machine.name for machine in stopped}
    needed = {machine.image_id for machine in machines if machine.name not in names}
    if not everything:
        needed |= set(store.tags().values())
    images = [image for image in store.image_ids() if image not in needed]
    kept = [image for image in store.image_ids() if image in needed]
    baking = _bake_runs(store)
    checkpoints = [] if baking else _unused_checkpoints(store, [] if everything else kept)
    return Unused(
        machines=tuple(sorted(names)),
        images=tuple(images),
        checkpoints=tuple(checkpoints),
        caches=() if baking else tuple(sorted(path.name for path in (store.data / "cache").iterdir())),
    )


def _is_done(machine: Machine) -> bool:
    return machine.phase is Phase.STOPPED or (machine.phase is Phase.FAILED and machine.leader is None)


def _bake_runs(store: Store) -> bool:
    locks = store.build_lock_path("any").parent
    return locks.is_dir() and any(_held(path) for path in locks.glob("*.lock"))


def _held(path: Path) -> bool:
    try:
        with locked(path, timeout=0):
            return False
    except TimeoutError:
        return True


def _unused_checkpoints(store: Store, images: Iterable[str]) -> list[str]:
    """Return the checkpoints that are neither bases nor steps of the images."""
    needed = bases.base_checkpoints(store)
    for image in images:
        manifest = store.manifest(image)
        needed |= {str(step.get("key", "")) for step in manifest.get("steps", ())}
        needed.add(str((manifest.get("base") or {}).get("identity", "")))
    return [key for key in store.checkpoint_keys() if key not in needed]


def prune(platform: LocalPlatform, what: Unused) -> int:
    """Remove what `unused` found and return how many bytes that freed."""
    store = platform.store
    before = _free(store)
    for name in what.machines:
        machine = platform.observe(name)
        if machine is not None and _is_done(machine):
            platform.destroy(name)
    for image in what.images:
        store.remove_image(image)
    for key in what.checkpoints:
        store.remove_checkpoint(key)
    for name in what.caches:
        btrfs.remove_tree(store.data / "cache" / name)
    # btrfs gives the space of deleted subvolumes back later; wait for that, to tell the truth.
    process.run(["btrfs", "subvolume", "sync", store.data], check=False)
    process.run(["btrfs", "filesystem", "sync", store.data], check=False)
    return max(0, _free(store) - before)


def _free(store: Store) -> int:
    status = os.statvfs(store.data)
    return status.f_bavail * status.f_frsize
