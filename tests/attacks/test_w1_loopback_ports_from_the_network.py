"""W1: a neighbour of the host sends packets to 127.0.0.1 through it, for a port published there only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.own_host import OwnHost, needs_root, own_host

pytestmark = [pytest.mark.machine, pytest.mark.skipif(needs_root(), reason="needs root for namespaces")]

# The attacker's own kernel must not think that 127.0.0.0/8 is its own.
TRICK = """
ip netns exec {who} sysctl -q -w net.ipv4.conf.all.route_localnet=1
ip -n {who} addr flush dev lo
ip -n {who} route replace 127.0.0.0/8 via {gateway}
"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[OwnHost]:
    with own_host(tmp_path) as made:
        yield made


def test_a_loopback_port_is_loopback_from_everywhere(host: OwnHost) -> None:
    host.neighbour("lan", "192.0.2")
    ip = host.machine("web", "m1")
    host.machine("thief", "m2")
    host.serve("web", "tcp", 80)
    host.serve("web", "udp", 80)
    host.publish(
        ip,
        ("127.0.0.1", 8001, 80, "tcp"),
        ("127.0.0.5", 8002, 80, "tcp"),
        ("127.0.0.1", 8003, 80, "udp"),
        ("0.0.0.0", 8004, 80, "tcp"),
        ("192.0.2.1", 8005, 80, "tcp"),
    )
    loopback = [("tcp", "127.0.0.1", 8001), ("tcp", "127.0.0.5", 8002), ("udp", "127.0.0.1", 8003)]
    open_ports = [("tcp", "192.0.2.1", 8004), ("tcp", "192.0.2.1", 8005)]
    assert all(host.reaches("", *port) for port in [*loopback, *open_ports, ("tcp", "127.0.0.1", 8004)])
    for who in ("lan", "thief"):
        assert all(host.reaches(who, *port) for port in open_ports), who
        # Not by another address of the host either.
        assert host.shut(who, "tcp", "192.0.2.1", 8001), who
    gateway = host.python("answer = router.ensure(store).gateway")
    host.sh(TRICK.format(who="lan", gateway="192.0.2.1"))
    host.sh(TRICK.format(who="thief", gateway=gateway))
    for who in ("lan", "thief"):
        assert all(host.shut(who, *port) for port in [*loopback, ("tcp", "127.0.0.1", 8004)]), who
    # Without the rules the neighbour gets in: the attack is one.
    table = host.sh("nft list tables | grep -o 'stoneware-[0-9a-f]*'").strip()
    host.sh(f"nft flush chain ip {table} guard")
    assert [host.reaches("lan", *port) for port in loopback] == [True, True, True]
