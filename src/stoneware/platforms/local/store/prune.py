"""Removing what nothing uses any more."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Collection, Iterable, Iterator

from stoneware import process
from stoneware.errors import HostError
from stoneware.files import locked
from stoneware.model.machine import Machine, Phase
from stoneware.platforms.local.bases import bases
from stoneware.platforms.local.disks import disks, kernel, reader_image
from stoneware.platforms.local.instances import CONTENTS, abandoned
from stoneware.platforms.local.platform import LocalPlatform
from stoneware.platforms.local.store import qgroups
from stoneware.platforms.local.store import quota as store_quota
from stoneware.platforms.local.store.store import Store
from stoneware.platforms.protocols import BAKES
from stoneware.platforms.upkeep import Unused
from stoneware.records import DamagedError

_POLL = 0.1  # seconds between two times that the kernel is asked to go on freeing


def unused(platform: LocalPlatform, *, everything: bool = False, wanted: Collection[str] = ()) -> Unused:
    """Return what nothing uses: stopped machines, images without a tag, checkpoints of no image, caches.

    An image that a machine was made from is kept, and those that are `wanted` (ids). With `everything`,
    images are only kept for their sakes, whatever their tags, and of the checkpoints only the bases. While a
    bake runs, images, checkpoints and caches are left alone: it may be about to use them.
    """
    return _unused(platform, baking=_bake_runs(platform.store), everything=everything, wanted=wanted)


def unused_images(platform: LocalPlatform, *, wanted: Collection[str] = ()) -> int:
    """Return how many images and checkpoints nothing uses; none where a tag is damaged."""
    try:
        found = unused(platform, wanted=wanted)
    except DamagedError:  # which image it is of is unknown, and so no image is removed
        return 0
    return len(found.images) + len(found.checkpoints)


def _unused(platform: LocalPlatform, *, baking: bool, everything: bool, wanted: Collection[str]) -> Unused:
    store = platform.store
    machines = platform.machines()
    stopped = [machine for machine in machines if _is_done(machine)]
    names = {machine.name for machine in stopped}
    # Stopped machines are removed too, so they keep no image.
    needed = {machine.image_id for machine in machines if machine.name not in names} | set(wanted)
    if not everything:
        # A tag that cannot be read would make its image look unused.
        store.check_tags()
        needed |= set(store.tags().values())
    images = [] if baking else [image for image in store.image_ids() if image not in needed]
    kept = [image for image in store.image_ids() if image in needed]
    checkpoints = [] if baking else _unused_checkpoints(store, [] if everything else kept)
    return Unused(
        machines=tuple(sorted(names)),
        images=tuple(images),
        checkpoints=tuple(checkpoints),
        disks=() if baking else tuple(_unused_disks(store, [] if everything else kept)),
        caches=() if baking else tuple(sorted(path.name for path in (store.data / "cache").glob("[!.]*"))),
        remains=tuple(str(path.relative_to(store.data)) for path in store.broken()),
    )


def _is_done(machine: Machine) -> bool:
    return machine.phase is Phase.STOPPED or (machine.phase is Phase.FAILED and machine.leader is None)


def _bake_runs(store: Store) -> bool:
    with _between_bakes(store) as free:
        return not free


@contextlib.contextmanager
def _between_bakes(store: Store) -> Iterator[bool]:
    """Keep bakes from starting, unless one runs; say whether none does."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(store.build_lock_path(BAKES), timeout=0))
        except TimeoutError:
            yield False
        else:
            yield True


def _unused_checkpoints(store: Store, images: Iterable[str]) -> list[str]:
    """Return the checkpoints that are neither bases nor steps of the images."""
    needed = bases.base_checkpoints(store)
    known = set(images)
    if known:
        needed |= reader_image.in_use(store)
    for image in known:
        manifest = store.manifest(image)  # a damaged one stops us: whose steps are unknown
        needed |= {str(step.get("key", "")) for step in manifest.get("steps", ())}
        needed.add(str((manifest.get("base") or {}).get("identity", "")))
    return [
        key
        for key in store.checkpoint_keys()
        if key not in needed
        and not _is_disk(store, key)
        and not (key.startswith(kernel.LAYERS) and disks.layer_image(store, key) in known)
    ]


def _unused_disks(store: Store, images: Iterable[str]) -> list[str]:
    """Return the disks of other images. Machines have copies of their own, so none of them needs one."""
    known = set(images)
    return [disk.key for disk in disks.stored_disks(store) if disk.image not in known]


def _is_disk(store: Store, key: str) -> bool:
    """Say whether a checkpoint is what is in a disk of an emulated cloud, whose state is still there."""
    return key.startswith(CONTENTS) and not abandoned(store, key)


def prune(
    platform: LocalPlatform, what: Unused, *, everything: bool = False, wanted: Collection[str] = ()
) -> int:
    """Remove what `unused` found and nothing has begun to use since; return how many bytes that freed.

    What can be removed is, before HostError is raised for what cannot.
    """
    store = platform.store
    before = _free(store)
    for name in what.machines:
        platform.destroy_if(name, _is_done)
    faults: list[HostError] = []
    with _between_bakes(store) as free:
        if free:
            faults = _remove(platform, what, everything=everything, wanted=wanted)
    faults += _remove_all(store, what.remains)
    settle(store)
    if faults:
        raise faults[0]
    return max(0, _free(store) - before)


def settle(store: Store) -> int:
    """Wait until the space of what has been removed is back, and return how many bytes that freed.

    btrfs gives it back half a minute later unless it is asked to: this tells the truth, and a bake that
    filled the store can be run again at once.
    """
    before = _free(store)
    waiting = subprocess.Popen(
        ["btrfs", "subvolume", "sync", str(store.data)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=process.tool_environment(),
    )  # fmt: skip
    try:
        while waiting.poll() is None:
            qgroups.commit(store.data)
            time.sleep(_POLL)
    finally:
        waiting.kill()
        waiting.wait()
    qgroups.commit(store.data)
    store_quota.forget_removed(store.data)
    # What has become free is the guests' too, from now on.
    store_quota.keep_reserve(store.home, store.data)
    return max(0, _free(store) - before)


def _remove(
    platform: LocalPlatform, what: Unused, *, everything: bool, wanted: Collection[str]
) -> list[HostError]:
    store = platform.store
    # Looked at again, now that no bake can begin: the list is as old as the question to the user.
    still = _unused(platform, baking=False, everything=everything, wanted=wanted)
    for image in set(what.images) & set(still.images):
        store.remove_image(image)
    for key in set(what.checkpoints) & set(still.checkpoints):
        store.remove_checkpoint(key)
    for key in set(what.disks) & set(still.disks):
        disks.remove_disk(store, key)
    return _remove_all(store, [f"cache/{name}" for name in what.caches])


def _remove_all(store: Store, names: Iterable[str]) -> list[HostError]:
    """Remove what can be removed, and return the errors of the rest."""
    faults = []
    for name in names:
        try:
            store.remove_remains(store.data / name)
        except HostError as error:
            faults.append(error)
    return faults


def _free(store: Store) -> int:
    status = os.statvfs(store.data)
    return status.f_bavail * status.f_frsize
