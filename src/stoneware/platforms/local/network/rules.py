"""The nftables rules of a store, as texts for `nft -f`. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from stoneware.dataclass import dataclass
from stoneware.model.guest_protocol import GUEST_PORT, METADATA_ADDRESS
from stoneware.platforms.local.network.addresses import Plan, mark_of
from stoneware.platforms.local.network.views import View, view_key

VERSION = 9  # raised when the rules change, so that running routers get the new ones
INNER = "stoneware"  # the tables' name inside the router namespace
CONNECTIONS = 192  # a machine's with the metadata server; its own limit, which it explains, is lower
ENDPOINTS = 64  # a machine's with the emulator that has it; so is the emulator's

# What a machine may send, told by its port: IPv4 and ARP, untagged, from the card and the address of the
# port, never to a bridge's own group addresses, nor as a DHCP server, nor to one in another card's name (the
# address in the question's field chaddr, 36 bytes into UDP).
_MACHINE = """
    ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 drop
    iifname . ether saddr != @cards drop
    ether type arp iifname . arp saddr ether . arp saddr ip @ports accept
    ether type arp arp saddr ip 0.0.0.0 iifname . arp saddr ether @cards accept
    ether type != ip drop
    udp sport 67 drop
    udp dport 67 iifname . @th,288,48 != @clients drop
    iifname . ether saddr . ip saddr @ports accept
    ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept
    drop
