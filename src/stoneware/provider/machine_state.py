"""The way of a machine's attributes to the platform and back."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stoneware.model.limits import UNLIMITED, Ulimit, in_order
from stoneware.model.machine import Machine, MachineSpec, Phase
from stoneware.model.resources import PortMapping, SecretMount, VolumeMount
from stoneware.model.runtime import document_of, process_of, system_of
from stoneware.provider.machine_config import from_metadata, to_metadata

State = Mapping[str, Any]

# Instance attributes that the engine writes itself, out of other parts of the spec or to ask the machine.
ENGINE_METADATA = frozenset(
    f"stoneware-{name}" for name in ("volumes", "secrets", "inspect", "process", "system")
)


def to_spec(state: State) -> MachineSpec:
    """Return the machine that a planned state asks for. All of it must be known."""
    cpus, memory = state.get("cpus"), state.get("memory")
    return MachineSpec(
        name=state["name"],
        source=state["source"],
        kind=state.get("kind") or "machine",
        hostname=state.get("hostname") or "",
        metadata=to_metadata(state.get("config"), state.get("metadata")),
        files={name: Path(path) for name, path in (state.get("files") or {}).items()},
        caches=tuple(state.get("caches") or ()),
        networks=tuple(state.get("networks") or ()),
        names=tuple(state.get("names") or ()),
        memory=None if memory is None else int(memory),
        cpus=None if cpus is None else float(cpus),
        **_limits(state),
        read_only=bool(state.get("read_only")),
        restart=state.get("restart") or "no",
        stop_timeout=10.0 if state.get("stop_timeout") is None else float(state["stop_timeout"]),
        image_ref=state.get("image_ref") or "",
        labels=dict(state.get("labels") or {}),
        process=process_of(state.get("process")),
        system=system_of(state.get("system")),
        **_mounts(state),
    )


def _limits(state: State) -> dict[str, Any]:
    names = ("pids_limit", "disk", "log_max_size", "log_max_file")
    given = {name: int(state[name]) for name in names if state.get(name) is not None}
    if given.get("pids_limit") == 0:
        given["pids_limit"] = UNLIMITED  # Docker's other word for it
    return {**given, "ulimits": in_order(_ulimit(item) for item in state.get("ulimits") or ())}


def _ulimit(item: State) -> Ulimit:
    soft, hard = item["soft"], item.get("hard")
    return Ulimit(item["name"], int(soft), int(soft if hard is None else hard))


def _mounts(state: State) -> dict[str, Any]:
    return {
        "volumes": tuple(
            VolumeMount(item["volume"], item["path"], bool(item.get("read_only")))
            for item in state.get("volumes") or ()
        ),
        "ports": tuple(_port(item) for item in state.get("ports") or ()),
        "secrets": tuple(_secret(item) for item in state.get("secrets") or ()),
    }


def _port(item: State) -> PortMapping:
    return PortMapping(
        host_ip=item.get("host_ip") or "0.0.0.0",  # noqa: S104  # Docker's default for -p
        host_port=int(item.get("host_port") or 0),
        machine_port=int(item["machine_port"]),
        protocol=item.get("protocol") or "tcp",
    )


def _secret(item: State) -> SecretMount:
    mode = int(item.get("mode") or "0400", 8)
    owner = (int(item.get("uid") or 0), int(item.get("gid") or 0))
    return SecretMount(item["secret"], item["target"], item["version"], mode, *owner)


# How each attribute that can be read back looks in the state when the machine has this spec.
_FROM_SPEC: dict[str, Callable[[MachineSpec], Any]] = {
    "source": lambda spec: spec.source,
    "kind": lambda spec: spec.kind,
    "hostname": lambda spec: "" if spec.hostname == spec.name else spec.hostname,
    "networks": lambda spec: list(spec.networks) or None,
    "names": lambda spec: list(spec.names) or None,
    "secrets": lambda spec: [{**vars(use), "mode": f"{use.mode:04o}"} for use in spec.secrets] or None,
    "volumes": lambda spec: (
        [{"volume": item.volume, "path": item.path, "read_only": item.read_only} for item in spec.volumes]
        or None
    ),
    "caches": lambda spec: list(spec.caches) or None,
    "ports": lambda spec: [_port_state(port) for port in spec.ports] or None,
    "memory": lambda spec: spec.memory,
    "cpus": lambda spec: spec.cpus,
    "pids_limit": lambda spec: spec.pids_limit,
    "ulimits": lambda spec: [vars(limit) for limit in spec.ulimits] or None,
    "disk": lambda spec: spec.disk,
    "log_max_size": lambda spec: spec.log_max_size,
    "log_max_file": lambda spec: spec.log_max_file,
    "read_only": lambda spec: spec.read_only,
    "restart": lambda spec: spec.restart,
    "stop_timeout": lambda spec: spec.stop_timeout,
    "labels": lambda spec: dict(spec.labels) or None,
    "image_ref": lambda spec: spec.image_ref,
    "process": lambda spec: document_of(spec.process),
    "system": lambda spec: document_of(spec.system),
}

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
    for name, read in _FROM_SPEC.items():
        same = wanted is not None and alike(name, wanted, machine.spec)
        new[name] = state.get(name) if state and same else read(machine.spec)
    new["config"], new["metadata"] = _metadata(machine.spec, wanted, state)
    return {**new, **observed(machine)}


def _metadata(real: MachineSpec, wanted: MachineSpec | None, state: State | None) -> tuple[Any, Any]:
    if state and wanted and alike("metadata", wanted, real):
        return state.get("config"), state.get("metadata")
    return from_metadata(own_metadata(real), state)


def alike(name: str, one: MachineSpec, other: MachineSpec) -> bool:
    """Say whether an attribute means the same in two specs."""
    if name == "hostname":
        return (one.hostname or one.name) == (other.hostname or other.name)
    if name == "metadata":
        return own_metadata(one) == own_metadata(other)
    return bool(getattr(one, name) == getattr(other, name))


def own_metadata(spec: MachineSpec) -> dict[str, str]:
    """Return the instance attributes that are not the engine's."""
    return {key: value for key, value in spec.metadata.items() if key not in ENGINE_METADATA}


def runs(machine: Machine) -> bool:
    """Say whether a machine is switched on and to stay so, in whatever phase.

    One that is stopping, perhaps for a command that was killed, is to be started where it is wanted.
    """
    return machine.exit_code is None and machine.phase not in (Phase.STOPPED, Phase.STOPPING, Phase.CREATED)


def observed(machine: Machine) -> dict[str, Any]:
    """Return the computed attributes."""
    return {
        "id": machine.id,
        "image_id": machine.image_id,
        "ip": machine.ip,
        "phase": str(machine.phase),
        "health": str(machine.health),
        "published": [_port_state(port) for port in machine.ports],
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


def _port_state(port: PortMapping) -> dict[str, Any]:
    return {
        "machine_port": port.machine_port,
        "host_port": port.host_port,
        "host_ip": port.host_ip,
        "protocol": port.protocol,
    }
