"""The platform google over an emulator whose machines are in memory, and the clusters of its bucket."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from stoneware.config import digest
from stoneware.model.capability import Capability
from stoneware.model.machine import MachineSpec
from stoneware.platforms.google.api import Api
from stoneware.platforms.google.bucket import Bucket
from stoneware.platforms.google.clusters import GoogleClusters
from stoneware.platforms.google.infrastructure import GoogleInfrastructure
from stoneware.platforms.google.inventory import GoogleInventory
from stoneware.platforms.google.machines import GoogleMachines
from stoneware.platforms.google.no_volume_kinds import NoVolumeKinds
from tests.cluster.engine import EngineBench
from tests.google.cloud import PROJECT, Cloud, served
from tests.google.clusters import IMAGES, SETTINGS

B = TypeVar("B", bound=EngineBench)
ACCOUNT = "shop@proj-1.iam.gserviceaccount.com"  # whose token fetches the machines' secrets


def link_of(source: str) -> str:
    return f"{IMAGES}/debian-1{'3' if source.endswith('2') else '2'}-stoneware"


class Platform(GoogleMachines, NoVolumeKinds):
    """The machines of a project, with the variables that Terraform needs in this test."""

    name = "google"
    capabilities = frozenset(Capability) - {Capability.SNAPSHOTS, Capability.VOLUME_KINDS}

    def __init__(self, endpoint: str, home: Path, environment: Mapping[str, str]) -> None:
        settings = replace(SETTINGS, endpoint=endpoint, service_account=ACCOUNT)
        super().__init__(Api(settings), link_of)
        self._inventory = Inventory(self.api, home, environment)
        self.calls: list[str] = []
        self.infrastructure = GoogleInfrastructure(lambda: self._inventory)


class Inventory(GoogleInventory):
    def __init__(self, api: Api, home: Path, environment: Mapping[str, str]) -> None:
        super().__init__(api, link_of, home)
        self._more = environment

    def environment(self) -> dict[str, str]:
        return {**super().environment(), **self._more}


def reporting(cloud: Cloud) -> None:
    """Let the machines behind instances report as soon as they boot, and when they are told something."""
    computers = cloud.computers
    boot, tell = computers.boot, computers.tell

    def say(name: str) -> None:
        spec: MachineSpec = computers.machines[name]
        source = json.loads(spec.metadata.get("stoneware-spec", "{}")).get("source", "")  # a builder has none
        status = {"phase": "running"}
        if source.startswith("image:sha256:"):
            status["image"] = source.removeprefix("image:")
        status["config"] = digest(spec.metadata.get("stoneware-config", ""))
        health = "healthy" if spec.metadata.get("stoneware-service") == "app" else "none"
        computers.attributes[name] = {
            "stoneware/status": json.dumps(status),
            "stoneware/health": json.dumps({"status": health}),
        }
        computers.consoles[name] = f"{name} boots\n".encode()

    def booted(spec: MachineSpec) -> None:
        boot(spec)
        say(spec.name)

    def told(name: str, changes: Mapping[str, str | None], identity: Mapping[str, str]) -> None:
        tell(name, changes, identity)
        say(name)

    computers.boot, computers.tell = booted, told  # type: ignore[method-assign]


def make_bucket(endpoint: str) -> None:
    """Make the bucket that the settings name."""
    body = {"name": SETTINGS.bucket, "location": "us-central1"}
    api = Api(replace(SETTINGS, endpoint=endpoint))
    api.request("storage", "POST", "/b", "make the bucket", query={"project": PROJECT}, body=body)


def clusters_of(endpoint: str, home: Path) -> GoogleClusters:
    """Return the clusters of the bucket, as the computer sees them that has this home."""
    return GoogleClusters(Bucket(Api(replace(SETTINGS, endpoint=endpoint))), home)


@contextmanager
def served_for_clusters(directory: Path) -> Iterator[Cloud]:
    """Serve an emulator with the bucket, whose machines report at once."""
    with served(directory, delay=0.01) as made:
        reporting(made)
        make_bucket(made.endpoint)
        yield made


def bench_at(kind: type[B], cloud: Cloud, directory: Path, environment: Mapping[str, str]) -> B:
    """Return a place for a cluster there, with its files and the user's home below a directory."""
    home = directory / "home"
    platform: Any = Platform(cloud.endpoint, home, environment)
    return kind(directory / "clusters", platform=platform, kept=clusters_of(cloud.endpoint, home))
