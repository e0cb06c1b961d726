"""dnsmasq in the router namespace: DHCP for the machines, and their names and the metadata server's in DNS.

Its inputs are small files, one per attached machine, in a directory under /run that it reads after it has
given up root. They are also the record of who is attached: they end with the boot, as the machines do. What
machines on networks are called, servers of their own know: see `stoneware.platforms.local.network.views`.
"""

from __future__ import annotations

import pwd
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

from stoneware.dataclass import dataclass
from stoneware.files import write_atomic, write_json
from stoneware.model.guest_protocol import METADATA_ADDRESS
from stoneware.platforms.local.metadata.state import ZONE
from stoneware.platforms.local.network.addresses import Lease, Plan
from stoneware.platforms.local.network.known import attached_ids
from stoneware.platforms.local.network.rules import Pin
from stoneware.platforms.local.network.views import Member, View
from stoneware.records import whole

DOMAIN = f"{ZONE}.c.stoneware.internal"


@dataclass(frozen=True)
class Attached:
    """The files of the attached machines: DIRECTORY/dhcp/ID, and dns/ID or, on networks, networks/ID."""

    directory: Path

    @property
    def hosts(self) -> Path:
        """The names of the machines on the common network."""
        return self.directory / "dns"

    def prepare(self) -> None:
        """Make the directories, readable by dnsmasq."""
        for name in ("dhcp", "dns", "networks"):
            path = self.directory / name
            path.mkdir(parents=True, exist_ok=True)
            # What all stores share can be gone through by dnsmasq's user, and not be listed.
            for created in (path, self.directory, self.directory.parent):
                created.chmod(0o711 if created == self.directory.parent else 0o755)

    def add(self, id: str, lease: Lease, names: Sequence[str]) -> None:
        """Record a machine of the common network: dnsmasq sees the new files by itself.

        The first name is the machine's, the second its host name.
        """
        label = names[1].partition(".")[0]
        known = dict.fromkeys((*names, f"{names[0]}.{DOMAIN}"))
        # "id:*": the card alone tells a machine, so that its successor with the same address is served too.
        self._put("dhcp", id, f"{lease.mac},id:*,{lease.ip},{label},infinite\n")
        self._put("dns", id, f"{lease.ip} {' '.join(known)}\n")

    def add_member(self, member: Member, mac: str) -> None:
        """Record a machine on networks. DHCP does not learn its name: the common network must not see it."""
        document = {"networks": list(member.networks), "names": list(member.names)}
        # First of all: with its addresses alone it would be one of the common network's.
        write_json(self.directory / "networks" / member.id, document)
        self._put("dhcp", member.id, f"{mac},id:*,{member.ip},infinite\n")

    def _put(self, kind: str, id: str, text: str) -> None:
        path = self.directory / kind / id
        # dnsmasq watches the directory, and reads again what is written, changed or not.
        if not path.exists() or path.read_text() != text:
            write_atomic(path, text)

    def remove(self, id: str) -> Pin | None:
        """Forget a machine; return what it was, None if it was not there."""
        pin = self.pin(id)
        # The networks last, for the reason that they are first above.
        for kind in ("dns", "dhcp", "networks"):
            (self.directory / kind / id).unlink(missing_ok=True)
        return pin

    def pin(self, id: str) -> Pin | None:
        """Return the addresses and networks of an attached machine, or None."""
        try:
            mac, _, ip = (self.directory / "dhcp" / id).read_text().split(",")[:3]
        except FileNotFoundError:
            return None
        return Pin(f"vb-{id}", mac, ip, self._networks(id))

    def _networks(self, id: str) -> tuple[str, ...]:
        return tuple(whole(self.directory / "networks" / id).get("networks", ()))

    def pins(self) -> list[Pin]:
        """Return the addresses and networks of all attached machines."""
        found = [self.pin(name) for name in attached_ids(self.directory)]
        return [pin for pin in found if pin is not None]

    def members(self) -> list[Member]:
        """Return the machines that are on networks."""
        found = []
        for pin in self.pins():
            if pin.networks:
                id = pin.interface.removeprefix("vb-")
                names = whole(self.directory / "networks" / id).get("names", ())
                found.append(Member(id, pin.ip, pin.networks, tuple(names)))
        return found


