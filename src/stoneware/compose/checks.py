"""What has to hold across a whole cluster: names, ports and disks are each one machine's; no cycle."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

from stoneware.compose.faults import Faults
from stoneware.compose.model import Condition, MachineDefinition, Place, Service
from stoneware.compose.nodes import Node, place_of
from stoneware.dataclass import dataclass
from stoneware.launch.flags import ANY_ADDRESS
from stoneware.model.resources import PortMapping

_Publication = tuple[PortMapping, MachineDefinition]


@dataclass(frozen=True)
class _Claim:
    """One machine that has something, and where the file says so."""

    machine: str
    place: Place


def check_cluster(
    services: Mapping[str, Service],
    nodes: Mapping[str, Node],
    faults: Faults,
    shares_ports: Callable[[], bool],
) -> None:
    """Note everything that two machines cannot both have. `shares_ports`: their ports are one computer's."""
    machines = [machine for service in services.values() for machine in service.machines]
    _ports(machines, nodes, faults, shares_ports)
    _names(machines, services, nodes, faults)
    _disks(machines, nodes, faults)


def _place(machine: MachineDefinition, nodes: Mapping[str, Node], *path: str | int) -> Place:
    return place_of(nodes[machine.service], path)


def _listed(names: Sequence[str]) -> str:
    """Return names as words of a sentence, not more than a line of them."""
    found = list(dict.fromkeys(names))
    if len(found) > 3:
        return f"{found[0]}, {found[1]} and {len(found) - 2} others"
    return " and ".join(found) if len(found) < 3 else f"{found[0]}, {found[1]} and {found[2]}"


def _ports(
    machines: Sequence[MachineDefinition],
    nodes: Mapping[str, Node],
    faults: Faults,
    shares_ports: Callable[[], bool],
) -> None:
    claims: dict[tuple[str, int], list[_Publication]] = defaultdict(list)
    for machine in machines:
        for port in machine.ports:
            if port.host_port:  # without one, any free port is taken
                claims[(port.protocol, port.host_port)].append((port, machine))
    several = {key: claimed for key, claimed in claims.items() if len(claimed) > 1}
    # Asked only where it matters: most files are read without any platform.
    for (protocol, number), claimed in several.items() if several and shares_ports() else ():
        for where, same in _by_address(claimed):
            port, last = same[-1]
            names = [machine.name for _, machine in same]
            who = _listed(names) if len(set(names)) > 1 else f"{names[0]} twice"
            slots = same[0][1].service == last.service and len(set(names)) > 1
            faults.add(
                _item_place(nodes[last.service], "ports", str(port.machine_port)),
                f"the port {where}{number}/{protocol} of this computer is published by {who}",
                f'For example: "{_with_slot(number)}:…".' if slots else "Give each a port of its own.",
            )


def _by_address(claimed: Sequence[_Publication]) -> Iterator[tuple[str, Sequence[_Publication]]]:
    """Yield what excludes each other: ports of one address, or all where one takes every address."""
    if any(port.host_ip == ANY_ADDRESS for port, _ in claimed):
        yield "", claimed
        return
    by_address: dict[str, list[_Publication]] = defaultdict(list)
    for port, machine in claimed:
        by_address[port.host_ip].append((port, machine))
    yield from ((f"{address}:", same) for address, same in by_address.items() if len(same) > 1)


def _with_slot(number: int) -> str:
    return f"{str(number)[:-1]}{{{{.Task.Slot}}}}"


def _names(
    machines: Sequence[MachineDefinition],
    services: Mapping[str, Service],
    nodes: Mapping[str, Node],
    faults: Faults,
) -> None:
    hosts: dict[str, list[MachineDefinition]] = defaultdict(list)
    for machine in machines:
        for name in {_own_name(machine), machine.name}:  # both are names in DNS
            hosts[name].append(machine)
    for name, same in hosts.items():
        if len(same) > 1:
            names = [machine.name for machine in same]
            if len(set(names)) == 1:
                of = _listed([repr(machine.service) for machine in same])
                faults.add(
                    same[-1].place,
                    f"the services {of} each have a machine called {name}",
                    "'_' and '.' become '-', and letters small: rename one of them.",
                )
                continue
            faults.add(
                _place(same[-1], nodes, "hostname"),
                f"the host name {name!r} is that of {_listed(names)}",
                "Write a template into hostname: {{.Service.Name}}-{{.Task.Slot}}.",
            )
        owner = same[0]
        # A machine that is alone in its service may be called as the service is.
        if name in services and (owner.service != name or len(services[name].machines) > 1):
            faults.add(
                _place(owner, nodes, "hostname"),
                f"{name!r} is a service, and the host name of {owner.name}",
                "A service's name is the name of all its machines: rename one of the two.",
            )


def _own_name(machine: MachineDefinition) -> str:
    """Return what a machine is called by its host name: the first part, unless it has a domain of its own."""
    first, _, domain = machine.hostname.partition(".")
    return first if domain.endswith(".internal") else machine.hostname


def _disks(machines: Sequence[MachineDefinition], nodes: Mapping[str, Node], faults: Faults) -> None:
    claims: dict[str, list[_Claim]] = defaultdict(list)
    for machine in machines:
        node = nodes[machine.service]
        for use in machine.volumes:
            if use.volume:
                claims[use.volume].append(_Claim(machine.name, _item_place(node, "volumes", use.path)))
    for volume, claimed in claims.items():
        names = [claim.machine for claim in claimed]
        if len(set(names)) > 1:
            faults.add(
                claimed[-1].place,
                f"the volume {volume!r} is mounted by {_listed(names)}",
                "A disk is in one machine: leave out the volume's name, or write {{.Task.Slot}} into it.",
            )
        elif len(names) > 1:
            faults.add(claimed[-1].place, f"the volume {volume!r} is mounted twice", "Mount it at one path.")


def _item_place(node: Node, key: str, target: str) -> Place:
    """Return where the item of a list is written that has a target."""
    items = node.mapping[key].items if key in node.mapping else []
    for index, item in enumerate(items):
        found = item.get("target")
        if found is not None and found.text == target:
            return place_of(node, (key, index))
    return place_of(node, (key,))


def in_order(
    needs: Mapping[str, Mapping[str, Condition]], places: Mapping[str, Place], faults: Faults
) -> list[str]:
    """Return the services so that each comes after those it depends on; a cycle is a fault that names it."""
    done: dict[str, bool] = {}  # False: it is on the way that is being followed
    ordered: list[str] = []
    for first in needs:
        # Without recursion: a chain of services may be as long as the file.
        stack = [(first, iter(needs[first]))] if first not in done else []
        if stack:
            done[first] = False
        while stack:
            name, rest = stack[-1]
            following = next((each for each in rest if each in needs and not done.get(each)), None)
            if following is None:
                done[name] = True
                ordered.append(name)
                stack.pop()
            elif following in done:
                path = [name for name, _ in stack]
                cycle = [*path[path.index(following) :], following]
                faults.add(
                    places[following],
                    f"depends_on has a cycle: {' → '.join(cycle)}",
                    "Let one of them start without the other.",
                )
            else:
                done[following] = False
                stack.append((following, iter(needs[following])))
    return ordered
