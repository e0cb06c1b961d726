"""What a platform shows of a cluster, found by its label; and such an observation as a document."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stoneware.cluster.model import LABEL_CLUSTER, LABEL_MACHINE, Observed, ObservedMachine
from stoneware.errors import InputError
from stoneware.guest import reports
from stoneware.launch.plan import Images
from stoneware.model.machine import Health, Machine, Phase
from stoneware.model.resources import PortMapping
from stoneware.platforms.protocols import Platform
from stoneware.records import DamagedError
from stoneware.terraform import variables

SCHEMA = 1


def observe(
    platform: Platform,
    name: str,
    *,
    managed: frozenset[str] | None = None,
    nonces: Mapping[str, str] | None = None,
    images: Images | None = None,
) -> Observed:
    """Return the machines, volumes and networks that carry the cluster's label.

    `managed` are the addresses in Terraform's state. The machines' reports of their files are read only where
    `nonces` is given (it may be empty): by short name, the nonce each machine was asked with; an inspection
    with another nonce is an old one, and the machine counts as not having answered. With `images` the commits
    of the images that run are looked up.
    """
    machines = {}
    for machine in platform.machines():
        labels = machine.spec.labels
        if labels.get(LABEL_CLUSTER) == name:
            short = labels.get(LABEL_MACHINE) or machine.name
            machines[short] = ObservedMachine(machine)
            if nonces is not None:
                attributes = platform.guest_attributes(machine.name)
                machines[short] = _with_reports(machine, attributes, nonces.get(short, ""))
    volumes = platform.volumes()
    return Observed(
        name,
        machines,
        frozenset(it.name for it in volumes if it.labels.get(LABEL_CLUSTER) == name),
        frozenset(it.name for it in platform.networks() if it.labels.get(LABEL_CLUSTER) == name),
        managed,
        _commits(machines, images) if images else {},
        {it.name: it.floor for it in volumes if it.floor},
    )


def _commits(machines: Mapping[str, ObservedMachine], images: Images) -> dict[str, str]:
    there = set(images.image_ids())
    used = {found.machine.image_id for found in machines.values()}
    found = {}
    for image in sorted(used & there):
        with contextlib.suppress(DamagedError):  # it is only told
            found[image] = str(images.manifest(image)["commit"] or "")
    return found


def _with_reports(machine: Machine, attributes: Mapping[str, str], nonce: str) -> ObservedMachine:
    written = reports.digests(attributes.get(reports.FILES, ""))
    return ObservedMachine(machine, written, reports.inspection_of(attributes, nonce))


def to_document(observed: Observed) -> dict[str, Any]:
    """Return an observation as JSON data (secrets are not in it: only their versions are observed)."""
    return {
        "schema": SCHEMA,
        "name": observed.name,
        "machines": {name: _machine_document(found) for name, found in observed.machines.items()},
        "volumes": sorted(observed.volumes),
        "networks": sorted(observed.networks),
        "managed": None if observed.managed is None else sorted(observed.managed),
        "commits": dict(observed.commits),
        "floors": dict(observed.floors),
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
    """Return the observation that `to_document` wrote. Raises InputError where it is no such document."""
    try:
        managed = document["managed"]
        return Observed(
            str(document["name"]),
            {str(name): _read_machine(entry) for name, entry in document["machines"].items()},
            frozenset(map(str, document["volumes"])),
            frozenset(map(str, document["networks"])),
            None if managed is None else frozenset(map(str, managed)),
            dict(document["commits"]),
            dict(document.get("floors", {})),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            "this is no recorded observation of a cluster", details=f"{type(error).__name__}: {error}"
        ) from error


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
