"""Machines reach each other iff they share a network, and there is no way around that."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from stoneware.files import write_json
from stoneware.model.resources import PortMapping
from stoneware.platforms.local.network import addresses as network
from stoneware.process import run
from tests.local import router_lab
from tests.local.router_lab import Fake, Lab, host_address, tcp, wait_until

make_lab, lab = router_lab.make_lab, router_lab.lab  # the fixtures
pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces"),
]

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).recv(99)"
DNS = "169.254.169.254"
# Two on a network, one on another, one on both, two on none.
PLACES = {
    "a1": ("a",),
    "a2": ("a",),
    "b1": ("b",),
    "both": ("a", "b"),
    "c1": (),
    "c2": (),
}


def people(lab: Lab, *names: str) -> dict[str, Fake]:
    found = {name: lab.machine(name, networks=PLACES[name]) for name in names or PLACES}
    for fake in found.values():
        fake.address()
    return found


def pings(fake: Fake, address: str) -> bool:
    return fake.sh("busybox", "ping", "-c", "1", "-W", "1", address, check=False).returncode == 0


def send(fake: Fake, *ways: tuple[str, str]) -> None:
    """Send datagrams, each from an address of the machine ("": any) to an address, port 7000."""
    script = (
        "import socket, sys\n"
        "for way in sys.argv[1:]:\n"
        "    source, target = way.split('>')\n"
        "    link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "    link.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)\n"
        "    link.bind((source, 0))\n"
        "    link.sendto(b'?', (target, 7000))\n"
    )
    fake.sh(sys.executable, "-c", script, *(f"{source}>{target}" for source, target in ways), check=False)


def heard(fake: Fake, count: int) -> list[str]:
    """Return whom the first datagrams at port 7000 came from."""
    output = fake.children[0].stdout
    assert output is not None
    return [output.readline().strip() for _ in range(count)]


def share(one: str, other: str) -> bool:
    return bool(set(PLACES[one]) & set(PLACES[other])) or not (PLACES[one] or PLACES[other])


def test_who_reaches_whom(lab: Lab) -> None:
    fakes = people(lab)
    pairs = [(one, other) for one in PLACES for other in PLACES if one != other]
    with ThreadPoolExecutor(10) as pool:
        seen = list(pool.map(lambda pair: pings(fakes[pair[0]], fakes[pair[1]].lease.ip), pairs))
    assert dict(zip(pairs, seen, strict=True)) == {pair: share(*pair) for pair in pairs}
    inside = ["nsenter", f"--net=/run/netns/{lab.router.namespace}"]
    # Without the rules they all do: the test can fail.
    run([*inside, "nft", "chain", "bridge", "stoneware", "forward", "{ policy accept; }"])
    wait_until(lambda: pings(fakes["b1"], fakes["a1"].lease.ip))


def by_the_gateway(thief: Fake, victim: Fake, gateway: str) -> None:
    thief.sh("ip", "route", "add", f"{victim.lease.ip}/32", "via", gateway)


def by_its_card(thief: Fake, victim: Fake, gateway: str) -> None:
    del gateway
    thief.sh("ip", "neigh", "replace", victim.lease.ip, "lladdr", victim.lease.mac, "dev", "host0")


def by_the_gateways_card(thief: Fake, victim: Fake, gateway: str) -> None:
    card = network.mac_of(gateway)
    thief.sh("ip", "neigh", "replace", victim.lease.ip, "lladdr", card, "dev", "host0")


def by_broadcast_frames(thief: Fake, victim: Fake, gateway: str) -> None:
    del gateway
    thief.sh("ip", "neigh", "replace", victim.lease.ip, "lladdr", "ff:ff:ff:ff:ff:ff", "dev", "host0")


def by_its_own_card(thief: Fake, victim: Fake, gateway: str) -> None:
    """Take the card of a machine that shares a network with the victim: here the victim's own."""
    by_its_card(thief, victim, gateway)
    thief.sh("ip", "link", "set", "host0", "address", victim.lease.mac)


