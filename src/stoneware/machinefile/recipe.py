"""What a Machinefile means: frozen data, computed without touching anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from stoneware.dataclass import dataclass


@dataclass(frozen=True)
class Heredoc:
    """A here-document; variables in it are expanded where `expand` is set (its delimiter was not quoted)."""

    name: str
    content: str
    expand: bool


@dataclass(frozen=True)
class Mount:
    """One `RUN --mount`. `type` is cache, secret, bind or tmpfs; `size` is in bytes."""

    type: str
    target: str
    source: str = ""
    from_stage: str = ""  # bind and cache: stage name, index or image; empty is the build context
    id: str = ""
    required: bool = False
    read_only: bool = False
    env: str = ""
    mode: str = ""
    uid: int | None = 0  # None, of a secret: the step's user
    gid: int | None = 0
    sharing: str = "shared"
    size: int | None = None


@dataclass(frozen=True)
class HealthCheck:
    """HEALTHCHECK; times are in seconds. `test` is argv, or None for HEALTHCHECK NONE."""

    test: tuple[str, ...] | None
    interval: float = 30.0
    timeout: float = 30.0
    start_period: float = 0.0
    start_interval: float = 5.0
    retries: int = 3


@dataclass(frozen=True)
class ImageConfig:
    """What an image says about how it is run; inherited by whatever is built FROM it."""

    env: tuple[tuple[str, str], ...] = ()
    user: str = ""
    workdir: str = "/"
    shell: tuple[str, ...] = ("/bin/sh", "-c")
    entrypoint: tuple[str, ...] = ()  # argv; the shell form has the shell already in front
    cmd: tuple[str, ...] = ()  # argv, likewise
    healthcheck: HealthCheck | None = None
    volumes: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()  # "80/tcp"
    labels: tuple[tuple[str, str], ...] = ()
    stop_signal: str = ""
    onbuild: tuple[str, ...] = ()  # instructions for the stage that is built FROM this


@dataclass(frozen=True)
class Step:
    """One instruction that changes the file system. `index` counts from 1 within its stage.

    `text` is the instruction on one line after expansion, as shown to people.
    """

    index: int
    stage: str
    line: int
    text: str


@dataclass(frozen=True)
class RunStep(Step):
    """RUN: `argv` is final (the shell in front for the shell form); `stdin` is unused by BuildKit's forms."""

    argv: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()  # ENV and the build arguments in scope, in order
    arg_names: tuple[str, ...] = ()  # those of `env` that ARG set: for people, not part of the key
    unkeyed_env: tuple[tuple[str, str], ...] = ()  # proxy arguments: in the environment, not in the key
    user: str = ""
    workdir: str = "/"
    mounts: tuple[Mount, ...] = ()
    network: str = "default"


@dataclass(frozen=True)
class CopyStep(Step):
    """COPY or ADD. `sources` are paths in the context (or in `from_stage`), URLs, or here-documents."""

    add: bool = False
    sources: tuple[str, ...] = ()
    heredocs: tuple[Heredoc, ...] = ()  # expanded already
    destination: str = ""  # absolute; ends in "/" where the user's did
    from_stage: str = ""  # stage name, index or image reference; empty is the context
    chown: str = ""
    chmod: str = ""
    excludes: tuple[str, ...] = ()
    parents: bool = False
    link: bool = False
    checksum: str = ""
    unpack: bool | None = None  # ADD --unpack


@dataclass(frozen=True)
class WorkdirStep(Step):
    """WORKDIR: makes the directory, owned by the current USER."""

    path: str = "/"
    user: str = ""


@dataclass(frozen=True)
class Base:
    """What a stage is built FROM: `kind` is base (debian:12), image (a stored image) or stage."""

    kind: str
    reference: str
    identity: str = ""  # base or image id, as given by the resolver; empty for a stage
    # FROM scratch: the stage begins empty. It only holds files, and is made by a builder of this base.
    scratch: bool = False


@dataclass(frozen=True)
class Stage:
    """One stage: its base, the steps in order, and the configuration it ends with."""

    index: int
    name: str  # as written, or the index as text
    line: int
    base: Base
    steps: tuple[Step, ...]
    config: ImageConfig
    # Every instruction as (line, one-line text), config-only ones too: what `history` shows.
    history: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class Recipe:
    """The stages the target needs, in building order (the target last)."""

    filename: str
    stages: tuple[Stage, ...]
    warnings: tuple[str, ...] = ()
    unused_args: tuple[str, ...] = ()
    # What --from and mounts name that is no stage: reference and what the resolver knows of it.
    images: tuple[tuple[str, ResolvedBase], ...] = ()

    @property
    def target(self) -> Stage:
        """Return the stage that becomes the image."""
        return self.stages[-1]

    def stage(self, name: str) -> Stage | None:
        """Return the stage a `from_stage` or a base of kind stage names, or None for an image's reference."""
        return next((stage for stage in self.stages if stage.name == name), None)

    def root(self, stage: Stage) -> Base:
        """Return what the first of the stages that a stage stands on is built FROM."""
        while stage.base.kind == "stage" and (parent := self.stage(stage.base.reference)) is not None:
            stage = parent
        return stage.base


@dataclass(frozen=True)
class ResolvedBase:
    """What a resolver knows of a FROM reference outside the Machinefile."""

    kind: str  # base or image
    identity: str
    config: ImageConfig = field(default_factory=ImageConfig)


def config_to_document(config: ImageConfig) -> dict[str, Any]:
    """Return an image configuration as plain JSON data; `config_from_document` is its inverse."""
    check = config.healthcheck
    document: dict[str, Any] = {
        "env": [list(pair) for pair in config.env],
        "user": config.user,
        "workdir": config.workdir,
        "shell": list(config.shell),
        "entrypoint": list(config.entrypoint),
        "cmd": list(config.cmd),
        "healthcheck": None
        if check is None
        else {
            "test": None if check.test is None else list(check.test),
            "interval": check.interval,
            "timeout": check.timeout,
            "start_period": check.start_period,
            "start_interval": check.start_interval,
            "retries": check.retries,
        },
        "volumes": list(config.volumes),
        "ports": list(config.ports),
        "labels": [list(pair) for pair in config.labels],
        "stop_signal": config.stop_signal,
    }
    if config.onbuild:  # few images have any: the keys of all others stay what they were
        document["onbuild"] = list(config.onbuild)
    return document


def config_from_document(document: Mapping[str, Any]) -> ImageConfig:
    """Return the image configuration written by `config_to_document`."""
    check = document["healthcheck"]
    return ImageConfig(
        env=tuple((k, v) for k, v in document["env"]),
        user=document["user"],
        workdir=document["workdir"],
        shell=tuple(document["shell"]),
        entrypoint=tuple(document["entrypoint"]),
        cmd=tuple(document["cmd"]),
        healthcheck=None
        if check is None
        else HealthCheck(**{**check, "test": None if check["test"] is None else tuple(check["test"])}),
        volumes=tuple(document["volumes"]),
        ports=tuple(document["ports"]),
        labels=tuple((k, v) for k, v in document["labels"]),
        stop_signal=document["stop_signal"],
        onbuild=tuple(document.get("onbuild", ())),
    )
