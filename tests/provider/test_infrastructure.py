"""Which resources of our provider are whose."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoneware.cluster.directory import ClusterDirectory
from stoneware.cluster.observe import managed_in
from stoneware.files import write_json
from stoneware.platforms.cluster_files import FileRecords
from stoneware.platforms.infrastructure import Kind, Subject
from stoneware.provider.infrastructure import StonewareInfrastructure
from tests.platforms.memory import MemoryPlatform

RESOURCES = MemoryPlatform().infrastructure
ADDRESSES = {
    Subject(Kind.MACHINE, "kafka-1"): 'stoneware_machine.machine["kafka-1"]',
    Subject(Kind.VOLUME, "c-kafka-1-data"): 'stoneware_volume.volume["c-kafka-1-data"]',
    Subject(Kind.NETWORK, "c-default"): 'stoneware_network.network["c-default"]',
    Subject(Kind.BUILDER, ""): "stoneware_machine.builder",
    Subject(Kind.OTHER, "stoneware_machine.mine"): "stoneware_machine.mine",
}


@pytest.mark.parametrize("subject", ADDRESSES, ids=lambda subject: str(subject.kind) or "other")
def test_a_subject_and_its_address_are_one(subject: Subject) -> None:
    assert RESOURCES.address(subject) == ADDRESSES[subject]
    assert RESOURCES.subject(ADDRESSES[subject]) == subject
    assert RESOURCES.imports({subject: "its-name"}) == {ADDRESSES[subject]: "its-name"}
    assert RESOURCES.imports({subject: "its-name"}, {ADDRESSES[subject]}) == {}


def test_machines_have_no_resources_apart() -> None:
    apart = {Subject(kind, "kafka-1"): "c-kafka-1" for kind in (Kind.ADDRESS, Kind.PORTS)}
    assert RESOURCES.imports(apart) == {}


def test_what_x_local_says_of_a_volume_is_no_variable() -> None:
    volumes = {"a": {"labels": {}, "extras": {"size": "20g"}, "size": 20 << 30}, "b": {"labels": {"x": "y"}}}
    assert RESOURCES.variables({"volumes": volumes, "machines": {}}) == {
        "volumes": {"a": {"labels": {}, "size": 20 << 30}, "b": {"labels": {"x": "y"}}},
        "machines": {},
    }


@pytest.mark.parametrize(
    "address",
    [
        'stoneware_machine.other["kafka-1"]',
        'module.m.stoneware_volume.volume["x"]',
        "google_compute_disk.volume",
    ],
)
def test_what_people_add_is_nobodys(address: str) -> None:
    assert RESOURCES.subject(address) == Subject(Kind.OTHER, address)


def test_a_part_alone_does_not_make_a_thing_known(tmp_path: Path) -> None:
    class WithAddresses(StonewareInfrastructure):  # each machine has a fixed address as well
        def subject(self, address: str) -> Subject:
            return super().subject(address.replace("fixed_address.machine", "stoneware_machine.machine"))

    resources = WithAddresses(MemoryPlatform())
    instances = [{"index_key": "a-1"}, {"index_key": "a-2"}]
    rows = [("stoneware_machine", instances[:1]), ("fixed_address", instances)]
    found = [{"mode": "managed", "type": t, "name": "machine", "instances": some} for t, some in rows]
    write_json(tmp_path / "terraform.tfstate", {"resources": found})
    known = {Subject(Kind.MACHINE, "a-1")}
    directory = ClusterDirectory(FileRecords(tmp_path))
    assert managed_in(directory, resources) == known
    assert managed_in(directory, resources, parts=True) == known | {Subject(Kind.MACHINE, "a-2")}
