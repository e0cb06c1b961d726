"""Small clusters: files as if they had been read, images, and observations made from what is wanted."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stoneware.cluster.desired import desire
from stoneware.cluster.model import Desired, DesiredMachine, Observed, ObservedMachine
from stoneware.compose.model import (
    Cluster,
    ClusterNetwork,
    ClusterVolume,
    Condition,
    HealthCheck,
    MachineDefinition,
    Place,
    SecretSource,
    SecretUse,
    Service,
    UpdateConfig,
    VolumeUse,
)
from stoneware.config.contract import derive_contract
from stoneware.machinefile import recipe
from stoneware.model.machine import Health, Machine, Phase
from stoneware.model.resources import PortMapping
from stoneware.platforms.infrastructure import Kind, Subject
from tests.cluster.observation_documents import from_document, to_document

NOW = 1_700_000_000.0
WRITTEN = {"/etc/app.conf": "a" * 64, "/etc/log.conf": "b" * 64}


@dataclass
class FakeImages:
    """A store with images; it counts how often it is asked for a manifest."""

    manifests: dict[str, dict[str, Any]] = field(default_factory=dict)
    references: dict[str, str] = field(default_factory=dict)
    asked: int = 0

    def add(
        self,
        reference: str,
        digit: str,
        config: recipe.ImageConfig,
        *,
        templates: Mapping[str, bytes] | None = None,
        schema: dict[str, Any] | None = None,
        commit: str = "",
    ) -> None:
        image_id = f"sha256:{digit * 64}"
        self.references[reference] = image_id
        self.manifests[image_id] = {
            "name": reference.partition(":")[0],
            "commit": commit or None,
            "config": recipe.config_to_document(config),
            "labels": dict(config.labels),
            "contract": derive_contract(templates or {}, dict(config.env), schema),
        }

    def tags(self) -> dict[str, str]:
        return self.references

    def image_ids(self) -> list[str]:
        return list(self.manifests)

    def manifest(self, image_id: str) -> dict[str, Any]:
        self.asked += 1
        return self.manifests[image_id]


_SCHEMA = {
    "properties": {
        "NODE_ID": {"type": "integer"},
        "LOG_LEVEL": {"enum": ["info", "debug"]},
        "APP_TOKEN": {"secret": True, "minLength": 4},
    },
    "required": ["NODE_ID"],
}
_TEMPLATES = {"/etc/app.conf": b"id=${NODE_ID}\nhome=${HOME_PAGE:?set the home page}\n"}


@functools.cache
def some_images() -> FakeImages:
    """`db`, two releases of `app` with templates and a schema, `web` that reloads."""
    images = FakeImages()
    check = recipe.HealthCheck(("check",), interval=7)
    app = recipe.ImageConfig(healthcheck=check, env=(("HOME_PAGE", "x"),))
    images.add(
        "db:1",
        "d",
        recipe.ImageConfig(
            volumes=("/var/lib/db", "/var/log/db"), labels=(("stoneware.stop-timeout", "5m"),)
        ),
        commit="dddddddddddd",
    )
    images.add("app:1", "1", app, templates=_TEMPLATES, schema=_SCHEMA, commit="1111111111111")
    images.add("app:2", "2", app, templates=_TEMPLATES, schema=_SCHEMA)
    images.add("web:1", "e", recipe.ImageConfig(labels=(("stoneware.reload", "true"),)), commit="eeeeeeee")
    return images


# A file, short: what is left out is as in a file that does not say it.
BASE: dict[str, Any] = {
    "services": {
        "db": {"image": "db:1", "volumes": {"/var/lib/db": "data"}},
        "app": {
            "image": "app:1",
            "replicas": 2,
            "environment": {"LOG_LEVEL": "info"},
            "depends_on": {"db": "service_healthy"},
            "ports": ["80"],
            "secrets": ["app-token"],
        },
        "web": {"image": "web:1", "environment": {"COLOUR": "red"}, "depends_on": {"app": "service_started"}},
    },
    "volumes": {},
    "networks": {},
}
VERSIONS = {"app-token": "v1"}


def patched(document: Any, changes: Any) -> Any:
    """Apply a JSON merge patch (RFC 7396): None removes a key."""
    if not isinstance(changes, dict):
        return copy.deepcopy(changes)
    result = copy.deepcopy(document) if isinstance(document, dict) else {}
    for key, change in changes.items():
        if change is None:
            result.pop(key, None)
        else:
            result[key] = patched(result.get(key), change)
    return result


def cluster_of(document: Mapping[str, Any], name: str = "shop") -> Cluster:
    """Return the cluster that a short file means."""
    services = {key: _service(name, key, entry) for key, entry in document["services"].items()}
    machines = [machine for service in services.values() for machine in service.machines]
    volumes = {use.volume: ClusterVolume(use.volume) for machine in machines for use in machine.volumes}
    volumes |= {key: ClusterVolume(key, **entry) for key, entry in document["volumes"].items()}
    networks = {f"{name}-default": ClusterNetwork(f"{name}-default")}
    for key, entry in document["networks"].items():
        networks[key] = ClusterNetwork(key, **{**entry, "subnets": tuple(entry.get("subnets", ()))})
    keys = {use.secret for machine in machines for use in machine.secrets}
    return Cluster(
        name=name,
        directory=Path("/work"),
        files=(Path("/work/machines.yaml"),),
        services=services,
        volumes=volumes,
        networks=networks,
        secrets={key: SecretSource(key, variable="X") for key in sorted(keys)},
        extensions={},
        warnings=(),
    )


def _service(cluster: str, name: str, entry: Mapping[str, Any]) -> Service:
    check = entry.get("healthcheck")
    return Service(
        name=name,
        image=entry["image"],
        build=None,
        machines=tuple(
            _machine(cluster, name, slot, entry) for slot in range(1, entry.get("replicas", 1) + 1)
        ),
        depends_on={key: Condition(text) for key, text in entry.get("depends_on", {}).items()},
        healthcheck=HealthCheck(**{**check, "test": tuple(check.get("test", ()))}) if check else None,
        stop_grace_period=entry.get("stop_grace_period"),
        read_only=entry.get("read_only", False),
        vm=entry.get("vm", False),
        restart=entry.get("restart", "no"),
        memory=entry.get("memory"),
        cpus=entry.get("cpus"),
        update_config=UpdateConfig(),
        rollback_config=UpdateConfig(),
        extensions={},
        place=Place("machines.yaml", 3, 3),
    )


def _machine(cluster: str, service: str, slot: int, entry: Mapping[str, Any]) -> MachineDefinition:
    name = f"{service}-{slot}"
    environment = dict(entry.get("environment", {}))
    if service == "app":
        environment = {"NODE_ID": str(slot), **environment}
    return MachineDefinition(
        name=name,
        full_name=f"{cluster}-{name}",
        service=service,
        slot=slot,
        hostname=f"{entry.get('hostname', name)}.{cluster}.internal",
        names=(service, name, *entry.get("aliases", ())),
        environment={key: value for key, value in environment.items() if value is not None},
        volumes=tuple(
            VolumeUse(f"{cluster}-{name}-{key}", path) for path, key in entry.get("volumes", {}).items()
        ),
        ports=tuple(PortMapping("0.0.0.0", 8000 + slot, int(port)) for port in entry.get("ports", ())),
        networks=tuple(entry.get("networks", (f"{cluster}-default",))),
        addresses=entry.get("addresses", {}),
        secrets=tuple(SecretUse(key, key) for key in entry.get("secrets", ())),
        labels=entry.get("labels", {}),
        place=Place("machines.yaml", 3, 3),
    )


def wanted_of(changes: Mapping[str, Any] | None = None, **options: Any) -> Desired:
    """Return what is wanted by BASE with some changes; `versions` and `pending` as for `desire`."""
    versions = options.pop("versions", VERSIONS)
    return desire(cluster_of(patched(BASE, changes or {})), some_images(), {}, versions, **options)


def observation_of(desired: Desired, *, managed: bool = True) -> Observed:
    """Return a cluster that is exactly as it is wanted, healthy, with its files as they were written."""
    managed_subjects = [
        *(Subject(Kind.MACHINE, name) for name in desired.machines),
        *(Subject(Kind.VOLUME, name) for name, volume in desired.volumes.items() if not volume.external),
        *(Subject(Kind.NETWORK, name) for name, network in desired.networks.items() if not network.external),
    ]
    return Observed(
        desired.name,
        {
            name: ObservedMachine(machine_of(machine, number), WRITTEN, WRITTEN)
            for number, (name, machine) in enumerate(desired.machines.items(), 1)
        },
        frozenset(name for name, volume in desired.volumes.items() if not volume.external),
        frozenset(name for name, network in desired.networks.items() if not network.external),
        frozenset(managed_subjects) if managed else None,
        {machine.image_id: machine.commit for machine in desired.machines.values()},
        internal=frozenset(name for name, network in desired.networks.items() if network.internal),
        subnets={name: network.subnets for name, network in desired.networks.items() if network.subnets},
    )


def there(changes: Mapping[str, Any]) -> Observed:
    """Return what BASE leads to, with a merge patch over the recorded observation."""
    document = patched(to_document(observation_of(wanted_of())), changes)
    for key, empty in (("machines", {}), ("managed", None)):
        document.setdefault(key, empty)
    for machine in document["machines"].values():
        machine.setdefault("found", None)
    return from_document(document)


def machine_of(wanted: DesiredMachine, number: int = 1) -> Machine:
    """Return a machine that runs as it is wanted."""
    return Machine(
        name=wanted.spec.name,
        id=f"m{number:08x}",
        kind="machine",
        image_id=wanted.image_id,
        image=wanted.image,
        phase=Phase.RUNNING,
        health=Health.HEALTHY if wanted.checked else Health.NONE,
        ip=f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
        ports=wanted.spec.ports,
        config_digest=wanted.config_digest,
        error="",
        created=NOW - 3600,
        started=NOW - 3600,
        exit_code=None,
        leader=4000 + number,
        spec=wanted.spec,
    )


class Clock:
    """A clock that goes on while somebody sleeps; `at` says what happens when."""

    def __init__(self) -> None:
        self.now = 100.0
        self.at: dict[float, Callable[[], None]] = {}

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for moment in sorted(self.at):
            if moment + 100 <= self.now:
                self.at.pop(moment)()
