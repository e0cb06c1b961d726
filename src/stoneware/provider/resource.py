"""What all of our resources and data sources share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from stoneware.provider.reporting import Diagnostics
from stoneware.provider.schema import Schema
from stoneware.provider.values import Unknown

if TYPE_CHECKING:
    from stoneware.platforms.protocols import Platform
    from stoneware.provider.context import ProviderContext

State = dict[str, Any]


class Described(ABC):
    """A resource or a data source. An object of it lives for one call."""

    type_name: ClassVar[str]  # as configurations have it
    schema: ClassVar[Schema]

    def __init__(self, provider: ProviderContext) -> None:
        self.provider = provider

    @property
    def platform(self) -> Platform:
        """The platform."""
        return self.provider.platform

    def validate(self, diags: Diagnostics, config: State) -> None:
        """Check what a configuration says, as far as it is known."""
        for name, attribute in self.schema.by_name.items():
            if config.get(name) is not None and not (attribute.required or attribute.optional):
                diags.add_error(
                    f"Field {self.type_name}.{name} is read-only and should not be set", path=[name]
                )


class StonewareResource(Described):
    """A resource over the provider's platform.

    Errors go into the diagnostics that each method gets; a state is what Terraform is to keep after the call,
    None where there is nothing.
    """

    @abstractmethod
    def create(self, diags: Diagnostics, planned: State) -> State | None:
        """Make what was planned."""

    @abstractmethod
    def read(self, diags: Diagnostics, current: State) -> State | None:
        """Return the state of what there is now."""

    @abstractmethod
    def update(self, diags: Diagnostics, current: State, planned: State) -> State | None:
        """Change in place what was planned to be changed."""

    @abstractmethod
    def delete(self, diags: Diagnostics, current: State) -> State | None:
        """Remove it."""

    def import_(self, diags: Diagnostics, _identity: str) -> State | None:
        """Take over what exists."""
        diags.add_error(
            f"{self.type_name} does not support resource import",
            "Use a data source for what Terraform has not created.",
        )
        return None

    def plan(self, _diags: Diagnostics, _current: State | None, planned: State) -> State:
        """Return the plan as Terraform and the defaults make it, changed where more is known."""
        return planned

    def differs(self, name: str, current: State, planned: State) -> bool:
        """Say whether an immutable attribute, written in another way, means another thing."""
        return bool(current.get(name) != planned.get(name))

    def upgrade(self, old: Mapping[str, Any]) -> State:
        """Return a state of an earlier schema with what that lacked."""
        new: State = {}
        for attribute in self.schema.attributes:
            # What an old state lacks has the default, so that nothing is changed for it.
            default = None if attribute.default is Unknown else attribute.default
            new[attribute.name] = old.get(attribute.name, default)
        return new


class StonewareDataSource(Described):
    """A data source over the provider's platform."""

    @abstractmethod
    def read(self, diags: Diagnostics, config: State) -> State | None:
        """Return what there is of what the configuration asks for."""


def all_known(*values: Any) -> bool:
    """Say whether nothing in some values is known after the apply only."""
    for value in values:
        if value is Unknown:
            return False
        if isinstance(value, Mapping) and not all_known(*value.values()):
            return False
        if isinstance(value, list) and not all_known(*value):
            return False
    return True
