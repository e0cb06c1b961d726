"""Which address a machine gets, in a directory of records: nothing of a network is touched."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from stoneware.errors import HostError, InputError
from stoneware.platforms.local.network import networks
from stoneware.platforms.local.network.addresses import Lease, Plan, choose_address, mac_of
from stoneware.platforms.local.network.leases import Asking, lease_for, note
from stoneware.platforms.local.network.state import State

SUBNET = IPv4Network("10.77.0.0/22")
RANGE = IPv4Network("192.168.5.0/29")  # for machines: .2 to .5


def state(**ranges: Sequence[IPv4Network]) -> State:
    known = {name: tuple(areas) for name, areas in ranges.items()}
    flat = tuple(area for areas in known.values() for area in areas)
    return State(Plan(SUBNET, flat), 1500, (1, 2), "boot", 1, 1, known)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "machines").mkdir()
    for name, subnets in (("front", []), ("back", []), ("own", [str(RANGE)])):
        (tmp_path / "networks" / name).mkdir(parents=True)
        document = {"created": 1.0, "labels": {}, "subnets": subnets}
        (tmp_path / "networks" / name / "document.json").write_text(json.dumps(document))
    return tmp_path


def asking(
    data: Path, name: str, *on: str, had: str = "", addresses: Mapping[str, str] | None = None
) -> Asking:
    directory = data / "machines" / name
    directory.mkdir(exist_ok=True)
    if had:
        (directory / "network.json").write_text(json.dumps({"ip": had}))
    return Asking(directory, name, on, addresses or {})


def test_an_address_is_chosen_by_the_name_and_kept_in_each_network(data: Path) -> None:
    wanted = choose_address(SUBNET, "db", ())
    assert lease_for(asking(data, "db", "front", "back"), data, state(), ()) == Lease(wanted, mac_of(wanted))
    assert networks.read_addresses(data) == {"front": {"db": wanted}, "back": {"db": wanted}}
    assert lease_for(asking(data, "web"), data, state(), ()).ip == choose_address(SUBNET, "web", ())
    assert "web" not in str(networks.read_addresses(data))  # on the common network names keep nothing


def test_what_others_have_or_keep_is_not_chosen(data: Path) -> None:
    first = choose_address(SUBNET, "db", ())
    second = choose_address(SUBNET, "db", (first,))
    third = choose_address(SUBNET, "db", (first, second))
    fourth = choose_address(SUBNET, "db", (first, second, third))
    networks.keep_address(data, "front", "gone", first)  # by a name of a network
    asking(data, "stopped", had=second)  # by a machine's record
    assert lease_for(asking(data, "db", "back"), data, state(), (third,)).ip == fourth  # by one attached


def test_a_name_gets_back_what_it_had(data: Path) -> None:
    networks.keep_address(data, "back", "db", "10.77.1.9")
    assert lease_for(asking(data, "db", "front", "back"), data, state(), ()).ip == "10.77.1.9"
    # Its own record counts where no network knows it; not where another has that address by now.
    assert lease_for(asking(data, "web", "front", had="10.77.1.10"), data, state(), ()).ip == "10.77.1.10"
    taken = lease_for(asking(data, "api", "front", had="10.77.1.9"), data, state(), ()).ip
    assert taken == choose_address(SUBNET, "api", ())


@pytest.mark.parametrize("had", ["192.168.9.1", "10.78.0.2"])
def test_an_address_of_another_subnet_is_not_kept(data: Path, had: str) -> None:
    assert lease_for(asking(data, "db", had=had), data, state(), ()).ip == choose_address(SUBNET, "db", ())


@pytest.mark.parametrize(
    ("had", "kept"),
    [("192.168.5.3", True), ("192.168.5.1", False), ("192.168.5.6", False), ("10.77.0.9", False)],
)
def test_on_a_network_with_ranges_it_is_in_one_of_them(data: Path, had: str, kept: bool) -> None:
    now = state(own=[RANGE])
    ip = lease_for(asking(data, "db", "front", "own", had=had), data, now, ()).ip
    assert ip == (had if kept else choose_address(SUBNET, "db", (), [RANGE]))
    assert networks.read_addresses(data)["own"] == {"db": ip}


def test_an_address_that_is_asked_for(data: Path) -> None:
    now = state(own=[RANGE])
    networks.keep_address(data, "own", "gone", "192.168.5.4")
    wanted = asking(data, "db", "own", had="192.168.5.3", addresses={"own": "192.168.5.4"})
    assert lease_for(wanted, data, now, ()).ip == "192.168.5.4"
    assert networks.read_addresses(data)["own"] == {"db": "192.168.5.4"}  # the one that is gone lost it
    asking(data, "db", had="192.168.5.4")
    assert lease_for(wanted, data, now, ()).ip == "192.168.5.4"  # its own record is no other machine's


def test_an_address_that_it_cannot_have(data: Path) -> None:
    now = state(own=[RANGE])
    wanted = asking(data, "db", "own", addresses={"own": "192.168.5.4"})
    with pytest.raises(InputError, match=r"'db' cannot have the address 192\.168\.5\.4") as caught:
        lease_for(wanted, data, now, ("192.168.5.4",))
    assert caught.value.details == "Another machine has it."
    asking(data, "web", had="192.168.5.4")
    with pytest.raises(InputError) as caught:
        lease_for(wanted, data, now, ())
    assert caught.value.details == "The machine web has it."
    with pytest.raises(InputError, match="on the network 'own'"):
        lease_for(asking(data, "db", "own", addresses={"own": "10.77.0.9"}), data, now, ())
    assert networks.read_addresses(data) == {}
    with pytest.raises(HostError, match="the network 'own' cannot be used"):
        lease_for(asking(data, "db", "own"), data, state(), ())


def test_what_a_machine_is_told_of_its_network(tmp_path: Path) -> None:
    path = tmp_path / "network.json"
    plan = Plan(SUBNET, (RANGE,))
    note(tmp_path, "m1", Lease("10.77.0.9", "02:00:0a:4d:00:09"), plan, 1460)
    assert json.loads(path.read_text()) == {
        "id": "m1",
        "ip": "10.77.0.9",
        "mac": "02:00:0a:4d:00:09",
        "gateway": "10.77.0.1",
        "netmask": "255.255.252.0",
        "mtu": 1460,
    }
    written = path.stat().st_mtime_ns, path.stat().st_ino
    note(tmp_path, "m1", Lease("10.77.0.9", "02:00:0a:4d:00:09"), plan, 1460)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == written  # so that no server reads it again
    note(tmp_path, "m1", Lease("192.168.5.3", "02:00:c0:a8:05:03"), plan, 1460)
    found = json.loads(path.read_text())
    assert (found["gateway"], found["netmask"]) == ("192.168.5.1", "255.255.255.248")
    path.write_text("[")
    note(tmp_path, "m1", Lease("10.77.0.9", "02:00:0a:4d:00:09"), plan, 1460)
    assert json.loads(path.read_text())["ip"] == "10.77.0.9"
