"""DNS views: a machine's names resolve where it shares a network, and nowhere else."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stoneware.platforms.local.network import naming, router
from stoneware.platforms.local.network import servers as router_servers
from stoneware.platforms.local.network import setup as router_setup
from stoneware.platforms.local.network.addresses import mark_of
from stoneware.platforms.local.network.views import Views, Zones, view_key
from stoneware.process import run
from tests.local import router_lab
from tests.local.router_lab import Fake, Lab, wait_until

make_lab, lab = router_lab.make_lab, router_lab.lab  # the fixtures
pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces"),
]
DNS = "169.254.169.254"


def ask(fake: Fake, name: str) -> list[str]:
    """Return the addresses of a name, sorted; nothing where there is none."""
    output = fake.sh("busybox", "nslookup", "-type=a", name, DNS, check=False).stdout
    answer = output.partition("\n\n")[2]
    return sorted(line.split()[-1] for line in answer.splitlines() if line.startswith("Address"))


def broker(lab: Lab, cluster: str, slot: int, *more: str) -> Fake:
    """Attach a machine named as those of clusters are."""
    short = f"kafka-{slot}"
    fake = lab.machine(
        f"{cluster}-{short}",
        hostname=f"{short}.{cluster}.internal",
        networks=(f"{cluster}-default", *more),
        names=(short, "kafka", f"kafka.{cluster}.internal"),
    )
    fake.address()
    return fake


def servers(gate: router.Router) -> list[str]:
    pids = run(["ip", "netns", "pids", gate.namespace]).stdout.split()
    return sorted(Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids)


def test_names_resolve_where_a_network_is_shared(lab: Lab) -> None:
    x1, x2, y1 = broker(lab, "x", 1), broker(lab, "x", 2), broker(lab, "y", 1)
    both = lab.machine("both", hostname="tool", networks=("x-default", "y-default"))
    alone = lab.machine("alone")
    for fake in (both, alone):
        fake.address()
    ip = {fake: fake.lease.ip for fake in lab.fakes}
    expected: dict[str, dict[Fake, list[Fake]]] = {
        "kafka-1": {x1: [x1], y1: [y1], both: [x1, y1], alone: []},
        "kafka-1.x.internal": {x1: [x1], x2: [x1], y1: [], both: [x1], alone: []},
        "kafka": {x1: [x1, x2], y1: [y1], both: [x1, x2, y1], alone: []},
        "kafka.x.internal": {x2: [x1, x2], y1: [], alone: []},
        "x-kafka-2": {x1: [x2], y1: [], alone: []},
        "tool": {x1: [both], y1: [both], alone: []},
        "tool.local.c.stoneware.internal": {x1: [both], alone: []},
        "alone": {x1: [], both: [], alone: [alone]},
        "unknown.internal": {x1: [], alone: []},
    }
    for name, views in expected.items():
        for fake, found in views.items():
            assert ask(fake, name) == sorted(ip[item] for item in found), (name, fake.namespace)
    for fake in lab.fakes:
        assert ask(fake, "metadata.google.internal") == [DNS]
        assert ask(fake, "metadata") == [DNS]
    assert servers(lab.router) == ["dnsmasq"] * 4 + ["python"]


def test_a_machine_that_stops_is_not_named_any_more_and_the_last_ones_server_ends(lab: Lab) -> None:
    one, two = broker(lab, "x", 1), broker(lab, "x", 2)
    assert ask(one, "kafka") == sorted([one.lease.ip, two.lease.ip])
    lab.router.detach(two.id, "x-kafka-2")
    wait_until(lambda: ask(one, "kafka") == [one.lease.ip])
    assert ask(one, "kafka-2") == []
    lab.router.detach(one.id, "x-kafka-1")
    assert servers(lab.router) == ["dnsmasq", "python"]
    assert Views(lab.router.layout.runtime).all() == []
    assert router_servers.resolvers(lab.router.layout) == []
    again = broker(lab, "x", 1)
    assert ask(again, "kafka") == [again.lease.ip]


def test_what_a_killed_detach_left_goes_with_the_next(lab: Lab) -> None:
    one, alone = broker(lab, "x", 1), lab.machine("alone")
    gate = lab.router
    for kind in ("dhcp", "networks"):
        (gate.layout.runtime / kind / one.id).unlink()
    assert servers(gate) == ["dnsmasq", "dnsmasq", "python"]
    gate.detach(one.id, "x-kafka-1")
    assert servers(gate) == ["dnsmasq", "python"]
    gate.detach(alone.id, "alone")
    assert router_setup.whole(gate.layout, gate.state)


def test_a_machine_cannot_ask_another_views_server(lab: Lab) -> None:
    x1, y1 = broker(lab, "x", 1), broker(lab, "y", 1)
    views = {view.networks: view.port for view in Views(lab.router.layout.runtime).all()}
    question = (
        "import struct, socket, sys\n"
        "link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); link.settimeout(1)\n"
        f"link.connect(('{DNS}', int(sys.argv[1])))\n"
        "link.send(struct.pack('!6H', 1, 256, 1, 0, 0, 0) + b'\\7kafka-1\\0' + struct.pack('!2H', 1, 1))\n"
        "print(link.recv(512)[-4:].hex())\n"
    )

    def answer(port: int) -> str:
        return x1.sh(sys.executable, "-c", question, str(port), check=False).stdout.strip()

    assert answer(53) == socket.inet_aton(x1.lease.ip).hex()
    assert answer(views[("y-default",)]) == ""
    assert answer(views[("x-default",)]) == ""
    assert ask(y1, "kafka-1") == [y1.lease.ip]


def test_names_outside_are_asked_upstream_and_internal_ones_never(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.78\n")
    monkeypatch.setattr(router_servers, "_RESOLV_CONF", tmp_path / "resolv.conf")
    monkeypatch.setattr(router_servers, "_RESOLVED", tmp_path / "none")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, ThreadPoolExecutor(1) as pool:
        server.bind(("127.0.0.78", 53))
        server.settimeout(20)
        fake = broker(lab, "x", 1)

        def answer() -> bytes:
            question, peer = server.recvfrom(512)
            end = question.index(b"\0", 12) + 5
            record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton("203.0.113.9")
            server.sendto(question[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + question[12:end] + record, peer)
            return question[12 : end - 5]

        answered = pool.submit(answer)
        for name in ("kafka-9", "kafka-9.x.internal", "kafka-1.y.internal", "else.internal"):
            assert ask(fake, name) == []
        assert ask(fake, "example.test") == ["203.0.113.9"]
        assert answered.result() == b"\7example\4test"


def resolver_process(gate: router.Router) -> int:
    (helper,) = router_servers.resolvers(gate.layout)
    process = helper.process()
    assert process is not None
    return process.pid


def killed(gate: router.Router) -> None:
    os.kill(resolver_process(gate), signal.SIGKILL)


def record_lost(gate: router.Router) -> None:
    (helper,) = router_servers.resolvers(gate.layout)
    helper.record.unlink()


def half_made(gate: router.Router) -> None:
    """Another view, of no machine, whose maker was killed before its server ran."""
    Views(gate.layout.runtime).make(("z",), [])


def half_gone(gate: router.Router) -> None:
    """The record of a view without machines is gone, its server and directory are still there."""
    left = Views(gate.layout.runtime).make(("z",), [])
    server = router_servers.of_view(gate.layout, gate.plan, left)
    router_servers.start(gate.layout, [server], gate.state.namespace[1])
    (Views(gate.layout.runtime).hosts(left.key).parent / "view.json").unlink()
    killed_main = router_servers.dnsmasq(gate.layout).process()
    assert killed_main is not None
    os.kill(killed_main.pid, signal.SIGKILL)


def another_boot(gate: router.Router) -> None:
    record = gate.layout.run / "network.json"
    record.write_text(record.read_text().replace(gate.state.boot, "x"))


def rules_gone(gate: router.Router) -> None:
    run(["nsenter", f"--net=/run/netns/{gate.namespace}", "nft", "flush", "ruleset"])


DAMAGES = (killed, record_lost, half_made, half_gone, another_boot, rules_gone)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_ensure_heals_the_views(lab: Lab, damage: Callable[[router.Router], None]) -> None:
    one, two, other = broker(lab, "x", 1), broker(lab, "x", 2), lab.machine("c1")
    other.address()
    gate = lab.router
    damage(gate)
    wait_until(lambda: not router_setup.whole(gate.layout, gate.state) or damage is another_boot)
    healed = router.ensure(lab.store)
    assert router_setup.whole(healed.layout, healed.state)
    assert servers(healed) == ["dnsmasq", "dnsmasq", "python"]
    assert ask(one, "kafka") == sorted([one.lease.ip, two.lease.ip])
    assert ask(other, "kafka") == []
    assert one.sh("busybox", "ping", "-c", "1", "-W", "1", two.lease.ip, check=False).returncode == 0
    assert other.sh("busybox", "ping", "-c", "1", "-W", "1", two.lease.ip, check=False).returncode != 0


def test_many_machines_attached_at_once_share_one_server(lab: Lab) -> None:
    lab.network("n1", "n2")

    def attach(number: int) -> router.Lease:
        place = ("n1",) if number % 2 else ("n2",)
        gate = router.ensure(lab.store)
        name = f"h{number}"
        return gate.attach(
            lab.directory(name),
            id=f"m{number:08x}",
            name=name,
            hostname=name,
            networks=place,
            names=("all",),
        )

    with ThreadPoolExecutor(8) as pool:
        leases = list(pool.map(attach, range(20)))
    assert len({lease.ip for lease in leases}) == 20
    assert servers(lab.router) == ["dnsmasq"] * 3 + ["python"]
    fake = lab.machine("looker", networks=("n1",))
    fake.address()
    wait_until(lambda: ask(fake, "all") == sorted(leases[number].ip for number in range(1, 20, 2)))
    inside = ["nsenter", f"--net=/run/netns/{lab.router.namespace}", "nft", "list"]
    for kind, mark in (("set bridge stoneware ports", False), ("map ip stoneware resolvers", True)):
        rules = run([*inside, *kind.split()]).stdout
        for lease in leases:
            wanted = f"0x{mark_of(lease.ip):08x}" if mark else lease.ip
            assert len(re.findall(rf"\b{re.escape(wanted)}\b", rules)) == 1


@pytest.mark.parametrize("delay", [0.02, 0.04, 0.06, 0.08, 0.1, 0.14])
def test_a_command_killed_while_it_makes_a_view_leaves_nothing_wrong(lab: Lab, delay: float) -> None:
    one = broker(lab, "x", 1)
    lab.network("y")
    code = "import sys; from pathlib import Path; from types import SimpleNamespace as N\n"
    code += "from stoneware.platforms.local.network import router\nhome = Path(sys.argv[1])\n"
    code += "store = N(home=home, data=home / 'data')\n"
    code += "gate = router.ensure(store); print('go', flush=True)\n"
    code += "gate.attach(store.data / 'machines' / 'half', id='m0000half', name='half', hostname='half',"
    code += " networks=('y',))"
    lab.directory("half")
    argv = [sys.executable, "-c", code, str(lab.store.home)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(delay / 2)
        child.kill()
    gate = lab.router
    gate.detach("m0000half", "half")
    two = broker(lab, "x", 2)
    assert router_setup.whole(gate.layout, gate.state)
    assert ask(two, "kafka") == sorted([one.lease.ip, two.lease.ip])
    router.teardown(lab.store)
    assert not gate.layout.runtime.exists()
    assert router_servers.resolvers(gate.layout) == []


def test_a_view_is_called_by_its_networks() -> None:
    assert view_key(["b", "a"]) == view_key(["a", "b", "a"])
    assert view_key(["a"]) != view_key(["a", "b"])
    assert view_key(["ab"]) != view_key(["a", "b"])


def test_a_network_has_names_besides_those_of_machines(lab: Lab) -> None:
    store, runtime = lab.router.store, lab.router.layout.runtime
    zones = Zones(
        {"10.9.0.1": ("a.example.com", "b.example.com"), "fd00::1": ("a.example.com",)}, ("example.com",)
    )
    naming.name(store, "x-default", zones)  # before any machine is on it
    one, other = broker(lab, "x", 1, "y-default"), broker(lab, "y", 1)
    assert ask(one, "a.example.com") == ask(one, "b.example.com") == ["10.9.0.1"]
    # Nobody is asked for other names of a domain that is the network's own.
    assert "NXDOMAIN" in one.sh("busybox", "nslookup", "c.example.com", DNS, check=False).stdout
    assert ask(other, "a.example.com") == []
    assert ask(one, "kafka-1.x.internal") == [one.lease.ip]

    naming.name(store, "x-default", Zones({"10.9.0.2": ("a.example.com",)}))
    wait_until(lambda: ask(one, "a.example.com") == ["10.9.0.2"])
    wait_until(lambda: ask(one, "b.example.com") == [])
    lab.router.renew()  # as after a change of the network's ranges
    assert ask(one, "a.example.com") == ["10.9.0.2"]
    naming.name(store, "x-default", Zones())
    wait_until(lambda: ask(one, "a.example.com") == [])
    assert ask(one, "kafka-1.x.internal") == [one.lease.ip]
    assert list((runtime / "zones").iterdir()) == []
