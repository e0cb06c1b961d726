"""Making, checking, repairing and removing the parts of a router; see `router`."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable
from pathlib import Path

from stoneware.errors import HostError
from stoneware.model.guest_protocol import METADATA_ADDRESS
from stoneware.platforms.local.host.requirements import NETWORK_TOOLS, check
from stoneware.platforms.local.network import addresses as network
from stoneware.platforms.local.network import firewall as router_firewall
from stoneware.platforms.local.network import namespace as network_namespace
from stoneware.platforms.local.network import ranges as network_ranges
from stoneware.platforms.local.network import rules as router_rules
from stoneware.platforms.local.network import servers as router_servers
from stoneware.platforms.local.network.addresses import Plan
from stoneware.platforms.local.network.dns import Attached
from stoneware.platforms.local.network.guards import Guards
from stoneware.platforms.local.network.layout import RUNTIME, Layout, is_up, namespace_identity
from stoneware.platforms.local.network.networks import are_internal
from stoneware.platforms.local.network.ports import RECORD, Publication, recorded
from stoneware.platforms.local.network.probe import Inside, host_ready, interfaces_here, look_inside
from stoneware.platforms.local.network.rules import Forward, Pin
from stoneware.platforms.local.network.servers import dnsmasq, metadata, resolver, serves
from stoneware.platforms.local.network.state import State, ranges_in_force, save
from stoneware.platforms.local.network.views import View, Views
from stoneware.process import ProcessError, run
from stoneware.process_identity import boot_id
from stoneware.records import DamagedError

_INNER_SETTINGS = (
    "net/ipv6/conf/all/disable_ipv6=1",
    "net/ipv6/conf/default/disable_ipv6=1",
    "net/ipv4/ip_forward=1",
    "net/ipv4/tcp_fwmark_accept=1",  # a server's connection has the mark of the port it came in by
    # With br_netfilter loaded, what only crosses the bridge would go through the router's own rules too.
    "net/bridge/bridge-nf-call-iptables=0",
    "net/bridge/bridge-nf-call-arptables=0",
)


def _code() -> int:
    """Return what changes with the metadata server's code, so that an upgrade restarts it."""
    return max(path.stat().st_mtime_ns for path in (Path(__file__).parents[1] / "metadata").glob("*.py"))


def whole(layout: Layout, state: State) -> bool:
    """Say whether everything is there, without starting a program."""
    if (state.rules, state.boot, state.code) != (router_rules.VERSION, boot_id(), _code()):
        return False
    identity = namespace_identity(layout.namespace)
    if identity is None or tuple(identity) != state.namespace:
        return False
    views = Views(layout.runtime).all()
    # A command was killed after it had changed a network and before the rules knew, or a range is taken.
    routes = network.host_routes()
    if (
        any(view.sealed != is_sealed(layout, view.networks) for view in views)
        or ranges_in_force(layout, state, state.plan, routes) != state.ranges
    ):
        return False
    servers = [resolver(layout, view.key) for view in views]
    if not all(serves(helper, identity[1]) for helper in (dnsmasq(layout), metadata(layout), *servers)):
        return False
    if not host_ready(layout.namespace, layout.table, state.plan, routes):
        return False
    inside = network_namespace.inside(layout.namespace, look_inside)
    return inside.whole(state.plan)


def repair(layout: Layout, state: State | None) -> State:
    """Make what is missing, and return the new state. To be called under the router's lock.

    Raises HostError, with what the failing tool said, where this computer cannot have a router.
    """
    check(NETWORK_TOOLS)
    with contextlib.suppress(ProcessError):
        return _repair(layout, state)
    try:  # once more: another program that changes links or rules may have come between
        return _repair(layout, state)
    except ProcessError as error:
        raise HostError(
            "the network of the machines cannot be created",
            details=error.details,
            resolution="stoneware doctor    # shows what this computer lacks",
        ) from error


