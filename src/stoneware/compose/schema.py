"""The part of the Compose specification that machines have, as pydantic models of its long forms.

Everything else is an error; `refused` knows what to write instead. Not compose-pydantic or compose-py: those
are the JSON schema of the whole specification as classes, and know neither the place of a value in its file
nor which keys mean nothing for a machine.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from stoneware.compose.schema_parts import Labels, Pairs, Part, only
from stoneware.compose.schema_resources import Config, Network, Secret, Volume
from stoneware.compose.values import (
    Absolute,
    Alias,
    Amount,
    Badness,
    Cores,
    Count,
    Disk,
    Exposed,
    Filled,
    Flag,
    Image,
    MachineFile,
    Memory,
    Microseconds,
    Mode,
    Owner,
    Pids,
    Ratio,
    Replicas,
    Restart,
    Seconds,
    SecretFile,
    Size,
    Text,
    TmpfsMode,
    expected,
    wrong,
)
from stoneware.model import limits


def _ulimits(given: dict[str, Ulimit]) -> dict[str, Ulimit]:
    for name, limit in given.items():
        if problem := limits.ulimit_problem(limits.Ulimit(name, limit.soft, limit.hard)):
            raise wrong(f"{name}: {problem.rstrip('.')}", "for example: nofile: {soft: 1024, hard: 4096}")
    return given


class BuildSecret(Part):
    """One entry of `build.secrets`: `target` is the id that steps know."""

    source: Filled
    target: Filled


class Build(Part):
    """`build`."""

    context: Filled = "."
    dockerfile: Filled | None = None
    dockerfile_inline: Filled | None = None
    target: Filled | None = None
    args: Pairs | None = None
    labels: Pairs | None = None
    platforms: list[Text] | None = None
    secrets: list[BuildSecret] | None = None


class Dependency(Part):
    """One entry of `depends_on`."""

    condition: Annotated[
        str,
        only(
            "service_started",
            "service_healthy",
            service_completed_successfully="A machine does not complete: bake what has to be done before.",
        ),
    ]
    required: Flag = True


class EnvFile(Part):
    """One entry of `env_file`."""

    path: Filled
    required: Flag = True
    format: Annotated[str, only("raw")] | None = None


def _or_none(number: Any) -> Any:
    return number or None


# Nothing and zero are the image's, as with Docker.
OwnSeconds = Annotated[Seconds | None, AfterValidator(_or_none)]


class Health(Part):
    """`healthcheck`."""

    test: list[Text] | None = None
    interval: OwnSeconds = None
    timeout: OwnSeconds = None
    start_period: OwnSeconds = None
    start_interval: OwnSeconds = None
    retries: Annotated[Count | None, AfterValidator(_or_none)] = None
    disable: Flag = False


class Attachment(Part):
    """A network of a service."""

    aliases: list[Alias] = Field(default_factory=list)
    ipv4_address: Filled | None = None


def _port_text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):  # to Python a truth value is a number
        raise expected("a port", value)
    return str(value)


class Port(Part):
    """One entry of `ports`. Numbers may have templates, so they are text until machines are known."""

    target: Annotated[str, BeforeValidator(_port_text)]
    published: Annotated[str, BeforeValidator(_port_text)] = ""
    host_ip: Text = ""
    protocol: Annotated[str, only("tcp", "udp")] = "tcp"
    mode: Annotated[str, only("host", "ingress")] = "host"


class SecretMount(Part):
    """One entry of a service's `secrets`."""

    source: Filled
    target: SecretFile
    mode: Mode = 0o400
    uid: Owner = 0
    gid: Owner = 0


class ConfigMount(Part):
    """One entry of a service's `configs`."""

    source: Filled
    target: MachineFile
    mode: Mode = 0o444
    uid: Owner = 0
    gid: Owner = 0


class TmpfsMount(Part):
    """`tmpfs` of one entry of a service's `volumes`."""

    size: Size | None = None
    mode: TmpfsMode | None = None


class NoVolume(Part):
    """`volume` of one entry of a service's `volumes`: nothing in it has an effect."""


class VolumeMount(Part):
    """One entry of a service's `volumes`."""

    type: Annotated[
        str,
        only(
            "volume",
            "tmpfs",
            image="COPY --from=IMAGE in the Machinefile.",
            npipe="Machines have no pipes of their host.",
            cluster="Use a volume: each machine has a disk of its own.",
        ),
    ]
    target: Filled
    source: Filled | None = None
    read_only: Flag = False
    tmpfs: TmpfsMount | None = None
    volume: NoVolume | None = None


