"""The router of a store: a namespace with bridge, DHCP, DNS and metadata server, and a link to the host.

    machines ── vb-ID ── br0 (gateway, 169.254.169.254) ─ up0 ══ sw-XXXXXXXX ── the host ── NAT

`ensure` makes it, or repairs what is missing of it; when all is there it starts no program and takes a few
milliseconds. Its two servers outlive the command and stay until `teardown`. What is known of it is kept in
HOME/run/network.json (the subnet, which never changes while it can be had) and under /run (who is attached,
which ports are published), which ends with the boot as the machines do.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from ipaddress import IPv4Network
from pathlib import Path

from stoneware.dataclass import dataclass
from stoneware.model.ingress import Ingress
from stoneware.model.resources import PortMapping
from stoneware.platforms.local.network import rules as router_rules
from stoneware.platforms.local.network import servers as router_servers
from stoneware.platforms.local.network import setup as router_setup
from stoneware.platforms.local.network.addresses import Lease, Plan
from stoneware.platforms.local.network.dns import Attached, member_names
from stoneware.platforms.local.network.guards import Guards, guard_of, guarding, unguarding
from stoneware.platforms.local.network.layout import RUNTIME, Layout, StorePaths, is_up, layout_of
from stoneware.platforms.local.network.leases import Asking, lease_for, note
from stoneware.platforms.local.network.ports import Ports, Publication
from stoneware.platforms.local.network.rules import Pin
from stoneware.platforms.local.network.state import State, exclusive, load
from stoneware.platforms.local.network.together import Together
from stoneware.platforms.local.network.views import Member, View, Views
from stoneware.process import ProcessError
from stoneware.records import DamagedError

__all__ = ["Lease", "Router", "ensure", "open_router", "teardown"]

_LEAVING = Together()  # machines to be detached, by their router
_WHOLE: dict[str, tuple[State, float]] = {}  # how each router was when it was found whole last, and when


def ensure(store: StorePaths, *, within: float = 0.0) -> Router:
    """Return the store's router, made or repaired where it is not whole. Raises HostError.

    One that this process has found whole `within` so many seconds is not looked at again.
    """
    layout = layout_of(store)
    state = load(layout)
    known, when = _WHOLE.get(layout.digest, (None, 0.0))
    # The look takes 3 to 8 ms of Python, for each of twenty machines that end within a moment.
    if state is not None and state == known and time.monotonic() - when < within:
        return Router(store, layout, state)
    if state is None or not router_setup.whole(layout, state):
        with exclusive(layout):
            state = load(layout)
            if state is None or not router_setup.whole(layout, state):
                state = router_setup.repair(layout, state)
    _WHOLE[layout.digest] = state, time.monotonic()
    return Router(store, layout, state)


def open_router(store: StorePaths) -> Router | None:
    """Return the store's router as it is, nothing made or repaired; None where it was never made."""
    layout = layout_of(store)
    state = load(layout)
    return None if state is None else Router(store, layout, state)


def published(store: StorePaths, besides: Collection[str]) -> list[Publication]:
    """Return all published ports of this computer but those of some machines (ids) of the store."""
    digest = layout_of(store).digest
    return [entry for entry in _ports().read() if entry.store != digest or entry.id not in besides]


def teardown(store: StorePaths) -> None:
    """Remove namespace, link, rules, servers and records of a store. No error where there is nothing."""
    layout = layout_of(store)
    with exclusive(layout):
        router_setup.remove(layout)
    ports = _ports()
    # A damaged record stays: the ports of other stores are in it too.
    with contextlib.suppress(FileNotFoundError, DamagedError), ports.exclusive():
        ports.write(entry for entry in ports.read() if entry.store != layout.digest)
    shutil.rmtree(layout.runtime, ignore_errors=True)


def _ports() -> Ports:
    return Ports(RUNTIME, is_up)


