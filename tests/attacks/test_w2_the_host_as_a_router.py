"""W2: links of the host that have nothing to do with each other route to each other through it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.own_host import OwnHost, needs_root, own_host

pytestmark = [pytest.mark.machine, pytest.mark.skipif(needs_root(), reason="needs root for namespaces")]
SWITCH = "cat /proc/sys/net/ipv4/ip_forward"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[OwnHost]:
    with own_host(tmp_path) as made:
        made.neighbour("lan", "192.0.2")
        made.neighbour("dmz", "198.51.100")
        made.serve("dmz", "tcp", 7000)
        made.serve("dmz", "udp", 7000)
        yield made


_BEYOND = [("lan", kind, "198.51.100.2", 7000) for kind in ("tcp", "udp")]


def crosses(host: OwnHost) -> bool:
    return all(host.reaches(*port) for port in _BEYOND)


def apart(host: OwnHost) -> bool:
    return all(host.shut(*port) for port in _BEYOND)


def test_unrelated_links_stay_apart_where_we_switched_forwarding_on(host: OwnHost) -> None:
    host.sh("echo 0 >/proc/sys/net/ipv4/ip_forward")
    ip = host.machine("web", "m1")
    host.serve("web", "tcp", 80)
    host.publish(ip, ("0.0.0.0", 8080, 80, "tcp"))
    assert host.sh(SWITCH).strip() == "1"
    assert apart(host)
    # What is ours goes on: out, in by the published port, and not in by the machine's own address.
    assert host.talk("web", "tcp", "198.51.100.2", 7000) == "198.51.100.1"
    assert host.reaches("lan", "tcp", "192.0.2.1", 8080)
    assert host.shut("lan", "tcp", ip, 80)
    # Nothing of IPv6 has been switched on, on our link there is none at all.
    link = host.python("answer = router.ensure(store).namespace")
    assert host.sh("cat /proc/sys/net/ipv6/conf/all/forwarding").strip() == "0"
    assert host.sh(f"cat /proc/sys/net/ipv6/conf/{link}/disable_ipv6").strip() == "1"
    # Another program that throws all rules away opens nothing for longer than until the next command.
    host.sh("nft flush ruleset")
    host.python("answer = router.ensure(store).namespace")
    assert apart(host)
    assert host.talk("web", "tcp", "198.51.100.2", 7000) == "198.51.100.1"
    # It stays so when the store's network goes, as the setting does; whoever opens the chain, keeps it open.
    host.python("answer = router.teardown(store)")
    assert host.sh(SWITCH).strip() == "1"
    assert apart(host)
    host.sh("nft 'chain ip filter FORWARD { policy accept; }'")
    host.python("answer = router.ensure(store).namespace")
    assert crosses(host)


def test_a_host_that_forwarded_before_goes_on_as_it_did(host: OwnHost) -> None:
    host.sh("echo 1 >/proc/sys/net/ipv4/ip_forward")
    host.machine("web", "m1")
    assert crosses(host)
    assert host.talk("web", "tcp", "198.51.100.2", 7000) == "198.51.100.1"