class RestartPolicy(Part):
    """`deploy.restart_policy`."""

    condition: Annotated[str, only("none", "no", "on-failure", "any", "always", "unless-stopped")] = "any"
    max_attempts: Count | None = None


class Rollout(Part):
    """`deploy.update_config`."""

    # The defaults are Swarm's.
    parallelism: Count = 1
    delay: Seconds = 0.0
    monitor: Seconds = 5.0
    max_failure_ratio: Ratio = 0.0
    failure_action: Annotated[str, only("pause", "continue", "rollback")] = "pause"
    order: Annotated[
        str,
        only(
            "stop-first",
            **{
                "start-first": "A name, its address and its disks belong to one machine at a time: "
                "write stop-first, or leave it out."
            },
        ),
    ] = "stop-first"


class Rollback(Rollout):
    """`deploy.rollback_config`."""

    failure_action: Annotated[str, only("pause", "continue")] = "pause"


class Limits(Part):
    """`deploy.resources.limits`."""

    cpus: Cores | None = None
    memory: Memory | None = None
    pids: Pids | None = None


class Ulimit(Part):
    """One entry of `ulimits`."""

    soft: Amount
    hard: Amount


class Logging(Part):
    """`logging`."""

    driver: Filled = "local"
    options: Pairs | None = None


class Storage(Part):
    """`storage_opt`."""

    size: Disk | None = None


class Reservations(Part):
    """`deploy.resources.reservations`: nothing in it has an effect."""


class Resources(Part):
    """`deploy.resources`."""

    limits: Limits | None = None
    reservations: Reservations | None = None


class Deploy(Part):
    """`deploy`."""

    mode: Annotated[
        str,
        only(
            "replicated",
            "global",
            **dict.fromkeys(
                ("replicated-job", "global-job"),
                "A machine does not complete: bake it, or do it by: stoneware run IMAGE COMMAND",
            ),
        ),
    ] = "replicated"
    replicas: Replicas | None = None
    labels: Labels | None = None
    update_config: Rollout | None = None
    rollback_config: Rollback | None = None
    resources: Resources | None = None
    restart_policy: RestartPolicy | None = None


class Service(Part):
    """One entry of `services`."""

    image: Image | None = None
    build: Build | None = None
    hostname: Filled | None = None
    environment: Pairs | None = None
    env_file: list[EnvFile] | None = None
    volumes: list[VolumeMount] | None = None
    ports: list[Port] | None = None
    expose: list[Exposed] | None = None
    depends_on: dict[str, Dependency] | None = None
    secrets: list[SecretMount] | None = None
    networks: dict[str, Attachment | None] | None = None
    stop_grace_period: Seconds | None = None
    healthcheck: Health | None = None
    read_only: Flag | None = None
    mem_limit: Memory | None = None
    cpus: Cores | None = None
    pids_limit: Pids | None = None
    ulimits: Annotated[dict[str, Ulimit], AfterValidator(_ulimits)] | None = None
    logging: Logging | None = None
    storage_opt: Storage | None = None
    restart: Restart | None = None
    labels: Labels | None = None
    deploy: Deploy | None = None
    command: list[Text] | None = None
    entrypoint: list[Text] | None = None
    user: Text | None = None
    working_dir: Absolute | None = None
    stop_signal: Filled | None = None
    container_name: Filled | None = None
    domainname: Filled | None = None
    configs: list[ConfigMount] | None = None
    cap_add: list[Filled] | None = None
    cap_drop: list[Filled] | None = None
    security_opt: list[Filled] | None = None
    group_add: list[Filled] | None = None
    oom_score_adj: Badness | None = None
    sysctls: Pairs | None = None
    tmpfs: dict[str, Text] | None = None
    shm_size: Size | None = None
    extra_hosts: list[Text] | None = None
    dns_search: list[Filled] | None = None
    dns_opt: list[Filled] | None = None
    init: Flag | None = None
    links: list[Filled] | None = None
    scale: Replicas | None = None
    profiles: list[Filled] | None = None
    platform: Filled | None = None
    cpu_period: Microseconds | None = None
    cpu_quota: Microseconds | None = None


SECTIONS: dict[Literal["services", "networks", "volumes", "secrets", "configs"], type[Part]] = {
    "services": Service,
    "networks": Network,
    "volumes": Volume,
    "secrets": Secret,
    "configs": Config,
}
TOP = ("name", "services", "networks", "volumes", "secrets", "configs", "include", "version")
