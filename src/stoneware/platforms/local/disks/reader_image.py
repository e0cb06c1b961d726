"""The kernel and the initramfs of the machine that reads foreign disks: made once per base, in a builder."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from stoneware.files import canonical_json, locked, sha256_hex
from stoneware.guest import kernel_layer
from stoneware.platforms.local.bases import bases
from stoneware.platforms.local.bases.sources import KNOWN
from stoneware.platforms.local.disks import kernel
from stoneware.platforms.local.store import btrfs
from stoneware.platforms.local.store.store import Store
from stoneware.platforms.protocols import BAKES

READERS = "reader-"  # how the keys of their checkpoints begin
KERNEL, INITRAMFS = "vmlinuz", "initrd"
_PACKAGE = "linux-image-cloud-amd64"

Progress = Callable[[str], None]


def reader_image(store: Store, progress: Progress) -> Path:
    """Return the directory of the two files after making them where they are missing.

    Raises BuildError where the kernel cannot be installed.
    """
    base = _base(store, progress)
    key = _key(base)
    if not store.has_checkpoint(key):
        # Held shared, as by a bake: `prune` takes nothing away meanwhile.
        with locked(store.build_lock_path(BAKES), shared=True), kernel.only_one(store, key, progress):
            if not store.has_checkpoint(key):
                _make(store, base, key, progress)
    store.touch_checkpoint(key)
    return store.checkpoint_rootfs(key)


def in_use(store: Store) -> set[str]:
    """Return the keys of those that the next import would use."""
    found = {base for each in KNOWN if (base := bases.base_identity(store, each))}
    return {_key(base) for base in found}


def _key(base: str) -> str:
    return READERS + sha256_hex(canonical_json([base, kernel_layer.reader_digest()]))[:40]


def _base(store: Store, progress: Progress) -> str:
    """Return a base that is there; the first one is made otherwise."""
    made = (bases.base_identity(store, each) for each in KNOWN)
    return next((each for each in made if each), None) or bases.ensure_base(
        store, next(iter(KNOWN)), progress=progress
    )


def _make(store: Store, base: str, key: str, progress: Progress) -> None:
    from stoneware.platforms.local.platform import LocalPlatform  # it imports the store, which imports disks

    progress("making the machine that reads disks (once)")
    files = {"reader-init": kernel_layer.READER_INIT}

    def script(token: str) -> str:
        return kernel_layer.reader_script({"KERNEL_PACKAGE": _PACKAGE, "SW_TOKEN": token})

    with contextlib.ExitStack() as held:
        made = kernel.built(store, LocalPlatform(store), f"checkpoint:{base}", script, progress, files=files)
        rootfs, version = held.enter_context(made)
        staged = held.enter_context(store.staging(store.data / "checkpoints"))
        root = staged / "rootfs"
        btrfs.create(root)
        for name in (KERNEL, INITRAMFS):
            shutil.copyfile(rootfs / "reader" / name, root / name, follow_symlinks=False)
        store.save_checkpoint(key, root, {"reader": base, "kernel": version, "created": time.time()})
