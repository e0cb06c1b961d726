"""The platforms that the contract is tried on."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from stoneware.files import sha256_hex
from stoneware.model.machine import Machine, MachineSpec, Phase
from stoneware.platforms.local.bases import bases
from stoneware.platforms.local.platform import LocalPlatform
from stoneware.platforms.local.store.store import Store
from stoneware.platforms.protocols import Platform
from tests.platforms.awaiting import awaited
from tests.platforms.memory import MemoryPlatform


class Place:
    """A platform, and names on it that one test has for itself."""

    def __init__(self, platform: Platform, source: str) -> None:
        self.platform = platform
        self.source = source
        self.name = f"c-{secrets.token_hex(4)}"
        self.key = secrets.token_hex(32)  # of a checkpoint, and the text of an image's manifest
        self._kept: list[str] = []

    def spec(self, more: str = "", **options: Any) -> MachineSpec:
        return MachineSpec(f"{self.name}-{more}" if more else self.name, self.source, **options)

    def seen(self) -> Machine:
        machine = self.platform.observe(self.name)
        assert machine is not None
        return machine

    def boot(self, **options: Any) -> Machine:
        """Create the test's machine and wait until it runs."""
        self.platform.create(self.spec(**options))
        awaited(self.platform, self.name, Phase.RUNNING)
        return self.seen()

    def secret_name(self, name: str) -> str:
        return f"{self.name}-{name}"

    def secret(self, name: str, value: bytes) -> str:
        self._kept.append(self.secret_name(name))
        return self.platform.put_secret(self.secret_name(name), value)

    def remove(self) -> None:
        platform = self.platform
        for machine in platform.machines():
            if machine.name.startswith(self.name):
                platform.destroy(machine.name)
        for volume in platform.volumes():
            if volume.name.startswith(self.name):
                platform.destroy_volume(volume.name)
        for network in platform.networks():
            if network.name.startswith(self.name):
                platform.destroy_network(network.name)
        for name in self._kept:
            platform.destroy_secret(name)


@pytest.fixture(params=["memory", pytest.param("local", marks=pytest.mark.machine)])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "memory":
        yield Place(MemoryPlatform(), "checkpoint:base")
        return
    store = Store.open(request.getfixturevalue("machine_home"))
    there = Place(LocalPlatform(store), f"checkpoint:{bases.base_identity(store, 'debian:12')}")
    try:
        yield there
    finally:
        there.remove()
        store.remove_checkpoint(there.key)
        store.remove_image(f"sha256:{sha256_hex(there.key.encode())}")
