"""Machines behind the router: addresses, names, metadata, and nobody else's."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stoneware.files import read_json, write_json
from stoneware.platforms.local.network import router
from stoneware.platforms.local.network import servers as router_servers
from stoneware.process import run
from tests.local import router_lab
from tests.local.router_lab import FLAVOR, NAME_URL, Lab, wait_until

make_lab, lab = router_lab.make_lab, router_lab.lab  # the fixtures
pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces"),
]


def test_a_machine_gets_its_address_names_and_metadata(lab: Lab, tmp_path: Path) -> None:
    fake = lab.machine("h1", hostname="h1.example")
    said = fake.address(dhcp=tmp_path)
    gate = lab.router
    expected = f"ip={fake.lease.ip} router={gate.gateway} dns=169.254.169.254 hostname=h1 domain=local.c"
    assert said.startswith(expected), said
    other = lab.machine("h2")
    other.address()
    assert (fake.ask(), other.ask()) == ("h1", "h2")
    for name in ("h1", "h1.example", "h1.local.c.stoneware.internal"):
        assert f"Address: {fake.lease.ip}" in other.sh("busybox", "nslookup", name, "169.254.169.254").stdout
    document = read_json(lab.directory("h1") / "network.json")
    assert document == {
        "id": fake.id,
        "ip": fake.lease.ip,
        "mac": fake.lease.mac,
        "gateway": gate.gateway,
        "netmask": "255.255.252.0",
        "mtu": gate.state.mtu,
    }


def test_an_address_is_kept_and_a_successor_is_served(lab: Lab, tmp_path: Path) -> None:
    """The successor has the same address and card but another client id: DHCP must not refuse it."""
    first = lab.machine("h1")
    first.address(dhcp=tmp_path)
    first.end()
    lab.router.detach(first.id, "h1")
    lab.router.detach(first.id, "h1")
    again = lab.machine("h1")
    assert again.lease == first.lease
    again.sh("ip", "link", "show", "host0")
    argv = ["-x", "0x3d:ff00000001000100012a", "-C"]
    script = tmp_path / "lease.sh"
    said = again.sh(
        "busybox", "udhcpc", "-i", "host0", "-s", str(script), "-n", "-q", "-f", "-t", "5", "-T", "1", *argv
    ).stdout
    assert f"ip={again.lease.ip}" in said
    assert again.ask() == "h1"


def test_a_detached_machines_name_and_port_are_gone(lab: Lab) -> None:
    gone, stays = lab.machine("h1"), lab.machine("h2")
    gone.address()
    stays.address()
    assert gone.ask() == "h1"
    lab.router.detach(gone.id, "h1")
    assert gone.unanswered()
    assert stays.ask() == "h2"
    argv = ["busybox", "nslookup", "h1", "169.254.169.254"]
    wait_until(lambda: "Address: 10." not in stays.sh(*argv, check=False).stdout)


def test_many_machines_attached_at_once_have_different_addresses(lab: Lab) -> None:
    gate = lab.router

    def attach(number: int) -> router.Lease:
        name = f"h{number}"
        return gate.attach(lab.directory(name), id=f"m{number:08x}", name=name, hostname=name)

    stays = lab.machine("stays")
    stays.address()
    before = _rules(gate)
    with ThreadPoolExecutor(8) as pool:
        leases = list(pool.map(attach, range(20)))
    assert len({lease.ip for lease in leases}) == 20
    assert len(gate._attached.pins()) == 21
    assert all(lease.mac in _rules(gate) for lease in leases)
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda number: gate.detach(f"m{number:08x}", f"h{number}"), range(20)))
    assert _rules(gate) == before
    assert stays.ask() == "stays"


def _rules(gate: router.Router) -> str:
    enter = ["nsenter", f"--net=/run/netns/{gate.namespace}"]
    return run([*enter, "nft", "--stateless", "list", "ruleset"]).stdout


def test_a_machine_cannot_be_another(lab: Lab) -> None:
    victim, thief = lab.machine("victim"), lab.machine("thief")
    victim.address()
    thief.address()
    assert (victim.ask(), thief.ask()) == ("victim", "thief")
    thief.sh("ip", "addr", "add", f"{victim.lease.ip}/32", "dev", "host0")
    assert thief.unanswered(NAME_URL, "--interface", victim.lease.ip)
    assert (victim.ask(), thief.ask()) == ("victim", "thief")
    thief.sh("ip", "addr", "del", f"{victim.lease.ip}/32", "dev", "host0")
    thief.sh("ip", "link", "set", "host0", "address", victim.lease.mac)
    assert thief.unanswered()
    assert victim.ask() == "victim"


def test_datagrams_from_anothers_address_do_not_arrive(lab: Lab) -> None:
    victim, thief, server = lab.machine("victim"), lab.machine("thief"), lab.machine("server")
    for fake in (victim, thief, server):
        fake.address()
    server.serve("udp", 7000)
    thief.sh("ip", "addr", "add", f"{victim.lease.ip}/32", "dev", "host0")
    script = (
        "import socket, sys\n"
        "for source in sys.argv[1:]:\n"
        "    link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "    link.bind((source, 0))\n"
        f"    link.sendto(b'?', ('{server.lease.ip}', 7000))\n"
    )
    # The own address first: the server's is known then, and nothing waits for ARP.
    thief.sh(sys.executable, "-c", script, thief.lease.ip, victim.lease.ip, thief.lease.ip)
    output = server.children[0].stdout
    assert output is not None
    assert [output.readline().strip() for _ in range(2)] == [thief.lease.ip] * 2


def test_a_machine_cannot_poison_the_others_view_of_the_gateway(lab: Lab) -> None:
    victim, thief = lab.machine("victim"), lab.machine("thief")
    victim.address()
    thief.address()
    victim.ask()
    gateway = lab.router.gateway
    thief.sh("ip", "addr", "add", f"{gateway}/32", "dev", "host0")
    thief.sh(
        "busybox", "arping", "-U", "-c", "2", "-w", "2", "-I", "host0", "-s", gateway, gateway, check=False
    )
    known = victim.sh("ip", "neigh", "show").stdout
    assert thief.lease.mac not in known.lower()
    assert victim.ask() == "victim"


def test_ipv6_and_the_routers_other_ports_are_closed(lab: Lab) -> None:
    first, second = lab.machine("h1"), lab.machine("h2")
    for number, fake in enumerate((first, second), start=1):
        fake.address()
        fake.sh("sysctl", "-q", "-w", "net.ipv6.conf.host0.disable_ipv6=0")
        fake.sh("ip", "addr", "add", f"fd00:db8::{number}/64", "dev", "host0", "nodad")
    script = "import socket; s=socket.create_connection(('fd00:db8::2', 9), 1)"
    assert "refused" not in first.sh(sys.executable, "-c", script, check=False).stderr
    assert first.ask(f"http://{lab.router.gateway}:80/").startswith("curl failed: 7")
    # Without the rules they do see each other: the test can fail.
    inside = ["nsenter", f"--net=/run/netns/{lab.router.namespace}"]
    run([*inside, "nft", "delete table bridge stoneware; delete table netdev stoneware"])
    assert "refused" in first.sh(sys.executable, "-c", script, check=False).stderr


def test_names_are_asked_of_a_resolver_on_the_hosts_loopback(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the host's resolv.conf names only 127.x, machines ask that server through the host."""
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.77\n")
    monkeypatch.setattr(router_servers, "_RESOLV_CONF", tmp_path / "resolv.conf")
    monkeypatch.setattr(router_servers, "_RESOLVED", tmp_path / "none")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, ThreadPoolExecutor(1) as pool:
        server.bind(("127.0.0.77", 53))
        server.settimeout(10)
        fake = lab.machine("h1")
        fake.address()

        def answer() -> None:
            question, peer = server.recvfrom(512)
            end = question.index(b"\0", 12) + 5
            record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton("203.0.113.9")
            head = question[:2] + b"\x81\x80" + b"\0\1\0\1\0\0\0\0"
            server.sendto(head + question[12:end] + record, peer)

        answered = pool.submit(answer)
        argv = ["busybox", "nslookup", "-type=a", "example.test", "169.254.169.254"]
        assert "Address: 203.0.113.9" in fake.sh(*argv).stdout
        answered.result()


