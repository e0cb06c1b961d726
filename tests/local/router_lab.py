"""A store with its router for tests: plain network namespaces play the machines, their ports in its bridge.

Nothing leaves this computer: "the internet" is a namespace as well.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from stoneware.platforms.local.network import router
from stoneware.platforms.local.network import rules as router_rules
from stoneware.platforms.local.network import setup as router_setup
from stoneware.process import run
from tests.documents import document_in

PATIENCE = 60.0  # seconds for an answer that comes
FLAVOR = "Metadata-Flavor: Google"
NAME_URL = "http://169.254.169.254/computeMetadata/v1/instance/name"

# An HTTP server that answers each client with its address; a UDP one that answers likewise.
ANSWER = """
import socket, sys, threading
kind, port = sys.argv[1], int(sys.argv[2])
server = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("0.0.0.0", port))
if kind == "tcp":
    server.listen()
print("ready", flush=True)
while True:
    if kind == "tcp":
        link, peer = server.accept()
        link.sendall(peer[0].encode())
        link.close()
    else:
        data, peer = server.recvfrom(100)
        print(peer[0], flush=True)
        server.sendto(peer[0].encode(), peer)
"""

LEASE_SCRIPT = """#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add "$ip/$mask" dev "$interface" && ip route replace default via "$router"
echo "ip=$ip router=$router dns=$dns hostname=$hostname domain=$domain"
"""


@dataclass
class Store:
    home: Path

    @property
    def data(self) -> Path:
        return self.home / "data"


def wait_until(condition: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@dataclass(eq=False)
class Fake:
    """A network namespace that plays a machine."""

    namespace: str
    id: str
    lease: router.Lease
    netmask: str = "255.255.252.0"  # of the store's subnet
    children: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def place(self) -> IPv4Interface:
        """Its address, and the subnet or range that this is of."""
        return IPv4Interface(f"{self.lease.ip}/{self.netmask}")

    def sh(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return run(["nsenter", f"--net=/run/netns/{self.namespace}", *argv], check=check, timeout=300)

    def ask(self, url: str = NAME_URL, *options: str) -> str:
        """Return the answer of a URL, or the name of curl's failure."""
        done = self.sh("curl", "-sS", "--max-time", "60", "-H", FLAVOR, *options, url, check=False)
        return done.stdout if done.returncode == 0 else f"curl failed: {done.returncode}"

    def unanswered(self, url: str = NAME_URL, *options: str) -> bool:
        """Say whether nothing answers for two seconds."""
        return self.ask(url, *options, "--max-time", "2").startswith("curl failed")

    def serve(self, kind: str, port: int) -> None:
        self.start(ANSWER, kind, str(port))

    def start(self, code: str, *words: str, wait: bool = True) -> subprocess.Popen[str]:
        """Start a Python program that ends with the machine; with `wait` it says when it is `ready`."""
        child = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.namespace}", sys.executable, "-c", code, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.children.append(child)
        assert child.stdout is not None
        assert not wait or child.stdout.readline() == "ready\n"
        return child

    def address(self, *, dhcp: Path | None = None) -> str:
        """Take the address: by hand, or by DHCP with a script in a directory; return what DHCP said."""
        if dhcp is None:
            self.sh("ip", "addr", "add", str(self.place), "dev", "host0")
            self.sh("ip", "route", "replace", "default", "via", str(self.place.network[1]))
            return ""
        script = dhcp / "lease.sh"
        script.write_text(LEASE_SCRIPT)
        script.chmod(0o755)
        options = ("-n", "-q", "-f", "-t", "60", "-T", "1")
        return self.sh("busybox", "udhcpc", "-i", "host0", "-s", str(script), *options).stdout

    def end(self) -> None:
        for child in self.children:
            child.kill()
            child.communicate()
        run(["ip", "netns", "del", self.namespace], check=False)


@dataclass
class Lab:
    """A store, its router, and the machines attached to it."""

    store: Store
    fakes: list[Fake] = field(default_factory=list)

    @property
    def router(self) -> router.Router:
        return router.ensure(self.store)

    def directory(self, name: str) -> Path:
        path = self.store.data / "machines" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def network(self, *names: str) -> None:
        for name in names:
            (self.store.data / "networks" / name).mkdir(parents=True, exist_ok=True)

    def machine(
        self,
        name: str,
        hostname: str = "",
        networks: Sequence[str] = (),
        names: Sequence[str] = (),
        addresses: Mapping[str, str] | None = None,
    ) -> Fake:
        """Attach a machine, as the engine does, with its port in the bridge but no address yet."""
        gate = self.router
        id = f"m{os.urandom(4).hex()}"
        self.network(*networks)
        lease = gate.attach(
            self.directory(name),
            id=id,
            name=name,
            hostname=hostname or name,
            networks=networks,
            names=names,
            addresses=addresses,
        )
        document = document_in(self.directory(name) / "network.json")
        fake = Fake(f"swt-{id}", id, lease, str(document["netmask"]))
        self.fakes.append(fake)
        run(["ip", "netns", "add", fake.namespace])
        port = f"link add vb-{id} type veth peer name host0 address {lease.mac} netns {fake.namespace}"
        run(["ip", "-n", gate.namespace, "-batch", "-"], stdin=f"{port}\n")
        router_setup.nft_inside(gate.layout, router_rules.port_rules(f"vb-{id}"))
        router_setup.pin_ports(gate.layout, [router_rules.Pin(f"vb-{id}", lease.mac, lease.ip)], [f"vb-{id}"])
        run(["ip", "-n", fake.namespace, "-batch", "-"], stdin="link set lo up\nlink set host0 up\n")
        return fake

    def end(self) -> None:
        for fake in self.fakes:
            fake.end()
        router.teardown(self.store)


@contextlib.contextmanager
def labs_in(directory: Path) -> Iterator[Callable[[], Lab]]:
    """Give what makes labs, each with a store in a directory; they are gone at the end."""
    missing = [tool for tool in ("dnsmasq", "nft", "ip", "nsenter", "busybox", "curl") if not _has(tool)]
    if missing:
        pytest.skip(f"not on this computer: {', '.join(missing)}")
    labs: list[Lab] = []

    def make() -> Lab:
        home = directory / f"store{len(labs)}"
        home.mkdir()
        labs.append(Lab(Store(home)))
        return labs[-1]

    try:
        yield make
    finally:
        for lab in labs:
            lab.end()


@pytest.fixture
def make_lab(tmp_path: Path) -> Iterator[Callable[[], Lab]]:
    with labs_in(tmp_path) as make:
        yield make


def _has(tool: str) -> bool:
    return shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is not None


@pytest.fixture
def lab(make_lab: Callable[[], Lab]) -> Lab:
    return make_lab()


def tcp(address: str, port: int) -> str:
    with socket.create_connection((address, port), timeout=PATIENCE) as link:
        return link.recv(100).decode()


def udp(address: str, port: int) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(PATIENCE)
        link.sendto(b"?", (address, port))
        return link.recv(100).decode()


def host_address(lab: Lab) -> str:
    """Return an address of this computer that is not loopback: its end of the link."""
    return lab.router.plan.host_end
