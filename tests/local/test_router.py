"""The router for real: plain network namespaces play the machines, their ports in the store's bridge.

Nothing leaves this computer: "the internet" is a namespace as well.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from stoneware.errors import InputError
from stoneware.files import read_json, write_json
from stoneware.local import metadata_tree, network_namespace, router, router_setup
from stoneware.platform import PortMapping
from stoneware.process import run

pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces"),
]

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


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@dataclass
class Fake:
    """A network namespace that plays a machine."""

    namespace: str
    id: str
    lease: router.Lease
    children: list[subprocess.Popen[str]] = field(default_factory=list)

    def sh(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return run(["nsenter", f"--net=/run/netns/{self.namespace}", *argv], check=check, timeout=30)

    def ask(self, url: str = NAME_URL, *options: str) -> str:
        """Return the answer of a URL, or the name of curl's failure."""
        done = self.sh("curl", "-sS", "--max-time", "2", "-H", FLAVOR, *options, url, check=False)
        return done.stdout if done.returncode == 0 else f"curl failed: {done.returncode}"

    def serve(self, kind: str, port: int) -> None:
        child = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.namespace}", sys.executable, "-c", ANSWER, kind, str(port)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        self.children.append(child)

    def address(self, *, dhcp: Path | None = None) -> str:
        """Take the address: by hand, or by DHCP with a script in a directory; return what DHCP said."""
        if dhcp is None:
            self.sh("ip", "addr", "add", f"{self.lease.ip}/22", "dev", "host0")
            gateway = self.lease.ip.rsplit(".", 2)[0]
            third = int(self.lease.ip.split(".")[2]) & ~3
            self.sh("ip", "route", "replace", "default", "via", f"{gateway}.{third}.1")
            return ""
        script = dhcp / "lease.sh"
        script.write_text(LEASE_SCRIPT)
        script.chmod(0o755)
        argv = ["busybox", "udhcpc", "-i", "host0", "-s", str(script), "-n", "-q", "-f", "-t", "5", "-T", "1"]
        return self.sh(*argv).stdout

    def end(self) -> None:
        for child in self.children:
            child.kill()
            child.wait()
            assert child.stdout is not None
            child.stdout.close()
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

    def machine(self, name: str, hostname: str = "") -> Fake:
        """Attach a machine, as the engine does, with its port in the bridge but no address yet."""
        gate = self.router
        id = f"m{os.urandom(4).hex()}"
        lease = gate.attach(self.directory(name), id=id, name=name, hostname=hostname or name)
        fake = Fake(f"swt-{id}", id, lease)
        self.fakes.append(fake)
        run(["ip", "netns", "add", fake.namespace])
        port = f"link add vb-{id} type veth peer name host0 address {lease.mac} netns {fake.namespace}"
        run(
            ["ip", "-n", gate.namespace, "-batch", "-"],
            stdin=f"{port}\nlink set vb-{id} master br0 up\n",
        )
        run(["ip", "-n", fake.namespace, "-batch", "-"], stdin="link set lo up\nlink set host0 up\n")
        return fake

    def end(self) -> None:
        for fake in self.fakes:
            fake.end()
        router.teardown(self.store)


@pytest.fixture
def make_lab(tmp_path: Path) -> Iterator[Callable[[], Lab]]:
    missing = [tool for tool in ("dnsmasq", "nft", "ip", "nsenter", "busybox", "curl") if not _has(tool)]
    if missing:
        pytest.skip(f"not on this computer: {', '.join(missing)}")
    labs: list[Lab] = []

    def make() -> Lab:
        home = tmp_path / f"store{len(labs)}"
        home.mkdir()
        labs.append(Lab(Store(home)))
        return labs[-1]

    yield make
    for lab in labs:
        lab.end()


def _has(tool: str) -> bool:
    return shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is not None


@pytest.fixture
def lab(make_lab: Callable[[], Lab]) -> Lab:
    return make_lab()


def tcp(address: str, port: int) -> str:
    with socket.create_connection((address, port), timeout=3) as link:
        return link.recv(100).decode()


def udp(address: str, port: int) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(3)
        link.sendto(b"?", (address, port))
        return link.recv(100).decode()


def host_address(lab: Lab) -> str:
    """Return an address of this computer that is not loopback: its end of the link."""
    return lab.router.plan.host_end