def _repair(layout: Layout, state: State | None) -> State:
    routes = network.host_routes()
    plan = _plan(layout, state, routes)
    ranges = ranges_in_force(layout, state, plan, routes)
    plan = Plan(plan.subnet, network_ranges.flat(ranges))
    mtu = network.host_mtu(routes)
    if state is not None:
        # Before anything is made: a server that runs for the former subnet would be taken for the new one's.
        _retire(layout, state, plan)
    _namespace(layout, state)
    attached = Attached(layout.runtime)
    attached.prepare()
    _link(layout, plan)
    views = renew_views(layout)
    inside: Inside = network_namespace.inside(layout.namespace, look_inside)
    rules = router_rules.inner_rules(plan, attached.pins(), views, inside.ports)
    rules += Guards(layout.runtime).commands(attached.pins())
    # Rules before the bridge: there is no moment at which a port is up and not pinned.
    nft_inside(layout, rules, settings=_INNER_SETTINGS)
    _bridge(layout, plan, inside)
    pin_ports(layout, attached.pins(), inside.ports)
    _host(layout, plan, router_servers.upstream()[1])
    identity = namespace_identity(layout.namespace)
    if identity is None:
        raise HostError(f"the network namespace {layout.namespace} was removed while it was being created")
    servers = [router_servers.of_view(layout, plan, view) for view in views]
    router_servers.start(layout, [*router_servers.standing(layout, plan, mtu), *servers], identity[1])
    state = State(plan, mtu, tuple(identity), boot_id(), router_rules.VERSION, _code(), ranges)
    save(layout, state)
    return state


def _retire(layout: Layout, state: State, plan: Plan) -> None:
    """Remove what was made for another subnet or by other code."""
    if state.plan.subnet != plan.subnet:
        remove(layout)
    if state.plan.ranges != plan.ranges:
        dnsmasq(layout).stop()  # it learns the places that it serves when it starts
    if state.rules != router_rules.VERSION:
        for helper in (dnsmasq(layout), *router_servers.resolvers(layout)):
            helper.stop()
    if state.code != _code():
        metadata(layout).stop()


def _plan(layout: Layout, state: State | None, routes: list[network.Route]) -> Plan:
    """Keep the subnet, unless somebody else has it and no machine is attached."""
    if state is not None:
        free = network.usable(state.plan.subnet, routes, layout.namespace)
        if free or Attached(layout.runtime).pins():
            return state.plan
    foreign = [route for route in routes if route.interface != layout.namespace]
    taken = network_ranges.flat(network_ranges.recorded(layout.data, state.ranges if state else {}))
    return Plan(network.choose_subnet(layout.digest, foreign, taken))


def _namespace(layout: Layout, state: State | None) -> None:
    """Make the namespace; where only its name is gone, give the living one its name back."""
    if namespace_identity(layout.namespace) is not None:
        return
    network_namespace.path(layout.namespace).unlink(missing_ok=True)
    for helper in (metadata(layout), dnsmasq(layout)):
        process = helper.process()
        if process and state and len(state.namespace) == 2 and serves(helper, state.namespace[1]):
            run(["ip", "netns", "attach", layout.namespace, str(process.pid)])
            return
    run(["ip", "netns", "add", layout.namespace])


def is_sealed(layout: Layout, networks: tuple[str, ...]) -> bool:
    """Say whether machines on these networks have no way out.

    Where the record of one is damaged that is as the rules have it, which know of no way out at first: other
    machines are not to wait until somebody has repaired it.
    """
    try:
        return are_internal(layout.data, networks)
    except DamagedError:
        known = Views(layout.runtime).find(networks)
        return known is None or known.sealed


