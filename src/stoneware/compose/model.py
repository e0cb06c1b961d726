"""What a machines.yaml means: frozen data, every default filled in, every replica written out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from enum import StrEnum
from pathlib import Path
from typing import Any

from stoneware.config.secrets import Secret
from stoneware.dataclass import dataclass
from stoneware.model.limits import DEFAULT_LOG_FILES, DEFAULT_LOG_SIZE, DEFAULT_PIDS_LIMIT, Ulimit
from stoneware.model.resources import PortMapping
from stoneware.model.runtime import Process, System


@dataclass(frozen=True, order=True)
class Place:
    """Where something is written: file, line and column from 1. Shown as `file:line:column`."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        """Return `file:line:column`."""
        return f"{self.file}:{self.line}:{self.column}"


class Condition(StrEnum):
    """What `depends_on` waits for."""

    STARTED = "service_started"
    HEALTHY = "service_healthy"


class FailureAction(StrEnum):
    """What a rollout does when a machine fails."""

    PAUSE = "pause"
    CONTINUE = "continue"
    ROLLBACK = "rollback"


@dataclass(frozen=True)
class Inline:
    """A Machinefile that a cluster's file has; `file` is that one's name as it was given."""

    text: str
    file: str = field(compare=False)


@dataclass(frozen=True)
class Build:
    """Where a service's image is baked from. `context` is absolute; `dockerfile` None: its Machinefile.

    `inline` is the Machinefile itself. `secrets` are by the id that its steps know.
    """

    context: Path
    dockerfile: Path | None = None
    inline: Inline | None = None
    target: str | None = None
    args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, SecretSource] = field(default_factory=dict)


@dataclass(frozen=True)
class HealthCheck:
    """A health check that takes the place of the image's; times in seconds, None: as the image says.

    `test` is an argv (a shell form has become `/bin/sh -c TEXT`); empty: the image's own; `disabled`: none.
    """

    test: tuple[str, ...] = ()
    interval: float | None = None
    timeout: float | None = None
    start_period: float | None = None
    start_interval: float | None = None
    retries: int | None = None
    disabled: bool = False


@dataclass(frozen=True)
class UpdateConfig:
    """How machines are replaced; times in seconds. `parallelism` 0 is all at once."""

    parallelism: int = 1
    delay: float = 0.0
    monitor: float = 5.0
    max_failure_ratio: float = 0.0
    failure_action: FailureAction = FailureAction.PAUSE
    order: str = "stop-first"


@dataclass(frozen=True)
class SecretSource:
    """Where a secret's value comes from: a file (absolute path), or a variable of our environment.

    Or it is in Secret Manager already, at `stored` (`projects/P/secrets/S`), in one `version`: machines fetch
    it there, and we never have it.

    `value` is that of the variable, which may be set by an env file only; a file is read when it is needed.
    A `config` is no secret: it may be written in the cluster file itself, with neither file nor variable.
    """

    name: str
    file: Path | None = None
    variable: str = ""
    value: Secret | None = None
    config: bool = False
    stored: str = ""
    version: str = ""


@dataclass(frozen=True, order=True)
class SecretUse:
    """A secret or a config in one machine: the file `target`, below /run/secrets or by its absolute path."""

    secret: str  # key of Cluster.secrets
    target: str
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, order=True)
class VolumeUse:
    """A disk in one machine. `volume` is its name on the platform."""

    volume: str
    path: str
    read_only: bool = False


@dataclass(frozen=True)
class ClusterVolume:
    """A disk of the cluster. An `external` one is neither made nor removed by it."""

    name: str  # on the platform
    external: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    extensions: Mapping[str, Any] = field(default_factory=dict)  # `x-…` keys
    extras: Mapping[str, str] = field(default_factory=dict)  # what of these only its platform has
    size: int | None = None  # bytes, where they say it
    place: str = field(default="", compare=False)  # of its size
    size_key: str = field(default="size", compare=False)  # what says it there
    # Returns where the value below some keys is written, or what would hold it.
    at: Callable[[tuple[str, ...]], Place] | None = field(default=None, compare=False, repr=False)

    def where(self, *keys: str) -> str:
        """Return `file:line:column` of what is below some keys, or of the volume where nothing is."""
        return str(self.at(keys)) if self.at else self.place


@dataclass(frozen=True)
class ClusterNetwork:
    """A network of the cluster. An `external` one is neither made nor removed by it.

    Machines that are on `internal` ones only reach nothing outside of them. `subnets` are ranges of addresses
    of its own, if it has any.
    """

    name: str  # on the platform
    external: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    internal: bool = False
    subnets: tuple[str, ...] = ()


@dataclass(frozen=True)
class MachineDefinition:
    """One replica with all templates expanded.

    `name` is what people type (`kafka-1`), `full_name` its name on the platform (`CLUSTER-kafka-1`),
    `hostname` the full host name (`kafka-1.CLUSTER.internal`), `names` its other names in DNS.
    """

    name: str
    full_name: str
    service: str
    slot: int
    hostname: str
    names: tuple[str, ...]
    environment: Mapping[str, str]
    volumes: tuple[VolumeUse, ...]  # those the file names; the image's VOLUMEs are not known here
    ports: tuple[PortMapping, ...]
    networks: tuple[str, ...]  # names on the platform
    addresses: Mapping[str, str]  # what it asks for, by network
    secrets: tuple[SecretUse, ...]
    labels: Mapping[str, str]
    place: Place


@dataclass(frozen=True)
class Service:
    """A service: what its replicas share."""

    name: str
    image: str  # as it was written; where there is only `build`: CLUSTER-SERVICE
    build: Build | None
    machines: tuple[MachineDefinition, ...]
    depends_on: Mapping[str, Condition]
    healthcheck: HealthCheck | None
    stop_grace_period: float | None  # seconds; None: as the image says
    read_only: bool
    vm: bool
    restart: str
    memory: int | None  # bytes
    cpus: float | None
    update_config: UpdateConfig
    rollback_config: UpdateConfig
    extensions: Mapping[str, Any]  # `x-…` keys
    place: Place
    # Returns where the value below some keys is written, or what would hold it.
    at: Callable[[tuple[str, ...]], Place] | None = field(default=None, compare=False, repr=False)
    pids_limit: int = DEFAULT_PIDS_LIMIT
    ulimits: tuple[Ulimit, ...] = ()
    disk: int | None = None  # bytes of the root
    log_max_size: int = DEFAULT_LOG_SIZE  # bytes
    log_max_file: int = DEFAULT_LOG_FILES
    command: tuple[str, ...] | None = None  # None: the image's CMD
    entrypoint: tuple[str, ...] | None = None  # None: the image's ENTRYPOINT
    process: Process = field(default_factory=Process)  # its command is not known without the image
    system: System = field(default_factory=System)

    def where(self, *keys: str) -> str:
        """Return `file:line:column` of what is below some keys, or of the service where nothing is."""
        return str(self.at(keys) if self.at else self.place)


@dataclass(frozen=True)
class Cluster:
    """A whole machines.yaml. `services` are in an order that depends_on allows."""

    name: str
    directory: Path  # of the first file; relative paths begin here
    files: tuple[Path, ...]
    services: Mapping[str, Service]
    volumes: Mapping[str, ClusterVolume]  # by name on the platform
    networks: Mapping[str, ClusterNetwork]  # by name on the platform
    secrets: Mapping[str, SecretSource]
    extensions: Mapping[str, Any]
    warnings: tuple[str, ...] = ()
    # Makes all of it in the long forms of the file, templates as they are written: what `config` shows.
    document: Callable[[], dict[str, Any]] = field(default=dict, compare=False, repr=False)
    # Returns where the value below some keys is written, or what would hold it.
    at: Callable[[tuple[str, ...]], Place] | None = field(default=None, compare=False, repr=False)

    def where(self, *keys: str) -> str:
        """Return `file:line:column` of what is below some keys, nothing for a cluster of no file."""
        return str(self.at(keys)) if self.at else ""

    @property
    def machines(self) -> tuple[MachineDefinition, ...]:
        """All replicas of all services, in order."""
        return tuple(machine for service in self.services.values() for machine in service.machines)
