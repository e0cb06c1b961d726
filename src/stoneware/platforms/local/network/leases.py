"""Which address a machine has.

It has the one that it asks for. Else it keeps the one that its name has on one of its networks, or that its
network.json says, while no other machine has that and it is in a range of its networks, or in the store's
subnet where none has ranges. Only then is one chosen for it. All of this is for holders of the router's lock:
two machines that start together could choose the same address otherwise.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.files import write_json
from stoneware.model.subnets import gateway, is_for_machines
from stoneware.platforms.local.network import networks
from stoneware.platforms.local.network.addresses import Lease, Plan, choose_address, mac_of
from stoneware.platforms.local.network.ranges import asked, machine_addresses, pools
from stoneware.platforms.local.network.state import State
from stoneware.untrusted.bounded import read_object


@dataclass(frozen=True)
class Asking:
    """A machine that needs an address."""

    directory: Path
    name: str
    networks: Sequence[str]
    addresses: Mapping[str, str]  # those that it asks for, by network


def lease_for(machine: Asking, data: Path, now: State, attached: Collection[str]) -> Lease:
    """Return a machine's address and card, and keep the address for its name in each of its networks.

    `attached` are the addresses of all other machines that are attached. Raises InputError for an address
    that it cannot have.
    """
    ranges = pools(data, machine.networks, now.ranges)
    used = dict.fromkeys(attached, "")
    used |= {ip: owner for owner, ip in machine_addresses(data).items() if owner != machine.directory.name}
    address = asked(machine.name, machine.addresses, ranges)
    if address is None:
        areas = tuple(area for place in machine.networks for area in ranges.get(place, ()))
        address = _choice(machine, data, now.plan.subnet, areas, set(used))
    elif address in used:
        raise _in_use(machine.name, address, used[address])
    else:  # a machine that is gone may have had it
        networks.free_address(data, address, but=machine.name)
    for place in machine.networks:
        networks.keep_address(data, place, machine.name, address)
    return Lease(address, mac_of(address))


def note(machine_dir: Path, id: str, lease: Lease, plan: Plan, mtu: int) -> None:
    """Write what a machine's network.json says, unless that is there already."""
    place = plan.place_of(lease.ip)
    document = {
        "id": id,
        "ip": lease.ip,
        "mac": lease.mac,
        "gateway": gateway(place),
        "netmask": str(place.netmask),
        "mtu": mtu,
    }
    path = machine_dir / "network.json"
    if read_object(path) != document:
        write_json(path, document)


def _choice(
    machine: Asking, data: Path, subnet: IPv4Network, ranges: Sequence[IPv4Network], taken: set[str]
) -> str:
    """Return the address of a machine that asks for none."""
    kept = networks.read_addresses(data)
    taken |= {ip for places in kept.values() for owner, ip in places.items() if owner != machine.name}
    own = [kept.get(network, {}).get(machine.name, "") for network in machine.networks]
    own.append(str(read_object(machine.directory / "network.json").get("ip", "")))
    for ip in own:
        if ip and ip not in taken and _is_among(IPv4Address(ip), ranges, subnet):
            return ip
    return choose_address(subnet, machine.name, taken, ranges)


def _is_among(address: IPv4Address, ranges: Sequence[IPv4Network], subnet: IPv4Network) -> bool:
    """Say whether a machine may have an address: in one of the ranges, or where there are none the subnet."""
    if not ranges:
        return address in subnet
    return any(address in area and is_for_machines(address, area) for area in ranges)


def _in_use(name: str, address: str, owner: str) -> InputError:
    return InputError(
        f"the machine {name!r} cannot have the address {address}",
        details=f"{f'The machine {owner}' if owner else 'Another machine'} has it.",
        resolution="choose another address, or none",
    )
