"""Machines in memory: what stands behind instances in the tests of the API itself."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from stoneware.errors import HostError, MachineError
from stoneware.model.ingress import Ingress
from stoneware.model.machine import MachineSpec
from stoneware.model.resources import VolumeMount
from stoneware.untrusted import raw_archive

Mounts = tuple[VolumeMount, ...]


@dataclass
class Computers:
    """Implements `stoneware.platforms.instances.Computers`. `broken`: names of machines that do not start.

    `stubborn`: places of disks that machines neither take nor let go of.
    """

    machines: dict[str, MachineSpec] = field(default_factory=dict)
    contents: dict[str, str] = field(default_factory=dict)  # key to the name of the machine that left it
    networks: dict[str, list[str]] = field(default_factory=dict)
    named: dict[str, tuple[dict[str, list[str]], list[str]]] = field(default_factory=dict)
    disks: dict[str, int] = field(default_factory=dict)
    attributes: dict[str, dict[str, str]] = field(default_factory=dict)
    consoles: dict[str, bytes] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    stubborn: set[str] = field(default_factory=set)
    guards: dict[str, Ingress] = field(default_factory=dict)
    enter: Callable[[str, socket.socket], None] | None = None
    gate: threading.Event = field(default_factory=threading.Event)  # what stops machines waits for it

    def __post_init__(self) -> None:
        self.gate.set()

    def base(self, reference: str) -> str:
        return f"base-{reference}"

    def boot(self, spec: MachineSpec) -> None:
        if spec.hostname in self.broken:
            raise HostError("the machine does not start", details="no room")
        self.machines[spec.name] = spec

    def power_off(self, name: str, contents: str, *, timeout: float) -> bool:
        assert timeout >= 0
        assert self.gate.wait(300)
        if self.machines.pop(name, None) is not None and contents:
            self.contents[contents] = name
        return contents in self.contents

    def keep(self, name: str, contents: str) -> None:
        self.contents[contents] = name

    def take_disk(self, archive: Path, contents: str) -> int:
        assert self.gate.wait(300)
        size = raw_archive.unpack(archive, lambda *_: None)
        self.contents[contents] = "an archive"
        return size

    def forget(self, contents: str) -> None:
        self.contents.pop(contents, None)

    def kept(self) -> frozenset[str]:
        return frozenset(self.contents)

    def running(self) -> frozenset[str]:
        return frozenset(self.machines)

    def check_helpers(self) -> None:
        pass

    def console(self, name: str, start: int, limit: int) -> tuple[bytes, int, int]:
        text = self.consoles.get(name, b"")
        at = max(len(text) + start if start < 0 else start, len(text) - limit, 0)
        return text[at:], at, max(at, len(text))

    def reports(self, name: str) -> dict[str, str]:
        return self.attributes.get(name, {})

    def tell(self, name: str, changes: Mapping[str, str | None], identity: Mapping[str, str]) -> None:
        if (spec := self.machines.get(name)) is None:
            return
        kept = {key: value for key, value in ({**spec.metadata, **changes}).items() if value is not None}
        object.__setattr__(spec, "metadata", kept)
        object.__setattr__(spec, "identity", dict(identity))

    def guard(self, name: str, rules: Ingress) -> None:
        self.guards[name] = rules

    def make_network(self, name: str, subnets: Sequence[str]) -> None:
        self.networks[name] = sorted(subnets)

    def name_network(self, name: str, addresses: Mapping[str, Sequence[str]], domains: Sequence[str]) -> None:
        self.named[name] = ({ip: list(names) for ip, names in addresses.items()}, list(domains))

    def remove_network(self, name: str) -> None:
        self.networks.pop(name, None)

    def make_disk(self, name: str, size: int) -> None:
        self.disks[name] = size

    def enlarge_disk(self, name: str, size: int) -> None:
        assert self.gate.wait(60)
        if name in self.stubborn:
            raise MachineError("QEMU does not answer")
        self.disks[name] = size

    def attach(self, name: str, mount: VolumeMount) -> None:
        self._change(name, mount, lambda volumes: (*volumes, mount) if mount not in volumes else volumes)

    def detach(self, name: str, mount: VolumeMount) -> None:
        self._change(name, mount, lambda volumes: tuple(one for one in volumes if one != mount))

    def _change(self, name: str, mount: VolumeMount, change: Callable[[Mounts], Mounts]) -> None:
        assert self.gate.wait(60)
        if mount.path in self.stubborn:
            raise MachineError("the disk is in use", details="/dev/sdb is mounted at /data.")
        if (spec := self.machines.get(name)) is not None:
            self.machines[name] = replace(spec, volumes=change(tuple(spec.volumes)))

    def remove_disk(self, name: str) -> None:
        self.disks.pop(name, None)

    def open_endpoint(self, enter: Callable[[str, socket.socket], None]) -> None:
        self.enter = enter

    def close_endpoint(self) -> None:
        self.enter = None
