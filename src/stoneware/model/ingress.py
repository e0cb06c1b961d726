"""Rules on what comes in to a machine, as a cloud's firewall has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stoneware.dataclass import dataclass

ALL = "all"
TCP, UDP, SCTP, ICMP = "tcp", "udp", "sctp", "icmp"
WITH_PORTS = (TCP, UDP, SCTP)
#: The protocols that have a name, and their numbers.
PROTOCOLS = {ICMP: 1, "ipip": 4, TCP: 6, UDP: 17, "esp": 50, "ah": 51, SCTP: 132}


@dataclass(frozen=True)
class IngressRule:
    """What becomes of packets from some ranges (IPv4).

    Of several rules the first that fits a packet decides; what none fits is dropped. What a machine asks for
    is answered whatever they say. `protocol` is `all`, a name or a number; `ports` are pairs of the first and
    the last, none is any.
    """

    allow: bool
    sources: tuple[str, ...]
    protocol: str = ALL
    ports: tuple[tuple[int, int], ...] = ()


Ingress = tuple[IngressRule, ...]


def document_of(rules: Ingress | None) -> list[dict[str, Any]] | None:
    """Return rules as JSON data; None, which lets anything in, stays so."""
    if rules is None:
        return None
    return [
        {
            "allow": rule.allow,
            "sources": list(rule.sources),
            "protocol": rule.protocol,
            "ports": [list(pair) for pair in rule.ports],
        }
        for rule in rules
    ]


def ingress_of(document: Any) -> Ingress:
    """Return the rules that JSON data describes. Raises KeyError, TypeError or ValueError for other data."""
    if not isinstance(document, list | tuple):
        raise TypeError(f"{document!r} is no list")
    return tuple(map(_rule, document))


def _rule(item: Mapping[str, Any]) -> IngressRule:
    ports = tuple((int(first), int(last)) for first, last in item["ports"])
    return IngressRule(bool(item["allow"]), tuple(map(str, item["sources"])), str(item["protocol"]), ports)


def words_of(rules: Ingress | None) -> str | dict[str, str]:
    """Return rules in words."""
    if rules is None:
        return "whatever its networks let through"
    found = {}
    for at, rule in enumerate(rules):
        ports = ",".join(str(low) if low == high else f"{low}-{high}" for low, high in rule.ports)
        what = f"{rule.protocol}{f' {ports}' if ports else ''} from {', '.join(rule.sources)}"
        found[str(at)] = f"{'allow' if rule.allow else 'deny'} {what}"
    return found
