"""What Terraform is told about our resources and data sources: their attributes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from stoneware.dataclass import dataclass
from stoneware.provider.values import Attribute


@dataclass(frozen=True)
class Schema:
    """The attributes of a resource or a data source; `version` is that of the state they are kept in."""

    attributes: Sequence[Attribute]
    description: str = ""
    version: int = 0

    @cached_property
    def by_name(self) -> dict[str, Attribute]:
        """The attributes by their names."""
        return {attribute.name: attribute for attribute in self.attributes}

    def decode(self, values: dict[str, Any] | None) -> dict[str, Any] | None:
        """Return values of the protocol as Python has them; what the schema lacks is left out."""
        if values is None:
            return None
        known = self.by_name
        return {name: known[name].type.decode(value) for name, value in values.items() if name in known}

    def encode(
        self, values: dict[str, Any] | None, given: dict[str, Any] | None = None
    ) -> dict[str, Any] | None:
        """Return values as the protocol has them, all attributes of the schema.

        What was given, in the protocol's types, and still means the same stays as it was written.
        """
        if values is None:
            return None
        encoded: dict[str, Any] = {}
        for name, attribute in self.by_name.items():
            value = values.get(name)
            # Terraform takes another spelling of the same value for a fault of the provider.
            same = given is not None and attribute.type.decode(given.get(name)) == value
            encoded[name] = given.get(name) if given and same else attribute.type.encode(value)
        return encoded
