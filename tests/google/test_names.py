"""Names, labels, hardware and places: what of Stoneware's becomes what at Google."""

from __future__ import annotations

import string
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoneware.errors import InputError
from stoneware.model.machine import MachineSpec
from stoneware.platforms.google import names
from stoneware.platforms.google.hardware import disk_of, hardware_of
from stoneware.platforms.google.infrastructure import GoogleInfrastructure
from stoneware.platforms.google.instance import hostname_of, replaced_on, seconds
from stoneware.platforms.google.placing import Placing, There, seen
from stoneware.platforms.infrastructure import Kind, Subject
from tests.google.clusters import SETTINGS, declared, spec
from tests.words import words

pytestmark = pytest.mark.pure


@given(words(string.ascii_letters + string.digits, "_.-", 127))
def test_every_name_has_one_that_google_takes(name: str) -> None:
    found = names.cloud_name(name)
    assert names._NAME.fullmatch(found)
    assert (found == name) == bool(names._NAME.fullmatch(name))
    assert names._SECRET.fullmatch(names.secret_id(name))


def test_names_that_look_alike_are_told_apart() -> None:
    alike = ["a_b", "a.b", "A-b", "a-b", "1a-b", "a" * 64, "a" * 65]
    assert len({names.cloud_name(name) for name in alike}) == len(alike)


@given(st.text(max_size=20))
def test_a_label_is_read_as_it_was_written(text: str) -> None:
    assert names.decoded(names.encoded(text)) == text.encode("utf-8", "replace").decode()


def test_labels_of_google_are_those_that_fit() -> None:
    labels = {
        "stoneware.cluster": "my_shop",
        "team": "Data",
        "com.example": "x",
        "stoneware": "y",
        "long": "x" * 64,
    }
    found = names.cloud_labels(labels)
    assert found == {"stoneware-cluster": "my_5fshop", "team": "_44ata"}
    assert names.read_labels({**found, "stoneware": "machine", "goog-terraform-provisioned": "true"}) == {
        "stoneware.cluster": "my_shop",
        "team": "Data",
    }
    many = names.cloud_labels({**{f"k{number}": "v" for number in range(99)}, "stoneware.cluster": "c"})
    assert len(many) <= 62
    assert many["stoneware-cluster"] == "c"


def test_the_file_comes_before_the_settings() -> None:
    found = hardware_of({"machine_type": "n2-standard-4", "disk_size": "20g", "spot": "true"}, SETTINGS)
    assert (found.machine_type, found.boot_size, found.spot, found.service_account) == (
        "n2-standard-4",
        20,
        True,
        None,
    )
    settings = replace(SETTINGS, machine_type="e2-micro", external_ip=True, service_account="a@b.c")
    found = hardware_of({"scopes": "x,y"}, settings, disk=(10 << 30) + 1)
    assert (found.machine_type, found.external_ip, found.service_account, found.scopes, found.boot_size) == (
        "e2-micro",
        True,
        "a@b.c",
        ("x", "y"),
        11,
    )
    assert not hardware_of({"external_ip": "false"}, settings).external_ip
    with pytest.raises(InputError, match="x-google says the project other"):
        hardware_of({"project": "other"}, SETTINGS)
    assert disk_of({"disk_size": "20g"}, 50) == ("pd-balanced", 50)  # a disk never shrinks
    assert disk_of({"disk_type": "pd-ssd"}) == ("pd-ssd", 10)


def test_zones_are_spread_and_nothing_moves() -> None:
    wanted = declared(*map(spec, (1, 2, 3)))
    fresh = Placing(There(), ("z-a", "z-b"), wanted)
    assert [fresh.machine(f"kafka-{number}") for number in (1, 2, 3)] == ["z-a", "z-b", "z-a"]
    assert fresh.volume("shop-kafka-2-data", wanted["volumes"]["shop-kafka-2-data"]) == "z-b"
    there = There({"shop-kafka-1": "z-c"}, {"shop-kafka-2-data": "z-d"}, {"shop-kafka-2-data": 30})
    placing = Placing(there, ("z-a", "z-b"), wanted)
    assert [placing.machine(f"kafka-{number}") for number in (1, 2)] == ["z-c", "z-d"]
    assert placing.volume("shop-kafka-1-data", wanted["volumes"]["shop-kafka-1-data"]) == "z-c"
    assert placing.size("shop-kafka-2-data") == 30
    early = {**wanted, "machines": {}}  # the disks of a later wave come with the first
    assert (
        Placing(There(), ("z-a", "z-b"), early).volume(
            "shop-kafka-2-data", wanted["volumes"]["shop-kafka-2-data"]
        )
        == "z-b"
    )


