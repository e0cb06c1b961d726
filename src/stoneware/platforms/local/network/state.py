"""What is recorded of a router: the addresses and ranges that it has, and what it was made for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network

from stoneware.dataclass import dataclass
from stoneware.files import locked, read_json, write_json
from stoneware.platforms.local.network import addresses as network
from stoneware.platforms.local.network import ranges as network_ranges
from stoneware.platforms.local.network.addresses import Plan
from stoneware.platforms.local.network.dns import Attached
from stoneware.platforms.local.network.layout import Layout
from stoneware.platforms.local.network.ranges import Ranges


@dataclass(frozen=True)
class State:
    """What HOME/run/network.json says: the router as it was last made."""

    plan: Plan
    mtu: int
    namespace: tuple[int, ...]
    boot: str
    rules: int
    code: int  # which metadata server runs
    ranges: Ranges  # those of `plan`, by network


@contextlib.contextmanager
def exclusive(layout: Layout) -> Iterator[None]:
    """Hold the router's lock: no other command changes the router, an address or a network's ranges."""
    with locked(layout.run / "router.lock"):
        yield


def load(layout: Layout) -> State | None:
    """Return the recorded state, or None where there is none."""
    try:
        value = read_json(layout.run / "network.json") or {}
        ranges = {
            str(name): tuple(map(IPv4Network, texts)) for name, texts in value.get("ranges", {}).items()
        }
        return State(
            Plan(IPv4Network(value["subnet"]), network_ranges.flat(ranges)),
            int(value["mtu"]),
            tuple(value["namespace"]),
            str(value["boot"]),
            int(value["rules"]),
            int(value["code"]),
            ranges,
        )
    # One that cannot be read counts as none: the router is repaired then, and its state recorded.
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def save(layout: Layout, state: State) -> None:
    """Record the state."""
    document = {
        "subnet": str(state.plan.subnet),
        "gateway": state.plan.gateway,
        "mtu": state.mtu,
        "name": layout.namespace,
        "namespace": list(state.namespace),
        "boot": state.boot,
        "rules": state.rules,
        "code": state.code,
        "ranges": {name: list(map(str, ranges)) for name, ranges in state.ranges.items()},
    }
    write_json(layout.run / "network.json", document)


def ranges_in_force(layout: Layout, state: State | None, plan: Plan, routes: list[network.Route]) -> Ranges:
    """Return the ranges that the router of a store with this plan is to have now, by network."""

    def used() -> list[str]:
        return [pin.ip for pin in Attached(layout.runtime).pins()]

    wanted = network_ranges.recorded(layout.data, state.ranges if state else {})
    return network_ranges.in_force(wanted, plan, routes, layout.namespace, used=used)


def check_ranges(layout: Layout, name: str, texts: Sequence[str]) -> None:
    """Raise InputError where a network cannot have these ranges, or would lose one that a machine is in.

    To be called under the router's lock, until the network's record has them.
    """
    state = load(layout)
    known = network_ranges.recorded(layout.data, state.ranges if state else {})
    routes = network.host_routes()
    plan = state.plan if state else None
    network_ranges.check_new(name, texts, known, plan, routes=routes, own=layout.namespace)
    left = [IPv4Network(text) for text in texts]
    network_ranges.check_gone(name, left, known.get(name, ()), layout.data)
