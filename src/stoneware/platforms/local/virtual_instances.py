"""Virtual machines for a cloud that is emulated here: instances with kernels and disks of their own.

What is in a disk that no machine has is a checkpoint as well, with the disk as its only file.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from stoneware.model.machine import MachineSpec
from stoneware.platforms.local.bases.bare import ensure_bare
from stoneware.platforms.local.disks.cloud import FORM, ensure_disk
from stoneware.platforms.local.host.requirements import DISK_TOOLS, check
from stoneware.platforms.local.instances import LocalInstances
from stoneware.platforms.local.machines.qemu.disks import ROOT
from stoneware.platforms.local.machines.qemu.hardware import LEAST_MEMORY
from stoneware.platforms.local.machines.qemu.runner import Qemu
from stoneware.platforms.local.machines.record import Paths
from stoneware.platforms.local.store import btrfs
from stoneware.platforms.local.store.images import LocalImageStore
from stoneware.untrusted.raw_archive import unpack


class VirtualInstances(LocalInstances):
    """The machines of one emulator, each with a kernel of its own.

    `bare`: public images are Debian with Google's guest agent, and without Stoneware's programs.
    """

    def __init__(self, store: LocalImageStore, state: Path, *, bare: bool = False) -> None:
        """Open them. Raises HostError where this computer lacks a tool."""
        check((*DISK_TOOLS, *Qemu.tools))
        super().__init__(store, state, bare=bare)
        self._document["form"] = FORM

    def base(self, reference: str) -> str:
        """Return the key of a base's disk, made where it is missing."""
        with self._bases:
            if self._bare:
                root = ensure_bare(self._store, reference, _quiet)
            else:
                root = self._store.ensure_base(reference, refresh=False, progress=_quiet)
            return ensure_disk(self._store, self._platform, root, _quiet, bare=self._bare)

    def boot(self, spec: MachineSpec) -> None:
        """Let a virtual machine run; it has half of this computer's memory at most."""
        most = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
        memory = max(min(spec.memory or LEAST_MEMORY, most), LEAST_MEMORY)
        super().boot(replace(spec, vm=True, memory=memory))

    def enlarge_disk(self, name: str, size: int) -> None:
        """Let a disk have so many bytes, at once for a machine that runs with it."""
        self._platform.enlarge_disk(name, size)

    def keep(self, name: str, contents: str) -> None:
        """Keep what is on the disk of a machine now."""
        paths = Paths(self._platform.existing_directory(name))
        self._store.save_checkpoint(contents, paths.disk, self._document)

    def take_disk(self, archive: Path, contents: str) -> int:
        """Keep the disk in an archive; return its bytes."""
        with self._store.staging(self._store.data / "checkpoints") as staged:
            root = staged / "rootfs"
            btrfs.create(root)
            root.chmod(0o700)
            descriptor = os.open(root / ROOT, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                size = unpack(archive, lambda place, piece: _put(descriptor, place, piece))
                # A hole at the end of the disk is in no piece.
                stream.truncate(size)
            self._store.save_checkpoint(contents, root, self._document)
        return size


def _quiet(_: str) -> None:
    """Say nothing: nobody reads it while a request is served."""


def _put(descriptor: int, place: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        done = os.pwrite(descriptor, view, place)
        place, view = place + done, view[done:]
