"""The values of the cluster module's variables, from what is wanted on the platform."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stoneware.model.labels import SLOT_LABEL
from stoneware.model.machine import MachineSpec
from stoneware.model.machine_fields import IN_CLUSTER, read_spec


def machine(spec: MachineSpec, *, recreate_on: str = "", wait_for: str = "") -> dict[str, Any]:
    """Return one value of the variable `machines`. Builders' files and caches have no place in it."""
    return {
        **{field.name: field.kind.to_terraform(getattr(spec, field.name)) for field in IN_CLUSTER},
        "recreate_on": recreate_on,
        "running": True,
        "wait_for": wait_for,
    }


def read_machine(document: Mapping[str, Any]) -> MachineSpec:
    """Return the spec that `machine` wrote. Raises KeyError, TypeError or ValueError."""
    return read_spec(document, strict=True)


def network(labels: Mapping[str, str], *, internal: bool, subnets: Sequence[str] = ()) -> dict[str, Any]:
    """Return one value of the variable `networks`."""
    said: dict[str, Any] = {"internal": True} if internal else {}
    return labelled(labels) | said | ({"subnets": list(subnets)} if subnets else {})


def volume(labels: Mapping[str, str], extras: Mapping[str, str]) -> dict[str, Any]:
    """Return one value of the variable `volumes`."""
    return labelled(labels) | ({"extras": dict(extras)} if extras else {})


def host(spec: MachineSpec, slot: int, zones: Sequence[str] = ()) -> dict[str, Any]:
    """Return one value of the variable `hosts`: by what names others know a machine, and where it may be."""
    return {
        "name": spec.name,
        "hostname": spec.hostname or spec.name,
        "names": list(spec.names),
        "networks": list(spec.networks),
        "slot": slot,
        "zones": list(zones),
    }


def host_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of `hosts` for a value of `machines`."""
    spec = read_machine(entry)
    return host(spec, int(spec.labels.get(SLOT_LABEL) or 0), entry.get("zones") or ())


def labelled(labels: Mapping[str, str]) -> dict[str, Any]:
    """Return one value of the variables `networks` and `volumes`."""
    return {"labels": dict(labels)}
