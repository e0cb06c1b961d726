"""Looking whether a router is whole, through /proc and netlink only."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path

from stoneware.dataclass import dataclass
from stoneware.model.guest_protocol import METADATA_ADDRESS
from stoneware.platforms.local.network import addresses as network
from stoneware.platforms.local.network import firewall as router_firewall
from stoneware.platforms.local.network import namespace as network_namespace
from stoneware.platforms.local.network.addresses import Plan, Route
from stoneware.platforms.local.network.layout import RUNTIME
from stoneware.platforms.local.network.rules import INNER


@dataclass(frozen=True)
class Inside:
    """What is seen in a router namespace."""

    interfaces: frozenset[str]
    routes: tuple[Route, ...]
    addresses: str  # /proc/net/fib_trie
    forwarding: bool
    tables: bool

    @property
    def ports(self) -> frozenset[str]:
        """The machines' ports."""
        return frozenset(name for name in self.interfaces if name.startswith("vb-"))

    def whole(self, plan: Plan) -> bool:
        """Say whether the bridge, its addresses, the way out and the rules are there."""
        ways = {(str(route.network), route.interface) for route in self.routes}
        needed = {*((str(place), "br0") for place in plan.places), ("0.0.0.0/0", "up0")}
        return (
            needed <= ways
            and f"|-- {METADATA_ADDRESS}\n" in self.addresses
            and all(f"|-- {gateway}\n" in self.addresses for gateway in plan.gateways)
            and self.forwarding
            and self.tables
        )


def interfaces_here() -> frozenset[str]:
    """Return the interfaces in the network namespace of the calling thread."""
    lines = Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]
    return frozenset(line.partition(":")[0].strip() for line in lines)


def look_inside() -> Inside:
    """Look at the network namespace of the calling thread."""
    # Not /proc/net: that is the main thread's, which is never in the router's namespace.
    proc = Path("/proc/thread-self/net")
    return Inside(
        interfaces=interfaces_here(),
        routes=tuple(network.parse_routes((proc / "route").read_text())),
        addresses=(proc / "fib_trie").read_text(),
        forwarding=Path("/proc/sys/net/ipv4/ip_forward").read_text().strip() == "1",
        tables=all(network_namespace.has_table(family, INNER) for family in ("netdev", "bridge", "ip")),
    )


def host_ready(link: str, table: str, plan: Plan, routes: Iterable[Route]) -> bool:
    """Say whether the host forwards for a store: link, routes, settings and rules."""
    settings = (Path("/proc/sys/net/ipv4/ip_forward"), Path(f"/proc/sys/net/ipv4/conf/{link}/route_localnet"))
    try:
        if any(path.read_text().strip() != "1" for path in settings):
            return False
    except OSError:
        return False
    ways = {route.network for route in routes if route.interface == link}
    return (
        ways >= {*plan.places} and network_namespace.has_table("ip", table) and router_firewall.shut(RUNTIME)
    )


def metadata_answers(timeout: float) -> bool:
    """Ask for the metadata server's root, as its clients do to find out whether there is one."""
    request = f"GET / HTTP/1.0\r\nHost: {METADATA_ADDRESS}\r\nMetadata-Flavor: Google\r\n\r\n".encode()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as link:
        link.settimeout(timeout)
        try:
            link.connect((METADATA_ADDRESS, 80))
            link.sendall(request)
            reply = link.recv(4096)
        except OSError:
            return False
    return b"metadata-flavor: google" in reply.lower()
