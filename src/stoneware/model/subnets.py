"""What ranges of addresses networks may have of their own, and what addresses machines may ask for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError

SMALLEST = 29  # the longest prefix: eight addresses, of which four are for machines
# RFC 1918, the addresses that carriers share (RFC 6598) and those of benchmarks (RFC 2544).
_PRIVATE = tuple(
    IPv4Network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15")
)
_RESERVED = 2  # at each end, as on Compute Engine; the second address is the gateway


def range_problem(text: str) -> str | None:
    """Say in a sentence why a text is no range that a network may have; None where it is one."""
    try:
        found = IPv4Network(text)
    except (AddressValueError, NetmaskValueError, ValueError):
        return f"{text!r} is no range of IPv4 addresses as 10.5.0.0/16, with zeros behind the prefix."
    if "/" not in text or found.prefixlen > SMALLEST:
        return f"{text} is too small: a range has at least 8 addresses (/{SMALLEST})."
    if not any(found.subnet_of(area) for area in _PRIVATE):
        areas = ", ".join(map(str, _PRIVATE))
        return f"{text} is not private: a range is part of one of {areas}."
    return None


def ranges_problem(texts: Sequence[str]) -> str | None:
    """Say why a network may not have these ranges; None where it may."""
    for text in texts:
        if problem := range_problem(text):
            return problem
    ranges = [IPv4Network(text) for text in texts]
    for index, one in enumerate(ranges):
        for other in ranges[:index]:
            if one.overlaps(other):
                return f"The ranges {other} and {one} overlap."
    return None


def gateway(area: IPv4Network) -> str:
    """Return the router's address in a range: the first after the range's own."""
    return str(area[1])


def address_problem(text: str, ranges: Iterable[IPv4Network]) -> str | None:
    """Say why a machine cannot have an address on a network with these ranges; None where it can."""
    known = list(ranges)
    try:
        address = IPv4Address(text)
    except AddressValueError:
        return f"{text!r} is no IPv4 address."
    if not known:
        return "The network has no ranges of its own (subnets) to choose addresses from."
    area = next((area for area in known if address in area), None)
    if area is None:
        return f"{text} is in none of the network's ranges: {', '.join(map(str, known))}."
    if not is_for_machines(address, area):
        return f"{text} is reserved: the first two and the last two addresses of {area} are for no machine."
    return None


def is_for_machines(address: IPv4Address, area: IPv4Network) -> bool:
    """Say whether a machine may have an address of a range."""
    place = int(address) - int(area.network_address)
    return _RESERVED <= place < area.num_addresses - _RESERVED


def addresses_problem(addresses: Iterable[tuple[str, str]], networks: Iterable[str]) -> str | None:
    """Say why a machine on `networks` cannot ask for addresses, by network; None where it can.

    It has one card, and so one address on all of its networks.
    """
    asked = sorted(addresses)
    on = set(networks)
    for network, text in asked:
        if network not in on:
            return f"It asks for the address {text} on {network}, a network that it is not on."
        try:
            IPv4Address(text)
        except AddressValueError:
            return f"{text!r} is no IPv4 address."
    if len({text for _, text in asked}) > 1:
        said = ", ".join(f"{text} on {network}" for network, text in asked)
        return f"It asks for several addresses: {said}. A machine has one, on all of its networks."
    return None
