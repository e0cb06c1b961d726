"""The part of the Compose specification that machines have, as pydantic models of its long forms.

Everything else is an error; `refused` knows what to write instead.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from stoneware import limits
from stoneware.compose.values import (
    Alias,
    Amount,
    Cores,
    Count,
    Disk,
    Filled,
    Flag,
    Image,
    Mode,
    Pids,
    Ratio,
    Replicas,
    Restart,
    Retries,
    Root,
    Seconds,
    SecretFile,
    Size,
    Text,
    expected,
    log_options,
    wrong,
)

Pairs = dict[str, Text | None]


def only(*words: str, **instead: str) -> Any:
    """Return a validator for one of some words; `instead` has hints for words that are refused."""

    def check(value: Any) -> str:
        if isinstance(value, str) and value in words:
            return value
        known = " or ".join(words)
        raise expected(known, value, instead.get(value, "") if isinstance(value, str) else "")

    return BeforeValidator(check)


def _no_restart(value: bool) -> bool:
    if value:
        raise wrong(
            "a machine is not restarted because another one was replaced",
            "Leave it out; let the service connect again.",
        )
    return value


def _own_labels(labels: Pairs) -> Pairs:
    for key in labels:
        if key.startswith("stoneware."):
            raise wrong(f"the label {key!r} is one of Stoneware's own", "Give it another name.")
    return labels


def _ulimits(given: dict[str, Ulimit]) -> dict[str, Ulimit]:
    for name, limit in given.items():
        if problem := limits.ulimit_problem(limits.Ulimit(name, limit.soft, limit.hard)):
            raise wrong(f"{name}: {problem.rstrip('.')}", "for example: nofile: {soft: 1024, hard: 4096}")
    return given


Labels = Annotated[Pairs, AfterValidator(_own_labels)]


class Part(BaseModel):
    """A mapping of the file: known keys, extensions (`x-…`), and nothing else."""

    # Deferred: each model is built inside those that hold it, and not a second time by itself.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _without_extensions(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {key: value for key, value in data.items() if not key.startswith("x-")}
        return data


class Build(Part):
    """`build`."""

    context: Filled = "."
    dockerfile: Filled | None = None
    target: Filled | None = None
    args: Pairs | None = None
    labels: Pairs | None = None


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
    restart: Annotated[Flag, AfterValidator(_no_restart)] = False


class EnvFile(Part):
    """One entry of `env_file`."""

    path: Filled
    required: Flag = True
    format: Annotated[str, only("raw")] | None = None


class Health(Part):
    """`healthcheck`."""

    test: list[Text] | None = None
    interval: Seconds | None = None
    timeout: Seconds | None = None
    start_period: Seconds | None = None
    start_interval: Seconds | None = None
    retries: Retries | None = None
    disable: Flag = False


class Attachment(Part):
    """A network of a service."""

    aliases: list[Alias] = Field(default_factory=list)


def _port_text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise expected("a port", value)
    return str(value)


class Port(Part):
    """One entry of `ports`. Numbers may have templates, so they are text until machines are known."""

    target: Annotated[str, BeforeValidator(_port_text)]
    published: Annotated[str, BeforeValidator(_port_text)] = ""
    host_ip: Text = ""
    protocol: Annotated[str, only("tcp", "udp")] = "tcp"
    mode: Annotated[str, only("host", "ingress")] = "host"
    name: Text | None = None
    app_protocol: Text | None = None


class SecretMount(Part):
    """One entry of a service's `secrets`."""

    source: Filled
    target: SecretFile
    mode: Mode = 0o400
    uid: Root | None = None
    gid: Root | None = None


class VolumeMount(Part):
    """One entry of a service's `volumes`."""

    type: Annotated[
        str,
        only(
            "volume",
            bind="A machine sees no directory of its host: COPY it in the Machinefile, or use a volume.",
            tmpfs="Mount a tmpfs by a unit of the image; /run and /tmp are there already.",
            image="COPY --from=IMAGE in the Machinefile.",
        ),
    ]
    target: Filled
    source: Filled | None = None
    read_only: Flag = False


class Rollout(Part):
    """`deploy.update_config`."""

    parallelism: Count = 1
    delay: Seconds = 0.0
    monitor: Seconds = 5.0
    max_failure_ratio: Ratio = 0.0
    failure_action: Annotated[str, only("pause", "continue", "rollback")] = "pause"
    order: Annotated[str, only("stop-first", "start-first")] = "stop-first"


class Rollback(Rollout):
    """`deploy.rollback_config`."""

    failure_action: Annotated[str, only("pause", "continue")] = "pause"


class Limits(Part):
    """`deploy.resources.limits`."""

    cpus: Cores | None = None
    memory: Size | None = None
    pids: Pids | None = None


class Ulimit(Part):
    """One entry of `ulimits`."""

    soft: Amount
    hard: Amount


class Logging(Part):
    """`logging`."""

    driver: Annotated[
        str,
        only(
            "json-file",
            "local",
            **dict.fromkeys(
                ("none", "syslog", "journald", "gelf", "fluentd", "awslogs", "splunk", "gcplogs"),
                "A machine's console is kept in files: leave it out, or write local.",
            ),
        ),
    ] = "local"
    options: Annotated[Pairs, AfterValidator(log_options)] | None = None


class Storage(Part):
    """`storage_opt`."""

    size: Disk | None = None


class Resources(Part):
    """`deploy.resources`."""

    limits: Limits | None = None


class Deploy(Part):
    """`deploy`."""

    mode: Annotated[str, only("replicated")] = "replicated"
    replicas: Replicas | None = None
    labels: Labels | None = None
    update_config: Rollout | None = None
    rollback_config: Rollback | None = None
    resources: Resources | None = None


class Service(Part):
    """One entry of `services`."""

    image: Image | None = None
    build: Build | None = None
    hostname: Filled | None = None
    environment: Pairs | None = None
    env_file: list[EnvFile] | None = None
    volumes: list[VolumeMount] | None = None
    ports: list[Port] | None = None
    expose: list[Text] | None = None
    depends_on: dict[str, Dependency] | None = None
    secrets: list[SecretMount] | None = None
    networks: dict[str, Attachment | None] | None = None
    stop_grace_period: Seconds | None = None
    healthcheck: Health | None = None
    read_only: Flag | None = None
    mem_limit: Size | None = None
    cpus: Cores | None = None
    pids_limit: Pids | None = None
    ulimits: Annotated[dict[str, Ulimit], AfterValidator(_ulimits)] | None = None
    logging: Logging | None = None
    storage_opt: Storage | None = None
    restart: Restart | None = None
    labels: Labels | None = None
    deploy: Deploy | None = None


class Network(Part):
    """One entry of `networks`."""

    name: Filled | None = None
    external: Flag = False
    labels: Labels | None = None


class Volume(Part):
    """One entry of `volumes`."""

    name: Filled | None = None
    external: Flag = False
    labels: Labels | None = None


class Secret(Part):
    """One entry of `secrets`."""

    file: Filled | None = None
    environment: Filled | None = None

    @model_validator(mode="after")
    def _from_one_place(self) -> Self:
        if (self.file is None) == (self.environment is None):
            raise wrong("a secret comes from a file or from a variable", "Write file: or environment:.")
        return self


SECTIONS: dict[Literal["services", "networks", "volumes", "secrets"], type[Part]] = {
    "services": Service,
    "networks": Network,
    "volumes": Volume,
    "secrets": Secret,
}
TOP = ("name", "services", "networks", "volumes", "secrets", "version")
