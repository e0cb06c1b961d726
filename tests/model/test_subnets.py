"""Which ranges a network may have, and which address a machine may ask for."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from stoneware.model.subnets import address_problem, addresses_problem, range_problem, ranges_problem

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    "text",
    ["10.0.0.0/8", "10.5.0.0/29", "172.31.0.0/16", "192.168.7.0/24", "100.64.0.0/10", "198.19.255.248/29"],
)
def test_private_ranges_are_allowed(text: str) -> None:
    assert range_problem(text) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("10.5.0.0/30", "too small"),
        ("10.5.0.1", "too small"),
        ("10.5.0.1/16", "zeros behind"),
        ("10.5.0/16", "no range"),
        ("", "no range"),
        ("fd00::/64", "no range"),
        ("8.8.8.0/24", "not private"),
        ("172.16.0.0/11", "zeros behind"),
        ("10.0.0.0/7", "not private"),
        ("192.0.0.0/8", "not private"),
        ("127.0.0.0/24", "not private"),
        ("169.254.0.0/16", "not private"),
        ("0.0.0.0/0", "not private"),
        ("10.5.0.0/255.255.0.0.0", "no range"),
    ],
)
def test_other_ranges_are_refused(text: str, why: str) -> None:
    assert why in (range_problem(text) or "")


def test_ranges_of_one_network_lie_apart() -> None:
    assert ranges_problem([]) is None
    assert ranges_problem(["10.5.0.0/24", "10.5.1.0/24"]) is None
    assert "overlap" in (ranges_problem(["10.5.0.0/24", "10.5.0.128/25"]) or "")
    assert "overlap" in (ranges_problem(["10.5.0.0/24", "10.5.0.0/24"]) or "")
    assert "not private" in (ranges_problem(["10.5.0.0/24", "1.1.1.0/24"]) or "")


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("10.5.0.2", ""),
        ("10.5.0.5", ""),
        ("10.6.255.253", ""),
        ("10.5.0.0", "reserved"),
        ("10.5.0.1", "reserved"),
        ("10.5.0.6", "reserved"),
        ("10.5.0.7", "reserved"),
        ("10.5.0.8", "none of the network's ranges: 10.5.0.0/29, 10.6.0.0/16"),
        ("10.5.0", "no IPv4 address"),
        ("::1", "no IPv4 address"),
    ],
)
def test_an_address_is_in_a_range_and_not_at_its_ends(address: str, why: str) -> None:
    found = address_problem(address, [IPv4Network("10.5.0.0/29"), IPv4Network("10.6.0.0/16")])
    assert (found is None) if not why else (why in (found or ""))


def test_a_network_without_ranges_has_no_address_to_ask_for() -> None:
    assert "no ranges of its own" in (address_problem("10.5.0.2", []) or "")


@pytest.mark.parametrize(
    ("addresses", "why"),
    [
        ({}, ""),
        ({"a": "10.5.0.2"}, ""),
        ({"a": "10.5.0.2", "b": "10.5.0.2"}, ""),
        ({"a": "10.5.0.2", "b": "10.6.0.2"}, "several addresses: 10.5.0.2 on a, 10.6.0.2 on b"),
        ({"c": "10.5.0.2"}, "on c, a network that it is not on"),
        ({"a": "10.5.0.2/24"}, "no IPv4 address"),
    ],
)
def test_a_machine_asks_for_one_address_on_its_networks(addresses: dict[str, str], why: str) -> None:
    found = addresses_problem(addresses.items(), ["a", "b"])
    assert (found is None) if not why else (why in (found or ""))