WAYS: list[Callable[[Fake, Fake, str], None]] = [
    by_the_gateway,
    by_its_card,
    by_the_gateways_card,
    by_broadcast_frames,
    by_its_own_card,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_no_datagram_gets_around(lab: Lab, way: Callable[[Fake, Fake, str], None]) -> None:
    """What the thief sends first never arrives; what the friend sends then does."""
    fakes = people(lab, "a1", "a2", "b1")
    victim, friend, thief = fakes.values()
    victim.serve("udp", 7000)
    way(thief, victim, lab.router.gateway)
    send(thief, ("", victim.lease.ip))
    thief.sh("ip", "addr", "add", f"{friend.lease.ip}/32", "dev", "host0")
    send(thief, (friend.lease.ip, victim.lease.ip), ("", victim.lease.ip))
    assert not pings(thief, victim.lease.ip)
    send(friend, ("", victim.lease.ip), ("", victim.lease.ip))
    assert heard(victim, 2) == [friend.lease.ip] * 2


def test_broadcasts_and_arp_stay_on_their_networks(lab: Lab) -> None:
    victim, friend, thief = people(lab, "a1", "a2", "b1").values()
    victim.serve("udp", 7000)
    broadcast = str(lab.router.subnet.broadcast_address)
    for fake in (thief, friend):
        fake.sh("ip", "addr", "add", f"{fake.lease.ip}/22", "brd", "+", "dev", "host0", check=False)
        send(fake, ("", broadcast))
    send(friend, ("", victim.lease.ip))
    assert heard(victim, 2) == [friend.lease.ip] * 2
    ask = ["busybox", "arping", "-c", "1", "-w", "1", "-I", "host0", victim.lease.ip]
    assert thief.sh(*ask, check=False).returncode != 0
    assert friend.sh(*ask, check=False).returncode == 0


def test_published_ports_are_reached_from_everywhere(lab: Lab) -> None:
    fakes = people(lab)
    server = fakes["a1"]
    server.serve("tcp", 80)
    (port,) = lab.router.publish(server.lease, [PortMapping("", 0, 80)])
    address = host_address(lab)
    assert tcp("127.0.0.1", port.host_port)
    for name, fake in fakes.items():
        done = fake.sh(sys.executable, "-c", CONNECT, address, str(port.host_port), check=False)
        assert done.returncode == 0, (name, done.stderr)


def test_two_stores_are_apart(make_lab: Callable[[], Lab]) -> None:
    """Also by the host, which knows the way to both; by a published port they do reach each other."""
    first, second = make_lab(), make_lab()
    one, other = first.machine("h1"), second.machine("h1")
    for fake in (one, other):
        fake.address()
    other.serve("tcp", 80)
    (port,) = second.router.publish(other.lease, [PortMapping("", 0, 80)])
    assert tcp(other.lease.ip, 80)  # from this computer itself
    assert not pings(one, other.lease.ip)
    address = host_address(first)
    assert one.sh(sys.executable, "-c", CONNECT, address, str(port.host_port), check=False).returncode == 0


def test_a_router_with_older_rules_is_repaired_with_its_machines(lab: Lab) -> None:
    """As version 1 left it: pins alone, no record of networks; a machine of its time goes on."""
    old = lab.machine("old")
    old.address()
    gate = lab.router
    rules = (
        "delete table bridge stoneware\ndelete table ip stoneware\n"
        "table bridge stoneware { set ports { type ifname . ether_addr . ipv4_addr; }\n"
        "set cards { type ifname . ether_addr; }\n"
        "chain prerouting { type filter hook prerouting priority -300; policy accept; }; }\n"
        "table ip stoneware { chain input { type filter hook input priority 0; policy accept; }; }\n"
    )
    run(["nsenter", f"--net=/run/netns/{gate.namespace}", "nft", "-f", "-"], stdin=rules)
    record = gate.layout.run / "network.json"
    record.write_text(record.read_text().replace(f'"rules": {gate.state.rules}', '"rules": 1'))
    fakes = people(lab, "a1", "c1")
    assert lab.router.state.rules > 1
    assert old.ask() == "old"
    assert pings(fakes["c1"], old.lease.ip)
    assert not pings(fakes["a1"], old.lease.ip)


def test_an_internal_network_has_no_way_out(lab: Lab) -> None:
    """Names, metadata and neighbours are reached; what is outside is once the network is like others."""
    make_internal(lab, "a")
    inner, friend, both = people(lab, "a1", "a2", "both").values()
    outside = host_address(lab)
    inner.serve("tcp", 80)
    (port,) = lab.router.publish(inner.lease, [PortMapping("", 0, 80)])

    def is_apart() -> bool:
        # At once, as without a route, and not after a time.
        done = inner.sh(sys.executable, "-c", CONNECT, outside, "1", check=False)
        return "Network is unreachable" in done.stderr

    assert is_apart()
    assert not pings(inner, outside)
    assert pings(both, outside)  # it is on another network as well
    for neighbour in (friend, both):
        assert pings(inner, neighbour.lease.ip)
        assert pings(neighbour, inner.lease.ip)
    assert inner.ask() == "a1"
    assert friend.lease.ip in inner.sh("busybox", "nslookup", "-type=a", "a2", DNS).stdout
    assert "REFUSED" in inner.sh("busybox", "nslookup", "-type=a", "example.org", DNS, check=False).stdout
    assert tcp(inner.lease.ip, 80)  # from this computer itself
    with pytest.raises(OSError, match="refused"):
        tcp("127.0.0.1", port.host_port)

    make_internal(lab, "a", internal=False)
    lab.router.renew()
    assert pings(inner, outside)
    assert tcp("127.0.0.1", port.host_port)
    assert friend.lease.ip in inner.sh("busybox", "nslookup", "-type=a", "a2", DNS).stdout

    make_internal(lab, "a")  # and the command is killed: the next one sees that the rules do not know
    assert lab.router
    assert is_apart()


ECHO = """
import socket
server = socket.create_server(("", 81))
print("ready", flush=True)
link, _ = server.accept()
while data := link.recv(99):
    link.sendall(data)
"""
TALK = """
import socket, sys
link = socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)
link.settimeout(1)
for line in sys.stdin:
    link.sendall(line.encode())
    try:
        print(link.recv(99).decode().strip(), flush=True)
    except TimeoutError:
        print("silence", flush=True)
"""


def test_a_connection_ends_with_what_published_it(lab: Lab) -> None:
    """One that a machine of another network has opened, through the host, while that was allowed."""
    inner, stranger = people(lab, "a1", "c1").values()
    inner.start(ECHO)
    (port,) = lab.router.publish(inner.lease, [PortMapping("", 0, 81)])
    talk = stranger.start(TALK, host_address(lab), str(port.host_port), wait=False)

    def answer(text: str) -> str:
        assert talk.stdin
        assert talk.stdout
        talk.stdin.write(f"{text}\n")
        talk.stdin.flush()
        return talk.stdout.readline().strip()

    assert answer("one") == "one"
    lab.router.publish(inner.lease, [PortMapping("", port.host_port, 81), PortMapping("", 0, 82)])
    assert answer("two") == "two"
    make_internal(lab, "a")
    lab.router.renew()
    assert answer("three") == "silence"


def make_internal(lab: Lab, name: str, *, internal: bool = True) -> None:
    lab.network(name)
    write_json(lab.store.data / "networks" / name / "document.json", {"internal": internal})
