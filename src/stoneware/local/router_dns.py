"""dnsmasq in the router namespace: DHCP for the machines, and their names and the metadata server's in DNS.

Its inputs are small files, one per attached machine, in a directory under /run that it reads after it has
given up root. They are also the record of who is attached: they end with the boot, as the machines do.
"""

from __future__ import annotations

import pwd
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stoneware.files import write_atomic
from stoneware.local.metadata_state import ZONE
from stoneware.local.network import METADATA_ADDRESS, Lease, Plan
from stoneware.local.router_rules import Pin

DOMAIN = f"{ZONE}.c.stoneware.internal"


@dataclass(frozen=True)
class Attached:
    """The files of the attached machines: DIRECTORY/dhcp/ID and DIRECTORY/dns/ID."""

    directory: Path

    def prepare(self) -> None:
        """Make the directories, readable by dnsmasq."""
        for name in ("dhcp", "dns"):
            path = self.directory / name
            path.mkdir(parents=True, exist_ok=True)
            for made in (path, self.directory, self.directory.parent):
                made.chmod(0o755)

    def add(self, id: str, lease: Lease, name: str, hostname: str) -> None:
        """Record a machine: dnsmasq sees the new files by itself."""
        label = hostname.partition(".")[0]
        names = dict.fromkeys((name, hostname, f"{name}.{DOMAIN}"))
        # "id:*": the card alone tells a machine, so that its successor with the same address is served too.
        self._put("dhcp", id, f"{lease.mac},id:*,{lease.ip},{label},infinite\n")
        self._put("dns", id, f"{lease.ip} {' '.join(names)}\n")

    def _put(self, kind: str, id: str, text: str) -> None:
        path = self.directory / kind / id
        if not path.exists() or path.read_text() != text:
            write_atomic(path, text)

    def remove(self, id: str) -> bool:
        """Forget a machine; return whether it was there."""
        present = (self.directory / "dhcp" / id).exists()
        for kind in ("dns", "dhcp"):
            (self.directory / kind / id).unlink(missing_ok=True)
        return present

    def pins(self) -> list[Pin]:
        """Return the addresses of all attached machines."""
        pins = []
        directory = self.directory / "dhcp"
        for path in directory.iterdir() if directory.is_dir() else ():
            mac, _, ip = path.read_text().split(",")[:3] if not path.name.startswith(".") else ("", "", "")
            if ip:
                pins.append(Pin(f"vb-{path.name}", mac, ip))
        return pins


def dnsmasq_command(plan: Plan, mtu: int, attached: Path, upstream: Path | None) -> list[str]:
    """Return dnsmasq's command line. Without an `upstream` file the host's end of the link is asked."""
    servers = ["--no-resolv", f"--server={plan.host_end}"]
    if upstream is not None:
        servers = [f"--resolv-file={upstream}"]
    return [
        "dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--log-facility=-",
        f"--user={_user()}",
        "--bind-interfaces",
        "--interface=br0",
        "--except-interface=lo",
        "--no-hosts",
        "--no-ping",
        f"--hostsdir={attached / 'dns'}",
        *servers,
        "--domain-needed",
        "--bogus-priv",
        "--local=/internal/",
        f"--domain={DOMAIN}",
        "--expand-hosts",
        "--cache-size=1000",
        f"--host-record=metadata.google.internal,metadata,{METADATA_ADDRESS}",
        "--dhcp-authoritative",
        "--dhcp-lease-max=2000",
        "--leasefile-ro",
        "--quiet-dhcp",
        f"--dhcp-range={plan.subnet.network_address},static,{plan.subnet.netmask},infinite",
        f"--dhcp-hostsdir={attached / 'dhcp'}",
        f"--dhcp-option=option:router,{plan.gateway}",
        f"--dhcp-option=option:dns-server,{METADATA_ADDRESS}",
        f"--dhcp-option=option:mtu,{mtu}",
        f"--dhcp-option=option:domain-search,{DOMAIN}",
    ]


def _user() -> str:
    for name in ("dnsmasq", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    return "nobody"


def answers(server: str, name: str, timeout: float) -> bool:
    """Ask a DNS server for a name's address, once; say whether it answered within `timeout` seconds."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    question = struct.pack("!6H", 0x5457, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(timeout)
        try:
            link.connect((server, 53))
            link.send(question)
            reply = link.recv(512)
        except OSError:
            return False
    return len(reply) > 12 and _counts(reply)[1] > 0


def _counts(reply: bytes) -> Sequence[int]:
    return struct.unpack("!4H", reply[4:12])