# --- being made, found whole, repaired, removed -------------------------------------------------------


def test_ensure_is_quick_and_starts_nothing_when_all_is_there(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = time.monotonic()
    first = lab.router
    assert time.monotonic() - started < 5
    times = []
    monkeypatch.setattr(subprocess, "Popen", None)
    for _ in range(5):
        started = time.perf_counter()
        again = router.ensure(lab.store)
        times.append(time.perf_counter() - started)
        assert (again.namespace, again.subnet, again.gateway) == (
            first.namespace,
            first.subnet,
            first.gateway,
        )
    assert min(times) < 0.01, times
    assert first.namespace.startswith("sw-")
    assert len(first.namespace) == 11


def test_two_commands_at_once_make_one_router(lab: Lab) -> None:
    with ThreadPoolExecutor(4) as pool:
        states = [gate.state for gate in pool.map(router.ensure, [lab.store] * 4)]
    assert len({state.namespace for state in states}) == 1
    assert router_setup.whole(lab.router.layout, states[0])


def damage_kill(helper: str) -> Callable[[router.Router], None]:
    def kill(gate: router.Router) -> None:
        process = getattr(router_setup, helper)(gate.layout).process()
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)

    return kill


def damage_run(*commands: str) -> Callable[[router.Router], None]:
    def damage(gate: router.Router) -> None:
        for command in commands:
            names = {"ns": gate.namespace, "table": gate.layout.table, "subnet": gate.subnet}
            run(command.format(**names).split())

    return damage


def damage_records(gate: router.Router) -> None:
    """Lose the records of the servers, which run on: the command was killed before it wrote them."""
    for helper in (router_setup.metadata(gate.layout), router_setup.dnsmasq(gate.layout)):
        helper.record.unlink()


def damage_reuse(gate: router.Router) -> None:
    """Make the record name a living process that is not the server: its number was given away again."""
    process = router_setup.metadata(gate.layout).process()
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    write_json(router_setup.metadata(gate.layout).record, {"pid": os.getpid(), "start": process.start})


DAMAGES: dict[str, Callable[[router.Router], None]] = {
    "metadata server killed": damage_kill("metadata"),
    "dnsmasq killed": damage_kill("dnsmasq"),
    "process id reused": damage_reuse,
    "records lost": damage_records,
    "bridge deleted": damage_run("ip -n {ns} link del br0"),
    "metadata address deleted": damage_run("ip -n {ns} addr del 169.254.169.254/32 dev br0"),
    "link deleted": damage_run("ip link del {ns}"),
    "link down": damage_run("ip link set {ns} down"),
    "host route deleted": damage_run("ip route del {subnet}"),
    "host rules deleted": damage_run("nft delete table ip {table}"),
    "pins deleted": damage_run("nsenter --net=/run/netns/{ns} nft delete table bridge stoneware"),
    "namespace's name deleted": damage_run("ip netns del {ns}"),
    "forwarding off": damage_run("nsenter --net=/run/netns/{ns} sysctl -q -w net.ipv4.ip_forward=0"),
    "everything but the machine": damage_run(
        "ip -n {ns} link del br0", "ip link del {ns}", "nft delete table ip {table}"
    ),
}


