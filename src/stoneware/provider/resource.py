"""What all of our resources and data sources share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tf.iface import DataSource, Resource
from tf.types import Unknown

if TYPE_CHECKING:
    from stoneware.platforms.protocols import Platform
    from stoneware.provider.provider import StonewareProvider

State = dict[str, Any]


class StonewareResource(Resource):  # type: ignore[misc]  # the framework has no type hints
    """A resource over the provider's platform."""

    def __init__(self, provider: StonewareProvider) -> None:
        self.provider = provider

    @property
    def platform(self) -> Platform:
        """The platform."""
        return self.provider.platform

    def differs(self, name: str, current: State, planned: State) -> bool:
        """Say whether an immutable attribute, written in another way, means another thing."""
        return bool(current.get(name) != planned.get(name))

    def upgrade(self, _ctx: Any, _version: int, old: Mapping[str, Any]) -> State:
        """Return a state of an earlier schema with what that lacked."""
        new: State = {}
        for attribute in self.get_schema().attributes:
            default = None if attribute.default is Unknown else attribute.default
            new[attribute.name] = old.get(attribute.name, default)
        return new


class StonewareDataSource(DataSource):  # type: ignore[misc]
    """A data source over the provider's platform."""

    def __init__(self, provider: StonewareProvider) -> None:
        self.provider = provider


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
