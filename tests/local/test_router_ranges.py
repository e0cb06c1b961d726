"""Networks with ranges of their own: their machines' addresses, and the same walls as everywhere."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from stoneware.errors import InputError
from stoneware.files import write_json
from stoneware.model.resources import PortMapping
from stoneware.platforms.local.network import addresses as network
from stoneware.platforms.local.network import ranges, router
from stoneware.platforms.local.network import setup as router_setup
from stoneware.platforms.local.network.state import check_ranges
from stoneware.process import run
from tests.documents import document_in
from tests.local import router_lab
from tests.local.router_lab import Fake, Lab, tcp
from tests.local.test_router_isolation import WAYS, heard, pings, send

make_lab, lab = router_lab.make_lab, router_lab.lab  # the fixtures
pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces"),
]
CONNECT = "import socket, sys; print(socket.create_connection((sys.argv[1], 80), 3).recv(99).decode())"


def give(lab: Lab, name: str, *subnets: str) -> None:
    """Record a network's ranges, as a command does that is killed before the router has them."""
    lab.network(name)
    check_ranges(lab.router.layout, name, subnets)
    write_json(lab.store.data / "networks" / name / "document.json", {"subnets": list(subnets)})


def areas(lab: Lab) -> list[str]:
    """Return three ranges that no store of another test has, nor the host."""
    first = int(IPv4Network("198.18.0.0/15")[int(lab.router.layout.digest[:4], 16) % 500 * 256])
    return [str(IPv4Network((first + at * 64, 26))) for at in range(3)]


def refused(why: str, action: Callable[[], object]) -> None:
    with pytest.raises(InputError) as caught:
        action()
    assert why in caught.value.details


def connects(fake: Fake, address: str) -> str:
    done = fake.sh(sys.executable, "-c", CONNECT, address, check=False)
    return done.stdout.strip() or done.stderr.splitlines()[-1]


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def ways(lab: Lab) -> set[str]:
    """Return the networks that the host reaches by the store's link."""
    namespace = lab.router.namespace
    return {str(it.network) for it in network.host_routes() if it.interface == namespace}


def test_two_ranges_of_one_network_and_another_network(lab: Lab, tmp_path: Path) -> None:
    first, second, third = areas(lab)
    give(lab, "a", first, second)
    give(lab, "c", third)
    low, high = (str(IPv4Network(area)[at]) for area, at in ((first, 5), (second, 9)))
    one = lab.machine("one", networks=["a"], addresses={"a": low})
    two = lab.machine("two", networks=["a"], addresses={"a": high})
    both = lab.machine("both", networks=["a", "b"])
    plain, apart, none = (
        lab.machine(name, networks=on) for name, on in (("b1", ["b"]), ("c1", ["c"]), ("d1", []))
    )
    gateway = str(IPv4Network(second)[1])
    said = two.address(dhcp=tmp_path)
    assert said.startswith(f"ip={high} router={gateway} dns=169.254.169.254")
    for fake in (one, both, plain, apart, none):
        fake.address()
    document = document_in(lab.directory("one") / "network.json")
    assert [document[key] for key in ("ip", "gateway", "netmask")] == [
        low,
        str(IPv4Network(first)[1]),
        "255.255.255.192",
    ]
    assert IPv4Network(first).supernet_of(IPv4Network(both.lease.ip))
    assert plain.place.network == lab.router.subnet

    # Each knows who it is, and names come from the gateway of its range as well.
    assert [fake.ask() for fake in (one, two, both)] == ["one", "two", "both"]
    assert f"Address: {low}" in two.sh("busybox", "nslookup", "-type=a", "one", gateway).stdout

    # Neighbours reach each other across ranges, also one that has its address from another network.
    two.serve("tcp", 80)
    plain.serve("tcp", 80)
    assert [connects(fake, high) for fake in (one, both)] == [low, both.lease.ip]
    assert connects(both, plain.lease.ip) == both.lease.ip
    assert pings(plain, both.lease.ip)

    # Nobody else does, by whatever way; nor does a machine take another one's address.
    for fake in (plain, apart, none):
        assert not pings(fake, low)
        assert "Error" in connects(fake, high)
        assert not pings(one, fake.lease.ip)
    card = network.mac_of(lab.router.gateway)
    apart.sh("ip", "neigh", "replace", str(apart.place.network[1]), "lladdr", two.lease.mac, "dev", "host0")
    assert not pings(apart, high)
    apart.sh("ip", "neigh", "replace", str(apart.place.network[1]), "lladdr", card, "dev", "host0")
    apart.sh("ip", "addr", "add", f"{low}/32", "dev", "host0")
    stolen = apart.sh("busybox", "ping", "-c", "1", "-W", "1", "-I", low, high, check=False)
    assert stolen.returncode != 0

    # This computer reaches both, and publishes their ports.
    assert tcp(high, 80) == lab.router.plan.host_end
    (port,) = lab.router.publish(two.lease, [PortMapping("", 0, 80)], id=two.id)
    assert tcp("127.0.0.1", port.host_port)
    refused("The machine one has it", lambda: lab.machine("three", networks=["a"], addresses={"a": low}))


