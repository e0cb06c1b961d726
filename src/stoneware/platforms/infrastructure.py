"""How a platform's machines, disks and networks are written for Terraform.

Plans, the guard, drift and applies know subjects, such as the machine `kafka-1`. Which resources those are,
and what their attributes are called, the platform knows alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from stoneware.dataclass import dataclass
from stoneware.errors import StonewareError


class Kind(StrEnum):
    """What a resource is a part of."""

    MACHINE = "machine"  # of a cluster
    VOLUME = "volume"
    NETWORK = "network"
    ADDRESS = "address"  # of a machine, where that is apart from it: it outlives the machine
    PORTS = "ports"  # who reaches a machine's, where that is apart from it; to changes it is the machine
    ZONE = "zone"  # of names, with no data but those of machines: whatever a plan does to one is harmless
    BUILDER = "builder"
    OTHER = ""  # what a module needs besides


@dataclass(frozen=True, order=True)
class Subject:
    """One machine, or its address, by its short name; one volume, network or zone, by its name on the
    platform; the builder of a directory, whose name is empty; or another resource, by its address.
    """

    kind: Kind
    name: str


@dataclass(frozen=True)
class Lacking:
    """Something that machines and disks would be made of, and that the platform does not have.

    `key` of the platform's `x-…` says what it is, or, at `place`, the platform's settings do.
    """

    key: str
    what: str  # that it is not there, as a sentence has it
    resolution: str
    subjects: tuple[Subject, ...]  # what would be made of it
    place: str = ""


EXPOSED = "exposed"  # `80/tcp,53/udp`


@dataclass(frozen=True)
class Extension:
    """A platform's own key of machines.yaml, and which of the keys below it are more than words to others."""

    key: str  # x-…
    size: str = "size"  # how large a volume is to be
    module_grows: bool = False  # the cluster's module makes a volume larger; else `create_volume` does
    live: frozenset[str] = frozenset()  # what changes while a machine runs
    opens: str = ""  # next to this key a machine that publishes no port has EXPOSED: the ports of its image


class Provider(Protocol):
    """A Terraform provider that this process serves."""

    source: str  # its address in `required_providers`

    def serve(self, socket: Path) -> None:
        """Listen on a unix socket and return; serving goes on in threads."""
        ...

    def take_failures(self) -> list[StonewareError]:
        """Return and forget the errors that were handed to Terraform as diagnostics since the last call."""
        ...

    def close(self) -> None:
        """Stop serving. Does not wait for a call that is still at work."""
        ...


class Infrastructure(Protocol):
    """A platform's modules and resource types."""

    @property
    def extension(self) -> Extension:
        """Return the key of machines.yaml that says what only this platform has."""
        ...

    @property
    def cluster_module(self) -> Path:
        """Return the directory of the module for clusters.

        Its variables are `machines`, `volumes`, `networks` and `hosts` (see `stoneware.cluster.tfvars`). It
        forbids that volumes are destroyed, and overrides/volumes_override.tf lifts that.
        """
        ...

    @property
    def builder_module(self) -> Path:
        """Return the directory of the module for one builder."""
        ...

    def provider(self) -> Provider | None:
        """Return a provider for Terraform to use that this process serves, or None where it is a program."""
        ...

    def environment(self) -> Mapping[str, str]:
        """Return the variables that Terraform has besides, for a provider that is a program."""
        ...

    def root(self) -> Mapping[str, Any]:
        """Return what only the root of a cluster's configuration can say, as Terraform's JSON.

        The module says nothing of it, so that other configurations can use the module: settings of the
        provider, for instance.
        """
        ...

    def variables(self, declared: Mapping[str, Any]) -> dict[str, Any]:
        """Return the cluster module's variables: what is declared, and what this platform adds to it.

        The file of the variables is what was declared last, too, so nothing is left out or renamed.
        """
        ...

    def lacking(self, declared: Mapping[str, Any], making: Collection[Subject]) -> list[Lacking]:
        """Return what is not there of what some machines and volumes would be made of; nothing is changed.

        `declared` is as for `variables`; images that have still to be baked may be missing in it.
        """
        ...

    def address(self, subject: Subject) -> str:
        """Return the address of the resource that a subject is itself."""
        ...

    def subject(self, address: str) -> Subject:
        """Return whose resource is at an address, be it that of the thing itself or of a part of it."""
        ...

    def same_value(self, subject: Subject, attribute: str, one: object, other: object) -> bool:
        """Say whether two values of an attribute of a subject's resource that differ mean the same.

        What an earlier version left out of its state means the default that it has since.
        """
        ...

    def imports(
        self,
        wanted: Mapping[Subject, str],
        known: Collection[str] = (),
        declared: Mapping[str, Any] | None = None,
    ) -> dict[str, str]:
        """Return the addresses of all resources of subjects that exist, with the ids to import them by.

        `wanted` has each one's name on the platform. They have been seen, but for what is apart from a
        machine, which the platform looks for itself. Resources at the addresses `known` need no import,
        and those that the variables `declared` (see `variables`) have no resource for cannot have one.
        """
        ...

    @property
    def disk_types(self) -> frozenset[str]:
        """Return the resource types of disks whose data would be lost: no plan may destroy one."""
        ...

    @property
    def dependent_types(self) -> frozenset[str]:
        """Return the resource types of the cluster's module that depend on others: those go first."""
        ...

    @property
    def harmless_attributes(self) -> frozenset[str]:
        """Return the attributes whose change in place neither makes a machine again nor starts one."""
        ...

    @property
    def passing_attributes(self) -> frozenset[str]:
        """Return the attributes that change by themselves: no drift."""
        ...

    def refusal(self, said: str) -> StonewareError | None:
        """Return the error that the platform's words in Terraform's are; None where they are not known.

        Its first line says what is lacking, and it has what to do next.
        """
        ...

    def told_as(self, attribute: str) -> tuple[str, ...]:
        """Return how what drift tells of a machine from other sources begins where it is this attribute."""
        ...
