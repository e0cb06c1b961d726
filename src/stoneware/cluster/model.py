"""What is wanted of a cluster's machines, what is observed, and the steps from one to the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from stoneware.compose.model import ClusterNetwork, ClusterVolume, Condition
from stoneware.dataclass import dataclass
from stoneware.model.machine import Machine, MachineSpec
from stoneware.platforms.infrastructure import Subject


@dataclass(frozen=True, order=True)
class Release:
    """What a machine runs: image, config, and everything else that was declared for it, as digests.

    `declared` is what `declaration.declared_digest` returns; the config is in it as well.
    """

    image_id: str
    config_digest: str
    declared: str = ""

    def __str__(self) -> str:
        """Return both shortened, as people read them."""
        image, config = (text.removeprefix("sha256:")[:12] for text in (self.image_id, self.config_digest))
        return f"image {image} with config {config}"


@dataclass(frozen=True)
class DesiredMachine:
    """One machine as it is wanted. `spec` is complete; without an image yet, its source is empty."""

    name: str  # short: `kafka-1`
    service: str
    slot: int
    spec: MachineSpec
    image: str  # the image as the file has it
    image_id: str  # empty: the image has to be baked first
    commit: str
    config_digest: str
    reloads: bool  # the image takes a new configuration on while it runs
    checked: bool  # it has a health check
    zones: tuple[str, ...] = ()  # of the platform, where it may be; any if there are none


@dataclass(frozen=True)
class Desired:
    """A cluster as it is wanted. `depends_on` is by service; `machines` are by short name, in order."""

    name: str
    machines: Mapping[str, DesiredMachine]
    depends_on: Mapping[str, Mapping[str, Condition]]
    volumes: Mapping[str, ClusterVolume]
    networks: Mapping[str, ClusterNetwork]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ObservedMachine:
    """One machine of the cluster as the platform shows it, and what it reported of its files.

    `written` are the digests of the rendered files as the boot agent wrote them, `found` those of the files
    as they are now (None: it has not been asked, or did not answer); by path, `` for a missing file.
    """

    machine: Machine
    written: Mapping[str, str] = field(default_factory=dict)
    found: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Observed:
    """A cluster as it is. `machines` are by short name; `managed` is what Terraform's state knows.

    `managed` None: the state has not been looked at. `commits` are those of the images that run, by id, as
    far as they are known. `floors` are the lowest versions that may boot on disks, by name, of any disk.
    `internal` are those of the networks that are; `subnets` what those have that have any. `kinds` are
    those of volumes with something on them, where the platform has several; `disks` are the sizes of those
    that are disks, blank or not, `limits` what the others may take. All in bytes.
    """

    name: str
    machines: Mapping[str, ObservedMachine]
    volumes: frozenset[str]
    networks: frozenset[str]
    managed: frozenset[Subject] | None = None
    commits: Mapping[str, str] = field(default_factory=dict)
    floors: Mapping[str, str] = field(default_factory=dict)
    internal: frozenset[str] = frozenset()
    subnets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)
    disks: Mapping[str, int] = field(default_factory=dict)
    limits: Mapping[str, int | None] = field(default_factory=dict)


class Action(StrEnum):
    """What is done with one machine, disk or network."""

    CREATE = "create"
    REPLACE = "replace"
    UPDATE = "update config"
    START = "start"
    ADOPT = "adopt"  # as wanted, but not in Terraform's state: import it
    REMOVE = "remove"
    NONE = "nothing"


@dataclass(frozen=True)
class Step:
    """What is to be done with one machine, and why. `kind` is machine, volume or network."""

    kind: str
    name: str  # a machine's short name
    action: Action
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class ClusterPlan:
    """All steps in the order they are done; `waves` are the machines that may be made at the same time."""

    cluster: str
    steps: tuple[Step, ...]
    waves: tuple[tuple[str, ...], ...]

    @property
    def changes(self) -> tuple[Step, ...]:
        """The steps that do something."""
        return tuple(step for step in self.steps if step.action is not Action.NONE)
