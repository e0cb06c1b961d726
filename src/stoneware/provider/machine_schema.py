"""The attributes of `stoneware_machine`: schema, checks, and the way to and from the platform."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from tf.schema import Attribute, Schema
from tf.types import Bool, List, Map, Number, String, Unknown

from stoneware.platform import Machine, MachineSpec, PortMapping, VolumeMount
from stoneware.provider.fields import ObjectsAttribute, Real

COMPUTED = ("id", "image_id", "ip", "phase", "health")

# Instance attributes that the engine writes itself, out of other parts of the spec.
ENGINE_METADATA = frozenset({"stoneware-volumes"})

_VOLUME_FIELDS = (
    Attribute("volume", String(), "Name of the volume.", required=True),
    Attribute("path", String(), "Where the machine mounts it.", required=True),
    Attribute("read_only", Bool(), "Mount it read-only.", optional=True),
)
_PORT_FIELDS = (
    Attribute("machine_port", Number(), "Port inside the machine.", required=True),
    Attribute("host_port", Number(), "Port on this computer; left out or 0 for a free one.", optional=True),
    Attribute("host_ip", String(), "Address on this computer; left out for all.", optional=True),
    Attribute("protocol", String(), "`tcp` (default) or `udp`.", optional=True),
)


def resource_schema() -> Schema:
    """Return the schema of the resource."""
    return Schema(
        version=1,
        description="A machine of the local engine. It runs on when Terraform has ended.",
        attributes=[*_identity(), *_changeable(), *_equipment(), *_limits(), *_computed()],
    )


# Only metadata can be changed while a machine lives: everything else makes a new one.
_GIVEN: dict[str, Any] = {"required": True, "requires_replace": True}
_OPTION: dict[str, Any] = {"optional": True, "requires_replace": True}
_DEFAULT: dict[str, Any] = {"optional": True, "computed": True, "requires_replace": True}


def _identity() -> list[Attribute]:
    return [
        Attribute("name", String(), "Its name, unique in the store.", **_GIVEN),
        Attribute("source", String(), "`image:sha256:…` or `checkpoint:KEY`.", **_GIVEN),
        Attribute("kind", String(), "`machine` or `builder`.", default="machine", **_DEFAULT),
        Attribute("hostname", String(), "Its host name; the name if empty.", default="", **_DEFAULT),
        Attribute("labels", Map(String()), "Labels on the machine.", **_OPTION),
    ]


def _changeable() -> list[Attribute]:
    about_metadata = "Instance attributes that its metadata server hands out; changed while it runs."
    about_image = "The image as people call it; the machine shows the one it was created with."
    return [
        Attribute("metadata", Map(String()), about_metadata, optional=True, sensitive=True),
        Attribute("image_ref", String(), about_image, optional=True, computed=True, default=""),
    ]


def _equipment() -> list[Attribute]:
    about_caches = "Ids of directories that outlive builders; the n-th is bound at `/run/stoneware/cache/N`."
    return [
        Attribute("files", Map(String()), "Files for its metadata server: name to path.", **_OPTION),
        ObjectsAttribute("volumes", _VOLUME_FIELDS, description="Volumes it mounts.", **_OPTION),
        ObjectsAttribute("ports", _PORT_FIELDS, description="Ports published here.", **_OPTION),
        Attribute("caches", List(String()), about_caches, **_OPTION),
    ]


def _limits() -> list[Attribute]:
    about_restart = "`no`, `always`, `unless-stopped` or `on-failure[:N]`."
    return [
        Attribute("memory", Number(), "Memory limit in bytes.", **_OPTION),
        Attribute("cpus", Real(), "Limit in cores.", **_OPTION),
        Attribute("read_only", Bool(), "Changes are gone at the next start.", default=False, **_DEFAULT),
        Attribute("restart", String(), about_restart, default="no", **_DEFAULT),
        Attribute("stop_timeout", Real(), "Seconds for an orderly stop.", default=10, **_DEFAULT),
    ]


def data_schema() -> Schema:
    """Return the schema of the data source."""
    return Schema(
        description="A machine that exists.",
        attributes=[Attribute("name", String(), "Its name.", required=True), *_computed()],
    )


def _computed() -> list[Attribute]:
    about = {
        "id": "The engine's own id; a replaced machine has another one.",
        "image_id": "The image it booted from.",
        "ip": "Its address in the machines' network.",
        "phase": "created, booting, configuring, running, failed, stopping or stopped.",
        "health": "none, starting, healthy or unhealthy.",
    }
    return [Attribute(name, String(), about[name], computed=True) for name in COMPUTED]


def to_spec(state: Mapping[str, Any]) -> MachineSpec:
    """Return the machine that a planned state asks for. All of it must be known."""
    cpus = state.get("cpus")
    return MachineSpec(
        name=state["name"],
        source=state["source"],
        kind=state.get("kind") or "machine",
        hostname=state.get("hostname") or "",
        metadata=dict(state.get("metadata") or {}),
        files={name: Path(path) for name, path in (state.get("files") or {}).items()},
        volumes=tuple(
            VolumeMount(item["volume"], item["path"], bool(item.get("read_only")))
            for item in state.get("volumes") or ()
        ),
        caches=tuple(state.get("caches") or ()),
        ports=tuple(_port(item) for item in state.get("ports") or ()),
        memory=state.get("memory"),
        cpus=None if cpus is None else float(cpus),
        read_only=bool(state.get("read_only")),
        restart=state.get("restart") or "no",
        stop_timeout=10.0 if state.get("stop_timeout") is None else float(state["stop_timeout"]),
        image_ref=state.get("image_ref") or "",
        labels=dict(state.get("labels") or {}),
    )


def _port(item: Mapping[str, Any]) -> PortMapping:
    return PortMapping(
        host_ip=item.get("host_ip") or "0.0.0.0",  # noqa: S104  # Docker's default for -p
        host_port=int(item.get("host_port") or 0),
        machine_port=int(item["machine_port"]),
        protocol=item.get("protocol") or "tcp",
    )


# How each attribute that can be read back looks in the state when the machine has this spec.
_FROM_SPEC: dict[str, Callable[[MachineSpec], Any]] = {
    "source": lambda spec: spec.source,
    "kind": lambda spec: spec.kind,
    "hostname": lambda spec: "" if spec.hostname == spec.name else spec.hostname,
    "metadata": lambda spec: _own_metadata(spec) or None,
    "volumes": lambda spec: (
        [{"volume": item.volume, "path": item.path, "read_only": item.read_only} for item in spec.volumes]
        or None
    ),
    "caches": lambda spec: list(spec.caches) or None,
    "ports": lambda spec: (
        [
            {
                "machine_port": item.machine_port,
                "host_port": item.host_port,
                "host_ip": item.host_ip,
                "protocol": item.protocol,
            }
            for item in spec.ports
        ]
        or None
    ),
    "memory": lambda spec: spec.memory,
    "cpus": lambda spec: spec.cpus,
    "read_only": lambda spec: spec.read_only,
    "restart": lambda spec: spec.restart,
    "stop_timeout": lambda spec: spec.stop_timeout,
    "labels": lambda spec: dict(spec.labels) or None,
}


def from_machine(machine: Machine, state: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the state of a machine as it is.

    Where an attribute of `state` (None: import) still describes the machine it stays as it was written, so
    that a default that was left out does not look like a change. `files` cannot be read back, the engine
    keeps its own copies, and `image_ref` may be another name of the same image by now.
    """
    kept = state or {"files": None, "image_ref": machine.spec.image_ref}
    new: dict[str, Any] = {"name": machine.name, "files": kept["files"], "image_ref": kept["image_ref"]}
    wanted = to_spec(state) if state else None
    for name, read in _FROM_SPEC.items():
        same = wanted is not None and _same(name, wanted, machine.spec)
        new[name] = state[name] if state and same else read(machine.spec)
    return {**new, **observed(machine)}


