"""Guards: what comes in to single machines by rules of their own, as behind a cloud's firewall.

A guarded machine has a chain in the bridge, for what comes from its own range of addresses, and one in the
router, for all else. The router follows connections. The bridge does not, and needs not: of TCP a rule is
asked about the packet that opens a connection, of ICMP about questions, and of other protocols about what
does not answer the machine: to whom it has sent is noted in sets of its own, for two minutes.

    /run/stoneware/STORE/guards/ID     the rules of an attached machine; none of one that is not guarded

To be changed under the router's lock only. Texts are for `nft -f`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, collapse_addresses
from pathlib import Path

from stoneware.dataclass import dataclass
from stoneware.files import read_json, write_json
from stoneware.model.ingress import ALL, PROTOCOLS, WITH_PORTS, Ingress, IngressRule, document_of, ingress_of
from stoneware.platforms.local.network.rules import INNER, Pin

_TALKS = 8192  # answers that a machine may wait for at a time; beyond that it misses some
_ANSWERED = "2m"  # how long after a packet its answer may come
# The way in from one machine to another of its range; what follows are the rules.
_BRIDGED = (
    "ip frag-off & 0x1fff != 0 return",  # the first part was let in, or the others are of no use
    "ip protocol tcp tcp flags & (syn | ack) != syn return",
    "ip protocol icmp icmp type != { 8, 13, 15, 17 } return",  # questions
    "ip protocol udp ip daddr . udp dport . ip saddr . udp sport @talks-ID return",
    "ip saddr . ip protocol @others-ID return",
)
_TALKING = (
    "ip protocol udp update @talks-ID { ip saddr . udp sport . ip daddr . udp dport }",
    "ip protocol != { 1, 6, 17 } update @others-ID { ip daddr . ip protocol }",
)
_SETS = {
    "talks": "type ipv4_addr . inet_service . ipv4_addr . inet_service",
    "others": "type ipv4_addr . inet_proto",
}


@dataclass(frozen=True)
class Guards:
    """The guards of a router's attached machines, by its runtime directory."""

    directory: Path

    def _path(self, id: str) -> Path:
        return self.directory / "guards" / id

    def keep(self, id: str, rules: Ingress | None) -> None:
        """Record the rules of a machine, or that it has none."""
        if rules is None:
            self._path(id).unlink(missing_ok=True)
        else:
            self._path(id).parent.mkdir(parents=True, exist_ok=True)
            write_json(self._path(id), {"rules": document_of(rules)})

    def of(self, id: str) -> Ingress | None:
        """Return the rules of a machine, None of one that is not guarded.

        A record that cannot be read lets nothing in.
        """
        try:
            document = read_json(self._path(id))
            return None if document is None else ingress_of(document["rules"])
        except (ValueError, KeyError, TypeError):
            return ()

    def commands(self, pins: Iterable[Pin]) -> str:
        """Return the commands for those of these machines that are guarded."""
        found = [(pin, self.of(pin.interface.removeprefix("vb-"))) for pin in pins]
        return "".join(guarding(pin, rules) for pin, rules in found if rules is not None)


def guard_of(machine_dir: Path) -> Ingress | None:
    """Return the rules that a machine's spec has, None where it has none."""
    try:
        said = (read_json(machine_dir / "spec.json") or {}).get("ingress")
        return None if said is None else ingress_of(said)
    except (ValueError, KeyError, TypeError, AttributeError):
        return ()


def guarding(pin: Pin, rules: Ingress) -> str:
    """Return the commands that let in to a machine what the rules say, from now on."""
    id = pin.interface.removeprefix("vb-")
    text = ""
    for name, kind in _SETS.items():
        text += f"add set bridge {INNER} {name}-{id} "
        text += f"{{ {kind}; size {_TALKS}; flags dynamic,timeout; timeout {_ANSWERED}; }}\n"
    lines = [line for rule in rules for line in _lines(rule)]
    text += _chain("bridge", f"guard-{id}", [*_named(_BRIDGED, id), *lines, "drop"])
    text += _chain("bridge", f"talk-{id}", _named(_TALKING, id))
    text += _chain("ip", f"guard-{id}", [*lines, "drop"])
    entries = (f"add element {place} {{ {key} : jump {chain} }}\n" for place, key, chain in _places(pin))
    return text + "".join(entries)


def unguarding(pin: Pin) -> str:
    """Return the commands that let in to a guarded machine whatever its networks do."""
    id = pin.interface.removeprefix("vb-")
    # Entries first: nft removes no chain that a map still leads to.
    text = "".join(f"delete element {place} {{ {key} }}\n" for place, key, _ in _places(pin))
    text += "".join(f"flush chain {chain}\ndelete chain {chain}\n" for chain in _chains(id))
    return text + "".join(f"delete set bridge {INNER} {name}-{id}\n" for name in _SETS)


def _chains(id: str) -> Sequence[str]:
    return (f"bridge {INNER} guard-{id}", f"bridge {INNER} talk-{id}", f"ip {INNER} guard-{id}")


def _places(pin: Pin) -> Sequence[tuple[str, str, str]]:
    """Return the maps that send packets to a machine's chains: the map, the key, the chain."""
    id, port = pin.interface.removeprefix("vb-"), f'"{pin.interface}"'
    return (
        (f"bridge {INNER} guards", port, f"guard-{id}"),
        (f"bridge {INNER} talkers", port, f"talk-{id}"),
        (f"ip {INNER} guards", pin.ip, f"guard-{id}"),
    )


def _named(lines: Iterable[str], id: str) -> list[str]:
    return [line.replace("-ID", f"-{id}") for line in lines]


def _chain(family: str, name: str, lines: Iterable[str]) -> str:
    place = f"{family} {INNER} {name}"
    rules = "".join(f"add rule {place} {line}\n" for line in lines)
    # Added, then emptied: the same text makes a guard and changes one.
    return f"add chain {place}\nflush chain {place}\n{rules}"


def _lines(rule: IngressRule) -> list[str]:
    """Return a rule as lines of a chain; one of no sources has none."""
    if not rule.sources:
        return []
    verdict = "return" if rule.allow else "drop"
    ranges = [str(area) for area in collapse_addresses(IPv4Network(text) for text in rule.sources)]
    source = "" if ranges == ["0.0.0.0/0"] else f"ip saddr {{ {', '.join(ranges)} }} "
    if not rule.ports:
        known = "" if rule.protocol == ALL else f"ip protocol {PROTOCOLS.get(rule.protocol, rule.protocol)} "
        return [f"{source}{known}{verdict}"]
    protocols = WITH_PORTS if rule.protocol == ALL else (rule.protocol,)
    ports = ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in _merged(rule.ports))
    numbers = [PROTOCOLS.get(name, name) for name in protocols]
    return [f"{source}ip protocol {number} th dport {{ {ports} }} {verdict}" for number in numbers]


def _merged(ports: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges of ports without overlaps."""
    found: list[tuple[int, int]] = []
    for low, high in sorted(ports):
        if found and low <= found[-1][1] + 1:
            # nft refuses intervals of one set that overlap.
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return found