def member_names(name: str, hostname: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return all that a machine on networks is called: its host name, also in short, and its other names."""
    full = () if "." in hostname else (f"{hostname}.{DOMAIN}",)
    return tuple(dict.fromkeys((hostname, hostname.partition(".")[0], *full, name, *names)))


def dnsmasq_command(plan: Plan, mtu: int, attached: Path, upstream: Path | None) -> list[str]:
    """Return dnsmasq's command line. Without an `upstream` file the host's end of the link is asked."""
    return [
        *_resolver(plan, attached / "dns", upstream),
        "--interface=br0",
        "--except-interface=lo",
        f"--domain={DOMAIN}",
        "--expand-hosts",
        # dnsmasq would try whether an address is free; each of these is one machine's for sure.
        "--no-ping",
        "--dhcp-authoritative",
        "--dhcp-ignore-names",  # a machine is called as it was wanted, not as it says
        "--dhcp-lease-max=2000",
        # Nothing is written down of leases: who has which address is in the files that it is given.
        "--leasefile-ro",
        # Machines decide how often they ask, and the log is on this computer's disk.
        "--quiet-dhcp",
        # static: only cards that a file names get an address.
        f"--dhcp-range={plan.subnet.network_address},static,{plan.subnet.netmask},infinite",
        f"--dhcp-hostsdir={attached / 'dhcp'}",
        f"--dhcp-option=option:router,{plan.gateway}",
        *_range_options(plan),
        f"--dhcp-option=option:dns-server,{METADATA_ADDRESS}",
        f"--dhcp-option=option:mtu,{mtu}",
        f"--dhcp-option=option:domain-search,{DOMAIN}",
    ]


def _range_options(plan: Plan) -> list[str]:
    """Return what DHCP says in the ranges of networks; an option with a tag is taken before one without."""
    found = []
    for number, area in enumerate(plan.ranges):
        found += [
            f"--dhcp-range=set:range{number},{area.network_address},static,{area.netmask},infinite",
            f"--dhcp-option=tag:range{number},option:router,{area[1]}",
        ]
    return found


def view_command(plan: Plan, view: View, hosts: Path, zones: Path, upstream: Path | None) -> list[str]:
    """Return the command line of a view's DNS server, on a port of the metadata server's address."""
    own = [f"--port={view.port}", f"--listen-address={METADATA_ADDRESS}", f"--servers-file={zones}"]
    return [*_resolver(plan, hosts, upstream, sealed=view.sealed), *own]


def hosts_option(directory: Path) -> str:
    """Return the option that names the directory of a server's hosts: no other server has it."""
    return f"--hostsdir={directory}"


def _resolver(plan: Plan, hosts: Path, upstream: Path | None, *, sealed: bool = False) -> list[str]:
    servers = ["--no-resolv", f"--server={plan.host_end}"]
    if sealed:  # a question is a way out as well: other names are refused
        servers = ["--no-resolv"]
    elif upstream is not None:
        servers = [f"--resolv-file={upstream}"]
    return [
        "dnsmasq",
        "--keep-in-foreground",
        # Neither this computer's settings nor, below, its /etc/hosts are the machines' affair.
        "--conf-file=/dev/null",
        "--log-facility=-",
        f"--user={_user()}",
        "--bind-interfaces",
        "--no-hosts",
        hosts_option(hosts),
        *servers,
        "--min-port=20000",  # below are the views' servers
        # What has no dot, private addresses and .internal are never asked outside.
        "--domain-needed",
        "--bogus-priv",
        "--local=/internal/",
        "--cache-size=1000",
        # Open at a time. One machine asks 200 in a second (`rules`), and each is given up in ten.
        "--dns-forward-max=5000",
        f"--host-record=metadata.google.internal,metadata,{METADATA_ADDRESS}",
    ]


def _user() -> str:
    for name in ("dnsmasq", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    return "nobody"


def answers(server: str, name: str, timeout: float, port: int = 53) -> bool:
    """Ask a DNS server for a name's address, once; say whether it answered within `timeout` seconds."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    question = struct.pack("!6H", 0x5457, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(timeout)
        try:
            link.connect((server, port))
            link.send(question)
            reply = link.recv(512)
        except OSError:
            return False
    return len(reply) > 12 and _counts(reply)[1] > 0


def _counts(reply: bytes) -> Sequence[int]:
    return struct.unpack("!4H", reply[4:12])
