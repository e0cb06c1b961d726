"""Machines and contents of disks for a cloud that is emulated here: see `stoneware.platforms.instances`.

What is in a disk that no machine has is kept as a checkpoint, whose key begins as CONTENTS; `prune` leaves it
alone while the emulator's state is there.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stoneware.errors import InputError
from stoneware.model.ingress import Ingress
from stoneware.model.machine import MachineSpec, runs
from stoneware.model.resources import VolumeMount
from stoneware.platforms.local import live_disks
from stoneware.platforms.local.bases.bare import ensure_bare
from stoneware.platforms.local.disks.head import Head
from stoneware.platforms.local.host import cgroups
from stoneware.platforms.local.machines import console
from stoneware.platforms.local.machines.runners import runner_for
from stoneware.platforms.local.metadata.handover import STATE_LABEL, Entrance, place
from stoneware.platforms.local.network import naming
from stoneware.platforms.local.network.layout import layout_of
from stoneware.platforms.local.network.views import Zones
from stoneware.platforms.local.platform import LocalPlatform
from stoneware.platforms.local.store.images import LocalImageStore
from stoneware.platforms.local.store.store import Store
from stoneware.untrusted.raw_archive import unpack

CONTENTS = "disk-"


class LocalInstances:
    """The machines of one emulator, over a store. `state` is the directory of the emulator's own records.

    `bare`: public images are without Stoneware's programs.
    """

    def __init__(self, store: LocalImageStore, state: Path, *, bare: bool = False) -> None:
        self._store = store
        self._platform = LocalPlatform(store)
        self._state = str(state.absolute())
        self._labels = {"state": self._state}
        self._document: dict[str, str] = dict(self._labels)  # of contents
        self._bases = threading.Lock()
        self._bare = bare
        self._entrance: Entrance | None = None

    def base(self, reference: str) -> str:
        """Return the key of a base's contents, made where it is missing."""
        # Requests are served by threads: one of them makes the base, the others wait for it.
        with self._bases:
            if self._bare:
                return ensure_bare(self._store, reference, lambda _: None)
            return self._store.ensure_base(reference, refresh=False, progress=lambda _: None)

    def boot(self, spec: MachineSpec) -> None:
        """Let a machine run that is as a spec says; one of that name that is there goes on.

        A computer that cannot limit memory or processors has machines without these limits.
        """
        if self._platform.observe(spec.name) is None:
            self._check_kind(spec)
            there = cgroups.controllers(cgroups.probe())
            limited, _, _ = runner_for(spec).limits(spec)
            memory, cpus = (
                # Nothing here has to limit what is a virtual machine's own.
                (spec.memory if limited is None or "memory" in there else None),
                (spec.cpus if "cpu" in there else None),
            )
            labels = {**spec.labels, STATE_LABEL: self._state}
            self._platform.create(replace(spec, memory=memory, cpus=cpus, labels=labels))
        else:
            self._platform.amend(spec.name, ingress=spec.ingress)
            self._platform.start(spec.name)

    def _check_kind(self, spec: MachineSpec) -> None:
        """Raise InputError where what it boots from was left by machines of the other kind."""
        found = self._of(spec.source.partition(":")[2])
        if found.get("form", "") != self._document.get("form", ""):
            other = "virtual machines" if found.get("form") else "containers"
            words = "stoneware emulate google" + (" --vm" if found.get("form") else "")
            raise InputError(
                f"what is on the disk of {spec.hostname} was left by {other}",
                resolution=f"{words}    # or make the image and its instances again",
            )

    def power_off(self, name: str, contents: str, *, timeout: float) -> bool:
        """Stop a machine, keep what is on its root as `contents` (nothing: do not), and remove it.

        May be done again after a kill: what is kept already stays as it is. Return whether it is kept.
        """
        if self._platform.observe(name) is not None:
            self._platform.stop(name, timeout=timeout)
            if contents and not self._store.has_checkpoint(contents):
                self.keep(name, contents)
            self._platform.destroy(name)
        return bool(contents) and self._store.has_checkpoint(contents)

    def keep(self, name: str, contents: str) -> None:
        """Keep what is on the root of a machine now."""
        self._platform.checkpoint(name, contents, self._document)

    def take_disk(self, archive: Path, contents: str) -> int:
        """Keep what is on the disk in an archive; return its bytes.

        A container boots the image of this store that the disk was made of, which its partitions' ids tell.
        Raises InputError for the disk of another.
        """
        head = Head()
        size = unpack(archive, head.take)
        image = head.image(self._store.image_ids())
        if image is None:
            raise InputError(
                "no container can boot from that disk",
                details="It is the disk of no image of this computer's store.",
                resolution="bake or import the image here, export it, and make the cloud's image of that",
            )
        self._store.save_checkpoint(contents, self._store.image_rootfs(image), self._document)
        return size

    def forget(self, contents: str) -> None:
        """Forget contents that were kept; none are no error."""
        self._store.remove_checkpoint(contents)

    def kept(self) -> frozenset[str]:
        """Return all contents that are kept for this emulator."""
        keys = [key for key in self._store.checkpoint_keys() if key.startswith(CONTENTS)]
        return frozenset(key for key in keys if self._of(key).get("state") == self._state)

    def _of(self, contents: str) -> Mapping[str, Any]:
        return self._store.checkpoint_document(contents) or {}

    def running(self) -> frozenset[str]:
        """Return the names of the machines that run."""
        return frozenset(machine.name for machine in self._platform.machines() if runs(machine))

    def check_helpers(self) -> None:
        """Restart what machines depend on and has died."""
        self._platform.check_helpers()
        if self._entrance is not None:
            self._entrance.renew()

    def open_endpoint(self, enter: Callable[[str, socket.socket], None]) -> None:
        """From now on hand over each connection that a machine opens to the endpoint, with its name."""
        self._entrance = Entrance(place(layout_of(self._store).runtime, self._state), enter)

    def close_endpoint(self) -> None:
        """Let no machine in any more."""
        if self._entrance is not None:
            self._entrance.close()

    def console(self, name: str, start: int, limit: int) -> tuple[bytes, int, int]:
        """Return at most `limit` bytes of a console from a place on, and the places where they begin and end.

        A negative place is so many bytes before the end. What is not kept any more is passed over.
        """
        directory = self._platform.existing_directory(name)
        first, end = console.span(directory)
        place = end + start if start < 0 else start
        at = max(place, first, end - limit)
        data, after = console.read(directory, at, limit)
        return data, after - len(data), after

    def reports(self, name: str) -> dict[str, str]:
        """Return what the machine reported: `namespace/key` to value; nothing of one that is gone."""
        try:
            return self._platform.guest_attributes(name)
        except InputError:
            return {}

    def tell(self, name: str, changes: Mapping[str, str | None], identity: Mapping[str, str]) -> None:
        """Change a machine's attributes and identity."""
        if self._platform.observe(name) is not None:
            self._platform.amend(name, identity=dict(identity))
            self._platform.set_metadata(name, changes)

    def guard(self, name: str, rules: Ingress) -> None:
        """Let in to a machine what the rules say, from now on."""
        if self._platform.observe(name) is not None:
            self._platform.amend(name, ingress=rules)

    def attach(self, name: str, mount: VolumeMount) -> None:
        """Give a machine that runs a disk."""
        live_disks.attach(self._platform, name, mount)

    def detach(self, name: str, mount: VolumeMount) -> None:
        """Take a disk from a machine that runs."""
        live_disks.detach(self._platform, name, mount)

    def make_network(self, name: str, subnets: Sequence[str]) -> None:
        """Have a network whose machines have their addresses in these ranges."""
        made = self._platform.create_network(name, self._labels, subnets=subnets)
        if set(made.subnets) != set(subnets):
            self._platform.change_network(name, self._labels, subnets=subnets)

    def name_network(self, name: str, addresses: Mapping[str, Sequence[str]], domains: Sequence[str]) -> None:
        """Let machines on a network know names besides their own, by address."""
        known = {address: tuple(names) for address, names in addresses.items()}
        naming.name(self._store, name, Zones(known, tuple(domains)))

    def remove_network(self, name: str) -> None:
        """Remove a network that no machine is on; a missing one is no error."""
        self._platform.destroy_network(name)
        self.name_network(name, {}, ())

    def make_disk(self, name: str, size: int) -> None:
        """Make a blank disk of so many bytes, or let the one of that name have as many."""
        self._platform.create_volume(name, self._labels, size)

    def enlarge_disk(self, name: str, size: int) -> None:
        """Let a disk, which is a directory here, take so many bytes."""
        self.make_disk(name, size)

    def remove_disk(self, name: str) -> None:
        """Remove a disk that no machine has."""
        self._platform.destroy_volume(name)


def abandoned(store: Store, key: str) -> bool:
    """Say whether contents belong to an emulator whose state is gone."""
    document: Mapping[str, Any] = store.checkpoint_document(key) or {}
    return not Path(str(document.get("state", ""))).is_dir()
