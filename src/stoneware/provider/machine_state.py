"""The way of a machine's attributes to the platform and back."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stoneware.model.limits import in_order
from stoneware.model.machine import Machine, MachineSpec, runs
from stoneware.model.machine_fields import FIELDS, Field, own_metadata, read_spec
from stoneware.provider.machine_config import from_metadata, to_metadata

State = Mapping[str, Any]


def to_spec(state: State) -> MachineSpec:
    """Return the machine that a planned state asks for. All of it must be known."""
    metadata = to_metadata(state.get("config"), state.get("metadata"))
    spec = read_spec({**state, "metadata": metadata})
    return replace(spec, ulimits=in_order(spec.ulimits))


# The attributes that can be read back from a machine as they are.
_READ_BACK = tuple(
    field
    for field in FIELDS.values()
    if field.in_terraform and field.name not in ("name", "metadata", "files")
)


def _in_state(field: Field, spec: MachineSpec) -> Any:
    """Return how an attribute looks in the state when the machine has this spec."""
    # The engine fills it in where nothing was said: told as it is, it would be a change.
    if field.name == "hostname" and spec.hostname == spec.name:
        return ""
    value = field.kind.to_terraform(getattr(spec, field.name))
    return None if value in ([], {}) else value


# What is Terraform's alone, and what the platform cannot tell: the engine keeps copies of the files.
_KEPT: dict[str, Any] = {"files": None, "recreate_on": None, "wait_for": "", "timeouts": None}


def from_machine(machine: Machine, state: State | None = None) -> dict[str, Any]:
    """Return the state of a machine as it is.

    Where an attribute of `state` (None: import) still describes the machine it stays as it was written, so
    that a default that was left out does not look like a change.
    """
    new: dict[str, Any] = {"name": machine.name, "running": runs(machine)}
    for name, default in _KEPT.items():
        new[name] = state.get(name, default) if state else default
    wanted = to_spec(state) if state else None
    for field in _READ_BACK:
        same = wanted is not None and alike(field.name, wanted, machine.spec)
        new[field.name] = state.get(field.name) if state and same else _in_state(field, machine.spec)
    new["config"], new["metadata"] = _metadata(machine.spec, wanted, state)
    return {**new, **observed(machine)}


def _metadata(real: MachineSpec, wanted: MachineSpec | None, state: State | None) -> tuple[Any, Any]:
    if state and wanted and alike("metadata", wanted, real):
        return state.get("config"), state.get("metadata")
    return from_metadata(own_metadata(real), state)


def alike(name: str, one: MachineSpec, other: MachineSpec) -> bool:
    """Say whether an attribute means the same in two specs."""
    if name == "metadata":
        return own_metadata(one) == own_metadata(other)
    return bool(FIELDS[name].of(one) == FIELDS[name].of(other))


def same_value(name: str, one: Any, other: Any) -> bool:
    """Say whether two values of an attribute that differ mean the same.

    What one of them lacks has its default: a state of an earlier version has no parts that came later.
    """
    field = FIELDS.get(name)
    if field is None or one is None or other is None:
        return False
    return bool(field.kind.read(one) == field.kind.read(other))


def observed(machine: Machine) -> dict[str, Any]:
    """Return the computed attributes."""
    return {
        "id": machine.id,
        "image_id": machine.image_id,
        "ip": machine.ip,
        "phase": str(machine.phase),
        "health": str(machine.health),
        "published": FIELDS["ports"].kind.to_terraform(machine.ports),
    }


def described(machine: Machine, guest_attributes: Mapping[str, str]) -> dict[str, Any]:
    """Return all attributes of the data source."""
    return {
        "name": machine.name,
        **observed(machine),
        "kind": machine.kind,
        "source": machine.spec.source,
        "image": machine.image,
        "hostname": machine.spec.hostname or machine.name,
        "networks": list(machine.spec.networks),
        "labels": dict(machine.spec.labels),
        "metadata": dict(machine.spec.metadata),
        "guest_attributes": dict(guest_attributes),
        "config_digest": machine.config_digest,
        "running": runs(machine),
        "error": machine.error,
        "created": timestamp(machine.created),
    }


def timestamp(seconds: float) -> str:
    """Return a time as RFC 3339 has it."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC).replace(microsecond=0)
    return moment.isoformat().replace("+00:00", "Z")