"""

# Inside, before the bridge: each port has a chain of its own (`port_rules`), made and gone with the port.
# What comes in by it is looked at here first; some frames (to a bridge's group addresses) the bridge's rules
# never see. The table is changed, not replaced: the ports' chains stay.
_INGRESS = """
table netdev stoneware {
  set ports { type ifname . ether_addr . ipv4_addr; }
  set cards { type ifname . ether_addr; }
  set clients { typeof iifname . @th,288,48; }
  chain machine {
  }
}
flush set netdev stoneware ports
flush set netdev stoneware cards
flush set netdev stoneware clients
flush chain netdev stoneware machine
table netdev stoneware {
  chain machine {"""
_INGRESS += _MACHINE + "  }\n}\n"

# Inside, in the bridge: the same once more, and what comes in by a port bears its mark from here on (the
# port's address, as a number): the servers tell by it who asks. From one port to another, broadcasts
# included, goes only what the chain of the sender's view lets through: it has a line for each network of the
# view, and a set for each network says which ports are on it; before that what the rules of a machine with
# rules of its own do not let in is dropped (`guards`). By a port leaves only what is for its card and
# address, or for all.
_PINS = """
add table bridge stoneware
delete table bridge stoneware
table bridge stoneware {
  set ports { type ifname . ether_addr . ipv4_addr; }
  set cards { type ifname . ether_addr; }
  set clients { typeof iifname . @th,288,48; }
  set places { type ifname . ipv4_addr; }
  map marks { type ifname : mark; }
  set common { type ifname; }
  map views { type ifname : verdict; }
  map guards { type ifname : verdict; }
  map talkers { type ifname : verdict; }
  chain view-common {
    oifname @common accept
  }
  chain forward {
    type filter hook forward priority 0; policy drop;
    ether type ip iifname vmap @talkers
    ether type ip oifname vmap @guards
    iifname vmap @views
  }
  chain prerouting {
    type filter hook prerouting priority -300; policy accept;
    iifname "vb-*" meta mark set iifname map @marks
    iifname "vb-*" jump machine
  }
  chain machine {"""
_PINS += _MACHINE
_PINS += """  }
  chain postrouting {
    type filter hook postrouting priority 0; policy accept;
    oifname "vb-*" jump delivery
  }
  chain delivery {
    ether type arp ether daddr ff:ff:ff:ff:ff:ff oifname . arp daddr ip @places accept
    ether type arp oifname . ether daddr @cards accept
    ether type != ip drop
    oifname . ether daddr . ip daddr @ports accept
    ether daddr & 01:00:00:00:00:00 == 00:00:00:00:00:00 drop
    udp sport 67 udp dport 68 oifname . @th,288,48 != @clients drop
    ip daddr 224.0.0.0/4 accept
    ether daddr ff:ff:ff:ff:ff:ff accept
    drop
  }
}
"""

# Inside: of the router itself machines reach metadata, the endpoint for instances, DNS (that of their view),
# DHCP and echo; no one else reaches anything. From one machine to another the router carries only what must
# leave one range of addresses for another, by the same rule as the bridge: the sender's view has a chain with
# a line for each network, and a set for each network says which addresses are on it. All else is the bridge's
# alone. What comes from an address must have come in by its port, and through the bridge. One machine gets so
# many connections, and so many questions a second, that the others' are still answered. What a sealed machine
# sends outside is refused, as without a route; only this computer itself opens connections to it, and gets
# its answers.
_ROUTER = """
add table ip stoneware
delete table ip stoneware
table ip stoneware {{
  map resolvers {{ type mark : ipv4_addr . inet_service; }}
  set origins {{ type mark . ipv4_addr; }}
  set visits {{ type mark; size 4096; flags dynamic; }}
  set endpoints {{ type mark; size 4096; flags dynamic; }}
  set streams {{ type mark; size 4096; flags dynamic; }}
  set flows {{ type mark; size 4096; flags dynamic; }}
  set asking {{ type mark; size 4096; flags dynamic; }}
  set leasing {{ type mark; size 4096; flags dynamic; }}
  set calling {{ type mark; size 4096; flags dynamic; }}
  set sealed {{ type mark; }}
  set apart {{ type ipv4_addr; }}
  map views {{ type mark : verdict; }}
  map guards {{ type ipv4_addr : verdict; }}
  chain guard {{
    type filter hook prerouting priority -300; policy accept;
    iifname "vb-*" drop
    iifname "br0" jump machine
  }}
  chain machine {{
    udp dport 67 update @leasing {{ meta mark limit rate over 10/second burst 40 packets }} drop
    ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept
    meta mark . ip saddr != @origins drop
    udp dport 53 update @asking {{ meta mark limit rate over 200/second burst 1000 packets }} drop
    ip daddr {metadata} tcp flags & (syn | ack) == syn \
update @calling {{ meta mark limit rate over 300/second burst 1000 packets }} drop
  }}
  chain prerouting {{
    type nat hook prerouting priority -100; policy accept;
    iifname "br0" ip daddr {{ {metadata}, {gateways} }} meta l4proto {{ tcp, udp }} th dport 53 \
dnat ip to meta mark map @resolvers
  }}
  chain input {{
    type filter hook input priority 0; policy drop;
    iifname "lo" accept
    ct state established,related accept
    icmp type echo-request accept
    iifname "br0" ip daddr {metadata} tcp dport 80 \
add @visits {{ meta mark ct count over {connections} }} reject with tcp reset
    iifname "br0" ip daddr {metadata} tcp dport 80 accept
    iifname "br0" ip daddr {metadata} tcp dport {guest_port} \
add @endpoints {{ meta mark ct count over {endpoints} }} reject with tcp reset
    iifname "br0" ip daddr {metadata} tcp dport {guest_port} accept
    iifname "br0" meta l4proto tcp add @streams {{ meta mark ct count over 4 }} reject with tcp reset
    iifname "br0" meta l4proto udp add @flows {{ meta mark ct count over 8192 }} drop
    iifname "br0" ct status dnat accept
    iifname "br0" meta l4proto {{ tcp, udp }} th dport 53 accept
    iifname "br0" udp dport 67 accept
    iifname "br0" reject
  }}
  chain neighbours {{
    ct state new add @flows {{ meta mark ct count over 8192 }} drop
    meta mark vmap @views
    reject with icmp type admin-prohibited
  }}
  chain forward {{
    type filter hook forward priority 0; policy accept;
    oifname "br0" ct state new ip daddr vmap @guards
    iifname "br0" oifname "br0" jump neighbours
    iifname "br0" meta mark @sealed ct direction reply accept
    iifname "br0" meta mark @sealed reject with icmp type net-unreachable
    iifname "up0" ip saddr != {host_end} ip daddr @apart drop
    iifname "br0" ct state new add @flows {{ meta mark ct count over 8192 }} drop
    tcp flags syn tcp option maxseg size set rt mtu
  }}
}}
"""

# On the host: NAT for machines, published ports, and no way from outside to the host's loopback addresses:
# route_localnet on the link would open them to machines, and a port published on one to whoever is on one
# network with the host, for its address is translated before the kernel could find it odd. Only this computer
# itself reaches machines by their addresses; others, machines of other stores too, by published ports. A
# connection ends with its publication.
_HOST = """
add table ip {table}
delete table ip {table}
table ip {table} {{
  map anywhere {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
  map bound {{ type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service; }}
  set published {{ type inet_proto . ipv4_addr . inet_service; }}
  chain guard {{
    type filter hook prerouting priority -300; policy accept;
    iifname != "lo" ip daddr 127.0.0.0/8 drop
    iifname != "lo" ip saddr 127.0.0.0/8 drop
    iifname "{link}" ip daddr 169.254.0.0/16 drop
    iifname "{link}" ip daddr {{ {places} }} drop
    iifname != "{link}" ip saddr {{ {places} }} drop
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
    oifname "{link}" ct status dnat ct direction original meta l4proto {{ tcp, udp }} \
meta l4proto . ip daddr . th dport != @published drop
    oifname "{link}" ct state established,related accept
    oifname "{link}" ct status dnat accept
    oifname "{link}" drop
  }}
  chain postrouting {{
    type nat hook postrouting priority 100; policy accept;
    oifname "{link}" ip saddr 127.0.0.0/8 masquerade
    oifname "{link}" ip saddr {{ {places} }} masquerade
    oifname != "{link}" ip saddr {{ {places}, {ends} }} masquerade
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


def inner_rules(
    plan: Plan, pins: Iterable[Pin], views: Iterable[View], interfaces: Iterable[str] = ()
) -> str:
    """Return the rules of the router namespace, replacing what is there. Each pin's view is in `views`.

    `interfaces` are the ports that exist and may have no ingress chain: all when the router is repaired.
    """
    views = sorted(views)
    rules = _INGRESS + _PINS
    rules += _ROUTER.format(
        metadata=METADATA_ADDRESS,
        gateways=", ".join(plan.gateways),
        connections=CONNECTIONS,
        guest_port=GUEST_PORT,
        endpoints=ENDPOINTS,
        host_end=plan.host_end,
    )
    for network in sorted({network for view in views for network in view.networks}):
        rules += f"add set bridge {INNER} {_set(network)} {{ type ifname; }}\n"
        rules += f"add set ip {INNER} {_set(network)} {{ type ipv4_addr; }}\n"
    for view in views:
        chain = _chain(view.networks)
        rules += f"add chain bridge {INNER} {chain}\nadd chain ip {INNER} {chain}\n"
        for network in view.networks:
            rules += f"add rule bridge {INNER} {chain} oifname @{_set(network)} accept\n"
            rules += f"add rule ip {INNER} {chain} ip daddr @{_set(network)} accept\n"
    rules += "".join(port_rules(interface) for interface in sorted(interfaces))
    return rules + _elements("add", pins, views)


def port_rules(interface: str) -> str:
    """Return the commands that look at what comes in by a port that exists (`shim.sh` has the same)."""
    hook = f'type filter hook ingress device "{interface}" priority -500; policy drop;'
    chain = f"netdev {INNER} {interface}"
    return f"add chain {chain} {{ {hook} }}\nflush chain {chain}\nadd rule {chain} jump machine\n"


def admission(pin: Pin, view: View | None) -> str:
    """Return the commands that let in a machine of the common view (None) or of a view that is there."""
    return _elements("add", [pin], [view] if view else [])


def expulsion(pin: Pin, view: View | None) -> str:
    """Return the commands that shut a machine out; its view stays."""
    # The chain may have gone with its port, or not (since Linux 6.16): adding it first, it can be deleted.
    chain = f"chain netdev {INNER} {pin.interface}"
    return _elements("delete", [pin], [view] if view else []) + f"add {chain}\ndelete {chain}\n"


def _set(network: str) -> str:
    return f"net-{network}" if network else "common"


def _chain(networks: tuple[str, ...]) -> str:
    return f"view-{view_key(networks)}" if networks else "view-common"


def _elements(verb: str, pins: Iterable[Pin], views: Iterable[View]) -> str:
    """Return the commands that add or delete what the sets and maps have of machines."""
    known = {view.networks: view for view in views}
    found: dict[str, list[str]] = {}  # what is in which set or map
    for pin in sorted(pins):
        name = f'"{pin.interface}"'
        for network in pin.networks or ("",):
            found.setdefault(f"bridge {INNER} {_set(network)}", []).append(name)
        for family in ("bridge", "netdev"):
            found.setdefault(f"{family} {INNER} ports", []).append(f"{name} . {pin.mac} . {pin.ip}")
            found.setdefault(f"{family} {INNER} cards", []).append(f"{name} . {pin.mac}")
            card = pin.mac.replace(":", "")
            found.setdefault(f"{family} {INNER} clients", []).append(f"{name} . 0x{card}")
        found.setdefault(f"bridge {INNER} places", []).append(f"{name} . {pin.ip}")
        found.setdefault(f"bridge {INNER} marks", []).append(f"{name} : {mark_of(pin.ip)}")
        found.setdefault(f"bridge {INNER} views", []).append(f"{name} : jump {_chain(pin.networks)}")
        found.setdefault(f"ip {INNER} origins", []).append(f"{mark_of(pin.ip)} . {pin.ip}")
        for network in pin.networks:
            found.setdefault(f"ip {INNER} {_set(network)}", []).append(pin.ip)
        if pin.networks:
            verdict = f"{mark_of(pin.ip)} : jump {_chain(pin.networks)}"
            found.setdefault(f"ip {INNER} views", []).append(verdict)
            view = known[pin.networks]
            place = f"{mark_of(pin.ip)} : {METADATA_ADDRESS} . {view.port}"
            found.setdefault(f"ip {INNER} resolvers", []).append(place)
            if view.sealed:
                found.setdefault(f"ip {INNER} sealed", []).append(str(mark_of(pin.ip)))
                found.setdefault(f"ip {INNER} apart", []).append(pin.ip)
    return "".join(f"{verb} element {place} {{ {', '.join(items)} }}\n" for place, items in found.items())


def host_rules(table: str, link: str, plan: Plan, resolver: str | None, forwards: Iterable[Forward]) -> str:
    """Return the host's rules for one store, replacing what is there.

    `resolver` is the host's DNS server where that listens on a loopback address only.
    """
    redirect = ""
    if resolver:
        match = f'iifname "{link}" ip saddr {plan.router_end} ip daddr {plan.host_end}'
        redirect = f"{match} meta l4proto {{ tcp, udp }} th dport 53 dnat ip to {resolver}"
    places = ", ".join(map(str, plan.places))
    text = _HOST.format(table=table, link=link, places=places, ends=plan.link, resolver=redirect)
    return text + forward_rules(table, forwards)


def forward_rules(table: str, forwards: Iterable[Forward]) -> str:
    """Return the commands that make `forwards` the only published ports of a store."""
    text = f"flush map ip {table} anywhere\nflush map ip {table} bound\nflush set ip {table} published\n"
    forwards = sorted(forwards)
    for place in sorted({(forward.protocol, forward.ip, forward.port) for forward in forwards}):
        text += f"add element ip {table} published {{ {' . '.join(map(str, place))} }}\n"
    for forward in forwards:
        if forward.host_ip == "0.0.0.0":  # noqa: S104 — every address of the host is meant
            name, key = "anywhere", f"{forward.protocol} . {forward.host_port}"
        else:
            name, key = "bound", f"{forward.protocol} . {forward.host_ip} . {forward.host_port}"
        text += f"add element ip {table} {name} {{ {key} : {forward.ip} . {forward.port} }}\n"
    return text
