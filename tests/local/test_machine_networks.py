"""Machines on networks, with secrets and volumes of a cluster, for real."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network

import pytest

from stoneware.errors import InputError
from stoneware.model.machine import Machine, MachineSpec, Phase
from stoneware.model.resources import SecretMount, VolumeMount
from stoneware.platforms.local.machines.stop import wait_until
from stoneware.platforms.local.network import router
from stoneware.platforms.local.network import servers as router_servers
from stoneware.platforms.local.network import setup as router_setup
from stoneware.platforms.local.network.known import is_attached
from stoneware.platforms.local.store.recover import recover
from tests.local.engine_lab import Bench
from tests.platforms.awaiting import awaited

pytestmark = pytest.mark.machine


@pytest.fixture
def cluster(lab: Bench) -> Iterator[str]:
    """Make a network, and remove it in the end; return the name of cluster and network."""
    lab.platform.create_network(lab.name, {"stoneware.cluster": lab.name})
    yield lab.name
    for machine in lab.platform.machines():
        if lab.name in machine.spec.networks:
            lab.platform.destroy(machine.name)
    lab.platform.destroy_network(lab.name)


def broker(lab: Bench, slot: int, **more: object) -> MachineSpec:
    short = f"kafka-{slot}"
    return lab.spec(
        name=f"{lab.name}-{short}",
        hostname=f"{short}.{lab.name}.internal",
        networks=(lab.name,),
        names=(short, "kafka"),
        **more,
    )


def made(lab: Bench, *specs: MachineSpec) -> list[Machine]:
    with ThreadPoolExecutor() as pool:
        machines = list(pool.map(lab.platform.create, specs))
    for machine in machines:
        lab.booted(machine.name)
    return machines


def resolves(lab: Bench, name: str, asked: str) -> bool:
    return lab.platform.execute(name, ["sh", "-c", f"getent ahostsv4 {asked} >/dev/null"]) == 0


def test_a_machine_is_handed_its_address_and_waits_for_no_dhcp(lab: Bench) -> None:
    (machine,) = made(lab, lab.spec())
    shown = f"ip -4 -o address show dev host0 | grep -qF ' {machine.ip}/'"
    assert lab.platform.execute(machine.name, ["sh", "-c", shown]) == 0
    assert lab.platform.execute(machine.name, ["systemctl", "--quiet", "is-active", "systemd-networkd"]) != 0
    # A service of the image that wants the network up must not wait for what never comes.
    waited = ["timeout", "20", "systemctl", "start", "network-online.target"]
    assert lab.platform.execute(machine.name, waited) == 0


def test_brokers_know_each_other_and_keep_their_addresses(lab: Bench, cluster: str) -> None:
    one, two, alone = made(lab, broker(lab, 1), broker(lab, 2), lab.spec())
    for asked in ("kafka-2", f"kafka-2.{cluster}.internal", "kafka", "metadata.google.internal"):
        assert resolves(lab, one.name, asked), asked
    assert not resolves(lab, alone.name, "kafka-2")
    assert not resolves(lab, one.name, alone.name)
    assert resolves(lab, alone.name, alone.name)
    with pytest.raises(InputError, match="has machines"):
        lab.platform.destroy_network(cluster)
    lab.platform.stop(two.name)
    assert not resolves(lab, one.name, "kafka-2")
    assert lab.platform.start(two.name).ip == two.ip
    assert resolves(lab, one.name, "kafka-2")
    lab.platform.destroy(two.name)
    lab.platform.create(broker(lab, 3))
    again = lab.platform.create(broker(lab, 2))
    assert (again.ip, again.id == two.id) == (two.ip, False)
    found = lab.platform.network(cluster)
    assert found is not None
    assert found.machines == tuple(f"{cluster}-kafka-{slot}" for slot in (1, 2, 3))


def test_machines_of_one_network_in_two_ranges(lab: Bench, cluster: str) -> None:
    first, second = (f"198.19.{int(lab.name[-2:], 16)}.{at}/28" for at in (224, 240))
    low, high = (str(IPv4Network(area)[5]) for area in (first, second))
    lab.platform.change_network(cluster, {}, subnets=(first, second))
    one, two, alone = made(
        lab,
        broker(lab, 1, addresses={cluster: low}),
        broker(lab, 2, addresses={cluster: high}),
        lab.spec(),
    )
    assert (one.ip, two.ip) == (low, high)
    look = 'timeout $1 bash -c ": <>/dev/tcp/$0/111" 2>&1 | grep -q refused'  # nothing listens there
    for machine, peer, there in (
        (one, two, True),
        (two, one, True),
        (alone, one, False),
        (alone, two, False),
    ):
        words = ["sh", "-c", look, peer.ip, "60" if there else "2"]
        assert (lab.platform.execute(machine.name, words) == 0) is there
    assert resolves(lab, two.name, "kafka-1")
    for ip in (low, high):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((ip, 111), 60)
    with pytest.raises(InputError, match="cannot lose the subnet"):
        lab.platform.change_network(cluster, {}, subnets=(first,))
    with pytest.raises(InputError, match="cannot have the address"):
        lab.platform.create(broker(lab, 3, addresses={cluster: high}))
    assert lab.platform.observe(f"{lab.name}-kafka-3") is None


def test_a_machine_that_was_killed_is_not_named_after_the_next_command(lab: Bench, cluster: str) -> None:
    one, two = made(lab, broker(lab, 1), broker(lab, 2))
    assert two.leader is not None
    os.kill(two.leader, signal.SIGKILL)
    awaited(lab.platform, two.name, Phase.STOPPED)
    recover(lab.store)
    assert not resolves(lab, one.name, "kafka-2")
    assert resolves(lab, one.name, "kafka-1")


def test_a_start_that_was_killed_half_way_is_undone(lab: Bench, cluster: str) -> None:
    """The machine is in the router's records, but nothing of it runs and its own record does not say so."""
    one, two = made(lab, broker(lab, 1), broker(lab, 2))
    lab.platform.stop(two.name)
    gate = router.ensure(lab.store)
    gate.attach(
        lab.paths(two.name).root,
        id=two.id,
        name=two.name,
        hostname=two.spec.hostname,
        networks=two.spec.networks,
        names=two.spec.names,
    )
    assert is_attached(lab.store, two.id)
    recover(lab.store)
    assert not is_attached(lab.store, two.id)
    assert not resolves(lab, one.name, "kafka-2")
    assert lab.platform.start(two.name).ip == two.ip


