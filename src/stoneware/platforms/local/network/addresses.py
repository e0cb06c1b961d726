"""Addresses: which subnet a store uses on this computer, and which address a machine has in it."""

from __future__ import annotations

import hashlib
import socket
import struct
from collections.abc import Collection, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from stoneware.dataclass import dataclass
from stoneware.errors import HostError
from stoneware.model.subnets import gateway

# Each store takes one /21 of these: a /22 for its machines, and of the rest a /30 for its link to the host.
_RANGES = tuple(IPv4Network(text) for text in ("10.64.0.0/10", "172.16.0.0/12"))


@dataclass(frozen=True)
class Lease:
    """The address a machine has, and the one its network card has."""

    ip: str
    mac: str


@dataclass(frozen=True)
class Route:
    """One line of the host's routing table."""

    network: IPv4Network
    interface: str


@dataclass(frozen=True)
class Plan:
    """The addresses of a store: its subnet, the gateway in it, and both ends of the link.

    `ranges` are those that networks have of their own, sorted; machines of other networks are in `subnet`.
    """

    subnet: IPv4Network
    ranges: tuple[IPv4Network, ...] = ()

    @property
    def gateway(self) -> str:
        """The router's address in the store's subnet."""
        return gateway(self.subnet)

    @property
    def places(self) -> tuple[IPv4Network, ...]:
        """All that machines have addresses of: the store's subnet first, then the ranges."""
        return (self.subnet, *self.ranges)

    @property
    def gateways(self) -> tuple[str, ...]:
        """The router's addresses, one in each place."""
        return tuple(gateway(place) for place in self.places)

    def place_of(self, address: str) -> IPv4Network:
        """Return where an address is; the store's subnet if nowhere else."""
        return next((area for area in self.ranges if IPv4Address(address) in area), self.subnet)

    @property
    def block(self) -> IPv4Network:
        """The store's own /21: its subnet and its link."""
        return self.subnet.supernet(new_prefix=21)

    @property
    def link(self) -> IPv4Network:
        """The /30 between the host and the router namespace, in the other half of the store's /21."""
        return IPv4Network((int(self.subnet.network_address) + self.subnet.num_addresses, 30))

    @property
    def host_end(self) -> str:
        """The host's address on the link."""
        return str(self.link[1])

    @property
    def router_end(self) -> str:
        """The router's address on the link."""
        return str(self.link[2])


def choose_subnet(digest: str, routes: Sequence[Route], taken: Iterable[IPv4Network] = ()) -> IPv4Network:
    """Return a /22 for a store that overlaps no route of the host (and, where all do, no narrow one).

    The same store tries the same order each time. `taken` are the ranges of its networks. Raises HostError.
    """
    blocks = [block for area in _RANGES for block in area.subnets(new_prefix=21)]
    # Each store begins at another place: two that are made at the same time seldom want the same block.
    # 2**11 is both: the addresses of a /21, and how many of those the first range has.
    first = int(digest, 16) % _RANGES[0].num_addresses // 2**11
    ordered = blocks[first : 2**11] + blocks[:first] + blocks[2**11 :]
    never = list(taken)
    busy = [route.network for route in routes if route.network.prefixlen > 0] + never
    # A wide one, such as a VPN's 10.0.0.0/8, goes on around our block: the narrowest route counts.
    narrow = [network for network in busy if network.prefixlen >= 16] + never
    for obstacles in (busy, narrow):
        for block in ordered:
            if not any(block.overlaps(network) for network in obstacles):
                return next(block.subnets(new_prefix=22))
    raise HostError(
        "no free subnet for the machines of this store",
        details="the host's routes use up 10.64.0.0/10 and 172.16.0.0/12",
        resolution="ip route    # shows them; remove those that are not needed",
    )


def usable(subnet: IPv4Network, routes: Sequence[Route], own_interface: str) -> bool:
    """Say whether a store can go on with its subnet: no other route as narrow overlaps it."""
    return in_the_way(Plan(subnet).block, routes, own_interface) is None


def in_the_way(area: IPv4Network, routes: Iterable[Route], own_interface: str) -> Route | None:
    """Return a route of others that overlaps an area and is as narrow, or narrow at all; None without one.

    A wider one stays in force around the area, as the kernel takes the narrowest.
    """
    narrow = min(16, area.prefixlen)
    for route in routes:
        foreign = route.interface != own_interface and 0 < route.network.prefixlen >= narrow
        if foreign and area.overlaps(route.network):
            return route
    return None


def parse_routes(text: str) -> list[Route]:
    """Return the routes of /proc/net/route."""
    routes = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) >= 8:
            address, mask = (_address(fields[index]) for index in (1, 7))
            routes.append(Route(IPv4Network(f"{address}/{mask}", strict=False), fields[0]))
    return routes


def _address(hexadecimal: str) -> str:
    # The kernel writes the number in the processor's order of bytes.
    return socket.inet_ntoa(struct.pack("=I", int(hexadecimal, 16)))


def host_routes() -> list[Route]:
    """Return the host's routes."""
    return parse_routes(Path("/proc/net/route").read_text())


def host_mtu(routes: Sequence[Route]) -> int:
    """Return the MTU (bytes) of the way out of this computer, at most 1500."""
    for route in routes:
        if route.network.prefixlen == 0:
            try:
                return min(1500, int(Path(f"/sys/class/net/{route.interface}/mtu").read_text()))
            except (OSError, ValueError):
                break
    return 1500


def choose_address(
    subnet: IPv4Network, name: str, taken: Collection[str], ranges: Sequence[IPv4Network] = ()
) -> str:
    """Return the first free address of the subnet, from a place on that the machine's name gives.

    Where there are `ranges` it is of those instead, of the first that has a free one. Raises HostError when
    all is in use.
    """
    total = 0
    for area in ranges or (subnet,):
        # All but network, gateway and broadcast; in a range also the one before that, as on Compute Engine.
        usable_count = area.num_addresses - (4 if ranges else 3)
        total += usable_count
        # By the name, so that a machine that is made again mostly gets the address that it had.
        first = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % usable_count
        for step in range(usable_count):
            address = str(area[2 + (first + step) % usable_count])
            if address not in taken:
                return address
    places = ", ".join(map(str, ranges or (subnet,)))
    raise HostError(
        f"all {total} addresses of {places} are in use",
        resolution="stoneware rm MACHINE    # frees its address; on a network, when that is removed",
    )


def mac_of(address: str) -> str:
    """Return the hardware address of a machine: as on Compute Engine, 42:01 and its IP address."""
    return ":".join(f"{octet:02x}" for octet in (0x42, 0x01, *IPv4Address(address).packed))


def mark_of(address: str) -> int:
    """Return the mark of what comes in by the port of a machine: its IP address as a number."""
    return int(IPv4Address(address))


def upstream_file(resolv_conf: Path, fallback: Path) -> tuple[Path | None, str | None]:
    """Return the file with the DNS servers to ask, or else the host's own loopback server.

    Where the host's resolv.conf names only loopback servers, `fallback` (systemd-resolved's list of real
    ones) is taken; where that has none either, the second value is the loopback address, to be reached
    through the host. (None, None): the host has no DNS server.
    """
    for candidate in (resolv_conf, fallback):
        if any(not IPv4Address(server).is_loopback for server in _servers(candidate)):
            return candidate, None
    return None, next(iter(_servers(resolv_conf)), None)


def _servers(path: Path) -> list[str]:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                found.append(str(IPv4Address(words[1])))
            except ValueError:
                continue
    return found