def _disk(zone: str, *users: str, mark: str = "") -> dict[str, Any]:
    labels = {"stoneware": mark} if mark else {}
    return {"name": "shop-kafka-1-data", "zone": zone, "sizeGb": "9", "users": list(users), "labels": labels}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (_disk("z-a", "vm", mark="volume"), _disk("z-b", mark="volume")),  # that in use
        (_disk("z-a", "vm"), _disk("z-b")),
        (_disk("z-a", mark="volume"), _disk("z-b", "vm")),  # ours before that in use
    ],
)
def test_of_two_disks_of_one_name_the_one_is_taken_that_is_ours_or_in_use(one: Any, other: Any) -> None:
    for disks in ([one, other], [other, one]):
        placing = Placing(seen([], disks), ("z-x",), declared(spec(1)))
        assert placing.volume("shop-kafka-1-data", {}) == "z-a"
        assert placing.machine("kafka-1") == "z-a"


@pytest.mark.parametrize("mark", ["", "volume"])
def test_two_disks_of_one_name_that_nothing_tells_apart_are_refused(mark: str) -> None:
    there = seen([], [_disk("z-b", mark=mark), _disk("z-a", mark=mark)])
    placing = Placing(there, ("z-x",), declared(spec(1)))
    for ask in (lambda: placing.volume("shop-kafka-1-data", {}), lambda: placing.machine("kafka-1")):
        with pytest.raises(
            InputError, match="2 disks are called shop-kafka-1-data: in the zones z-a, z-b"
        ) as e:
            ask()
        assert (
            "--remove-labels=stoneware" if mark else "--update-labels=stoneware=volume"
        ) in e.value.resolution
    assert placing.volume("other", {"extras": {"zone": "z-c"}}) == "z-c"  # others are not held up


def test_of_two_instances_of_one_name_the_clusters_machine_is_meant() -> None:
    ours = {"name": "shop-kafka-1", "zone": "z-a", "labels": {"stoneware": "machine"}}
    other: dict[str, Any] = {"name": "shop-kafka-1", "zone": "z-b", "status": "RUNNING"}
    for instances in ([ours, other], [other, ours]):
        assert Placing(seen(instances, []), ("z-x",), declared(spec(1))).machine("kafka-1") == "z-a"
    placing = Placing(seen([other, {**other, "zone": "z-c"}], []), ("z-x",), declared(spec(1)))
    with pytest.raises(InputError, match="2 instances are called shop-kafka-1"):
        placing.machine("kafka-1")


def test_host_names_and_times() -> None:
    assert hostname_of(MachineSpec("web", "x", hostname="web")) is None
    assert hostname_of(MachineSpec("web", "x", hostname="app")) == "app.stoneware.internal"
    assert hostname_of(spec(1)) == "kafka-1.shop.internal"
    assert seconds("2025-01-01T00:00:00.000-08:00") == 1735718400.0
    assert (seconds(""), seconds("soon"), seconds(None)) == (None, None, None)


def test_what_changes_in_place_makes_no_machine_again() -> None:
    one = spec(1)
    for other in (
        replace(one, labels={}, image_ref="x", stop_timeout=1.0, live_extras={"tags": "x"}),
        replace(one, metadata={"a": "b"}),
    ):
        assert replaced_on(other) == replaced_on(one)
    assert replaced_on(one, "config") != replaced_on(one)
    assert replaced_on(replace(one, extras={})) != replaced_on(one)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (None, [], True),
        ({}, None, True),
        ("", None, True),
        ([{"size": 10, "policies": None, "tags": {}}], [{"size": 10, "policies": [], "tags": None}], True),
        ([{"size": 10, "policies": None}], [{"size": 12, "policies": []}], False),
        ([{}], [], False),
        (None, 0, False),
        (None, False, False),
        ("", "p", False),
    ],
)
def test_what_is_empty_means_the_same_to_the_provider(one: object, other: object, same: bool) -> None:
    def unasked() -> Any:
        raise AssertionError

    infrastructure = GoogleInfrastructure(unasked)
    assert infrastructure.same_value(Subject(Kind.MACHINE, "k1"), "boot_disk", one, other) is same
