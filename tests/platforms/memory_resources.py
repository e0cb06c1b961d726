"""The volumes and networks of the platform in memory, which know the machines that use them."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from stoneware.errors import InputError
from stoneware.image.versions import highest
from stoneware.model.machine import Machine, MachineSpec, Phase
from stoneware.model.resources import DIRECTORY, DISK, Network, Snapshot, Volume
from stoneware.model.snapshots import BEFORE_RESTORE, name_at


class MemoryResources:
    """A part of `MemoryPlatform`."""

    no_conversion = ""  # why no volume can become of another kind

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._machines: dict[str, Machine] = {}
        self._volumes: dict[str, Volume] = {}
        self._snapshots: dict[tuple[str, str], tuple[Snapshot, Volume]] = {}
        self._networks: dict[str, Network] = {}

    def _save(self) -> None:
        raise NotImplementedError

    def _users(self, what: str, name: str) -> tuple[str, ...]:
        def named(spec: MachineSpec) -> list[str]:
            return [mount.volume for mount in spec.volumes] if what == "volumes" else list(spec.networks)

        return tuple(sorted(key for key, machine in self._machines.items() if name in named(machine.spec)))

    def create_volume(
        self, name: str, labels: Mapping[str, str], size: int | None = None, *, kind: str = DIRECTORY
    ) -> Volume:
        with self._lock:
            new = Volume(name, time.time(), dict(labels), (), size, kind=kind, blank=True)
            made = self._volumes.setdefault(name, new)
            if size is not None:
                self._volumes[name] = replace(made, size=size)
            self._save()
            return self._volumes[name]

    def resize_volume(self, name: str, size: int) -> None:
        with self._lock:
            found = self._existing_volume(name)
            if found.kind != DISK:
                raise InputError(f"the volume {name!r} is a directory, which has a limit and no size")
            if size < (found.size or 0):
                raise InputError(
                    f"the disk {name!r} has {(found.size or 0) >> 20} MiB, and a disk only grows"
                )
            self._volumes[name] = replace(found, size=size)
            self._save()

    def convert_volume(self, name: str, kind: str, size: int | None = None) -> None:
        with self._lock:
            found = self._existing_volume(name)
            if found.kind == kind:
                raise InputError(f"the volume {name!r} is a {kind} already")
            for user in self._users("volumes", name):
                if self._machines[user].phase is not Phase.STOPPED:
                    raise InputError(f"the volume {name!r} is in use", resolution=f"stoneware stop {user}")
            default = 10 << 30 if kind == DISK else None
            self._volumes[name] = replace(found, kind=kind, size=size or found.size or default)
            self._save()

    def conversion_faults(self, wanted: Mapping[str, str]) -> dict[str, list[str]]:
        return {name: [self.no_conversion] for name in wanted if self.no_conversion}

    def _existing_volume(self, name: str) -> Volume:
        if name not in self._volumes:
            raise InputError(f"there is no volume {name!r}")
        return self._volumes[name]

    def volume(self, name: str) -> Volume | None:
        with self._lock:
            found = self._volumes.get(name)
            return replace(found, machines=self._users("volumes", name)) if found else None

    def volumes(self) -> list[Volume]:
        with self._lock:
            return [found for name in sorted(self._volumes) if (found := self.volume(name))]

    def label_volume(self, name: str, labels: Mapping[str, str]) -> None:
        with self._lock:
            self._volumes[name] = replace(self._existing_volume(name), labels=dict(labels))

    def raise_floor(self, name: str, floor: str) -> None:
        with self._lock:
            found = self._existing_volume(name)
            self._volumes[name] = replace(found, floor=highest((found.floor, floor)))
            self._save()

    def destroy_volume(self, name: str) -> None:
        with self._lock:
            self._refuse_in_use("volumes", name)
            self._volumes.pop(name, None)
            self._save()

    def snapshot_volume(self, name: str, snapshot: str) -> Snapshot:
        with self._lock:
            volume = self._existing_volume(name)
            if (name, snapshot) in self._snapshots:
                raise InputError(f"the volume {name!r} has a snapshot {snapshot!r}")
            automatic = snapshot.startswith(BEFORE_RESTORE)
            made = Snapshot(name, snapshot, time.time(), 0, volume.floor, automatic)
            self._snapshots[name, snapshot] = made, volume
            return made

    def snapshots(self, volume: str = "") -> list[Snapshot]:
        with self._lock:
            found = [made for made, _ in self._snapshots.values() if volume in ("", made.volume)]
            return sorted(found, key=lambda made: (made.volume, made.created, made.name))

    def restore_volume(self, name: str, snapshot: str) -> Snapshot | None:
        with self._lock:
            if (name, snapshot) not in self._snapshots:
                raise InputError(f"the volume {name!r} has no snapshot {snapshot!r}")
            for user in self._users("volumes", name):
                if self._machines[user].phase is not Phase.STOPPED:
                    raise InputError(f"the volume {name!r} is in use", resolution=f"stoneware stop {user}")
            then = self._snapshots[name, snapshot][1]
            now = self._volumes.get(name)
            if now is None:
                self._volumes[name] = then
                return None
            taken = [made.name for made in self.snapshots(name)]
            kept = self.snapshot_volume(name, name_at(time.time(), taken, BEFORE_RESTORE))
            floors = [floor for floor in (now.floor, then.floor) if floor]
            self._volumes[name] = replace(now, floor=highest(floors) if floors else "")
            return kept

    def destroy_snapshot(self, volume: str, name: str) -> None:
        with self._lock:
            self._snapshots.pop((volume, name), None)

    def _refuse_in_use(self, what: str, name: str) -> None:
        users = self._users(what, name)
        if users:
            raise InputError(
                f"the {what[:-1]} {name!r} {'has machines' if what == 'networks' else 'is in use'}",
                details=f"by {', '.join(users)}",
                resolution=f"stoneware rm -f {users[0]}",
            )

    def create_network(
        self, name: str, labels: Mapping[str, str], *, internal: bool = False, subnets: Sequence[str] = ()
    ) -> Network:
        with self._lock:
            made = Network(name, time.time(), dict(labels), (), internal, tuple(subnets))
            self._networks.setdefault(name, made)
            self._save()
            return self._networks[name]

    def network(self, name: str) -> Network | None:
        with self._lock:
            found = self._networks.get(name)
            return replace(found, machines=self._users("networks", name)) if found else None

    def networks(self) -> list[Network]:
        with self._lock:
            return [found for name in sorted(self._networks) if (found := self.network(name))]

    def change_network(
        self, name: str, labels: Mapping[str, str], *, internal: bool = False, subnets: Sequence[str] = ()
    ) -> None:
        with self._lock:
            if name not in self._networks:
                raise InputError(f"there is no network {name!r}")
            for lost in set(self._networks[name].subnets) - set(subnets):
                for machine in self._machines.values():
                    if IPv4Address(machine.ip) in IPv4Network(lost):
                        raise InputError(f"the network {name!r} cannot lose the subnet {lost}")
            self._networks[name] = replace(
                self._networks[name], labels=dict(labels), internal=internal, subnets=tuple(subnets)
            )

    def destroy_network(self, name: str) -> None:
        with self._lock:
            self._refuse_in_use("networks", name)
            self._networks.pop(name, None)
            self._save()
