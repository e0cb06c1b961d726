"""Bases as disks of a cloud: Debian with a kernel, as public images are, for virtual machines."""

from __future__ import annotations

from collections.abc import Callable

from stoneware.files import canonical_json, locked, sha256_hex
from stoneware.platforms.local.disks import kernel
from stoneware.platforms.local.disks.disks import assemble_layer
from stoneware.platforms.local.disks.layout import VERSION
from stoneware.platforms.local.host.requirements import DISK_TOOLS, check
from stoneware.platforms.local.machines.qemu.disks import ROOT
from stoneware.platforms.local.store import btrfs
from stoneware.platforms.local.store.store import Store
from stoneware.platforms.protocols import BAKES, Machines

_GOOGLE_AGENT = ("google-guest-agent",)
FORM = "raw"  # of a checkpoint that has a disk as its only file


def ensure_disk(
    store: Store, machines: Machines, base: str, progress: Callable[[str], None], *, bare: bool
) -> str:
    """Return the key of a checkpoint that has the disk of a base's checkpoint, made where it is missing.

    A `bare` one has Google's guest agent, as Debian has it, and nothing of Stoneware's. Raises HostError
    where this computer lacks a tool or room, BuildError where the kernel cannot be installed.
    """
    check(DISK_TOOLS)
    wanted = kernel.wanted_of_checkpoint(store, base, _GOOGLE_AGENT if bare else kernel.AGENT, bare=bare)
    key = "cloud-" + sha256_hex(canonical_json([wanted.key, VERSION]))[:40]
    # Held shared, as by a bake: `prune` takes nothing away meanwhile.
    with locked(store.build_lock_path(BAKES), shared=True), kernel.only_one(store, key, progress):
        if store.has_checkpoint(key):
            store.touch_checkpoint(key)
            return key
        layer = kernel.ensure_layer(store, machines, wanted, progress)
        with store.staging(store.data / "checkpoints") as staged:
            root = staged / "rootfs"
            btrfs.create(root)
            root.chmod(0o700)
            assemble_layer(store, wanted, layer, root / ROOT, progress)
            store.save_checkpoint(key, root, {"base": base, "form": FORM})
        return key
