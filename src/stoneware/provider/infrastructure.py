"""Machines, disks and networks as resources of our own provider, over any platform that is open.

See `stoneware.platforms.infrastructure.Infrastructure` for what each part is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from stoneware.model.machine_fields import FIELDS
from stoneware.platforms.infrastructure import Extension, Kind, Lacking, Subject
from stoneware.platforms.protocols import Platform
from stoneware.provider import machine_state
from stoneware.provider.server import ProviderServer
from stoneware.terraform.configuration import MODULES

BUILDER_MODULE = MODULES / "local/builder"
CLUSTER_MODULE = MODULES / "local/cluster"
_BUILDER = "stoneware_machine.builder"
# In our module a resource is called as its type.
_ADDRESS = re.compile(r'stoneware_(machine|volume|network)\.\1\[("(?:[^"\\]|\\.)*")\]')
_APART = {Kind.ADDRESS, Kind.PORTS}  # what machines have no resources for
_TOLD = {
    **{name: (field.words,) for name, field in FIELDS.items()},
    "running": ("machine",),
    "source": ("image",),
    "metadata": ("config", "health check", "stoneware-"),
}


EXTENSION = Extension("x-local")


class StonewareInfrastructure:
    """The modules in `terraform/modules/local` and the resource types of the provider."""

    extension = EXTENSION
    cluster_module = CLUSTER_MODULE
    builder_module = BUILDER_MODULE
    disk_types = frozenset({"stoneware_volume"})
    dependent_types = frozenset({"stoneware_machine"})
    harmless_attributes = frozenset(
        {"labels", "metadata", "image_ref", "recreate_on", "timeouts", "wait_for"}
    )
    passing_attributes = frozenset({"phase", "health", "ip", "published", "wait_for", "timeouts", "image_id"})

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def provider(self) -> ProviderServer:
        """Return our provider, over the platform."""
        return ProviderServer(self._platform)

    def environment(self) -> dict[str, str]:
        """Return nothing: the provider is served from this process."""
        return {}

    def root(self) -> dict[str, Any]:
        """Return nothing: the provider that this process serves needs no settings."""
        return {}

    def variables(self, declared: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is declared, without the words that it was said in, of which the module has none."""
        volumes = {
            name: {key: value for key, value in entry.items() if key != "extras"}
            for name, entry in (declared.get("volumes") or {}).items()
        }
        return {**declared, **({"volumes": volumes} if volumes else {})}

    def lacking(
        self,
        declared: Mapping[str, Any],  # noqa: ARG002
        making: Collection[Subject],  # noqa: ARG002
    ) -> list[Lacking]:
        """Return nothing: machines here are made of nothing that has a name."""
        return []

    def address(self, subject: Subject) -> str:
        """Return the one resource of a subject."""
        if subject.kind is Kind.BUILDER:
            return _BUILDER
        if subject.kind is Kind.OTHER:
            return subject.name
        return f'stoneware_{subject.kind}.{subject.kind}["{subject.name}"]'

    def subject(self, address: str) -> Subject:
        """Return whose resource is at an address."""
        if address == _BUILDER:
            return Subject(Kind.BUILDER, "")
        match = _ADDRESS.fullmatch(address)
        if match is None:
            return Subject(Kind.OTHER, address)
        return Subject(Kind(match[1]), str(json.loads(match[2])))

    def same_value(self, subject: Subject, attribute: str, one: object, other: object) -> bool:
        """Say whether two values of an attribute that differ mean the same."""
        if subject.kind is Kind.VOLUME and attribute == "size":
            return True  # a disk that was made larger is no fault, and sizes are compared with the file's
        return subject.kind is Kind.MACHINE and machine_state.same_value(attribute, one, other)

    def imports(
        self,
        wanted: Mapping[Subject, str],
        known: Collection[str] = (),
        declared: Mapping[str, Any] | None = None,  # noqa: ARG002
    ) -> dict[str, str]:
        """Return the resource of each subject; its id for an import is its name. Machines have no parts."""
        found = {self.address(it): name for it, name in wanted.items() if it.kind not in _APART}
        return {address: name for address, name in found.items() if address not in known}

    def refusal(self, said: str) -> None:
        """Return nothing: our provider hands on its errors themselves."""

    def told_as(self, attribute: str) -> tuple[str, ...]:
        """Return how what drift tells from other sources begins where it is this attribute."""
        return (attribute, *_TOLD.get(attribute, ()))
