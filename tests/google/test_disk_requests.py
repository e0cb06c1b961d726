"""What volumes of the platform google come to as requests about disks: without a server."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stoneware.errors import InputError
from stoneware.platforms.google.api import Api
from stoneware.platforms.google.errors import MissingError
from stoneware.platforms.google.images import GoogleImages
from stoneware.platforms.google.resources import VOLUME, GoogleResources
from stoneware.platforms.google.upkeep import GoogleUpkeep
from stoneware.platforms.upkeep import VolumeUsage
from tests.google.clusters import SETTINGS

pytestmark = pytest.mark.pure

LINK = "https://www.googleapis.com/compute/v1/projects/proj-1/zones/us-central1-b"


class Disks:
    """The API of disks, and what was asked of it."""

    def __init__(self, *disks: dict[str, Any]) -> None:
        self.disks = list(disks)
        self.asked: list[tuple[str, str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.missing = False
        self.settings = SETTINGS
        self.looks = SimpleNamespace(saw_disks=lambda _disks: None)

    def zones(self) -> list[str]:
        return list(SETTINGS.zones)

    def items(self, _service: str, path: str, _what: str, filter: str) -> Iterator[dict[str, Any]]:
        assert path == "aggregated/disks"
        assert filter
        yield from self.disks

    def operate(self, method: str, path: str, what: str, body: dict[str, Any] | None = None) -> None:
        self.asked.append((method, path))
        self.bodies.append(body or {})
        if self.missing:
            raise MissingError(what, resolution="look")
        if method == "POST" and path.endswith("/disks"):
            assert body is not None
            self.disks.append({**body, "zone": LINK})


def disk(name: str = "data", **more: Any) -> dict[str, Any]:
    found = {"name": name, "description": f"{VOLUME}{name}", "zone": LINK, "labels": {"stoneware": "volume"}}
    return {**found, "labelFingerprint": "42WmSpB8rSM=", "sizeGb": "10", **more}


def resources(api: Disks) -> GoogleResources:
    return GoogleResources(cast("Api", api))


def test_a_volume_is_made_once_in_the_first_zone() -> None:
    api = Disks()
    made = resources(api).create_volume("data", {"a": "b"}, 5 << 30)
    assert made.name == "data"
    assert api.asked == [("POST", "zones/us-central1-a/disks")]
    assert api.bodies[0]["sizeGb"] == "10", "the least that Google makes"
    assert api.bodies[0]["description"] == f"{VOLUME}data"
    assert resources(api).create_volume("data", {}) == made
    assert len(api.asked) == 1


def test_a_volume_that_a_machine_has_is_not_removed() -> None:
    api = Disks(disk(users=[f"{LINK}/instances/kafka-2", f"{LINK}/instances/kafka-1"]))
    with pytest.raises(InputError, match="in use") as refused:
        resources(api).destroy_volume("data")
    assert refused.value.resolution == "stoneware rm -f kafka-1"
    assert api.asked == []


@pytest.mark.parametrize("missing", [False, True])
def test_a_volume_is_removed_where_it_is(missing: bool) -> None:
    api = Disks(disk("other"), disk())
    api.missing = missing  # somebody else was faster
    resources(api).destroy_volume("data")
    assert api.asked == [("DELETE", "zones/us-central1-b/disks/data")]
    resources(api).destroy_volume("nowhere")
    assert len(api.asked) == 1


def test_a_floor_is_raised_and_never_lowered() -> None:
    api = Disks(disk())
    resources(api).raise_floor("data", "4.1")
    assert api.asked == [("POST", "zones/us-central1-b/disks/data/setLabels")]
    assert api.bodies[0]["labelFingerprint"] == "42WmSpB8rSM="
    api.disks[0]["labels"] = api.bodies[0]["labels"]
    resources(api).raise_floor("data", "4.0")
    assert len(api.asked) == 1, "what is as it should be is not written"
    with pytest.raises(InputError, match="no volume"):
        resources(api).raise_floor("nowhere", "4.0")


def test_nothing_is_made_up_of_what_is_in_a_disk() -> None:
    upkeep = GoogleUpkeep(cast("GoogleImages", None))
    assert upkeep.volume_usage("data") == VolumeUsage(used=None, limit=None, path="")


def test_a_disk_of_the_same_name_that_is_another_volume_is_not_taken() -> None:
    api = Disks(disk(description=f"{VOLUME}Data"))
    assert resources(api).find_disk("data") is None