def renew_views(layout: Layout) -> list[View]:
    """Make the directories of the views in use as the attached machines say; remove all others, and servers.

    Returns the views in use. Their servers are not looked at; one that ran for other rules is ended.
    """
    views, members = Views(layout.runtime), Attached(layout.runtime).members()
    used = {member.networks for member in members}
    found = []
    for networks in sorted(used):
        before = views.find(networks)
        view = views.make(networks, members, sealed=is_sealed(layout, networks))
        if before and before.sealed != view.sealed:
            router_servers.end(resolver(layout, view.key))
        found.append(view)
    names = {resolver(layout, view.key).name for view in found}
    for helper in router_servers.resolvers(layout):
        if helper.name not in names:
            router_servers.end(helper)
    for key in views.unused(used):
        views.forget(key)
    return found


def remove_port(layout: Layout, id: str) -> None:
    """Remove the port of a machine that has ended, which connections that it left open can keep."""
    # Mostly the shim has done it, or the kernel with the machine's namespace: then no program is started.
    port = f"vb-{id}"
    if is_up(layout.digest) and port in network_namespace.inside(layout.namespace, interfaces_here):
        with contextlib.suppress(ProcessError):  # gone meanwhile
            _ip([f"link del {port}"], layout.namespace)


def _exists(interface: str) -> bool:
    return Path(f"/sys/class/net/{interface}").exists()


def _ip(commands: Iterable[str], namespace: str = "") -> None:
    place = ["-n", namespace] if namespace else []
    run(["ip", *place, "-batch", "-"], stdin="".join(f"{command}\n" for command in commands))


def _link(layout: Layout, plan: Plan) -> None:
    """Join the namespace to the host, whose ways to ranges that are gone are taken away."""
    name = layout.namespace
    inside = network_namespace.inside(name, look_inside)
    commands = []
    if not (_exists(name) and "up0" in inside.interfaces):
        if _exists(name):
            commands.append(f"link del {name}")
        elif "up0" in inside.interfaces:
            _ip(["link del up0"], name)
        commands.append(f"link add {name} type veth peer name up0 netns {name}")
    commands += [
        f"addr replace {plan.host_end}/30 dev {name}",
        f"link set {name} up",
    ]
    commands += [
        f"route replace {place} via {plan.router_end} dev {name} src {plan.host_end}" for place in plan.places
    ]
    known = {route.network for route in network.host_routes() if route.interface == name}
    commands += [f"route del {place} dev {name}" for place in sorted(known - {plan.link, *plan.places})]
    _ip(commands)


def _bridge(layout: Layout, plan: Plan, inside: Inside) -> None:
    """Make the bridge and give it its addresses. It learns from no frame who is where."""
    commands = ["link set lo up"]
    if "br0" not in inside.interfaces:
        # Its own address: else it would change with the bridge's ports, under the machines' ARP caches.
        card = network.mac_of(plan.gateway)
        commands.append(f"link add br0 address {card} type bridge stp_state 0 forward_delay 0")
    commands += [
        # Frames to a bridge's group addresses pass the rules by; it would learn a neighbour's card from them.
        "link set br0 type bridge no_linklocal_learn 1 mcast_snooping 0",
        *(f"addr replace {place[1]}/{place.prefixlen} brd + dev br0" for place in plan.places),
        f"addr replace {METADATA_ADDRESS}/32 dev br0",
        "link set br0 up",
        f"addr replace {plan.router_end}/30 dev up0",
        "link set up0 up",
        f"route replace default via {plan.host_end} dev up0",
    ]
    # First, since a range that became larger can have the same gateway.
    gone = sorted({route.network for route in inside.routes if route.interface == "br0"} - {*plan.places})
    _ip([*(f"addr del {place[1]}/{place.prefixlen} dev br0" for place in gone), *commands], layout.namespace)