def test_no_datagram_gets_around_from_range_to_range(lab: Lab) -> None:
    """What thieves send never arrives, by whatever way; what a friend in another range sends then does."""
    first, second, third = areas(lab)
    give(lab, "a", first, second)
    give(lab, "c", third)
    victim = lab.machine("victim", networks=["a"])
    friend = lab.machine("friend", networks=["a"], addresses={"a": str(IPv4Network(second)[9])})
    thieves = [lab.machine(way.__name__, networks=["c"]) for way in WAYS]
    for fake in (victim, friend, *thieves):
        fake.address()
    victim.serve("udp", 7000)
    for way, thief in zip(WAYS, thieves, strict=True):
        way(thief, victim, str(thief.place.network[1]))
        send(thief, ("", victim.lease.ip))
        thief.sh("ip", "addr", "add", f"{friend.lease.ip}/32", "dev", "host0")
        send(thief, (friend.lease.ip, victim.lease.ip), ("", victim.lease.ip))
    assert not pings(thieves[0], victim.lease.ip)
    send(friend, ("", victim.lease.ip), ("", victim.lease.ip))
    assert heard(victim, 2) == [friend.lease.ip] * 2


def test_ranges_are_repaired_and_changed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, _ = areas(lab)
    give(lab, "a", first)
    low = str(IPv4Network(first)[5])
    one = lab.machine("one", networks=["a"], addresses={"a": low})
    one.address()
    gate = lab.router
    assert {first, str(gate.subnet)} < ways(lab)
    inside = ["ip", "-n", gate.namespace]
    for damage in (
        ["ip", "route", "del", first],
        [*inside, "addr", "del", f"{IPv4Network(first)[1]}/26", "dev", "br0"],
    ):
        run(damage)
        assert not router_setup.whole(gate.layout, gate.state)
        assert lab.router
        assert pings(one, gate.plan.host_end)

    # A network gains a range in place; the next command finds what a killed one has recorded.
    give(lab, "a", first, second)
    assert not router_setup.whole(gate.layout, gate.state)
    with monkeypatch.context() as patch:  # and is killed itself before it has noted what it did
        patch.setattr(router_setup, "save", _killed)
        with pytest.raises(KeyboardInterrupt):
            assert lab.router
    assert not router_setup.whole(gate.layout, gate.state)
    two = lab.machine("two", networks=["a"], addresses={"a": str(IPv4Network(second)[9])})
    two.address()
    assert pings(one, two.lease.ip)
    assert {first, second} < ways(lab)
    # A command that opened the router before that knows them as well.
    late = str(IPv4Network(second)[10])
    place = lab.directory("late")
    assert (
        gate.attach(place, id="m0", name="late", hostname="late", networks=["a"], addresses={"a": late}).ip
        == late
    )
    assert document_in(place / "network.json")["gateway"] == str(IPv4Network(second)[1])
    gate.detach("m0", "late")
    shutil.rmtree(place)
    refused(f"The machine one has the address {low}", lambda: give(lab, "a", second))
    refused("of the network a", lambda: give(lab, "b", second))
    refused("the store's own addresses", lambda: give(lab, "b", str(gate.subnet)))


def test_a_damaged_record_stops_no_other_and_a_network_that_is_gone_leaves_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = areas(lab)
    give(lab, "a", first, second)
    low = str(IPv4Network(first)[5])
    one = lab.machine("one", networks=["a"], addresses={"a": low})
    two = lab.machine("two", networks=["a"], addresses={"a": str(IPv4Network(second)[9])})
    one.address()
    two.address()
    record = lab.store.data / "networks" / "a" / "document.json"
    record.write_text('{"subnets": "all"}')
    other = lab.machine("other", networks=["c"])
    other.address()
    assert (other.ask(), pings(one, two.lease.ip)) == ("other", True)
    write_json(record, {"subnets": [first, third]})
    one.end()
    lab.router.detach(one.id, "one")
    shutil.rmtree(lab.directory("one"))
    again = lab.machine("one", networks=["a"])  # its name has kept the address
    assert again.lease.ip == low

    for name, fake in (("one", again), ("two", two)):
        fake.end()
        lab.router.detach(fake.id, name)
        shutil.rmtree(lab.directory(name))
    shutil.rmtree(record.parent)
    with monkeypatch.context() as patch:
        patch.setattr(router_setup, "save", _killed)
        with pytest.raises(KeyboardInterrupt):
            assert lab.router
    assert ranges.flat(router.ensure(lab.store).state.ranges) == ()
    assert not {first, second, third} & ways(lab)
    assert first not in run(["ip", "-n", lab.router.namespace, "route", "show"]).stdout
