"""What there is at Google though Terraform does not know it: its reply was lost, or the state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

from stoneware.platforms.google import names
from stoneware.platforms.google.api import last
from stoneware.platforms.google.placing import Inventory, There
from stoneware.platforms.infrastructure import Kind, Subject

ZONE = "Names of machines, made by Stoneware"  # the description that the cluster module gives zones


def found(
    lost: Mapping[Subject, str], address: Callable[[Subject], str], inventory: Inventory
) -> dict[str, str]:
    """Return the ids to import subjects by, as far as they exist, by the addresses of their resources."""
    project = f"projects/{inventory.settings.project}"
    search = _Search(inventory)
    return {
        address(subject): f"{project}/{path}"
        for subject, name in lost.items()
        for path in search.paths(subject.kind, name)
    }


class _Search:
    """Looks for resources by the names that Google has. Each list is asked for once, where it is needed."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory

    @cached_property
    def _there(self) -> There:
        return self._inventory.there()

    @cached_property
    def _addresses(self) -> Mapping[str, Mapping[str, Any]]:
        return self._inventory.named(f"regions/{self._inventory.settings.region}/addresses")

    @cached_property
    def _rules(self) -> Mapping[str, Mapping[str, Any]]:
        return self._inventory.named("global/firewalls")

    def paths(self, kind: Kind, name: str) -> Iterator[str]:
        """Yield the path below the project of what there is."""
        called = names.cloud_name(name)
        if kind in (Kind.MACHINE, Kind.BUILDER):
            if zone := self._there.instance(called):
                yield f"zones/{zone}/instances/{called}"
        elif kind is Kind.VOLUME:
            if zone := self._there.disk(called):
                yield f"zones/{zone}/disks/{called}"
        elif kind is Kind.NETWORK:
            # Asked for only where the caller has seen it.
            yield f"global/firewalls/{called}"
        elif kind is Kind.ADDRESS and _is_free_for(self._addresses.get(called), called):
            yield f"regions/{self._inventory.settings.region}/addresses/{called}"
        elif kind is Kind.ZONE:
            # A zone's name may be anybody's: the description tells whose it is.
            known = self._inventory.dns_zone(name) or {}
            if known.get("description") == ZONE and known.get("visibility") == "private":
                yield f"managedZones/{name}"
        elif kind is Kind.PORTS:
            # The same of a rule, which has no labels at all.
            rule = names.cloud_name(f"{name}-ports")
            if (self._rules.get(rule) or {}).get("description") == ports_description(name):
                yield f"global/firewalls/{rule}"


def _is_free_for(address: Mapping[str, Any] | None, called: str) -> bool:
    """Say whether an address can be a machine's: nobody else has it, for its name may be anybody's."""
    if address is None or address.get("addressType") != "INTERNAL":
        return False
    return all(last(user) == called for user in address.get("users") or ())


def ports_description(name: str) -> str:
    """Return what the cluster module writes as the description of the rule for a machine's ports."""
    return f"Ports of {name}"
