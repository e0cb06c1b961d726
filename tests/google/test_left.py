"""What a command tells at its end of what others left: builders, and disks whose machines are gone."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from stoneware.cli import program
from stoneware.platforms.google import leftovers
from stoneware.platforms.google.api import Api
from stoneware.platforms.google.errors import MissingError
from stoneware.platforms.google.inventory import GoogleInventory
from stoneware.platforms.google.machines import GoogleMachines
from stoneware.platforms.google.told_left import told
from tests.google.cloud import PROJECT, ZONE, Cloud
from tests.google.clusters import IMAGES, SETTINGS, spec
from tests.google.engine import make_bucket

pytestmark = [pytest.mark.tool, pytest.mark.filterwarnings("ignore::DeprecationWarning:google")]
LATER = 3600.0
DEBIAN = f"{IMAGES}/family/debian-12"
BUILDERS = "builders of other computers, left or of long bakes cost money: gcloud compute instances delete"
DISKS = "disks whose machines are gone cost money: gcloud compute disks delete"
PLACE = f"--zone {ZONE} --project {PROJECT}"


@pytest.fixture
def api(cloud: Cloud) -> Api:
    return Api(replace(SETTINGS, endpoint=cloud.endpoint, subnetwork=""), patience=0)


def _builder(api: Api, bake: str) -> None:
    labels = {"stoneware": "builder", "stoneware-bake": bake}
    body = {
        "name": f"{bake}-0",
        "machineType": f"zones/{ZONE}/machineTypes/e2-small",
        "labels": labels,
        "disks": [{"boot": True, "autoDelete": True, "initializeParams": {"sourceImage": DEBIAN}}],
        "networkInterfaces": [{"network": "global/networks/default"}],
    }
    api.operate("POST", f"zones/{ZONE}/instances", "make a builder", body)


def _disk(api: Api, name: str, mark: str) -> None:
    body = {"name": name, "sizeGb": "10", "labels": {"stoneware": mark}}
    api.operate("POST", f"zones/{ZONE}/disks", "make the disk", body)


def _told(api: Api, *own: str, later: float = LATER) -> list[str]:
    return told(api, lambda bake: bake in own, time.time() + later)


def test_builders_of_others_are_told_once_they_are_old(api: Api, cloud: Cloud) -> None:
    assert _told(api) == []
    for bake in ("bake-1", "bake-2"):
        _builder(api, bake)
    api.looks.instances = None
    cloud.take()
    assert _told(api) == [f"{BUILDERS} bake-1-0 bake-2-0 {PLACE}"]
    assert len(cloud.take()) == 3  # one list, and a look at each
    assert _told(api, "bake-1") == [f"{BUILDERS} bake-2-0 {PLACE}"]
    assert _told(api, later=600) == []
    api.operate("DELETE", f"zones/{ZONE}/instances/bake-2-0", "remove a builder")
    assert _told(api) == [f"{BUILDERS} bake-1-0 {PLACE}"]  # though the command saw both
    for number in range(3, 6):
        _builder(api, f"bake-{number}")
    api.looks.instances = None
    [said] = _told(api)
    assert said.endswith(f"{PLACE}; stoneware doctor --platform google lists 1 more")


def test_disks_are_told_by_the_list_that_the_command_made(api: Api, cloud: Cloud) -> None:
    platform = GoogleMachines(api, lambda _: f"{IMAGES}/debian-12-stoneware")
    platform.create_network("shop-default", {})
    platform.create(spec(1))
    for name, mark in (("lost", "machine"), ("kept", "volume")):
        _disk(api, name, mark)
    platform.machines()
    cloud.take()
    assert _told(api) == []  # no list of disks was made, and none is made for this
    assert cloud.take() == []
    assert [volume.name for volume in platform.volumes()] == ["kept", "shop-kafka-1-data"]
    cloud.take()
    assert _told(api) == [f"{DISKS} lost {PLACE}"]
    assert len(cloud.take()) == 1
    api.operate("DELETE", f"zones/{ZONE}/disks/lost", "remove a disk")
    assert _told(api) == []
    _disk(api, "again", "builder")
    GoogleInventory(api, str, Path()).there()
    assert _told(api) == [f"{DISKS} again {PLACE}"]


def test_it_is_never_an_error_and_asks_once(api: Api, cloud: Cloud) -> None:
    cloud.fail("503:1")
    patient = Api(api.settings)
    cloud.take()
    assert _told(patient) == []
    assert len(cloud.take()) == 1


def test_machines_of_no_cluster_are_listed(api: Api) -> None:
    make_bucket(api.settings.endpoint)
    platform = GoogleMachines(api, lambda _: f"{IMAGES}/debian-12-stoneware")
    assert leftovers.machines(api) == "none left"
    platform.create_network("shop-default", {})
    platform.create(spec(1))
    with pytest.raises(leftovers.LeftError, match="shop-kafka-1") as caught:
        leftovers.machines(api)
    assert caught.value.resolution == "STONEWARE_PLATFORM=google stoneware rm -f shop-kafka-1"


def test_without_the_bucket_no_machine_is_called_lost(api: Api) -> None:
    platform = GoogleMachines(api, lambda _: f"{IMAGES}/debian-12-stoneware")
    platform.create_network("shop-default", {})
    platform.create(spec(1))
    with pytest.raises(MissingError, match=f"there is no bucket {SETTINGS.bucket}"):
        leftovers.machines(api)


def test_a_command_tells_it_at_its_end(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_bucket(api.settings.endpoint)
    _builder(api, "bake-1")
    settings = f'project = "{PROJECT}"\nregion = "us-central1"\nbucket = "{api.settings.bucket}"\n'
    (tmp_path / "stoneware.toml").write_text(f'platform = "google"\n[google]\n{settings}')
    (tmp_path / "machines.yaml").write_text("name: shop\nservices: {app: {image: app:1}}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STONEWARE_GOOGLE_ENDPOINT", api.settings.endpoint)
    monkeypatch.setenv("STONEWARE_HOME", str(tmp_path / "home"))
    later = time.time() + LATER
    monkeypatch.setattr(time, "time", lambda: later)
    program.run(["down", "-p", "shop", "--yes"])
    assert f"{BUILDERS} bake-1-0" in capsys.readouterr().err