def _same(name: str, wanted: MachineSpec, real: MachineSpec) -> bool:
    if name == "hostname":
        return (wanted.hostname or wanted.name) == (real.hostname or real.name)
    if name == "metadata":
        return _own_metadata(wanted) == _own_metadata(real)
    return bool(getattr(wanted, name) == getattr(real, name))


def _own_metadata(spec: MachineSpec) -> dict[str, str]:
    return {key: value for key, value in spec.metadata.items() if key not in ENGINE_METADATA}


def observed(machine: Machine) -> dict[str, Any]:
    """Return the computed attributes."""
    return {
        "id": machine.id,
        "image_id": machine.image_id,
        "ip": machine.ip,
        "phase": str(machine.phase),
        "health": str(machine.health),
    }


Problem = tuple[list[Any], str]  # the attribute's path, and the sentence about its value

_PATTERNS = {
    "name": (
        r"[a-z0-9]([a-z0-9_.-]{0,61}[a-z0-9])?",
        "1 to 63 of a-z 0-9 . _ -, with a letter or digit first",
    ),
    "source": (r"image:sha256:[0-9a-f]{64}|checkpoint:.+", "image:sha256:… or checkpoint:KEY"),
    "kind": (r"machine|builder", "machine or builder"),
    "hostname": (r"|[A-Za-z0-9]([A-Za-z0-9.-]{0,62}[A-Za-z0-9])?", "a host name"),
    "restart": (
        r"no|always|unless-stopped|on-failure(:\d+)?",
        "no, always, unless-stopped or on-failure[:N]",
    ),
}


def problems(config: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong with a configuration, values that are not known yet left aside."""
    for name, (pattern, wanted) in _PATTERNS.items():
        value = config.get(name)
        if isinstance(value, str) and not re.fullmatch(pattern, value):
            yield [name], f"{value!r} is not {wanted}"
    for key in sorted(ENGINE_METADATA & set(_keys(config.get("metadata")))):
        yield ["metadata", (key,)], f"the engine writes {key} itself, from `volumes`"
    for name in ("memory", "cpus", "stop_timeout"):
        value = config.get(name)
        if _known(value) and float(value) <= 0:
            yield [name], f"{value} is not more than zero"
    for index, port in enumerate(_items(config.get("ports"))):
        yield from _port_problems(["ports", (index,)], port)
    for index, volume in enumerate(_items(config.get("volumes"))):
        path = volume.get("path")
        if isinstance(path, str) and not path.startswith("/"):
            yield ["volumes", (index,), "path"], f"{path!r} is not an absolute path"


def _port_problems(path: list[Any], port: Mapping[str, Any]) -> Iterator[Problem]:
    for name, lowest in (("machine_port", 1), ("host_port", 0)):
        value = port.get(name)
        if _known(value) and not (lowest <= float(value) <= 65535 and float(value).is_integer()):
            yield [*path, name], f"{value} is not a port"
    protocol = port.get("protocol")
    if isinstance(protocol, str) and protocol not in {"tcp", "udp"}:
        yield [*path, "protocol"], f"{protocol!r} is not tcp or udp"


def _known(value: Any) -> TypeGuard[float]:
    return value is not None and value is not Unknown


def _keys(value: Any) -> list[str]:
    return list(value) if isinstance(value, Mapping) else []


def _items(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