def servers(gate: router.Router) -> list[str]:
    """Return the names of the processes in the router namespace."""
    pids = run(["ip", "netns", "pids", gate.namespace]).stdout.split()
    return sorted(Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_ensure_heals(lab: Lab, damage: Callable[[router.Router], None]) -> None:
    fake = lab.machine("h1")
    fake.address()
    fake.serve("tcp", 80)
    (published,) = lab.router.publish(fake.lease, [PortMapping("", 0, 80)])
    assert fake.ask() == "h1"
    gate = lab.router
    damage(gate)
    wait_until(lambda: not router_setup.whole(gate.layout, gate.state))
    healed = router.ensure(lab.store)
    assert router_setup.whole(healed.layout, healed.state)
    assert healed.subnet == gate.subnet
    assert servers(healed) == ["dnsmasq", "python"]
    assert fake.ask() == "h1"
    assert tcp("127.0.0.1", published.host_port)
    name = fake.sh("busybox", "nslookup", "metadata.google.internal", "169.254.169.254").stdout
    assert "Address: 169.254.169.254" in name


def test_teardown_leaves_nothing_and_may_be_repeated(lab: Lab) -> None:
    fake = lab.machine("h1")
    lab.router.publish(fake.lease, [PortMapping("127.0.0.1", 0, 80)])
    gate = lab.router
    helpers = [router_setup.metadata(gate.layout).process(), router_setup.dnsmasq(gate.layout).process()]
    fake.end()
    router.teardown(lab.store)
    assert network_namespace.identity(gate.namespace) is None
    assert not Path(f"/sys/class/net/{gate.namespace}").exists()
    assert not network_namespace.has_table("ip", gate.layout.table)
    assert not gate.layout.runtime.exists()
    assert all(item and not router_setup.metadata(gate.layout).process() for item in helpers)
    assert gate.layout.digest not in Path("/run/stoneware/ports.json").read_text()
    router.teardown(lab.store)
    assert router.ensure(lab.store).subnet == gate.subnet


def test_helpers_hold_no_descriptors_of_the_command(lab: Lab) -> None:
    process = router_setup.metadata(lab.router.layout).process()
    assert process is not None
    descriptors = Path(f"/proc/{process.pid}/fd")
    assert str((descriptors / "0").readlink()) == "/dev/null"
    assert str((descriptors / "1").readlink()).endswith("/run/metadata.log")
    assert not any(str(item.readlink()).endswith("router.lock") for item in descriptors.iterdir())
    assert os.getsid(process.pid) != os.getsid(0)


# --- machines -----------------------------------------------------------------------------------------


def test_a_machine_gets_its_address_names_and_metadata(lab: Lab, tmp_path: Path) -> None:
    fake = lab.machine("h1", hostname="h1.example")
    said = fake.address(dhcp=tmp_path)
    gate = lab.router
    expected = f"ip={fake.lease.ip} router={gate.gateway} dns=169.254.169.254 hostname=h1 domain=local.c"
    assert said.startswith(expected), said
    other = lab.machine("h2")
    other.address()
    assert (fake.ask(), other.ask()) == ("h1", "h2")
    for name in ("h1", "h1.example", "h1.local.c.stoneware.internal"):
        assert f"Address: {fake.lease.ip}" in other.sh("busybox", "nslookup", name, "169.254.169.254").stdout
    document = read_json(lab.directory("h1") / "network.json")
    assert document == {
        "id": fake.id,
        "ip": fake.lease.ip,
        "mac": fake.lease.mac,
        "gateway": gate.gateway,
        "netmask": "255.255.252.0",
        "mtu": gate.state.mtu,
    }


def test_an_address_is_kept_and_a_successor_is_served(lab: Lab, tmp_path: Path) -> None:
    """The successor has the same address and card but another client id: DHCP must not refuse it."""
    first = lab.machine("h1")
    first.address(dhcp=tmp_path)
    first.end()
    lab.router.detach(first.id, "h1")
    lab.router.detach(first.id, "h1")
    again = lab.machine("h1")
    assert again.lease == first.lease
    again.sh("ip", "link", "show", "host0")
    argv = ["-x", "0x3d:ff00000001000100012a", "-C"]
    script = tmp_path / "lease.sh"
    said = again.sh(
        "busybox", "udhcpc", "-i", "host0", "-s", str(script), "-n", "-q", "-f", "-t", "5", "-T", "1", *argv
    ).stdout
    assert f"ip={again.lease.ip}" in said
    assert again.ask() == "h1"


def test_a_detached_machines_name_and_port_are_gone(lab: Lab) -> None:
    gone, stays = lab.machine("h1"), lab.machine("h2")
    gone.address()
    stays.address()
    assert gone.ask() == "h1"
    lab.router.detach(gone.id, "h1")
    assert gone.ask().startswith("curl failed")
    assert stays.ask() == "h2"
    argv = ["busybox", "nslookup", "h1", "169.254.169.254"]
    wait_until(lambda: "Address: 10." not in stays.sh(*argv, check=False).stdout)


def test_many_machines_attached_at_once_have_different_addresses(lab: Lab) -> None:
    gate = lab.router

    def attach(number: int) -> router.Lease:
        name = f"h{number}"
        return gate.attach(lab.directory(name), id=f"m{number:08x}", name=name, hostname=name)

    with ThreadPoolExecutor(8) as pool:
        leases = list(pool.map(attach, range(20)))
    assert len({lease.ip for lease in leases}) == 20
    assert len(gate._attached.pins()) == 20


def test_a_machine_cannot_be_another(lab: Lab) -> None:
    victim, thief = lab.machine("victim"), lab.machine("thief")
    victim.address()
    thief.address()
    assert (victim.ask(), thief.ask()) == ("victim", "thief")
    thief.sh("ip", "addr", "add", f"{victim.lease.ip}/32", "dev", "host0")
    assert thief.ask(NAME_URL, "--interface", victim.lease.ip).startswith("curl failed")
    assert (victim.ask(), thief.ask()) == ("victim", "thief")
    thief.sh("ip", "addr", "del", f"{victim.lease.ip}/32", "dev", "host0")
    thief.sh("ip", "link", "set", "host0", "address", victim.lease.mac)
    assert thief.ask().startswith("curl failed")
    assert victim.ask() == "victim"


def test_datagrams_from_anothers_address_do_not_arrive(lab: Lab) -> None:
    victim, thief, server = lab.machine("victim"), lab.machine("thief"), lab.machine("server")
    for fake in (victim, thief, server):
        fake.address()
    server.serve("udp", 7000)
    thief.sh("ip", "addr", "add", f"{victim.lease.ip}/32", "dev", "host0")
    script = (
        "import socket, sys\n"
        "for source in sys.argv[1:]:\n"
        "    link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "    link.bind((source, 0))\n"
        f"    link.sendto(b'?', ('{server.lease.ip}', 7000))\n"
    )
    # The own address first: the server's is known then, and nothing waits for ARP.
    thief.sh(sys.executable, "-c", script, thief.lease.ip, victim.lease.ip, thief.lease.ip)
    output = server.children[0].stdout
    assert output is not None
    assert [output.readline().strip() for _ in range(2)] == [thief.lease.ip] * 2


def test_a_machine_cannot_poison_the_others_view_of_the_gateway(lab: Lab) -> None:
    victim, thief = lab.machine("victim"), lab.machine("thief")
    victim.address()
    thief.address()
    victim.ask()
    gateway = lab.router.gateway
    thief.sh("ip", "addr", "add", f"{gateway}/32", "dev", "host0")
    thief.sh(
        "busybox", "arping", "-U", "-c", "2", "-w", "2", "-I", "host0", "-s", gateway, gateway, check=False
    )
    known = victim.sh("ip", "neigh", "show").stdout
    assert thief.lease.mac not in known.lower()
    assert victim.ask() == "victim"


def test_ipv6_and_the_routers_other_ports_are_closed(lab: Lab) -> None:
    first, second = lab.machine("h1"), lab.machine("h2")
    for number, fake in enumerate((first, second), start=1):
        fake.address()
        fake.sh("sysctl", "-q", "-w", "net.ipv6.conf.host0.disable_ipv6=0")
        fake.sh("ip", "addr", "add", f"fd00:db8::{number}/64", "dev", "host0", "nodad")
    script = "import socket; s=socket.create_connection(('fd00:db8::2', 9), 1)"
    assert "refused" not in first.sh(sys.executable, "-c", script, check=False).stderr
    assert first.ask(f"http://{lab.router.gateway}:80/").startswith("curl failed: 7")
    # Without the rules they do see each other: the test can fail.
    inside = ["nsenter", f"--net=/run/netns/{lab.router.namespace}"]
    run([*inside, "nft", "delete", "table", "bridge", "stoneware"])
    assert "refused" in first.sh(sys.executable, "-c", script, check=False).stderr


def test_names_are_asked_of_a_resolver_on_the_hosts_loopback(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the host's resolv.conf names only 127.x, machines ask that server through the host."""
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.77\n")
    monkeypatch.setattr(router_setup, "_RESOLV_CONF", tmp_path / "resolv.conf")
    monkeypatch.setattr(router_setup, "_RESOLVED", tmp_path / "none")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, ThreadPoolExecutor(1) as pool:
        server.bind(("127.0.0.77", 53))
        server.settimeout(10)
        fake = lab.machine("h1")
        fake.address()

        def answer() -> None:
            question, peer = server.recvfrom(512)
            end = question.index(b"\0", 12) + 5
            record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton("203.0.113.9")
            head = question[:2] + b"\x81\x80" + b"\0\1\0\1\0\0\0\0"
            server.sendto(head + question[12:end] + record, peer)

        answered = pool.submit(answer)
        argv = ["busybox", "nslookup", "-type=a", "example.test", "169.254.169.254"]
        assert "Address: 203.0.113.9" in fake.sh(*argv).stdout
        answered.result()


def test_machines_reach_each_other(lab: Lab) -> None:
    first, second = lab.machine("h1"), lab.machine("h2")
    first.address()
    second.address()
    second.serve("tcp", 7000)
    script = (
        f"import socket; print(socket.create_connection(('{second.lease.ip}', 7000), 3).recv(99).decode())"
    )
    assert first.sh(sys.executable, "-c", script).stdout.strip() == first.lease.ip


# --- the way out and the ways in ----------------------------------------------------------------------


def test_machines_go_out_by_the_hosts_address(lab: Lab) -> None:
    """A namespace beside the host plays the internet; it has no route to the machines."""
    fake = lab.machine("h1")
    fake.address()
    tag = os.urandom(3).hex()
    outside = Fake(f"swo-{tag}", "", fake.lease)
    lab.fakes.append(outside)
    run(["ip", "netns", "add", outside.namespace])
    run(
        [
            "ip",
            "link",
            "add",
            f"swo-{tag}",
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            outside.namespace,
        ]
    )
    run(["ip", "addr", "add", "198.51.100.1/30", "dev", f"swo-{tag}"])
    run(["ip", "link", "set", f"swo-{tag}", "up"])
    commands = "addr add 198.51.100.2/30 dev eth0\nlink set eth0 up\nlink set lo up\n"
    run(["ip", "-n", outside.namespace, "-batch", "-"], stdin=commands)
    outside.serve("tcp", 7001)
    script = "import socket; print(socket.create_connection(('198.51.100.2', 7001), 3).recv(99).decode())"
    assert fake.sh(sys.executable, "-c", script).stdout.strip() == "198.51.100.1"
    # … and in from there, by a published port.
    fake.serve("tcp", 80)
    (port,) = lab.router.publish(fake.lease, [PortMapping("", 0, 80)])
    script = script.replace("198.51.100.2", "198.51.100.1").replace("7001", str(port.host_port))
    assert outside.sh(sys.executable, "-c", script).stdout.strip() == "198.51.100.2"


def test_published_ports_are_reached_from_everywhere(lab: Lab) -> None:
    fake, other = lab.machine("h1"), lab.machine("h2")
    fake.address()
    other.address()
    fake.serve("tcp", 80)
    fake.serve("udp", 53)
    wanted = [PortMapping("", 0, 80), PortMapping("0.0.0.0", 0, 53, "udp"), PortMapping("127.0.0.1", 0, 80)]
    published = {
        (item.host_ip, item.protocol): item.host_port for item in lab.router.publish(fake.lease, wanted)
    }
    anywhere = published["0.0.0.0", "tcp"]
    for address in ("127.0.0.1", "127.0.0.2", host_address(lab)):
        assert tcp(address, anywhere) == lab.router.plan.host_end
        assert udp(address, published["0.0.0.0", "udp"]) == lab.router.plan.host_end
    only = published["127.0.0.1", "tcp"]
    assert tcp("127.0.0.1", only)
    with pytest.raises(OSError, match="refused"):
        tcp(host_address(lab), only)
    for machine in (fake, other):
        script = (
            f"import socket; print(socket.create_connection(('{host_address(lab)}', {anywhere}), 3)"
            ".recv(99).decode())"
        )
        assert machine.sh(sys.executable, "-c", script).stdout.strip()


def test_unpublished_ports_are_gone_and_free_again(lab: Lab) -> None:
    fake = lab.machine("h1")
    fake.address()
    fake.serve("tcp", 80)
    (port,) = lab.router.publish(fake.lease, [PortMapping("127.0.0.1", 0, 80)])
    assert tcp("127.0.0.1", port.host_port)
    lab.router.unpublish(fake.id)
    lab.router.unpublish(fake.id)
    with pytest.raises(OSError, match="refused"):
        tcp("127.0.0.1", port.host_port)
    again = lab.router.publish(fake.lease, [PortMapping("127.0.0.1", port.host_port, 80)])
    assert again == (port,)


def test_a_machine_cannot_reach_the_hosts_loopback(lab: Lab) -> None:
    fake = lab.machine("h1")
    fake.address()
    with socket.create_server(("127.0.0.1", 0)) as secret:
        port = secret.getsockname()[1]
        # Both the machine and the router let such packets pass: the host must not take them.
        inside = ["nsenter", f"--net=/run/netns/{lab.router.namespace}"]
        fake.sh("sysctl", "-q", "-w", "net.ipv4.conf.all.route_localnet=1")
        run([*inside, "sysctl", "-q", "-w", "net.ipv4.conf.all.route_localnet=1"])
        run([*inside, "ip", "addr", "flush", "dev", "lo"])
        run([*inside, "ip", "route", "replace", "127.0.0.1", "via", lab.router.plan.host_end, "dev", "up0"])
        fake.sh("ip", "addr", "flush", "dev", "lo")
        fake.sh("ip", "route", "replace", "127.0.0.1", "via", lab.router.gateway, "dev", "host0")
        script = f"import socket; socket.create_connection(('127.0.0.1', {port}), 1); print('connected')"
        assert "connected" not in fake.sh(sys.executable, "-c", script, check=False).stdout
        run(["nft", "flush", "chain", "ip", lab.router.layout.table, "guard"])
        assert "connected" in fake.sh(sys.executable, "-c", script, check=False).stdout  # it can fail


def test_a_port_in_use_is_refused_and_nothing_is_changed(make_lab: Callable[[], Lab]) -> None:
    one, two = make_lab(), make_lab()
    first, second = one.machine("h1"), two.machine("h1")
    (port,) = one.router.publish(first.lease, [PortMapping("", 0, 80)])
    with pytest.raises(InputError, match=f"port {port.host_port}/tcp .* in use"):
        two.router.publish(second.lease, [PortMapping("127.0.0.1", port.host_port, 80)])
    with socket.create_server(("127.0.0.1", 0)) as busy, pytest.raises(InputError, match="in use"):
        one.router.publish(first.lease, [PortMapping("", busy.getsockname()[1], 80)])
    first.address()
    first.serve("tcp", 80)
    assert tcp("127.0.0.1", port.host_port)


def test_two_stores_on_one_computer(make_lab: Callable[[], Lab]) -> None:
    one, two = make_lab(), make_lab()
    assert one.router.namespace != two.router.namespace
    assert not one.router.subnet.overlaps(two.router.subnet)
    machines = [one.machine("a"), two.machine("b")]
    for fake in machines:
        fake.address()
        fake.serve("tcp", 80)
    assert [fake.ask() for fake in machines] == ["a", "b"]
    ports = [
        lab.router.publish(fake.lease, [PortMapping("", 0, 80)])[0].host_port
        for lab, fake in zip((one, two), machines, strict=True)
    ]
    assert all(tcp("127.0.0.1", port) for port in ports)
    for fake in one.fakes:
        fake.end()
    router.teardown(one.store)
    assert machines[1].ask() == "b"
    assert tcp("127.0.0.1", ports[1])


def test_a_change_reaches_a_waiting_machine_through_the_bridge(lab: Lab) -> None:
    fake = lab.machine("h1")
    fake.address()
    write_json(lab.directory("h1") / "metadata.json", {"attributes": {"go": "1"}})
    seen = metadata_tree.render(metadata_tree.Leaf("1"), metadata_tree.Query()).etag
    query = f"wait_for_change=true&timeout_sec=20&last_etag={seen}"
    url = f"{NAME_URL.replace('/name', '/attributes/go')}?{query}"
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(fake.ask, url, "--max-time", "20")
        connected = ["ss", "-Hnt", "state", "established", "dst", "169.254.169.254"]
        wait_until(lambda: bool(fake.sh(*connected).stdout))
        assert not asked.done()
        started = time.monotonic()
        write_json(lab.directory("h1") / "metadata.json", {"attributes": {"go": "2"}})
        assert asked.result() == "2"
        assert time.monotonic() - started < 1
