"""The table of a machine's fields: what each is called, where it stands, and what a change of it takes.

Records, Terraform's variables, plans, drift, releases and the documentation derive from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from typing import Any

from stoneware.dataclass import dataclass
from stoneware.model import field_kinds as kinds
from stoneware.model import guest_protocol
from stoneware.model.field_kinds import Kind, Shown
from stoneware.model.field_types import REQUIRED
from stoneware.model.machine import MachineSpec


@dataclass(frozen=True)
class Field:
    """One field of MachineSpec. `name` and `default` (REQUIRED: it has none) are those of the class."""

    kind: Kind
    about: str  # a sentence for the documentation
    called: str = ""  # in plans and drift, where that is not its name
    in_place: bool = False  # a living machine takes a change on; else a change makes a new machine
    declared: bool = True  # part of a release
    in_terraform: bool = True  # an attribute of stoneware_machine, of the same name
    in_cluster: bool = True  # a variable of the cluster's module; the others are builders' and `run`'s alone
    always: bool = False  # every version wrote it, so a document without it is damaged
    keys: tuple[str, ...] = ()  # of a service in machines.yaml
    options: tuple[str, ...] = ()  # of `stoneware run`
    sensitive: bool = False  # Terraform shows its value nowhere
    passed_on: bool = False  # flags of `run` and services have it under its name, as the machine gets it
    attribute: str = ""  # the instance attribute that the platform tells the machine the value by
    name: str = ""
    default: Any = REQUIRED

    @property
    def words(self) -> str:
        """Return what plans and drift call it."""
        return self.called or self.name

    def of(self, spec: MachineSpec) -> Any:
        """Return its value in a spec; a machine that is given no host name has its name for one."""
        value = getattr(spec, self.name)
        return value or spec.name if self.name == "hostname" else value

    def show(self, spec: MachineSpec) -> Shown:
        """Return its value in a spec in words."""
        return self.kind.show(self.of(spec))


# In the order in which plans name differences.
_TABLE: dict[str, Field] = {
    "name": Field(
        kinds.TEXT,
        "Its name, unique in the store.",
        always=True,
        options=("--name",),
    ),
    "source": Field(
        kinds.TEXT,
        "`image:sha256:…` or `checkpoint:KEY`.",
        always=True,
        keys=("image",),
        options=("IMAGE",),
    ),
    "image_ref": Field(
        kinds.TEXT,
        "The image as people call it.",
        in_place=True,
        declared=False,  # what image a reference stands for is told by `source`
        always=True,
        keys=("image",),
        options=("IMAGE",),
    ),
    "kind": Field(
        kinds.TEXT,
        "`machine` or `builder`.",
        in_cluster=False,
    ),
    "secrets": Field(
        kinds.SECRETS,
        "Secrets in the store that it gets as files; their values never pass through Terraform.",
        called="secret",
        in_place=True,
        always=True,
        keys=("secrets",),
        attribute=guest_protocol.SECRETS,
    ),
    "metadata": Field(
        kinds.TEXT_MAP,
        "Instance attributes that its metadata server hands out; changed while it runs.",
        called="attribute",
        sensitive=True,
        in_place=True,
        always=True,
        keys=("environment", "env_file", "healthcheck"),
        options=("--env", "--env-file"),
    ),
    "hostname": Field(
        kinds.TEXT,
        "Its host name; the name if empty.",
        called="host name",
        always=True,
        keys=("hostname", "domainname"),
        options=("--hostname",),
    ),
    "memory": Field(
        kinds.BYTES,
        "Memory limit in bytes.",
        always=True,
        keys=("mem_limit",),
        options=("--memory",),
        passed_on=True,
    ),
    "cpus": Field(
        kinds.CORES,
        "Limit in cores.",
        always=True,
        keys=("cpus",),
        options=("--cpus",),
        passed_on=True,
    ),
    "pids_limit": Field(
        kinds.PROCESSES,
        "Processes and threads at most; {default} by default, `-1` for any number.",
        keys=("pids_limit",),
        options=("--pids-limit",),
        passed_on=True,
    ),
    "disk": Field(
        kinds.BYTES,
        "Bytes that its root file system may take.",
        keys=("storage_opt",),
        options=("--disk",),
        passed_on=True,
    ),
    "log_max_size": Field(
        kinds.BYTES,
        "Bytes of one file of its console; {default} by default.",
        keys=("logging",),
        options=("--log-opt",),
        passed_on=True,
    ),
    "log_max_file": Field(
        kinds.FILES,
        "Files of its console that are kept; {default} by default.",
        keys=("logging",),
        options=("--log-opt",),
        passed_on=True,
    ),
    "read_only": Field(
        kinds.FLAG,
        "Changes are gone at the next start.",
        always=True,
        keys=("read_only",),
        options=("--read-only",),
        passed_on=True,
    ),
    "vm": Field(
        kinds.FLAG,
        "It is a virtual machine, with a kernel of its own.",
        called="virtual machine",
        keys=("x-local",),
        options=("--vm",),
        passed_on=True,
    ),
    "restart": Field(
        kinds.TEXT,
        "`no`, `always`, `unless-stopped` or `on-failure[:N]`.",
        always=True,
        keys=("restart",),
        options=("--restart",),
        passed_on=True,
    ),
    "stop_timeout": Field(
        kinds.SECONDS,
        "Seconds for an orderly stop.",
        called="stop grace period",
        in_place=True,
        always=True,
        keys=("stop_grace_period",),
        options=("--stop-timeout",),
    ),
    "volumes": Field(
        kinds.VOLUMES,
        "Volumes it mounts.",
        called="volume mount",
        always=True,
        keys=("volumes",),
        options=("--volume",),
        attribute=guest_protocol.VOLUMES,
    ),
    "ulimits": Field(
        kinds.ULIMITS,
        "Resource limits of its processes instead of the engine's own.",
        called="ulimit",
        keys=("ulimits",),
        options=("--ulimit",),
        passed_on=True,
    ),
    "process": Field(
        kinds.PROCESS,
        "How its service runs, instead of how the image declares.",
        called="service",
        keys=(
            *("command", "entrypoint", "user", "working_dir", "stop_signal", "group_add"),
            *("cap_add", "cap_drop", "security_opt", "oom_score_adj"),
        ),
        options=("--user", "--workdir", "--entrypoint"),
        attribute=guest_protocol.PROCESS,
    ),
    "system": Field(
        kinds.SYSTEM,
        "Settings of its system that are not in the image.",
        keys=("sysctls", "tmpfs", "shm_size", "extra_hosts", "dns_search", "dns_opt"),
        attribute=guest_protocol.SYSTEM,
    ),
    "networks": Field(
        kinds.NAMES,
        "Networks it is on; the common one if none.",
        called="network",
        always=True,
        keys=("networks",),
    ),
    "names": Field(
        kinds.NAMES,
        "Names of the machine in its networks' DNS, in addition to its host name.",
        called="name",
        always=True,
        keys=("networks", "links"),
    ),
    "addresses": Field(
        kinds.TEXT_MAP,
        "The IPv4 address it asks for, by the network whose subnets have it; chosen by the platform if none.",
        called="address",
        keys=("networks",),
    ),
    "ports": Field(
        kinds.PORTS,
        "Ports published here.",
        called="port",
        always=True,
        keys=("ports",),
        options=("--publish", "--publish-all"),
    ),
    "labels": Field(
        kinds.TEXT_MAP,
        "Labels on the machine.",
        called="label",
        in_place=True,
        always=True,
        keys=("labels",),
        options=("--label",),
    ),
    "extras": Field(
        kinds.TEXT_MAP,
        "What only its platform has, such as a machine type of Compute Engine.",
        called="platform's",
        keys=("x-google",),
    ),
    "live_extras": Field(
        kinds.TEXT_MAP,
        "What of that changes while it runs, such as who reaches its ports.",
        called="platform's",
        in_place=True,
        keys=("x-google",),
    ),
    "files": Field(
        kinds.PATH_MAP,
        "Files for its metadata server: name to path.",
        declared=False,
        in_cluster=False,
    ),
    "caches": Field(
        kinds.NAMES,
        "Ids of directories that outlive builders; the n-th is bound at `/run/stoneware/cache/N`.",
        in_cluster=False,
    ),
    "remove_when_stopped": Field(
        kinds.FLAG,
        "It is removed once it has stopped.",
        in_terraform=False,
        in_cluster=False,
        options=("--rm",),
    ),
    "identity": Field(
        kinds.TEXT_MAP,
        "What its metadata server says of it instead: paths to values as JSON.",
        in_place=True,
        declared=False,
        in_terraform=False,
        in_cluster=False,
    ),
    "ingress": Field(
        kinds.INGRESS,
        "Rules on what comes in to it; whatever its networks let through if none.",
        in_place=True,
        declared=False,
        in_terraform=False,
        in_cluster=False,
    ),
    "tied": Field(
        kinds.TEXT,
        "What happens to the machine when the command that created it ends: nothing, `stop` or `remove`.",
        in_terraform=False,
        in_cluster=False,
    ),
}


def _complete() -> dict[str, Field]:
    """Return the table with what the class says of each field. Raises KeyError where one has no entry."""
    found = {}
    for one in fields(MachineSpec):
        default = REQUIRED if one.default is MISSING else one.default
        if one.default_factory is not MISSING:
            default = one.default_factory()
        entry = _TABLE[one.name]
        about = entry.about.replace("{default}", str(default))
        found[one.name] = replace(entry, name=one.name, default=default, about=about)
    return {name: found[name] for name in _TABLE}


FIELDS = _complete()
IN_CLUSTER = tuple(field for field in FIELDS.values() if field.in_cluster)
# What `amend` of the platform changes. Instance attributes have a way of their own: `set_metadata`.
CHANGED_BY_AMENDING = tuple(name for name, field in FIELDS.items() if field.in_place and name != "metadata")
# Instance attributes that the platform writes itself, out of other fields.
PLATFORM_ATTRIBUTES = frozenset(field.attribute for field in FIELDS.values() if field.attribute)


def read_spec(document: Mapping[str, Any], *, strict: bool = False) -> MachineSpec:
    """Return the spec that a document describes; keys that are no fields are left aside.

    What is missing or None has its default; where `strict`, only what some version did not write may be
    missing. Raises KeyError for a missing field, TypeError or ValueError for a value that is none of its
    field.
    """
    values = {}
    for name, field in FIELDS.items():
        value = document[name] if strict and field.always else document.get(name)
        if value is not None:
            values[name] = field.kind.read(value)
        elif field.default is REQUIRED or (strict and field.always and field.default is not None):
            # Read strictly, None is a value only where it is the default: no limit of memory, say.
            raise KeyError(name)
    return MachineSpec(**values)


def passed_on(said: object) -> dict[str, Any]:
    """Return the fields that the flags of `run`, or a service of a cluster, pass on as they are."""
    return {name: getattr(said, name) for name, field in FIELDS.items() if field.passed_on}


def written(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return changes of fields as JSON data. Raises ValueError for a field that no living machine changes."""
    for name in changes:
        if name not in CHANGED_BY_AMENDING:
            raise ValueError(f"{name} of a machine does not change in place")
    return {name: FIELDS[name].kind.write(value) for name, value in changes.items()}


# Instance attributes that the engine writes itself, out of other parts of the spec or to ask the machine.
ENGINE_METADATA = PLATFORM_ATTRIBUTES | {guest_protocol.INSPECT, guest_protocol.COMMAND}


def own_metadata(spec: MachineSpec) -> dict[str, str]:
    """Return the instance attributes that are not the engine's."""
    return {key: value for key, value in spec.metadata.items() if key not in ENGINE_METADATA}
