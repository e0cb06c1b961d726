"""The ranges that networks have of their own: which are recorded, which in force, which a machine is in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from stoneware.errors import HostError, InputError
from stoneware.files import read_json
from stoneware.model import subnets
from stoneware.platforms.local.network.addresses import Plan, Route, in_the_way
from stoneware.records import DamagedError

Ranges = Mapping[str, tuple[IPv4Network, ...]]  # by network


def recorded(data: Path, before: Ranges) -> dict[str, tuple[IPv4Network, ...]]:
    """Return the ranges that the networks' records name; of a damaged record those of `before`.

    Ranges that overlap one of a network before them in the alphabet are left out: no command writes such.
    """
    found: dict[str, tuple[IPv4Network, ...]] = {}
    seen: list[IPv4Network] = []
    for name in _names(data / "networks"):
        try:
            own = read_ranges(data, name)
        except DamagedError:
            own = before.get(name, ())
        apart = tuple(area for area in own if not any(area.overlaps(other) for other in seen))
        if apart:
            found[name] = apart
            seen += apart
    return found


def _names(directory: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return sorted(path.name for path in directory.iterdir() if not path.name.startswith("."))
    return []


def read_ranges(data: Path, network: str) -> tuple[IPv4Network, ...]:
    """Return the ranges of one network. Raises DamagedError."""
    path = data / "networks" / network / "document.json"
    texts = (read_json(path) or {}).get("subnets", ())
    if texts and (problem := subnets.ranges_problem(texts)):
        raise DamagedError(path, f"has subnets that no network can have: {problem}")
    return tuple(map(IPv4Network, texts))


def in_force(
    wanted: Ranges, plan: Plan, routes: Sequence[Route], own: str, *, used: Callable[[], Collection[str]]
) -> Ranges:
    """Return what of the ranges the router is to have: all but those that another route of the host takes.

    As with the store's subnet, a range in which machines are attached (`used` returns their addresses) stays.
    None may be in the store's own block. `own` is the store's interface.
    """

    def stays(area: IPv4Network) -> bool:
        if area.overlaps(plan.block):
            return False
        return in_the_way(area, routes, own) is None or any(IPv4Address(ip) in area for ip in used())

    kept = {name: tuple(filter(stays, ranges)) for name, ranges in wanted.items()}
    return {name: ranges for name, ranges in kept.items() if ranges}


def flat(ranges: Ranges) -> tuple[IPv4Network, ...]:
    """Return all ranges, sorted."""
    return tuple(sorted(area for each in ranges.values() for area in each))


def check_new(
    name: str, texts: Sequence[str], others: Ranges, plan: Plan | None, *, routes: Iterable[Route], own: str
) -> None:
    """Raise InputError where a network cannot have ranges that it does not have yet.

    `others` are the ranges of all networks, `plan` the store's addresses, where it has some already.
    """
    before = others.get(name, ())
    problem = subnets.ranges_problem(texts)
    for area in [] if problem else map(IPv4Network, texts):
        if area not in before:
            problem = problem or _taken(name, area, others, plan) or _foreign(area, routes, own)
    if problem:
        raise InputError(
            f"the network {name!r} cannot have the subnets {', '.join(texts)}",
            details=problem,
            resolution="choose another range; `ip route` shows those of this computer",
        )


def _taken(name: str, area: IPv4Network, others: Ranges, plan: Plan | None) -> str | None:
    if plan is not None and area.overlaps(plan.block):
        return f"{area} overlaps {plan.block}, the store's own addresses."
    for network, ranges in others.items():
        for other in ranges if network != name else ():
            if area.overlaps(other):
                return f"{area} overlaps {other} of the network {network}."
    return None


def _foreign(area: IPv4Network, routes: Iterable[Route], own: str) -> str | None:
    route = in_the_way(area, routes, own)
    if route is None:
        return None
    return f"{area} overlaps {route.network}, which this computer reaches by {route.interface}."


def check_gone(name: str, left: Collection[IPv4Network], before: Iterable[IPv4Network], data: Path) -> None:
    """Raise InputError where a range that a network is to lose has a machine's address.

    One may become larger, or smaller around its machines, where the gateway that they know stays.
    """
    gone = [area for area in before if area not in left]
    for machine, ip in machine_addresses(data).items() if gone else ():
        address = IPv4Address(ip)
        area = next((area for area in gone if address in area), None)
        # The gateway is the first address: in a range that begins elsewhere machines would keep a wrong one.
        if area is not None and not any(
            other[1] == area[1] and subnets.is_for_machines(address, other) for other in left
        ):
            raise InputError(
                f"the network {name!r} cannot lose the subnet {area}",
                details=f"The machine {machine} has the address {ip} in it.",
                resolution=f"stoneware rm -f {machine}    # or keep the subnet",
            )


def machine_addresses(data: Path) -> dict[str, str]:
    """Return the address that each machine has, by the machine's name, running or not."""
    found = {}
    for path in (data / "machines").glob("[!.]*/network.json"):
        with contextlib.suppress(ValueError):
            ip = (read_json(path) or {}).get("ip")
            if ip:
                found[path.parent.name] = str(IPv4Address(ip))
    return found


def pools(data: Path, networks: Sequence[str], known: Ranges) -> dict[str, tuple[IPv4Network, ...]]:
    """Return the ranges in which a machine on networks can have its address; none: in the store's subnet.

    Raises HostError where one of them has ranges and none is in force.
    """
    found = {}
    for name in networks:
        try:
            wanted = read_ranges(data, name)
        except DamagedError:
            wanted = known.get(name, ())
        # Recorded is what was asked for; in force is only what no other route of this computer takes.
        usable = tuple(area for area in wanted if area in known.get(name, ()))
        if wanted and not usable:
            raise HostError(
                f"the network {name!r} cannot be used: this computer has other ways to its addresses",
                details=", ".join(map(str, wanted)),
                resolution="ip route    # shows what has taken them; or give the network other subnets",
            )
        if usable:
            found[name] = usable
    return found


def asked(name: str, addresses: Mapping[str, str], where: Ranges) -> str | None:
    """Return the address that a machine asks for, None where it leaves the choice. Raises InputError."""
    for network, address in sorted(addresses.items()):
        if problem := subnets.address_problem(address, where.get(network, ())):
            raise InputError(
                f"the machine {name!r} cannot have the address {address} on the network {network!r}",
                details=problem,
                resolution="choose another address, or none",
            )
    return next(iter(addresses.values()), None)
