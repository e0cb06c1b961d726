"""The subnets of a cluster's networks: what changes of them in place, and which machines are in the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from stoneware.cluster.model import Desired, DesiredMachine, Observed
from stoneware.model.machine import Machine


def changes(wanted: Sequence[str], there: Sequence[str]) -> Iterator[str]:
    """Say how the subnets of a network that is there change."""
    new = [each for each in wanted if each not in there]
    gone = [each for each in there if each not in wanted]
    if new:
        yield f"gains {_words(new)}; machines keep the addresses they have until they are started again"
    if gone:
        yield f"loses {_words(gone)}"
    if not new and not gone and tuple(wanted) != tuple(there):
        yield f"takes addresses of its subnets in another order: {', '.join(wanted)}"


def _words(subnets: Sequence[str]) -> str:
    return f"the subnet{'s' * (len(subnets) > 1)} {', '.join(subnets)}"


def stranded(wanted: DesiredMachine, machine: Machine, desired: Desired, observed: Observed) -> str:
    """Say which subnet with its address a network of a machine loses; nothing where it stays.

    Nor where it asks for another address, and so is made again anyway.
    """
    if wanted.spec.addresses != machine.spec.addresses:
        return ""
    for network in wanted.spec.networks:
        for area in _lost(network, desired, observed):
            if machine.ip and IPv4Address(machine.ip) in area:
                return f"its address {machine.ip} is in the subnet {area}, which the network {network} loses"
    return ""


def missing(wanted: DesiredMachine, desired: Desired, observed: Observed) -> Iterator[str]:
    """Say which address a machine asks for that is in no subnet that the network has now."""
    for network, address in wanted.spec.addresses.items():
        known = desired.networks.get(network)
        own = known is not None and not known.external and network in observed.networks
        ranges = map(IPv4Network, observed.subnets.get(network, ()))
        if own and not any(IPv4Address(address) in area for area in ranges):
            yield f"{address} on {network}"


def leaving(
    desired: Desired, observed: Observed, replaced: Iterable[str]
) -> Mapping[str, tuple[IPv4Network, ...]]:
    """Return the subnets that networks are to lose once the machines (short names) in them are made again."""
    ips = [IPv4Address(machine.ip) for name in replaced if (machine := observed.machines[name].machine).ip]
    lost = {name: tuple(_lost(name, desired, observed)) for name in desired.networks}
    found = {
        name: tuple(area for area in areas if any(ip in area for ip in ips)) for name, areas in lost.items()
    }
    return {name: areas for name, areas in found.items() if areas}


def with_subnets(desired: Desired, more: Mapping[str, Iterable[IPv4Network]]) -> Desired:
    """Return what is wanted, with networks that have further subnets."""
    networks = {
        # Behind the wanted ones, since addresses are taken of subnets in their order.
        name: replace(network, subnets=(*network.subnets, *map(str, more.get(name, ()))))
        for name, network in desired.networks.items()
    }
    return replace(desired, networks=networks)


def _lost(network: str, desired: Desired, observed: Observed) -> Iterator[IPv4Network]:
    """Yield what a network loses; not what overlaps one it is to have, which is changed at once."""
    known = desired.networks.get(network)
    if known is None or known.external:
        return
    wanted = [IPv4Network(each) for each in known.subnets]
    for each in observed.subnets.get(network, ()):
        area = IPv4Network(each)
        if not any(area.overlaps(other) for other in wanted):
            yield area