@dataclass(frozen=True)
class Router:
    """A store's router. Its methods may be called by several commands at once."""

    store: StorePaths
    layout: Layout
    state: State

    @property
    def namespace(self) -> str:
        """The name of the network namespace, `sw-` and 8 hexadecimal digits."""
        return self.layout.namespace

    @property
    def subnet(self) -> IPv4Network:
        """The machines' subnet."""
        return self.state.plan.subnet

    @property
    def gateway(self) -> str:
        """The router's address in the machines' subnet."""
        return self.state.plan.gateway

    @property
    def plan(self) -> Plan:
        """All addresses of the store."""
        return self.state.plan

    @property
    def _now(self) -> State:
        """What is in force now: another command may have changed a network since. For holders of the lock."""
        return load(self.layout) or self.state

    @property
    def _attached(self) -> Attached:
        return Attached(self.layout.runtime)

    @property
    def _views(self) -> Views:
        return Views(self.layout.runtime)

    @property
    def _guards(self) -> Guards:
        return Guards(self.layout.runtime)

    def attach(
        self,
        machine_dir: Path,
        *,
        id: str,
        name: str,
        hostname: str,
        networks: Sequence[str] = (),
        names: Sequence[str] = (),
        addresses: Mapping[str, str] | None = None,
    ) -> Lease:
        """Give a machine its addresses and let its port `vb-ID` use them; return them.

        Which those are says `leases`; `addresses` are those that it asks for, by network. Without `networks`
        it is on the common one. Raises InputError for an address that it cannot have.
        To be called before the port exists, so that there is no moment at which it may use others.
        """
        wanted = tuple(sorted(set(networks)))
        with exclusive(self.layout):
            # Chosen under the lock, or two machines that start together could choose the same.
            now = self._now
            asking = Asking(machine_dir, name, wanted, addresses or {})
            others = {pin.ip for pin in self._attached.pins() if pin.interface != f"vb-{id}"}
            lease = lease_for(asking, self.store.data, now, others)
            note(machine_dir, id, lease, now.plan, self.state.mtu)
            self._attached.prepare()
            pin = Pin(f"vb-{id}", lease.mac, lease.ip, wanted)
            self._guards.keep(id, guard_of(machine_dir))
            if wanted:
                member = Member(id, lease.ip, wanted, member_names(name, hostname, names))
                self._join(member, pin)
            else:
                self._attached.add(id, lease, (name, hostname, *names))
                self._change(self._guarding(pin) + router_rules.admission(pin, None))
        return lease

    def _join(self, member: Member, pin: Pin) -> None:
        """Attach a machine to its networks, in a view that may have to be made first."""
        view = self._views.find(member.networks)
        if view is None:
            others = [other for other in self._attached.members() if other.id != member.id]
            sealed = router_setup.is_sealed(self.layout, member.networks)
            view = self._views.make(member.networks, [*others, member], sealed=sealed)
            self._attached.add_member(member, pin.mac)
            self._views.show(member)
            self._rewrite()
            self._start(view)
        else:
            self._attached.add_member(member, pin.mac)
            self._views.show(member)
            self._change(self._guarding(pin) + router_rules.admission(pin, view))

    def _guarding(self, pin: Pin) -> str:
        rules = self._guards.of(pin.interface.removeprefix("vb-"))
        return "" if rules is None else guarding(pin, rules)

    def guard(self, machine_dir: Path, id: str) -> None:
        """Let in to a machine, if it is attached, what the rules of its spec say now."""
        with exclusive(self.layout):
            pin = self._attached.pin(id)
            if pin is None or not is_up(self.layout.digest):
                return
            had, rules = self._guards.of(id), guard_of(machine_dir)
            self._guards.keep(id, rules)
            if rules is not None:
                self._change(guarding(pin, rules))
            elif had is not None:
                self._change(unguarding(pin))

    def _start(self, view: View) -> None:
        server = router_servers.of_view(self.layout, self.plan, view)
        router_servers.start(self.layout, [server], self.state.namespace[1])

    def detach(self, id: str, name: str) -> None:  # noqa: ARG002 — the name is part of the interface
        """Take the machine's addresses from its port, and its names from DNS. No error when it has none.

        Its network.json stays with it: the machine gets the same address when it is started again.
        """
        _LEAVING.do(self.layout.digest, id, lambda: exclusive(self.layout), self._detach)

    def _detach(self, ids: Sequence[str]) -> None:
        """Take machines off the network; the caller holds the router's lock."""
        shown: dict[str, View] = {}
        gone: list[tuple[Pin, Ingress | None]] = []
        for id in ids:
            pin = self._attached.remove(id)
            shown |= {view.key: view for view in self._views.hide(id)}
            if pin is not None:
                gone.append((pin, self._guards.of(id)))
            self._guards.keep(id, None)
        if not is_up(self.layout.digest):
            return
        used = {other.networks for other in self._attached.pins() if other.networks}
        if any(self._views.unused(used)):  # also what a killed command has left
            self._rewrite()
        elif gone:
            self._expel(gone)
        if not gone:
            return
        # Told, since a server may not see by itself that a file has gone.
        for key in sorted(shown):
            router_servers.resolver(self.layout, key).reload()
        router_servers.dnsmasq(self.layout).reload()

    def release(self, id: str, name: str) -> None:
        """Take a machine that has ended off the network, with what it published and its port."""
        self.unpublish(id)
        self.detach(id, name)
        router_setup.remove_port(self.layout, id)

    def _expel(self, gone: Sequence[tuple[Pin, Ingress | None]]) -> None:
        views = {pin.networks: self._views.find(pin.networks) for pin, _ in gone if pin.networks}
        if not all(views.values()):
            self._rewrite()
            return
        commands = [
            router_rules.expulsion(pin, views.get(pin.networks)) + ("" if rules is None else unguarding(pin))
            for pin, rules in gone
        ]
        self._change("".join(commands))

    def _change(self, commands: str) -> None:
        """Change the rules by a few elements; by all of them where the rules are not what they should be."""
        try:
            router_setup.nft_inside(self.layout, commands)
        except ProcessError:
            self._rewrite()

    def renew(self) -> None:
        """Let the machines reach what their networks, one of which has changed, let them reach now."""
        with exclusive(self.layout):
            if not is_up(self.layout.digest):
                return
            for view in self._rewrite():
                self._start(view)
        record = _ports()
        # With a damaged one the rules stay as they are.
        with record.exclusive(), contextlib.suppress(DamagedError):
            router_setup.forward(self.layout, record.read())

    def _rewrite(self) -> list[View]:
        """Write the views and all rules again, as the attached machines say; return the views."""
        views = router_setup.renew_views(self.layout)
        pins = self._attached.pins()
        rules = router_rules.inner_rules(self._now.plan, pins, views) + self._guards.commands(pins)
        router_setup.nft_inside(self.layout, rules)
        return views

    def publish(self, lease: Lease, ports: Sequence[PortMapping], *, id: str = "") -> tuple[PortMapping, ...]:
        """Publish ports of an attached machine on this computer, instead of those it had; return them.

        A host port 0 is replaced by a free port. They are reached from this computer (127.0.0.1 as well),
        from machines and from outside, on `host_ip`. Raises InputError where a port is in use, and
        DamagedError where it is not known which are; a machine that publishes none starts all the same.
        """
        owner = id or self._owner(lease)
        record = _ports()
        with record.exclusive():
            try:
                before = record.read()
            except DamagedError:
                if ports:
                    raise
                return ()
            others = [entry for entry in before if not self._is(entry, owner)]
            # Most machines publish nothing; each start of theirs would write the host's rules again.
            if not ports and others == before:
                return ()
            mine = record.assign(ports, others, self.layout.digest, owner, lease.ip)
            # Before the rules: a port that the kernel alone knows of would be given away once more.
            record.write([*others, *mine])
            router_setup.forward(self.layout, [*others, *mine])
        return tuple(
            PortMapping(entry.host_ip, entry.host_port, entry.machine_port, entry.protocol) for entry in mine
        )

    def _is(self, entry: Publication, id: str) -> bool:
        return (entry.store, entry.id) == (self.layout.digest, id)

    def _owner(self, lease: Lease) -> str:
        for pin in self._attached.pins():
            if pin.ip == lease.ip:
                return pin.interface.removeprefix("vb-")
        return lease.ip

    def unpublish(self, id: str) -> None:
        """Take back all published ports of a machine. No error when it has none."""
        record = _ports()
        # A machine is stopped and removed whatever the record is like.
        with record.exclusive(), contextlib.suppress(DamagedError):
            before = record.read()
            after = [entry for entry in before if not self._is(entry, id)]
            if after != before:
                router_setup.forward(self.layout, after)
                record.write(after)  # last: what is killed in between is done again
