"""Assembling the disk of an image, beside a bare mkfs.ext4 -d of the same tree in the same store."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from bench.harness import Section, interleave, ratio, timed, timed_rows
from bench.place import Place

ASSEMBLY, BARE, COPY = "assembly of the disk", "mkfs.ext4 -d", "a copy for a machine"


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(place: Place, repeats: int) -> Section:
    """Measure the assembly, with the kernel installed already."""
    from stoneware.platforms.local.disks import disks, kernel
    from stoneware.platforms.local.platform import LocalPlatform
    from stoneware.platforms.local.store.images import LocalImageStore

    place.hello()
    store = LocalImageStore.open(place.home)
    machines = LocalPlatform(store)
    image = store.tags()["hello:latest"]
    quiet: Callable[[str], None] = lambda _: None  # noqa: E731
    layer = kernel.ensure_layer(store, machines, kernel.wanted_layer(store, image), quiet)
    root = store.checkpoint_rootfs(layer.key)
    made = disks.ensure_disk(store, machines, image, quiet)
    larger = made.size + (1 << 30)

    def assemble(_: int) -> float:
        disks.remove_disk(store, made.key)
        return _timed(lambda: disks.ensure_disk(store, machines, image, quiet))

    def bare(_: int) -> float:
        target = store.data / "bench.ext4"
        try:
            return timed(["mkfs.ext4", "-q", "-d", root, target, f"{made.size // 1024}k"])
        finally:
            target.unlink()

    def copy(_: int) -> float:
        target = Path(store.data / "bench.raw")
        try:
            return _timed(lambda: disks.copy_disk(store, machines, image, target, quiet, size=larger))
        finally:
            target.unlink()

    samples = interleave({ASSEMBLY: assemble, BARE: bare, COPY: copy}, repeats, warm=1)
    rows = (*timed_rows(samples), ratio(samples, ASSEMBLY, BARE, 1.5))
    notes = (
        f"The image hello with its kernel; a disk of {made.size >> 20} MiB.",
        "The assembly measures the tree, writes table, boot partition and root, and waits for the disk.",
        "The copy is 1 GiB larger than the image's disk and shares its blocks.",
    )
    return Section("disk", "An image as a disk", rows, notes)
