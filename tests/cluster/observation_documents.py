"""Observations as plain data: what the cases of a cluster's plans are merge patches of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stoneware.cluster.model import Observed, ObservedMachine
from stoneware.model.machine import Health, Machine, Phase
from stoneware.model.resources import PortMapping
from stoneware.terraform import variables
from tests.platforms.memory import MemoryPlatform

RESOURCES = MemoryPlatform().infrastructure


def to_document(observed: Observed) -> dict[str, Any]:
    """Return an observation as JSON data, which a merge patch can change."""
    return {
        "name": observed.name,
        "machines": {name: _machine_document(found) for name, found in observed.machines.items()},
        "volumes": sorted(observed.volumes),
        "networks": sorted(observed.networks),
        "managed": None if observed.managed is None else sorted(map(RESOURCES.address, observed.managed)),
        "commits": dict(observed.commits),
        "floors": dict(observed.floors),
        "internal": sorted(observed.internal),
    }


_PLAIN = (
    "id",
    "image_id",
    "image",
    "ip",
    "config_digest",
    "error",
    "created",
    "started",
    "exit_code",
    "leader",
)


def _machine_document(found: ObservedMachine) -> dict[str, Any]:
    machine = found.machine
    return {
        **{key: getattr(machine, key) for key in _PLAIN},
        "phase": str(machine.phase),
        "health": str(machine.health),
        "ports": [vars(port) for port in machine.ports],
        "spec": variables.machine(machine.spec),
        "written": dict(found.written),
        "found": None if found.found is None else dict(found.found),
    }


def from_document(document: Mapping[str, Any]) -> Observed:
    """Return the observation that `to_document` wrote."""
    managed = document["managed"]
    return Observed(
        str(document["name"]),
        {str(name): _read_machine(entry) for name, entry in document["machines"].items()},
        frozenset(map(str, document["volumes"])),
        frozenset(map(str, document["networks"])),
        None if managed is None else frozenset(map(RESOURCES.subject, managed)),
        dict(document["commits"]),
        dict(document.get("floors", {})),
        frozenset(map(str, document.get("internal", ()))),
        {name: tuple(subnets) for name, subnets in document.get("subnets", {}).items()},
    )


def _read_machine(entry: Mapping[str, Any]) -> ObservedMachine:
    spec = variables.read_machine(entry["spec"])
    machine = Machine(
        name=spec.name,
        kind=spec.kind,
        spec=replace(spec, hostname=spec.hostname or spec.name),
        phase=Phase(entry["phase"]),
        health=Health(entry["health"]),
        ports=tuple(PortMapping(**port) for port in entry["ports"]),
        **{key: entry[key] for key in _PLAIN},
    )
    found = entry["found"]
    return ObservedMachine(machine, dict(entry["written"]), None if found is None else dict(found))
