"""The router for real: made once, found whole, healed, removed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stoneware.files import read_json, write_json
from stoneware.model.resources import PortMapping
from stoneware.platforms.local.network import namespace as network_namespace
from stoneware.platforms.local.network import router
from stoneware.platforms.local.network import servers as router_servers
from stoneware.platforms.local.network import setup as router_setup
from stoneware.platforms.local.network.layout import is_up
from stoneware.platforms.local.network.state import State, load
from stoneware.process import run
from tests.local import router_lab
from tests.local.router_lab import Fake, Lab, tcp, wait_until

make_lab, lab = router_lab.make_lab, router_lab.lab  # the fixtures
pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces"),
]


def test_ensure_starts_nothing_when_all_is_there(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    first = lab.router
    monkeypatch.setattr(subprocess, "Popen", None)
    again = router.ensure(lab.store)
    assert (again.namespace, again.subnet, again.gateway) == (first.namespace, first.subnet, first.gateway)
    assert first.namespace.startswith("sw-")
    assert len(first.namespace) == 11


def test_one_that_was_whole_a_moment_ago_is_looked_at_where_that_is_not_enough(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = router.ensure(lab.store)
    monkeypatch.setattr(router_setup, "whole", None)
    assert router.ensure(lab.store, within=60) == found
    for seconds in (0.0, 1e-9):
        with pytest.raises(TypeError):
            router.ensure(lab.store, within=seconds)


def test_two_commands_at_once_make_one_router(lab: Lab) -> None:
    with ThreadPoolExecutor(4) as pool:
        states = [gate.state for gate in pool.map(router.ensure, [lab.store] * 4)]
    assert len({state.namespace for state in states}) == 1
    assert router_setup.whole(lab.router.layout, states[0])


def damage_kill(helper: str) -> Callable[[router.Router], None]:
    def kill(gate: router.Router) -> None:
        process = getattr(router_servers, helper)(gate.layout).process()
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)

    return kill


def damage_run(*commands: str) -> Callable[[router.Router], None]:
    def damage(gate: router.Router) -> None:
        for command in commands:
            names = {"ns": gate.namespace, "table": gate.layout.table, "subnet": gate.subnet}
            run(command.format(**names).split())

    return damage


def damage_state(key: str, value: object) -> Callable[[router.Router], None]:
    def damage(gate: router.Router) -> None:
        path = gate.layout.run / "network.json"
        write_json(path, {**(read_json(path) or {}), key: value})

    return damage


def damage_records(gate: router.Router) -> None:
    """Lose the records of the servers, which run on: the command was killed before it wrote them."""
    for helper in (router_servers.metadata(gate.layout), router_servers.dnsmasq(gate.layout)):
        helper.record.unlink()


def damage_reuse(gate: router.Router) -> None:
    """Make the record name a living process that is not the server: its number was given away again."""
    process = router_servers.metadata(gate.layout).process()
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    write_json(router_servers.metadata(gate.layout).record, {"pid": os.getpid(), "start": process.start})


DAMAGES: dict[str, Callable[[router.Router], None]] = {
    "metadata server killed": damage_kill("metadata"),
    "dnsmasq killed": damage_kill("dnsmasq"),
    "process id reused": damage_reuse,
    "records lost": damage_records,
    "other code": damage_state("code", 1),
    "other rules": damage_state("rules", 0),
    "another boot": damage_state("boot", "x"),
    "bridge deleted": damage_run("ip -n {ns} link del br0"),
    "metadata address deleted": damage_run("ip -n {ns} addr del 169.254.169.254/32 dev br0"),
    "link deleted": damage_run("ip link del {ns}"),
    "link down": damage_run("ip link set {ns} down"),
    "host route deleted": damage_run("ip route del {subnet}"),
    "host rules deleted": damage_run("nft delete table ip {table}"),
    "pins deleted": damage_run("nsenter --net=/run/netns/{ns} nft delete table bridge stoneware"),
    "namespace's name deleted": damage_run("ip netns del {ns}"),
    "forwarding off": damage_run("nsenter --net=/run/netns/{ns} sysctl -q -w net.ipv4.ip_forward=0"),
    "everything but the machine": damage_run(
        "ip -n {ns} link del br0", "ip link del {ns}", "nft delete table ip {table}"
    ),
}


def recorded(gate: router.Router) -> State:
    state = load(gate.layout)
    assert state is not None
    return state


def servers(gate: router.Router) -> list[str]:
    """Return the names of the processes in the router namespace."""
    pids = run(["ip", "netns", "pids", gate.namespace]).stdout.split()
    return sorted(Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, Fake, int]]:
    """Give a lab that one damage after the other is done to, a machine in it that serves, and its port."""
    with router_lab.labs_in(tmp_path_factory.mktemp("served")) as make:
        lab = make()
        fake = lab.machine("h1")
        fake.address()
        fake.serve("tcp", 80)
        (published,) = lab.router.publish(fake.lease, [PortMapping("", 0, 80)])
        yield lab, fake, published.host_port


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_ensure_heals(served: tuple[Lab, Fake, int], damage: Callable[[router.Router], None]) -> None:
    lab, fake, port = served
    assert fake.ask() == "h1"
    gate = lab.router
    damage(gate)
    wait_until(lambda: not router_setup.whole(gate.layout, recorded(gate)))
    healed = router.ensure(lab.store)
    assert router_setup.whole(healed.layout, healed.state)
    assert healed.subnet == gate.subnet
    assert servers(healed) == ["dnsmasq", "python"]
    assert fake.ask() == "h1"
    assert tcp("127.0.0.1", port)
    name = fake.sh("busybox", "nslookup", "metadata.google.internal", "169.254.169.254").stdout
    assert "Address: 169.254.169.254" in name


def test_teardown_leaves_nothing_and_may_be_repeated(lab: Lab) -> None:
    fake = lab.machine("h1")
    lab.router.publish(fake.lease, [PortMapping("127.0.0.1", 0, 80)])
    gate = lab.router
    helpers = [router_servers.metadata(gate.layout).process(), router_servers.dnsmasq(gate.layout).process()]
    fake.end()
    router.teardown(lab.store)
    assert not is_up(gate.layout.digest)
    assert not Path(f"/sys/class/net/{gate.namespace}").exists()
    assert not network_namespace.has_table("ip", gate.layout.table)
    assert not gate.layout.runtime.exists()
    assert all(item and not router_servers.metadata(gate.layout).process() for item in helpers)
    assert gate.layout.digest not in Path("/run/stoneware/ports.json").read_text()
    router.teardown(lab.store)
    assert router.ensure(lab.store).subnet == gate.subnet


def test_helpers_hold_no_descriptors_of_the_command(lab: Lab) -> None:
    process = router_servers.metadata(lab.router.layout).process()
    assert process is not None
    descriptors = Path(f"/proc/{process.pid}/fd")
    assert str((descriptors / "0").readlink()) == "/dev/null"
    assert str((descriptors / "1").readlink()).endswith("/run/metadata.log")
    assert not any(str(item.readlink()).endswith("router.lock") for item in descriptors.iterdir())
    assert os.getsid(process.pid) != os.getsid(0)


def test_a_subnet_that_somebody_else_took_is_changed(lab: Lab) -> None:
    """A route as narrow as ours appears, to a namespace of our own: the next ensure moves, and all works."""
    before = lab.router
    tag = os.urandom(3).hex()
    try:
        run(["ip", "link", "add", f"swr-{tag}", "type", "veth", "peer", "name", f"swr-{tag}p"])
        run(["ip", "link", "set", f"swr-{tag}", "up"])
        run(["ip", "route", "add", str(before.subnet), "dev", f"swr-{tag}", "metric", "500"])
        run(["ip", "link", "set", before.namespace, "down"])
        after = router.ensure(lab.store)
        assert not after.subnet.overlaps(before.subnet)
        fake = lab.machine("h1")
        fake.address()
        assert fake.ask() == "h1"
        assert servers(after) == ["dnsmasq", "python"]
    finally:
        run(["ip", "link", "del", f"swr-{tag}"])


@pytest.mark.parametrize("delay", [0.06, 0.09, 0.12, 0.15, 0.2, 0.3])
def test_a_command_killed_while_it_makes_the_router_leaves_nothing_wrong(lab: Lab, delay: float) -> None:
    code = "import sys; from pathlib import Path; from types import SimpleNamespace as N\n"
    code += "from stoneware.platforms.local.network import router; home = Path(sys.argv[1])\n"
    code += "router.ensure(N(home=home, data=home / 'data'))"
    child = subprocess.Popen([sys.executable, "-c", code, str(lab.store.home)])
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(delay)
    child.kill()
    child.wait()
    fake = lab.machine("h1")
    fake.address()
    assert fake.ask() == "h1"
    assert servers(lab.router) == ["dnsmasq", "python"]


def test_a_firewall_that_drops_is_opened_for_the_link_and_closed_again() -> None:
    """In a network namespace of its own: the host's firewall is left alone."""
    code = (
        "from stoneware.platforms.local.network import firewall as fw; from stoneware.process import run\n"
        "run(['nft', '-f', '-'], stdin='table ip filter { chain FORWARD {"
        " type filter hook forward priority 0; policy drop; ip saddr 192.0.2.1 accept; }; }')\n"
        "show = lambda: run(['nft', 'list', 'chain', 'ip', 'filter', 'FORWARD']).stdout\n"
        "before = show(); assert fw.open_forwarding('sw-1', 'stoneware-1'); once = show()\n"
        "assert fw.open_forwarding('sw-1', 'stoneware-1'); assert show() == once\n"
        "print(once); fw.close_forwarding('stoneware-1'); assert show() == before\n"
    )
    shown = run(["unshare", "--net", sys.executable, "-c", code]).stdout
    for way in ("iifname", "oifname"):
        assert f'{way} "sw-1" accept comment "stoneware-1"' in shown
