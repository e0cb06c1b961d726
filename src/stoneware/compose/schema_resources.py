"""The models of a cluster file's networks, volumes, secrets and configs; `schema` has those of services."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import model_validator

from stoneware.compose.schema_parts import Labels, Part, only
from stoneware.compose.values import Filled, Flag, Text, wrong


class Subnet(Part):
    """One entry of `ipam.config`."""

    subnet: Filled
    gateway: Filled | None = None


class Ipam(Part):
    """`ipam` of a network."""

    config: list[Subnet] | None = None


class Network(Part):
    """One entry of `networks`."""

    name: Filled | None = None
    external: Flag = False
    labels: Labels | None = None
    internal: Flag = False
    attachable: Flag = True
    ipam: Ipam | None = None
    driver: (
        Annotated[
            str,
            only(
                "bridge",
                "overlay",
                "default",
                host="A machine is on networks of its own: publish its ports.",
                none="A machine needs its metadata server: give it a network that no other machine is on.",
                **dict.fromkeys(
                    ("macvlan", "ipvlan"),
                    "Machines are reached by published ports, not on the network of this computer.",
                ),
            ),
        ]
        | None
    ) = None


class Volume(Part):
    """One entry of `volumes`."""

    name: Filled | None = None
    external: Flag = False
    labels: Labels | None = None
    driver: Annotated[str, only("local", "default")] | None = None


class Secret(Part):
    """One entry of `secrets`."""

    file: Filled | None = None
    environment: Filled | None = None

    @model_validator(mode="after")
    def _from_one_place(self) -> Self:
        if (self.file is None) == (self.environment is None):
            raise wrong("a secret comes from a file or from a variable", "Write file: or environment:.")
        return self


class Config(Part):
    """One entry of `configs`."""

    file: Filled | None = None
    environment: Filled | None = None
    content: Text | None = None

    @model_validator(mode="after")
    def _from_one_place(self) -> Self:
        if [self.file, self.environment, self.content].count(None) != 2:
            raise wrong(
                "a config comes from a file, from a variable, or is written here",
                "Write file:, environment: or content:.",
            )
        return self
