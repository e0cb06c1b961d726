"""Why ports cannot be published, known before anything is made."""

from __future__ import annotations

import json
import socket
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from stoneware.errors import InputError
from stoneware.model.resources import PortMapping
from stoneware.platforms.local.network import setup
from stoneware.platforms.local.network.addresses import Lease, Plan
from stoneware.platforms.local.network.layout import layout_of
from stoneware.platforms.local.network.ports import Publication, faults
from stoneware.platforms.local.network.router import Router, published
from stoneware.platforms.local.network.state import State
from stoneware.platforms.local.store.store import Store
from stoneware.records import DamagedError

pytestmark = pytest.mark.pure
ANY = "0.0.0.0"


def test_what_is_in_the_way_of_ports() -> None:
    taken = [Publication("store", "m1", ANY, 8080, "10.0.0.2", 80, "tcp")]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        wanted = [
            PortMapping("127.0.0.1", 8080, 80),
            PortMapping("", 8080, 80, "udp"),  # another protocol
            PortMapping("", port, 80),
            PortMapping("", 0, 80),  # a free one is taken
            PortMapping("192.0.2.77", 8081, 80),
        ]
        found = faults(wanted, taken, {"m1": "shop-web-1"}.__getitem__)
    assert found[0] == (
        "port 8080/tcp of this computer is in use: the machine shop-web-1 has it, for its port 80"
    )
    assert found[1].startswith(f"port {port}/tcp of this computer is in use: ")
    assert "(process " in found[1]
    assert found[2].endswith("192.0.2.77 is not an address of this computer")
    assert len(found) == 3


ENTRY = {
    "store": "s1",
    "id": "m1",
    "host_ip": ANY,
    "host_port": 8080,
    "ip": "10.0.0.2",
    "machine_port": 80,
    "protocol": "tcp",
}
DAMAGED = {
    "torn": b'{"publications": [{"st',
    "empty": b"",
    "list": b"[]",
    "no list": b'{"publications": 5}',
    "no entry": b'{"publications": ["m1"]}',
    "entry without a port": b'{"publications": [{"store": "s1"}]}',
    "port of text": json.dumps({"publications": [{**ENTRY, "host_port": "8080"}]}).encode(),
}


@pytest.fixture
def router(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Router:
    """A router of which only the record of ports is there."""
    monkeypatch.setattr("stoneware.platforms.local.network.router.RUNTIME", tmp_path)
    monkeypatch.setattr("stoneware.platforms.local.network.router.is_up", lambda _: True)
    store = Store(tmp_path / "store")
    return Router(
        store, layout_of(store), State(Plan(IPv4Network("10.0.0.0/24"), ()), 1500, (), "", 0, 0, {})
    )


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_record_does_not_give_a_port_away_once_more(
    router: Router, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    forwarded: list[object] = []
    monkeypatch.setattr(setup, "forward", lambda *given: forwarded.append(given))
    lease = Lease("10.0.0.3", "02:00:00:00:00:03")
    record = tmp_path / "ports.json"
    record.write_bytes(DAMAGED[kind])
    with pytest.raises(DamagedError) as caught:
        router.publish(lease, [PortMapping("", 8080, 80)], id="m2")
    assert caught.value.resolution.startswith(f"rm {record} ")
    with pytest.raises(DamagedError):
        published(router.store, ())
    # What has nothing to do with ports goes on, and leaves the record and the rules as they are.
    assert router.publish(lease, [], id="m2") == ()
    router.unpublish("m1")
    assert (record.read_bytes(), forwarded) == (DAMAGED[kind], [])
    record.unlink()
    assert router.publish(lease, [PortMapping("127.0.0.1", 0, 80)], id="m2")[0].machine_port == 80


def test_a_sound_record_is_kept(router: Router, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "forward", lambda *_: None)
    (tmp_path / "ports.json").write_text(json.dumps({"publications": [ENTRY]}))
    with pytest.raises(InputError, match="port 8080/tcp of this computer is in use"):
        router.publish(Lease("10.0.0.3", "02:00:00:00:00:03"), [PortMapping("", 8080, 80)], id="m2")
    assert published(router.store, ()) == [Publication(**ENTRY)]  # type: ignore[arg-type]
