"""What the instances of a network resolve: record sets as addresses with names; their machines are told."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from stoneware.emulator.jobs import Job
from stoneware.emulator.machine_spec import network_name
from stoneware.emulator.service import Names, Service
from stoneware.emulator.store import Record, Store
from stoneware.emulator.values import LINK

_LINKS = 8  # CNAMEs that are followed, one after the other
_NETWORK = re.compile(r"projects/[^/]+/global/networks/[^/]+$")


def names_of(store: Store, network: str) -> Names:
    """Return the names that a network (its link) knows, by address, and the domains that are private to it.

    The zone with the longest domain has a name, a private one before a public one of the same.
    """
    zones = _zones(store, network)
    found: dict[str, dict[str, list[str]]] = {}  # by name and type
    for domain, key in zones.items():
        for record in (record for _, record in store.under(f"{key}/rrsets")):
            if _domain_of(record["name"], zones) == domain and "*" not in record["name"]:
                found.setdefault(record["name"], {})[record["type"]] = record["rrdatas"]
    addresses: dict[str, list[str]] = {}
    for name in sorted(found):
        for address in _addresses(name, found):
            addresses.setdefault(address, []).append(name.rstrip("."))
    private = (domain for domain, key in zones.items() if (store.get(key) or {})["visibility"] == "private")
    known = {address: tuple(names) for address, names in addresses.items()}
    return known, tuple(sorted(domain.rstrip(".") for domain in private))


def _zones(store: Store, network: str) -> dict[str, str]:
    """Return the keys of the zones that a network sees, by domain."""
    found = [(record, key) for key, record in store.matching("projects/", "managedZones")]
    # Private ones last, so that they take the place of the others.
    found.sort(key=lambda pair: (pair[0]["visibility"] == "private", pair[1]))
    return {record["dnsName"]: key for record, key in found if _is_seen(record, network)}


def _is_seen(zone: Record, network: str) -> bool:
    if zone["visibility"] != "private":
        return True
    listed = (zone.get("privateVisibilityConfig") or {}).get("networks") or []
    places = (_NETWORK.search(str(one.get("networkUrl", ""))) for one in listed)
    return any(place and place[0] == network.removeprefix(LINK) for place in places)


def _domain_of(name: str, domains: Iterable[str]) -> str:
    return max((domain for domain in domains if f".{name}".endswith(f".{domain}")), key=len, default="")


def _addresses(name: str, found: Mapping[str, Mapping[str, list[str]]]) -> list[str]:
    for _ in range(_LINKS):
        sets = found.get(name, {})
        if "CNAME" not in sets:
            return [*sets.get("A", ()), *sets.get("AAAA", ())]
        name = sets["CNAME"][0].lower()
    return []


def tell(service: Service) -> None:
    """Have the machines of all networks know what zones say now. For the transaction that changes these."""
    service.begin(Job("names of networks", lambda: _tell(service), lambda _failure: None))


def _tell(service: Service) -> None:
    links = {one["x-network"] for _, one in service.store.matching("projects/", "instances")}
    for link in sorted(links):
        name_network(service, link)


def name_network(service: Service, link: str) -> None:
    """Have the machines of a network know its names, unless that is what they were told last."""
    record = service.store.get(link.removeprefix(LINK))
    computers = service.opened
    if record is None or computers is None:
        return
    # One at a time, or names that were seen first could be told last.
    with service.networking:
        names = names_of(service.store, link)
        if service.named.get(link) != names:
            computers.name_network(network_name(record), *names)
            service.named[link] = names
