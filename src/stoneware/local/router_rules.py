"""The nftables rules of a store, as texts for `nft -f`. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from stoneware.local.network import METADATA_ADDRESS, Plan
from stoneware.local.router_views import View, view_key

VERSION = 3  # raised when the rules change, so that running routers get the new ones
INNER = "stoneware"  # the tables' name inside the router namespace

# Inside: a machine may use only the addresses of its own port, IPv4 and ARP only, and is no DHCP server.
# From one port to another, broadcasts included, goes only what the chain of the sender's view lets through:
# it has a line for each network of the view, and a set for each network says which ports are on it.
_PINS = """
add table bridge stoneware
delete table bridge stoneware
table bridge stoneware {
  set ports { type ifname . ether_addr . ipv4_addr; }
  set cards { type ifname . ether_addr; }
  set common { type ifname; }
  map views { type ifname : verdict; }
  chain view-common {
    oifname @common accept
  }
  chain forward {
    type filter hook forward priority 0; policy drop;
    iifname vmap @views
  }
  chain prerouting {
    type filter hook prerouting priority -300; policy accept;
    iifname "vb-*" jump machine
  }
  chain machine {
    ether type arp iifname . ether saddr . arp saddr ip @ports accept
    ether type arp arp saddr ip 0.0.0.0 iifname . ether saddr @cards accept
    ether type ip udp sport 67 drop
    ether type ip iifname . ether saddr . ip saddr @ports accept
    ether type ip ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 \
iifname . ether saddr @cards accept
    drop
  }
}
"""

# Inside: of the router itself machines reach metadata, DNS (that of their view), DHCP and echo; nobody else
# reaches anything. The router carries nothing from one machine to another: the bridge alone does.
_ROUTER = """
add table ip stoneware
delete table ip stoneware
table ip stoneware {{
  map resolvers {{ type ipv4_addr : ipv4_addr . inet_service; }}
  chain prerouting {{
    type nat hook prerouting priority -100; policy accept;
    iifname "br0" ip daddr {{ {metadata}, {gateway} }} meta l4proto {{ tcp, udp }} th dport 53 \
dnat ip to ip saddr map @resolvers
  }}
  chain input {{
    type filter hook input priority 0; policy drop;
    iifname "lo" accept
    ct state established,related accept
    icmp type echo-request accept
    iifname "br0" ip daddr {metadata} tcp dport 80 accept
    iifname "br0" ct status dnat accept
    iifname "br0" meta l4proto {{ tcp, udp }} th dport 53 accept
    iifname "br0" udp dport 67 accept
    iifname "br0" reject
  }}
  chain forward {{
    type filter hook forward priority 0; policy accept;
    iifname "br0" oifname "br0" reject with icmp type admin-prohibited
    tcp flags syn tcp option maxseg size set rt mtu
  }}
}}
"""

# On the host: NAT for machines, published ports, and no way from outside to the host's loopback addresses:
# route_localnet on the link would open them to machines, and a port published on one to whoever is on one
# network with the host, for its address is translated before the kernel could find it odd. Only this computer
# itself reaches machines by their addresses; others, machines of other stores too, by published ports.
_HOST = """
add table ip {table}
delete table ip {table}
table ip {table} {{
  map anywhere {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
  map bound {{ type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service; }}
  chain guard {{
    type filter hook prerouting priority -300; policy accept;
    iifname != "lo" ip daddr 127.0.0.0/8 drop
    iifname != "lo" ip saddr 127.0.0.0/8 drop
    iifname "{link}" ip daddr 169.254.0.0/16 drop
    iifname "{link}" ip daddr {subnet} drop
    iifname != "{link}" ip saddr {subnet} drop
  }}
  chain prerouting {{
    type nat hook prerouting priority -100; policy accept;
    {resolver}
    fib daddr type local dnat ip to meta l4proto . ip daddr . th dport map @bound
    fib daddr type local dnat ip to meta l4proto . th dport map @anywhere
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    fib daddr type local dnat ip to meta l4proto . ip daddr . th dport map @bound
    fib daddr type local dnat ip to meta l4proto . th dport map @anywhere
  }}
  chain forward {{
    type filter hook forward priority 0; policy accept;
    iifname "{link}" tcp flags syn tcp option maxseg size set rt mtu
    oifname "{link}" tcp flags syn tcp option maxseg size set rt mtu
    oifname "{link}" ct state established,related accept
    oifname "{link}" ct status dnat accept
    oifname "{link}" drop
  }}
  chain postrouting {{
    type nat hook postrouting priority 100; policy accept;
    oifname "{link}" ip saddr 127.0.0.0/8 masquerade
    oifname "{link}" ip saddr {subnet} masquerade
    oifname != "{link}" ip saddr {{ {subnet}, {ends} }} masquerade
  }}
}}
"""


@dataclass(frozen=True, order=True)
class Pin:
    """The addresses that one bridge port may use, and its networks (sorted; none: the common one)."""

    interface: str
    mac: str
    ip: str
    networks: tuple[str, ...] = ()


@dataclass(frozen=True, order=True)
class Forward:
    """One published port: `host_ip` "0.0.0.0" is any address of the host."""

    protocol: str
    host_ip: str
    host_port: int
    ip: str
    port: int


def inner_rules(plan: Plan, pins: Iterable[Pin], views: Iterable[View]) -> str:
    """Return the rules of the router namespace, replacing what is there. Each pin's view is in `views`."""
    views = sorted(views)
    rules = _PINS + _ROUTER.format(metadata=METADATA_ADDRESS, gateway=plan.gateway)
    for network in sorted({network for view in views for network in view.networks}):
        rules += f"add set bridge {INNER} {_set(network)} {{ type ifname; }}\n"
    for view in views:
        rules += f"add chain bridge {INNER} {_chain(view.networks)}\n"
        for network in view.networks:
            rules += f"add rule bridge {INNER} {_chain(view.networks)} oifname @{_set(network)} accept\n"
    return rules + _elements("add", pins, views)


def admission(pin: Pin, view: View | None) -> str:
    """Return the commands that let in a machine of the common view (None) or of a view that is there."""
    return _elements("add", [pin], [view] if view else [])


def expulsion(pin: Pin, view: View | None) -> str:
    """Return the commands that shut a machine out; its view stays."""
    return _elements("delete", [pin], [view] if view else [])


def _set(network: str) -> str:
    return f"net-{network}" if network else "common"


def _chain(networks: tuple[str, ...]) -> str:
    return f"view-{view_key(networks)}" if networks else "view-common"


def _elements(verb: str, pins: Iterable[Pin], views: Iterable[View]) -> str:
    """Return the commands that add or delete what the sets and maps have of machines."""
    ports = {view.networks: view.port for view in views}
    found: dict[str, list[str]] = {}  # what is in which set or map
    for pin in sorted(pins):
        name = f'"{pin.interface}"'
        for network in pin.networks or ("",):
            found.setdefault(f"bridge {INNER} {_set(network)}", []).append(name)
        found.setdefault(f"bridge {INNER} ports", []).append(f"{name} . {pin.mac} . {pin.ip}")
        found.setdefault(f"bridge {INNER} cards", []).append(f"{name} . {pin.mac}")
        found.setdefault(f"bridge {INNER} views", []).append(f"{name} : jump {_chain(pin.networks)}")
        if pin.networks:
            place = f"{pin.ip} : {METADATA_ADDRESS} . {ports[pin.networks]}"
            found.setdefault(f"ip {INNER} resolvers", []).append(place)
    return "".join(f"{verb} element {place} {{ {', '.join(items)} }}\n" for place, items in found.items())


def host_rules(table: str, link: str, plan: Plan, resolver: str | None, forwards: Iterable[Forward]) -> str:
    """Return the host's rules for one store, replacing what is there.

    `resolver` is the host's DNS server where that listens on a loopback address only.
    """
    redirect = ""
    if resolver:
        match = f'iifname "{link}" ip saddr {plan.router_end} ip daddr {plan.host_end}'
        redirect = f"{match} meta l4proto {{ tcp, udp }} th dport 53 dnat ip to {resolver}"
    text = _HOST.format(table=table, link=link, subnet=plan.subnet, ends=plan.link, resolver=redirect)
    return text + forward_rules(table, forwards)


def forward_rules(table: str, forwards: Iterable[Forward]) -> str:
    """Return the commands that make `forwards` the only published ports of a store."""
    text = f"flush map ip {table} anywhere\nflush map ip {table} bound\n"
    for forward in sorted(forwards):
        if forward.host_ip == "0.0.0.0":  # noqa: S104 — every address of the host is meant
            name, key = "anywhere", f"{forward.protocol} . {forward.host_port}"
        else:
            name, key = "bound", f"{forward.protocol} . {forward.host_ip} . {forward.host_port}"
        text += f"add element ip {table} {name} {{ {key} : {forward.ip} . {forward.port} }}\n"
    return text