def test_a_killed_view_is_mended_by_who_waits_for_a_machine(lab: Bench, cluster: str) -> None:
    (one,) = made(lab, broker(lab, 1))
    gate = router.ensure(lab.store)
    for helper in router_servers.resolvers(gate.layout):
        process = helper.process()
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not router_setup.whole(gate.layout, gate.state), 300)
    lab.platform.check_helpers()
    assert router_setup.whole(gate.layout, gate.state)
    assert resolves(lab, one.name, f"kafka-1.{cluster}.internal")


def test_secrets_and_volumes_of_a_cluster(lab: Bench, cluster: str) -> None:
    platform, secret, disk = lab.platform, f"{lab.name}-key", f"{lab.name}-disk"
    version = platform.put_secret(secret, b"hunter2")
    try:
        spec = broker(
            lab,
            1,
            secrets=(SecretMount(secret, "key", version),),
            volumes=(VolumeMount(disk, "/data"),),
            labels={"stoneware.cluster": cluster, "team": "x"},
        )
        (machine,) = made(lab, spec)
        line = f"key\t0400\thttp://169.254.169.254/stoneware/v1/secrets/{secret}\t{version}\n"
        assert machine.spec.metadata["stoneware-secrets"] == line
        assert machine.spec.secrets == spec.secrets
        volume = platform.volume(disk)
        assert volume is not None
        assert (volume.machines, dict(volume.labels)) == ((machine.name,), {"stoneware.cluster": cluster})
        with pytest.raises(InputError, match="in use"):
            platform.destroy_volume(disk)
        platform.label_volume(disk, {"a": "b"})
        platform.destroy(machine.name)
        assert [dict(found.labels) for found in platform.volumes() if found.name == disk] == [{"a": "b"}]
        platform.destroy_volume(disk)
        platform.destroy_volume(disk)
        assert platform.volume(disk) is None
    finally:
        platform.destroy_secret(secret)