def test_machines_reach_each_other(lab: Lab) -> None:
    first, second = lab.machine("h1"), lab.machine("h2")
    first.address()
    second.address()
    second.serve("tcp", 7000)
    script = (
        f"import socket; print(socket.create_connection(('{second.lease.ip}', 7000), 3).recv(99).decode())"
    )
    assert first.sh(sys.executable, "-c", script).stdout.strip() == first.lease.ip


def test_googles_own_script_runner_runs_a_startup_script(lab: Lab) -> None:
    """Debian's google-guest-agent, where it is installed, takes our server for Compute Engine's."""
    runner = shutil.which("google_metadata_script_runner")
    if runner is None:
        pytest.skip("google_metadata_script_runner (Debian: google-guest-agent) is not on this computer")
    fake = lab.machine("h1")
    fake.address()
    report = "http://169.254.169.254/computeMetadata/v1/instance/guest-attributes/test/ran"
    script = f'#!/bin/sh\necho "it ran"\ncurl -sS -X PUT -H "{FLAVOR}" -d done {report}\n'
    write_json(lab.directory("h1") / "metadata.json", {"attributes": {"startup-script": script}})
    done = fake.sh(runner, "startup", check=False)
    assert "startup-script: it ran" in done.stdout + done.stderr
    assert read_json(lab.directory("h1") / "guest-attributes.json") == {"test/ran": "done"}