def pin_ports(layout: Layout, pins: Iterable[Pin], interfaces: Collection[str]) -> None:
    """Put the ports that exist into the bridge, each for one card only, as `shim.sh` does with its own."""
    known = [pin for pin in pins if pin.interface in interfaces]
    commands = []
    for name in sorted(interfaces):
        commands += [
            f"link set {name} master br0",
            f"link set {name} type bridge_slave learning off flood off",
            f"link set {name} up",
        ]
    _ip(commands, layout.namespace)
    entries = "".join(f"fdb replace {pin.mac} dev {pin.interface} master static\n" for pin in known)
    run(["bridge", "-n", layout.namespace, "-batch", "-"], stdin=entries)


def nft_inside(layout: Layout, rules: str, settings: Iterable[str] = ()) -> None:
    """Apply rules in the namespace, and first sysctl settings `a/b=value` as far as this kernel has them."""
    script = "".join(
        f"[ ! -e /proc/sys/{key} ] || echo {value} >/proc/sys/{key}; "
        for key, _, value in (setting.partition("=") for setting in settings)
    )
    argv = ["sh", "-c", f"{script} exec nft -f -"] if script else ["nft", "-f", "-"]
    # A program belongs to the namespace of the thread that starts it: no other has to take it there.
    try:
        network_namespace.inside(layout.namespace, lambda: run(argv, stdin=rules))
    except OSError as error:  # the namespace is gone
        raise ProcessError(argv, 1, f"{layout.namespace}: {error.strerror}") from error


def _host(layout: Layout, plan: Plan, resolver: str | None) -> None:
    """Let the host forward, masquerade and publish."""
    router_firewall.switch_on(RUNTIME)
    for setting in (
        f"ipv4/conf/{layout.namespace}/route_localnet",
        # Machines have no IPv6, and the kernel gives a new link an address of it by itself.
        f"ipv6/conf/{layout.namespace}/disable_ipv6",
    ):
        path = Path(f"/proc/sys/net/{setting}")
        if path.exists() and path.read_text().strip() != "1":
            path.write_text("1")
    document = read_publications()
    forwards = _forwards(layout, document)
    run(
        ["nft", "-f", "-"],
        stdin=router_rules.host_rules(layout.table, layout.namespace, plan, resolver, forwards),
    )
    router_firewall.open_forwarding(layout.namespace, layout.table)


def read_publications() -> list[Publication]:
    """Return this computer's publications as recorded, none where the record is damaged.

    A router is repaired all the same; what publishes a port then is refused, and says why.
    """
    with contextlib.suppress(DamagedError):
        return recorded(RUNTIME / RECORD)
    return []


def _forwards(layout: Layout, publications: Iterable[Publication]) -> list[Forward]:
    """Return this store's published ports, without those of machines that are not reached from outside."""
    sealed = {view.networks for view in Views(layout.runtime).all() if view.sealed}
    pins = Attached(layout.runtime).pins() if sealed else ()
    apart = {pin.ip for pin in pins if pin.networks in sealed}
    return [
        Forward(entry.protocol, entry.host_ip, entry.host_port, entry.ip, entry.machine_port)
        for entry in publications
        if entry.store == layout.digest and entry.ip not in apart
    ]


def forward(layout: Layout, publications: Iterable[Publication]) -> None:
    """Make the kernel publish this store's part of `publications`, and nothing else of it."""
    if namespace_identity(layout.namespace) is not None:
        run(
            ["nft", "-f", "-"],
            stdin=router_rules.forward_rules(layout.table, _forwards(layout, publications)),
        )


def remove(layout: Layout) -> None:
    """Remove all of it; what is not there is no error. The subnet's record stays."""
    # First: a namespace lives on, without a name, as long as a process is in it.
    router_servers.end_all(layout)
    if _exists(layout.namespace):
        run(["ip", "link", "del", layout.namespace], check=False)
    if network_namespace.path(layout.namespace).exists():
        run(["ip", "netns", "del", layout.namespace], check=False)
    if network_namespace.has_table("ip", layout.table):
        run(["nft", "delete", "table", "ip", layout.table], check=False)
        router_firewall.close_forwarding(layout.table)
