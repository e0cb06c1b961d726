"""Ranges of networks as data: which are in force, what is refused, what the rules and servers say of them."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from stoneware.errors import HostError, InputError
from stoneware.files import read_json, write_json
from stoneware.platforms.local.network import addresses as network
from stoneware.platforms.local.network import dns as router_dns
from stoneware.platforms.local.network import ranges
from stoneware.platforms.local.network import rules as router_rules
from stoneware.platforms.local.network.addresses import Plan, Route
from stoneware.platforms.local.network.layout import Layout
from stoneware.platforms.local.network.networks import free_address
from stoneware.platforms.local.network.rules import Pin
from stoneware.platforms.local.network.state import State, load, save
from stoneware.platforms.local.network.views import View
from tests.documents import document_in

pytestmark = pytest.mark.pure
OWN = "sw-0123abcd"
A, B, C = (IPv4Network(text) for text in ("10.5.0.0/24", "10.6.0.0/16", "10.7.0.0/29"))
PLAN = Plan(IPv4Network("10.64.8.0/22"), (A, B))


def record(data: Path, **networks: object) -> None:
    for name, subnets in networks.items():
        (data / "networks" / name).mkdir(parents=True)
        write_json(data / "networks" / name / "document.json", {"subnets": subnets})


def test_a_plan_knows_where_an_address_is() -> None:
    assert PLAN.gateways == ("10.64.8.1", "10.5.0.1", "10.6.0.1")
    assert [PLAN.place_of(ip) for ip in ("10.5.0.9", "10.6.3.9", "10.64.9.9")] == [A, B, PLAN.subnet]


def test_the_first_range_with_a_free_address_gives_it() -> None:
    taken: set[str] = set()
    for _ in range(4):
        taken.add(network.choose_address(PLAN.subnet, "h1", taken, [C, A]))
    assert taken == {f"10.7.0.{last}" for last in range(2, 6)}  # not the last two, as on Compute Engine
    assert network.choose_address(PLAN.subnet, "h1", taken, [C, A]).startswith("10.5.0.")
    with pytest.raises(HostError, match=r"all 4 addresses of 10\.7\.0\.0/29"):
        network.choose_address(PLAN.subnet, "h1", taken, [C])


def test_the_stores_subnet_avoids_ranges() -> None:
    first = network.choose_subnet("0123abcd", [])
    everywhere = [IPv4Network("10.0.0.0/8")]
    assert not network.choose_subnet("0123abcd", [], [first]).overlaps(first)
    assert network.choose_subnet("0123abcd", [], everywhere).subnet_of(IPv4Network("172.16.0.0/12"))
    with pytest.raises(HostError, match="no free subnet"):
        network.choose_subnet("0123abcd", [], [*everywhere, IPv4Network("172.16.0.0/12")])


def test_what_is_recorded_and_what_is_damaged(tmp_path: Path) -> None:
    record(tmp_path, a=["10.5.0.0/24"], b=["10.6.0.0/16", "10.7.0.0/29"], plain=[], late=["10.6.1.0/24"])
    (tmp_path / "networks" / ".staged-x").mkdir()
    known = {"a": (A,), "b": (B, C)}
    assert ranges.recorded(tmp_path, {}) == known  # that of `late` overlaps one before it
    for damage in ("{", '{"subnets": "all"}', '{"subnets": ["8.8.8.0/24"]}', '{"subnets": ["10.5.0.0/99"]}'):
        (tmp_path / "networks" / "b" / "document.json").write_text(damage)
        assert ranges.recorded(tmp_path, known) == known
        assert "b" not in ranges.recorded(tmp_path, {})
    assert ranges.recorded(tmp_path / "none", known) == {}


def test_a_range_that_another_route_takes_waits_until_no_machine_is_in_it() -> None:
    wanted = {"a": (A,), "b": (B, C)}

    def there(*routes: tuple[str, str], used: tuple[str, ...] = ()) -> object:
        known = [Route(IPv4Network(text), interface) for text, interface in routes]
        return ranges.in_force(wanted, PLAN, known, OWN, used=lambda: used)

    assert there() == there(("10.5.0.0/24", OWN), ("0.0.0.0/0", "eth0"), ("10.0.0.0/8", "tun0")) == wanted
    assert there(("10.5.0.0/24", "eth0")) == {"b": (B, C)}
    assert there(("10.6.7.0/24", "eth0")) == {"a": (A,), "b": (C,)}
    assert there(("10.6.7.0/24", "eth0"), used=("10.6.0.2",)) == wanted
    assert ranges.in_force({"a": (IPv4Network("10.64.12.0/24"),)}, PLAN, [], OWN, used=tuple) == {}


@pytest.mark.parametrize(
    ("subnets", "why"),
    [
        (["10.5.0.0/30"], "too small"),
        (["10.6.1.0/24"], "overlaps 10.6.0.0/16 of the network b"),
        (["10.64.0.0/16"], "the store's own addresses"),
        (["10.64.12.0/29"], "the store's own addresses"),  # its link
        (["192.168.1.0/24"], "which this computer reaches by eth0"),
        (["192.168.0.0/16"], "overlaps 192.168.1.0/24"),
        (["172.16.0.0/12"], "overlaps 172.16.0.0/12, which this computer reaches by tun0"),
    ],
)
def test_what_a_network_cannot_have(subnets: list[str], why: str) -> None:
    routes = [
        Route(IPv4Network(text), interface)
        for text, interface in (("192.168.1.0/24", "eth0"), ("172.16.0.0/12", "tun0"), ("10.6.0.0/16", OWN))
    ]
    with pytest.raises(InputError, match="cannot have the subnets") as caught:
        ranges.check_new("a", subnets, {"a": (A,), "b": (B,)}, PLAN, routes=routes, own=OWN)
    assert why in caught.value.details
    fine = ["10.5.0.0/16", "172.20.0.0/24", "10.8.0.0/16"]  # its own may grow; a wide route stays around one
    ranges.check_new("a", fine, {"a": (A,), "b": (B,)}, PLAN, routes=routes, own=OWN)


def test_a_range_with_a_machine_stays(tmp_path: Path) -> None:
    for name, ip in (("h1", "10.5.0.9"), ("h2", "10.64.8.9")):
        (tmp_path / "machines" / name).mkdir(parents=True)
        write_json(tmp_path / "machines" / name / "network.json", {"ip": ip})
    ranges.check_gone("a", [A], [A, B], tmp_path)
    ranges.check_gone("a", [IPv4Network("10.5.0.0/16")], [A], tmp_path)
    ranges.check_gone("a", [IPv4Network("10.5.0.0/28")], [A], tmp_path)
    # Smaller than its address needs; with another gateway than the one it knows; none.
    for left in ([IPv4Network("10.5.0.0/29")], [IPv4Network("10.4.0.0/15")], []):
        with pytest.raises(InputError, match="cannot lose the subnet") as caught:
            ranges.check_gone("a", left, [A], tmp_path)
        assert "The machine h1 has the address 10.5.0.9" in caught.value.details


def test_in_which_ranges_a_machine_is(tmp_path: Path) -> None:
    record(tmp_path, a=["10.5.0.0/24"], b=["10.6.0.0/16", "10.7.0.0/29"], plain=[])
    assert ranges.pools(tmp_path, ["a", "b", "plain"], {"a": (A,), "b": (C,)}) == {"a": (A,), "b": (C,)}
    assert ranges.pools(tmp_path, ["plain"], {}) == {}
    with pytest.raises(HostError, match="other ways to its addresses"):
        ranges.pools(tmp_path, ["a"], {})
    assert ranges.asked("h1", {}, {"a": (A,)}) is None
    assert ranges.asked("h1", {"a": "10.5.0.9"}, {"a": (A,)}) == "10.5.0.9"
    for network_name, address in (("plain", "10.5.0.9"), ("a", "10.6.0.9"), ("a", "10.5.0.254")):
        with pytest.raises(InputError, match=f"cannot have the address {address}"):
            ranges.asked("h1", {network_name: address}, {"a": (A,)})


def test_an_address_of_a_machine_that_is_gone_is_given_to_who_asks_for_it(tmp_path: Path) -> None:
    for name, kept in (("a", {"h1": "10.5.0.9", "h2": "10.5.0.10"}), ("b", {"h3": "10.5.0.9"})):
        (tmp_path / "networks" / name).mkdir(parents=True)
        write_json(tmp_path / "networks" / name / "addresses.json", kept)
    free_address(tmp_path, "10.5.0.9", but="h1")
    assert [read_json(tmp_path / "networks" / name / "addresses.json") for name in ("a", "b")] == [
        {"h1": "10.5.0.9", "h2": "10.5.0.10"},
        {},
    ]


def test_a_state_comes_back_with_its_ranges(tmp_path: Path) -> None:
    state = State(PLAN, 1500, (1, 2), "boot", 7, 1, {"a": (A,), "b": (B,)})
    layout = Layout(tmp_path, "0123abcd")
    layout.run.mkdir()
    save(layout, state)
    assert load(layout) == state
    document = document_in(layout.run / "network.json")
    del document["ranges"]  # an earlier version
    write_json(layout.run / "network.json", document)
    before = load(layout)
    assert before is not None
    assert (before.plan.ranges, before.ranges) == ((), {})


def test_the_hosts_rules_know_all_places() -> None:
    text = router_rules.host_rules("stoneware-x", "sw-x", PLAN, None, [])
    places = "{ 10.64.8.0/22, 10.5.0.0/24, 10.6.0.0/16 }"
    for rule in (
        f'iifname "sw-x" ip daddr {places} drop',
        f'iifname != "sw-x" ip saddr {places} drop',
        f'oifname "sw-x" ip saddr {places} masquerade',
        f'oifname != "sw-x" ip saddr {places[:-2]}, 10.64.12.0/30 }} masquerade',
    ):
        assert f"{rule}\n" in text


def test_the_routers_rules_carry_from_range_to_range_in_one_network_only() -> None:
    views = [View(("a",), 10000), View(("a", "b"), 10001)]
    pins = [
        Pin("vb-1", "42:01:0a:05:00:09", "10.5.0.9", ("a",)),
        Pin("vb-2", "42:01:0a:06:00:09", "10.6.0.9", ("a", "b")),
        Pin("vb-3", "42:01:0a:40:08:09", "10.64.8.9"),
    ]
    text = router_rules.inner_rules(PLAN, pins, views)
    assert "ip daddr { 169.254.169.254, 10.64.8.1, 10.5.0.1, 10.6.0.1 } meta l4proto { tcp, udp }" in text
    one, two = (network.mark_of(ip) for ip in ("10.5.0.9", "10.6.0.9"))
    keys = [view.key for view in views]
    for line in (
        *(f"add rule ip stoneware view-{keys[0]} ip daddr @net-{name} accept" for name in "a"),
        *(f"add rule ip stoneware view-{keys[1]} ip daddr @net-{name} accept" for name in "ab"),
        "add element ip stoneware net-a { 10.5.0.9, 10.6.0.9 }",
        "add element ip stoneware net-b { 10.6.0.9 }",
        f"add element ip stoneware views {{ {one} : jump view-{keys[0]}, {two} : jump view-{keys[1]} }}",
    ):
        assert f"{line}\n" in text
    assert "add element ip stoneware common" not in text  # in the store's subnet the bridge alone carries
    assert router_rules.expulsion(pins[1], views[1]).count("delete element ip stoneware net-") == 2


def test_dhcp_has_the_gateway_of_each_range() -> None:
    words = router_dns.dnsmasq_command(PLAN, 1500, Path("/run/x"), None)
    assert "--dhcp-range=10.64.8.0,static,255.255.252.0,infinite" in words
    assert "--dhcp-option=option:router,10.64.8.1" in words
    for at, (area, mask, gateway) in enumerate(
        (("10.5.0.0", "255.255.255.0", "10.5.0.1"), ("10.6.0.0", "255.255.0.0", "10.6.0.1"))
    ):
        assert f"--dhcp-range=set:range{at},{area},static,{mask},infinite" in words
        assert f"--dhcp-option=tag:range{at},option:router,{gateway}" in words
