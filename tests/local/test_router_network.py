"""Addresses, ports and rules as data: nothing is touched."""

from __future__ import annotations

import socket
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from stoneware.errors import HostError, InputError
from stoneware.model.resources import PortMapping
from stoneware.platforms.local.network import addresses as network
from stoneware.platforms.local.network import dns as router_dns
from stoneware.platforms.local.network import firewall as router_firewall
from stoneware.platforms.local.network import ports
from stoneware.platforms.local.network import rules as router_rules
from stoneware.platforms.local.network.addresses import Lease, Plan, Route
from stoneware.records import DamagedError

ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""


def test_the_kernels_routes_are_read() -> None:
    assert network.parse_routes(ROUTES) == [
        Route(IPv4Network("0.0.0.0/0"), "eth0"),
        Route(IPv4Network("192.0.2.0/24"), "eth0"),
    ]


def test_a_store_has_its_own_subnet_and_keeps_its_order() -> None:
    first = network.choose_subnet("0123abcd", [])
    assert first.prefixlen == 22
    assert first.subnet_of(IPv4Network("10.64.0.0/10"))
    assert network.choose_subnet("0123abcd", network.parse_routes(ROUTES)) == first
    assert network.choose_subnet("ffffffff", []) != first
    assert network.choose_subnet("ffffffff", []).subnet_of(IPv4Network("10.64.0.0/10"))


@pytest.mark.parametrize("taken", ["narrow", "link", "wide"])
def test_a_subnet_in_use_is_avoided(taken: str) -> None:
    first = network.choose_subnet("0123abcd", [])
    route = {
        "narrow": IPv4Network((int(first[7]), 32)),
        "link": Plan(first).link,
        "wide": IPv4Network("10.0.0.0/8"),
    }[taken]
    chosen = network.choose_subnet("0123abcd", [Route(route, "tun0")])
    assert not chosen.supernet(new_prefix=21).overlaps(route)


def test_when_wide_routes_cover_all_only_narrow_ones_count() -> None:
    wide = [Route(IPv4Network("10.0.0.0/8"), "tun0"), Route(IPv4Network("172.16.0.0/12"), "tun0")]
    assert network.choose_subnet("0123abcd", wide) == network.choose_subnet("0123abcd", [])
    narrow = [Route(IPv4Network(f"10.{second}.0.0/16"), "tun0") for second in range(64, 128)]
    narrow += [Route(IPv4Network(f"172.{second}.0.0/16"), "tun0") for second in range(16, 32)]
    with pytest.raises(HostError, match="no free subnet"):
        network.choose_subnet("0123abcd", narrow)


def test_a_subnet_goes_on_unless_somebody_else_took_it() -> None:
    subnet = network.choose_subnet("0123abcd", [])
    own = [Route(subnet, "sw-0123abcd"), Route(Plan(subnet).link, "sw-0123abcd")]
    assert network.usable(subnet, own, "sw-0123abcd")
    assert not network.usable(subnet, [*own, Route(subnet, "docker0")], "sw-0123abcd")
    assert network.usable(subnet, [*own, Route(IPv4Network("10.0.0.0/8"), "tun0")], "sw-0123abcd")


def test_the_link_is_outside_the_machines_subnet() -> None:
    plan = Plan(IPv4Network("10.64.8.0/22"))
    assert (plan.gateway, plan.host_end, plan.router_end) == ("10.64.8.1", "10.64.12.1", "10.64.12.2")
    assert not plan.link.overlaps(plan.subnet)


def test_addresses_follow_the_name_and_avoid_the_taken() -> None:
    subnet = IPv4Network("10.64.8.0/29")
    first = network.choose_address(subnet, "h1", set())
    assert network.choose_address(subnet, "h1", set()) == first
    taken: set[str] = set()
    for _ in range(5):
        taken.add(network.choose_address(subnet, "h1", taken))
    assert taken == {f"10.64.8.{last}" for last in range(2, 7)}
    with pytest.raises(HostError, match="all 5 addresses"):
        network.choose_address(subnet, "h1", taken)


