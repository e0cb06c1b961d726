"""A machine: what is wanted of one, and one as it is observed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from pathlib import Path

from stoneware.dataclass import dataclass
from stoneware.model import guest_protocol
from stoneware.model.ingress import Ingress
from stoneware.model.labels import CLUSTER_LABEL
from stoneware.model.limits import DEFAULT_LOG_FILES, DEFAULT_LOG_SIZE, DEFAULT_PIDS_LIMIT, Ulimit
from stoneware.model.resources import DIRECTORY, DISK, PortMapping, SecretMount, VolumeMount
from stoneware.model.runtime import Process, System

_SHOWN = 200  # characters of what a health check says that are shown in one line


class Phase(StrEnum):
    """Where a machine is in its life."""

    CREATED = "created"
    BOOTING = "booting"
    CONFIGURING = "configuring"
    RUNNING = "running"
    FAILED = "failed"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DAMAGED = "damaged"  # its records cannot be read; `rm -f` removes it


class Health(StrEnum):
    """What the image's HEALTHCHECK last said; `none` where there is no health check."""

    NONE = "none"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True)
class FailedCheck:
    """What a health check said that fails. `times` in a row; `output` is text of the machine's own."""

    exit_code: int
    times: int
    output: str

    @property
    def line(self) -> str:
        """Return it in one line: how it ended, and the last of what it said."""
        said = [" ".join(text.split())[:_SHOWN] for text in self.output.splitlines() if text.strip()]
        return f"its health check failed with exit code {self.exit_code}{f': {said[-1]}' if said else ''}"

    @property
    def lines(self) -> list[str]:
        """Return how often and how it failed, and below it all that it said."""
        times = "once" if self.times == 1 else f"{self.times} times in a row"
        said = [text.rstrip() for text in self.output.splitlines() if text.strip()]
        end = ":" if said else ", without output"
        return [f"its health check failed {times}, with exit code {self.exit_code}{end}", *said]


@dataclass(frozen=True)
class MachineSpec:
    """What is wanted of one machine.

    `networks` are names of networks; none is the common one, where machines know each other's host names.
    `names` are what its networks' DNS calls it besides its host name. `hostname` may have a domain.
    `addresses` is the IPv4 address that it asks for, by network with subnets of its own; it has one card, so
    where there are several they are the same.

    `source` is what it boots from: `image:sha256:…` or `checkpoint:KEY`. `metadata` are the instance
    attributes the metadata server hands out. `files` are served to this machine only, by name, at
    `/stoneware/v1/files/NAME` of its metadata server (the build bundle). `caches` are ids of directories
    that outlive builders; the n-th (from 0) is bound at `/run/stoneware/cache/N`. `memory` is in bytes,
    `cpus` a number of cores, `pids_limit` a number of processes and threads (-1: any), `ulimits` what its
    processes have instead of the engine's own resource limits, `disk` the bytes that its root may take.
    `vm` says that it has a kernel of its own, on a platform where machines may share that of their computer.
    `log_max_file` files of `log_max_size` bytes of its console are kept. `tied` says what becomes of it when
    the process that creates it is gone: nothing, `stop` or `remove`.
    `restart` is Docker's policy: no, always, unless-stopped, on-failure[:N]. `process` and `system` are what
    its service and its system have instead of what the image says. `identity` is what its metadata server
    says of it instead of what it says of machines of this computer: paths below `/computeMetadata/v1/`, as
    `instance/zone`, to values as JSON. `extras` are what only its platform has, as that calls
    it; `live_extras` what of that a living machine takes on. `ingress` are rules on what comes in to it; None
    is whatever its networks let through.
    """

    name: str
    source: str
    kind: str = "machine"  # or "builder"
    hostname: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    volumes: tuple[VolumeMount, ...] = ()
    caches: tuple[str, ...] = ()
    ports: tuple[PortMapping, ...] = ()
    networks: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    addresses: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[SecretMount, ...] = ()
    memory: int | None = None
    cpus: float | None = None
    pids_limit: int = DEFAULT_PIDS_LIMIT
    ulimits: tuple[Ulimit, ...] = ()
    disk: int | None = None
    log_max_size: int = DEFAULT_LOG_SIZE
    log_max_file: int = DEFAULT_LOG_FILES
    read_only: bool = False
    vm: bool = False
    restart: str = "no"
    remove_when_stopped: bool = False
    tied: str = ""
    stop_timeout: float = 10.0  # seconds the services get before the machine is powered off
    image_ref: str = ""  # as the user wrote it
    labels: Mapping[str, str] = field(default_factory=dict)
    process: Process = field(default_factory=Process)
    system: System = field(default_factory=System)
    identity: Mapping[str, str] = field(default_factory=dict)
    ingress: Ingress | None = None
    extras: Mapping[str, str] = field(default_factory=dict)
    live_extras: Mapping[str, str] = field(default_factory=dict)

    @property
    def runs_script(self) -> bool:
        """Say whether it boots nothing: a builder that runs a script, with which it ends."""
        return self.kind == "builder" and self.metadata.get(guest_protocol.MODE) == guest_protocol.SCRIPT

    @property
    def volume_kind(self) -> str:
        """Return the kind that its volumes have to be of, where there are several."""
        return DISK if self.vm else DIRECTORY


@dataclass(frozen=True)
class Machine:
    """One machine as it is observed. Times are seconds since the epoch; `exit_code` is set once stopped."""

    name: str
    id: str
    kind: str
    image_id: str
    image: str
    phase: Phase
    health: Health
    ip: str
    ports: tuple[PortMapping, ...]
    config_digest: str
    error: str
    created: float
    started: float | None
    exit_code: int | None
    leader: int | None  # process id of the machine's PID 1 on this computer, where there is one
    spec: MachineSpec
    failed_check: FailedCheck | None = None

    @property
    def trouble(self) -> str:
        """Return in one line what is wrong with it: its error, else what its health check says that fails."""
        error = "; ".join(" ".join(line.split()) for line in self.error.splitlines() if line.strip())
        return error or (self.failed_check.line if self.failed_check else "")

    @property
    def condition(self) -> list[str]:
        """Return how it is, for who waits in vain: its error, or phase and health, and its failed check."""
        said = self.error or f"phase {self.phase}, health {self.health}"
        return [said, *(self.failed_check.lines if self.failed_check else ())]


def removal_hint(machine: Machine) -> str:
    """Return what to type so that a machine goes: one of a cluster goes with it, or would come back."""
    cluster = machine.spec.labels.get(CLUSTER_LABEL)
    if cluster:
        return f"stoneware down -p {cluster}"
    return f"stoneware rm -f {machine.name}"


def runs(machine: Machine) -> bool:
    """Say whether a machine is switched on and to stay so, in whatever phase.

    One that is stopping, perhaps for a command that was killed, is to be started where it is wanted.
    """
    return machine.exit_code is None and machine.phase not in (Phase.STOPPED, Phase.STOPPING, Phase.CREATED)
