"""Networks and amended specs as records: no machine runs, nothing is mounted."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from stoneware.errors import InputError
from stoneware.files import locked, read_json, write_json
from stoneware.model.machine import MachineSpec
from stoneware.model.resources import SecretMount
from stoneware.platforms.local.machines import record as machine_record
from stoneware.platforms.local.machines import start as machine_start
from stoneware.platforms.local.machines.record import Paths
from stoneware.platforms.local.network.layout import layout_of
from stoneware.platforms.local.network.setup import is_sealed
from stoneware.platforms.local.platform import LocalPlatform
from stoneware.platforms.local.store import in_use as uses
from stoneware.platforms.local.store.store import Store
from stoneware.records import DamagedError
from tests.documents import document_in
from tests.local.records_here import MOUNT, machine


@pytest.fixture
def platform(tmp_path: Path) -> LocalPlatform:
    for kind in ("machines", "volumes"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    return LocalPlatform(Store(tmp_path))


# --- specs ----------------------------------------------------------------------------------------------


def test_a_spec_keeps_networks_names_and_secrets(platform: LocalPlatform) -> None:
    spec = MachineSpec(
        "h1", "image:sha256:1", hostname="h1", networks=("a", "b"), names=("web",), secrets=(MOUNT,)
    )
    assert machine_record.read_spec(machine(platform, spec)) == spec


def test_a_spec_of_an_older_version_is_read(platform: LocalPlatform) -> None:
    spec = MachineSpec("h1", "image:sha256:1", hostname="h1")
    paths = machine(platform, spec)
    document = document_in(paths.root / "spec.json")
    for added in ("networks", "names", "secrets"):
        del document[added]
    write_json(paths.root / "spec.json", document)
    assert machine_record.read_spec(paths) == spec


@pytest.mark.parametrize("change", [{"vcpus": 2}, {"hostname": 5}, {"memory": "much"}, {"networks": "front"}])
def test_a_spec_that_no_version_wrote_is_damaged(platform: LocalPlatform, change: dict[str, Any]) -> None:
    paths = machine(platform, MachineSpec("h1", "image:sha256:1", hostname="h1"))
    document = document_in(paths.root / "spec.json")
    write_json(paths.root / "spec.json", {**document, **change})
    with pytest.raises(DamagedError, match="is damaged"):
        machine_record.read_spec(paths)


@pytest.mark.parametrize("name", ["", "-a", "a b", "a\nb", "ä", "a/b", "a" * 254])
def test_a_name_that_dns_cannot_have_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="cannot be a name"):
        machine_start.check_spec(MachineSpec("h1", "image:x", names=("web_1.x", name)))


# --- networks -------------------------------------------------------------------------------------------


def test_networks_are_made_once_and_removed(platform: LocalPlatform) -> None:
    assert platform.networks() == []
    made = platform.create_network("x-default", {"stoneware.cluster": "x"})
    assert platform.create_network("x-default", {"other": "1"}) == made
    assert platform.network("x-default") == made
    assert dict(made.labels) == {"stoneware.cluster": "x"}
    platform.change_network("x-default", {"a": "b"}, internal=True)
    found = platform.network("x-default")
    assert found is not None
    assert (dict(found.labels), found.created, found.internal) == ({"a": "b"}, made.created, True)
    assert platform.networks() == [found]
    platform.destroy_network("x-default")
    platform.destroy_network("x-default")
    assert platform.network("x-default") is None
    assert platform.networks() == []
    with pytest.raises(InputError, match="there is no network"):
        platform.change_network("x-default", {})


def test_a_network_of_an_earlier_version_is_not_internal(platform: LocalPlatform) -> None:
    platform.create_network("n", {}, internal=True)
    record = platform.store.data / "networks/n/document.json"
    document = json.loads(record.read_text())
    assert document.pop("internal") is True
    record.write_text(json.dumps(document))
    found = platform.network("n")
    assert found is not None
    assert not found.internal


def test_a_networks_subnets_are_recorded_and_changed(platform: LocalPlatform) -> None:
    """Without a router: the next command that needs one makes it with them."""
    first, second, third = (f"198.19.255.{at}/28" for at in (0, 16, 32))
    assert platform.create_network("a", {}, subnets=[first, second]).subnets == (first, second)
    assert platform.create_network("a", {}, subnets=[third]).subnets == (first, second)
    for subnets in ([second], ["198.19.255.0/24"], ["8.8.8.0/24"], [third, third], ["many"]):
        with pytest.raises(InputError, match="'b' cannot have the subnets"):
            platform.create_network("b", {}, subnets=subnets)
    assert [network.name for network in platform.networks()] == ["a"]
    assert platform.create_network("b", {}).subnets == ()
    with pytest.raises(InputError, match="'b' cannot have the subnets"):
        platform.change_network("b", {}, subnets=[first])
    directory = platform.store.data / "machines" / "h1"
    directory.mkdir(parents=True)
    write_json(directory / "network.json", {"ip": "198.19.255.18"})
    with pytest.raises(InputError, match="cannot lose the subnet"):
        platform.change_network("a", {}, subnets=[first])
    platform.change_network("a", {}, subnets=[second, third])
    platform.change_network("b", {"c": "d"}, subnets=[first])
    assert [(network.subnets, dict(network.labels)) for network in platform.networks()] == [
        ((second, third), {}),
        ((first,), {"c": "d"}),
    ]
    platform.destroy_network("a")
    assert platform.create_network("c", {}, subnets=[third]).subnets == (third,)


def test_machines_have_no_way_out_where_all_of_their_networks_are_internal(platform: LocalPlatform) -> None:
    layout = layout_of(platform.store)
    for name, internal in (("a", True), ("b", True), ("c", False), ("d", False)):
        platform.create_network(name, {}, internal=internal)
    (platform.store.data / "networks/d/document.json").write_text('{"internal": "yes"}')
    for networks, sealed in (
        ("a", True),
        ("ab", True),
        ("ac", False),
        ("c", False),
        ("", False),
        ("ad", True),
    ):
        assert is_sealed(layout, tuple(networks)) is sealed, networks


@pytest.mark.parametrize("name", ["", ".hidden", "../x", "a/b", "a b", "-a", "a" * 101, "a;b", 'a"b'])
def test_a_network_needs_a_plain_name(platform: LocalPlatform, name: str) -> None:
    with pytest.raises(InputError, match="not a network name"):
        platform.create_network(name, {})


def test_a_network_with_machines_stays(platform: LocalPlatform) -> None:
    platform.create_network("n", {})
    for name in ("h2", "h1"):
        machine(platform, MachineSpec(name, "image:x", networks=("n",)))
    found = platform.network("n")
    assert found is not None
    assert found.machines == ("h1", "h2")
    with pytest.raises(InputError, match="'n' has machines") as caught:
        platform.destroy_network("n")
    assert caught.value.details == "h1, h2"
    assert "stoneware rm -f h1 h2" in caught.value.resolution


def test_a_machine_needs_its_networks_and_nothing_is_left_without(platform: LocalPlatform) -> None:
    platform.create_network("n", {})
    with pytest.raises(InputError, match="there is no network 'missing'"):
        platform.create(MachineSpec("h1", "image:sha256:" + "0" * 64, networks=("n", "missing")))
    assert list((platform.store.data / "machines").iterdir()) == []


def test_a_network_is_not_removed_under_a_machine_that_is_being_made(platform: LocalPlatform) -> None:
    platform.create_network("n", {})
    with ThreadPoolExecutor(1) as pool:
        with platform.store.keep_networks(["n"]), platform.store.keep_networks(["n"]):
            removed = pool.submit(platform.destroy_network, "n")
            with (
                pytest.raises(TimeoutError),
                locked(platform.store.lock_path("networks", "n"), timeout=0),
            ):
                pass
            machine(platform, MachineSpec("h1", "image:x", networks=("n",)))
        with pytest.raises(InputError, match="has machines"):
            removed.result()


# --- amending -------------------------------------------------------------------------------------------


def lines(paths: Paths) -> str:
    attributes: Mapping[str, str] = document_in(paths.root / "metadata.json")["attributes"]
    return attributes.get("stoneware-secrets", "")


def test_a_spec_is_amended_where_it_is(platform: LocalPlatform) -> None:
    for name in ("x-key", "x-other"):
        platform.put_secret(name, b"1")
    before = MachineSpec("h1", "image:x", hostname="h1", metadata={"a": "1"}, labels={"l": "1"})
    paths = machine(platform, before)
    platform.amend("h1", image_ref="web:2", labels={"l": "2"}, stop_timeout=60.0)
    platform.amend("h1", secrets=(MOUNT, SecretMount("x-other", "etc/..other", "v2")))
    spec = machine_record.read_spec(paths)
    assert spec is not None
    assert (spec.image_ref, dict(spec.labels), spec.stop_timeout) == ("web:2", {"l": "2"}, 60.0)
    assert [mount.version for mount in spec.secrets] == ["v1", "v2"]
    url = "http://169.254.169.254/stoneware/v1/secrets"
    assert lines(paths) == f"key\t0440\t{url}/x-key\tv1\netc/..other\t0400\t{url}/x-other\tv2\n"
    platform.set_metadata("h1", {"a": None, "b": "2"})
    assert lines(paths) != ""
    platform.amend("h1", secrets=())
    assert read_json(paths.root / "metadata.json") == {"attributes": {"b": "2"}}
    with pytest.raises(InputError, match="no machine"):
        platform.amend("h2", image_ref="web:3")


class KilledError(Exception):
    """The command ends here."""


@pytest.mark.parametrize("writes", [0, 1, 2])
@pytest.mark.parametrize("wanted", ["v2 of the same", "one more"])
def test_a_command_killed_while_it_amends_shows_that_it_is_not_done(
    platform: LocalPlatform, monkeypatch: pytest.MonkeyPatch, writes: int, wanted: str
) -> None:
    """Until all is written the spec differs from the wanted one; nothing is told that may not be fetched."""
    for name in ("x-key", "x-other"):
        platform.put_secret(name, b"1")
    paths = machine(platform, MachineSpec("h1", "image:x", secrets=(MOUNT,)))
    more = {
        "v2 of the same": (SecretMount("x-key", "key", "v2"),),
        "one more": (MOUNT, SecretMount("x-other", "other", "v1")),
    }[wanted]
    monkeypatch.setattr("stoneware.platforms.local.platform_resources.write_json", killed_after(writes))
    try:
        platform.amend("h1", secrets=more)
        done = True
    except KilledError:
        done = False
    spec = machine_record.read_spec(paths)
    assert spec is not None
    assert (spec.secrets == more) == done
    may_fetch = {mount.secret for mount in spec.secrets}
    assert {line.split("/")[-1].split("\t")[0] for line in lines(paths).splitlines()} <= may_fetch
    monkeypatch.undo()
    platform.amend("h1", secrets=more)
    spec = machine_record.read_spec(paths)
    assert spec is not None
    assert spec.secrets == more


def killed_after(writes: int) -> Callable[..., None]:
    left = [writes]

    def write(path: Path, value: Any, mode: int = 0o644) -> None:
        if not left[0]:
            raise KilledError
        left[0] -= 1
        path.write_text(json.dumps(value))
        path.chmod(mode)

    return write


# --- who has what ---------------------------------------------------------------------------------------


def test_who_has_a_network_is_read_once_while_no_machine_comes_or_goes(
    platform: LocalPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.create_network("n", {})
    machines = platform.store.data / "machines"

    def users() -> tuple[str, ...]:
        found = platform.network("n")
        assert found is not None
        return found.machines

    machine(platform, MachineSpec("h1", "image:x", networks=("n",)))
    assert users() == ("h1",)
    machine(platform, MachineSpec("h2", "image:x", networks=("n",)))  # perhaps in the same tick of the clock
    assert users() == ("h1", "h2")
    os.utime(machines, (1, 1))  # long ago: nothing can have slipped through
    assert users() == ("h1", "h2")
    monkeypatch.setattr(uses, "read_uses", None)
    assert users() == ("h1", "h2")
    monkeypatch.undo()
    (machines / "h1").rename(machines / ".gone")
    assert users() == ("h2",)