def test_the_card_is_numbered_as_on_compute_engine() -> None:
    assert network.mac_of("10.64.8.9") == "42:01:0a:40:08:09"


@pytest.mark.parametrize(
    ("host", "resolved", "expected"),
    [
        ("nameserver 192.0.2.1\n", None, ("host", None)),
        ("# x\nsearch a\nnameserver 127.0.0.53\n", "nameserver 192.0.2.1\n", ("resolved", None)),
        ("nameserver 127.0.0.1\nnameserver 192.0.2.1\n", None, ("host", None)),
        ("nameserver 127.0.0.1\n", None, (None, "127.0.0.1")),
        ("nameserver ::1\n", None, (None, None)),
        (None, None, (None, None)),
    ],
)
def test_where_names_are_asked(
    tmp_path: Path, host: str | None, resolved: str | None, expected: tuple[str | None, str | None]
) -> None:
    for name, text in (("host", host), ("resolved", resolved)):
        if text is not None:
            (tmp_path / name).write_text(text)
    path, loopback = network.upstream_file(tmp_path / "host", tmp_path / "resolved")
    assert (path.name if path else None, loopback) == expected


# --- ports --------------------------------------------------------------------------------------------------

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 100 1 0 100
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 101 1 0 100
   2: 0100007F:8000 0100007F:0016 01 00000000:00000000 00:00000000 00000000     0        0 102 1 0 100
"""
TCP6 = """\
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 103 1
   1: 00000000000000000000000001000000:0051 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 104 1
   2: 0000000000000000FFFF00000100007F:0052 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 105 1
