"""The platforms that the contract is tried on."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stoneware.files import canonical_json, sha256_hex
from stoneware.model.capability import Capability
from stoneware.model.machine import Machine, MachineSpec, Phase
from stoneware.platforms.local.bases import bases
from stoneware.platforms.local.platform import LocalPlatform
from stoneware.platforms.local.store.store import Store
from stoneware.platforms.protocols import Platform
from tests.google.cloud import served
from tests.google.provider.install import installed, program_of
from tests.platforms import on_google
from tests.platforms.awaiting import awaited
from tests.platforms.memory import MemoryPlatform


class Place:
    """A platform, and names on it that one test has for itself.

    `volume_size` is that of the smallest volume, in bytes; `keeps_console` says whether that of a stopped
    machine can be read; `host_ports` whether machines share the ports of one computer.
    """

    def __init__(
        self,
        platform: Platform,
        source: str,
        *,
        volume_size: int = 2**26,
        keeps_console: bool = True,
        host_ports: bool = True,
    ) -> None:
        self.platform = platform
        self.source = source
        self.volume_size = volume_size
        self.keeps_console = keeps_console
        self.host_ports = host_ports
        self.name = f"c-{secrets.token_hex(4)}"
        self.key = secrets.token_hex(32)  # of a checkpoint
        self.manifest = canonical_json({"name": self.name, "key": self.key})
        self._kept: list[str] = []

    def can(self, capability: Capability) -> bool:
        return capability in self.platform.capabilities

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


@pytest.fixture(scope="session")
def provider_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a provider hashicorp/google: the stand-in, or the real one."""
    return program_of(installed(tmp_path_factory.mktemp("google")))


@pytest.fixture
def google_place(tmp_path: Path, provider_program: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("STONEWARE_GOOGLE_PROVIDER", str(provider_program))
    with served(tmp_path / "emulator", delay=0.01) as cloud:
        platform = on_google.opened(cloud, tmp_path / "home")
        base = platform.images.ensure_base("debian:12", refresh=False, progress=lambda _: None)
        yield Place(
            platform,
            f"checkpoint:{base}",
            volume_size=10 * 2**30,
            keeps_console=False,
            host_ports=False,
        )


@pytest.fixture(
    params=[
        "memory",
        pytest.param("local", marks=pytest.mark.machine),
        pytest.param("google", marks=pytest.mark.tool),
    ]
)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "memory":
        yield Place(MemoryPlatform(), "checkpoint:base")
        return
    if request.param == "google":
        yield request.getfixturevalue("google_place")
        return
    store = Store.open(request.getfixturevalue("machine_home"))
    there = Place(LocalPlatform(store), f"checkpoint:{bases.base_identity(store, 'debian:12')}")
    try:
        yield there
    finally:
        there.remove()
        store.remove_checkpoint(there.key)
        store.remove_image(f"sha256:{sha256_hex(there.manifest)}")
