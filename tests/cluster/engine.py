"""The engine over machines in memory and the real Terraform, for tests of what `up` and `down` do."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stoneware.bake.events import Silent as SilentBake
from stoneware.cluster import events
from stoneware.cluster.down import DownOptions, DownResult, Removal, down
from stoneware.cluster.model import ClusterPlan
from stoneware.cluster.restore import restore
from stoneware.cluster.site import Site
from stoneware.cluster.up import UpOptions, UpResult, up
from stoneware.config import digest
from stoneware.model.machine import Health, Machine, MachineSpec, Phase
from stoneware.platforms.cluster_files import FileClusters
from stoneware.platforms.cluster_records import Clusters
from tests.cluster.support import BASE, FakeImages, cluster_of, patched, some_images
from tests.platforms.memory import MemoryPlatform

SECRET = "correct-horse-battery"
ALL = ["shop-app-1", "shop-app-2", "shop-db-1", "shop-web-1"]  # its machines


class ClusterPlatform(MemoryPlatform):
    """Machines that report what the local engine's report: the digest of their config, and their health."""

    def __init__(self) -> None:
        super().__init__()
        self.checked = ("app",)  # services whose image has a health check
        self.sick: set[str] = set()  # machines that never get healthy
        self.broken: set[str] = set()  # machines whose boot fails
        self.helpers_checked = 0

    def boot(self, name: str) -> None:
        machine = self._get(name)
        service = machine.spec.labels.get("stoneware.service")
        health = Health.NONE
        if service in self.checked:
            health = Health.STARTING if name in self.sick else Health.HEALTHY
        self.show(name, health=health, config_digest=_digest(machine))
        if name in self.broken:
            self._consoles[name] += b"no such setting\n"
            self.show(name, phase=Phase.FAILED, error="the config is wrong")

    def set_metadata(self, name: str, changes: Mapping[str, str | None]) -> None:
        super().set_metadata(name, changes)
        machine = self._get(name)
        if machine.phase is Phase.RUNNING:
            self.show(name, config_digest=_digest(machine))

    def check_helpers(self) -> None:
        self.helpers_checked += 1


def _digest(machine: Machine) -> str:
    return digest(machine.spec.metadata.get("stoneware-config", ""))


@dataclass
class Recorder:
    """Keeps all events."""

    seen: list[events.Event] = field(default_factory=list)

    def emit(self, event: events.Event) -> None:
        self.seen.append(event)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.seen if isinstance(event, kind)]


class Declined(Exception):  # it is an answer
    """The user said no."""


@dataclass
class EngineBench:
    """A place for clusters, and what a user types there."""

    clusters: Path
    platform: ClusterPlatform = field(default_factory=ClusterPlatform)
    images: FakeImages = field(default_factory=some_images)
    answer: bool = True
    secret: str = SECRET
    asked: list[ClusterPlan | Removal] = field(default_factory=list)
    recorder: Recorder = field(default_factory=Recorder)
    kept: Clusters | None = None  # as a rule the files in `clusters`

    @property
    def site(self) -> Site:
        return Site(self.platform, self.images, self.kept or FileClusters(self.clusters))  # type: ignore[arg-type]

    def up(self, changes: Mapping[str, Any] | None = None, **options: Any) -> UpResult:
        """Bring up BASE with some changes."""
        self.recorder = Recorder()
        self.platform.calls.clear()
        return up(
            cluster_of(patched(BASE, changes or {})),
            self.site,
            replace(UpOptions(wait_timeout=5, settle=0), **options),
            reporter=self.recorder,
            bakes=lambda: contextlib.nullcontext(SilentBake()),
            environment={"X": self.secret},
            confirm=self._confirm,
        )

    def restore(self, *names: str) -> UpResult:
        """Bring back what is down or gone."""
        self.recorder = Recorder()
        options = replace(UpOptions(wait_timeout=5, settle=0), names=names)
        return restore("shop", self.site, options, reporter=self.recorder, confirm=self._confirm)

    def down(self, name: str = "shop", **options: Any) -> DownResult:
        self.recorder = Recorder()
        self.platform.calls.clear()
        return down(name, self.site, DownOptions(**options), reporter=self.recorder, confirm=self._confirm)

    def _confirm(self, what: ClusterPlan | Removal) -> None:
        self.asked.append(what)
        if not self.answer:
            raise Declined

    def machines(self) -> list[str]:
        return [machine.name for machine in self.platform.machines()]

    def volumes(self) -> list[str]:
        return [volume.name for volume in self.platform.volumes()]

    def networks(self) -> list[str]:
        return [network.name for network in self.platform.networks()]

    def managed(self) -> frozenset[str]:
        return self.site.directory("shop").managed()

    def spec(self, name: str) -> MachineSpec:
        machine = self.platform.observe(name)
        assert machine is not None
        return machine.spec


def creations(bench: EngineBench) -> list[str]:
    """Return the machines that were made, in order."""
    return [call.removeprefix("create ") for call in bench.platform.calls if call.startswith("create ")]