"""


def test_listening_sockets_are_read() -> None:
    found = [(item.address, item.port, item.inode) for item in ports.parse_sockets(TCP, "tcp")]
    assert found == [("127.0.0.1", 8080, 100), ("", 22, 101)]
    found = [(item.address, item.port, item.inode) for item in ports.parse_sockets(TCP6, "tcp")]
    assert found == [("", 80, 103), ("127.0.0.1", 82, 105)]


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.1", "", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "127.0.0.1", True),
    ],
)
def test_addresses_in_common(first: str, second: str, both: bool) -> None:
    assert ports.overlap(first, second) is both


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (PortMapping("", 80, 80, "sctp"), "unknown protocol"),
        (PortMapping("", 65536, 80), "out of range"),
        (PortMapping("", 80, 0), "out of range"),
        (PortMapping("", -1, 80), "out of range"),
        (PortMapping("::1", 80, 80), "::1 cannot be published on"),
        (PortMapping("localhost", 80, 80), "localhost cannot be published on"),
        (PortMapping("203.0.113.77", 80, 80), "cannot be published"),
    ],
)
def test_a_mapping_that_cannot_be(mapping: PortMapping, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ports.check(mapping)


def test_a_port_another_program_listens_on_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        for host_ip in ("", "127.0.0.1"):
            with pytest.raises(InputError, match=f"port {port}/tcp .* in use") as caught:
                ports.Ports.assign([PortMapping(host_ip, port, 80)], [], "store", "m1", "10.0.0.1")
            assert Path("/proc/self/comm").read_text().strip() in caught.value.details
        assert ports.Ports.assign([PortMapping("", port, 80, "udp")], [], "store", "m1", "10.0.0.1")


def test_a_port_of_another_machine_is_refused_and_0_takes_a_free_one() -> None:
    (taken,) = ports.Ports.assign([PortMapping("127.0.0.1", 0, 80)], [], "a", "m1", "10.0.0.1")
    with pytest.raises(InputError) as caught:
        ports.Ports.assign([PortMapping("", taken.host_port, 81)], [taken], "b", "m2", "10.0.0.2")
    assert "machine m1 has it" in caught.value.details
    several = [PortMapping("", 0, 80), PortMapping("", 0, 81), PortMapping("", 0, 80, "udp")]
    given = ports.Ports.assign(several, [taken], "b", "m2", "10.0.0.2")
    assert len({(item.protocol, item.host_port) for item in given}) == 3
    assert all(item.host_port for item in given)


def test_the_same_port_twice_in_one_command_is_refused() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    twice = [PortMapping("127.0.0.1", port, 80), PortMapping("", port, 81)]
    with pytest.raises(InputError, match="in use"):
        ports.Ports.assign(twice, [], "a", "m1", "10.0.0.1")


def test_the_record_forgets_stores_that_are_down(tmp_path: Path) -> None:
    record = ports.Ports(tmp_path, lambda store: store == "up")
    entries = [
        ports.Publication(store, "m", "0.0.0.0", 80, "10.0.0.1", 80, "tcp") for store in ("up", "down")
    ]
    assert record.read() == []
    with record.exclusive():
        record.write(entries)
    assert record.read() == entries[:1]
    (tmp_path / "ports.json").write_text("{")
    with pytest.raises(DamagedError):
        record.read()


# --- rules, DNS records, firewalls ---------------------------------------------------------


def test_forwards_go_into_the_map_of_their_address_and_what_they_lead_to_into_a_set() -> None:
    forwards = [
        router_rules.Forward("udp", "0.0.0.0", 53, "10.0.0.2", 5353),
        router_rules.Forward("tcp", "127.0.0.1", 8080, "10.0.0.2", 80),
    ]
    lines = router_rules.forward_rules("stoneware-x", forwards).splitlines()
    assert lines == [
        "flush map ip stoneware-x anywhere",
        "flush map ip stoneware-x bound",
        "flush set ip stoneware-x published",
        "add element ip stoneware-x published { tcp . 10.0.0.2 . 80 }",
        "add element ip stoneware-x published { udp . 10.0.0.2 . 5353 }",
        "add element ip stoneware-x bound { tcp . 127.0.0.1 . 8080 : 10.0.0.2 . 80 }",
        "add element ip stoneware-x anywhere { udp . 53 : 10.0.0.2 . 5353 }",
    ]


def test_attached_machines_are_files_that_dnsmasq_reads(tmp_path: Path) -> None:
    attached = router_dns.Attached(tmp_path / "sub" / "store")
    attached.prepare()
    attached.add("m1", Lease("10.0.0.2", "42:01:0a:00:00:02"), ("h1", "h1.example"))
    assert (attached.directory / "dhcp" / "m1").read_text() == (
        "42:01:0a:00:00:02,id:*,10.0.0.2,h1,infinite\n"
    )
    assert (attached.directory / "dns" / "m1").read_text() == (
        "10.0.0.2 h1 h1.example h1.local.c.stoneware.internal\n"
    )
    assert attached.pins() == [router_rules.Pin("vb-m1", "42:01:0a:00:00:02", "10.0.0.2")]
    assert attached.remove("m1") == router_rules.Pin("vb-m1", "42:01:0a:00:00:02", "10.0.0.2")
    assert attached.remove("m1") is None
    assert attached.pins() == []


def test_foreign_chains_that_drop_by_policy_are_found() -> None:
    def chain(table: str, policy: str, hook: str = "forward", family: str = "ip") -> dict[str, object]:
        inner = {"family": family, "table": table, "name": "FORWARD", "hook": hook, "policy": policy}
        return {"chain": inner}

    document = {
        "nftables": [
            {"metainfo": {}},
            chain("filter", "drop"),
            chain("filter", "accept"),
            chain("filter", "drop", hook="input"),
            chain("fw", "drop", family="inet"),
            chain("fw", "drop", family="bridge"),
            chain("stoneware-0123abcd", "drop"),
            {"chain": {"family": "ip", "table": "filter", "name": "DOCKER"}},
        ]
    }
    assert router_firewall.dropping_chains(document) == [
        ("ip", "filter", "FORWARD"),
        ("inet", "fw", "FORWARD"),
    ]
