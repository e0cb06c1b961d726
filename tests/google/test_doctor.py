"""doctor --platform google: found or missing, with the command that fixes it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from stoneware.cli import program
from stoneware.errors import StonewareError
from stoneware.platforms.google import doctor, leftovers
from stoneware.platforms.google.api import Api
from stoneware.platforms.google.bucket import Bucket
from stoneware.platforms.google.machines import GoogleMachines
from tests.google.cloud import PROJECT, Cloud
from tests.google.clusters import IMAGES, SETTINGS, spec

pytestmark = [pytest.mark.tool, pytest.mark.filterwarnings("ignore::DeprecationWarning:google")]


@pytest.fixture
def api(cloud: Cloud) -> Api:
    return Api(replace(SETTINGS, endpoint=cloud.endpoint, bucket="things", subnetwork=""), patience=0)


def make_bucket(api: Api) -> None:
    body = {"name": "things", "location": "us-central1"}
    api.request("storage", "POST", "/b", "make the bucket", query={"project": PROJECT}, body=body)


def test_a_project_that_has_all_is_told_so(api: Api) -> None:
    make_bucket(api)
    found = doctor.findings(api)
    assert [finding.problem for finding in found] == [""] * 11
    assert [finding.version for finding in found][4:] == [
        "none that Google tells",
        "answers",
        "none left",
        "none left",
        "none left",
        "all have a tag",
        "no machine with a port runs",
    ]
    assert found[0].version == "none needed: an emulator"
    assert [finding.version for finding in found][1:3] == ["us-central1: 2 zones", "us-central1"]
    assert Bucket(api).names("") == []


def test_what_is_missing_has_the_command_that_makes_it(api: Api) -> None:
    api = Api(replace(api.settings, network="nowhere"), patience=0)
    found = {finding.kind: finding for finding in doctor.findings(api)}
    assert "it is not there" in found["bucket"].problem
    assert found["bucket"].get.startswith("gcloud storage buckets create gs://things --project proj-1")
    assert "nowhere" in found["network"].problem
    assert not found["API"].problem


def test_what_is_left_over_has_the_command_that_removes_it(api: Api) -> None:
    make_bucket(api)
    for name, mark in (("lost", "builder"), ("kept", "volume")):
        body = {"name": name, "sizeGb": "10", "labels": {"stoneware": mark}}
        api.operate("POST", "zones/us-central1-a/disks", "make the disk", body)
    found = {finding.name: finding for finding in doctor.findings(api)}
    assert found["disks"].problem == "disks of machines that are gone cost money: lost"
    assert found["disks"].get == ("gcloud compute disks delete lost --zone us-central1-a --project proj-1")
    api.operate("DELETE", "zones/us-central1-a/disks/lost", "remove the disk")
    assert leftovers.disks(api) == "volumes without a machine, with their data: kept"


def test_the_path_to_machines_is_tried(api: Api) -> None:
    platform = GoogleMachines(api, lambda _: f"{IMAGES}/debian-12-stoneware")
    platform.create_network("shop-default", {})
    made = [platform.create(spec(number)) for number in (1, 2)]
    tried: list[tuple[str, int]] = []

    def connect(address: str, port: int) -> None:
        tried.append((address, port))
        if address == made[1].ip:
            raise TimeoutError(110, "timed out")

    with pytest.raises(StonewareError, match="not reached") as caught:
        leftovers.reached(api, connect)
    assert caught.value.details == f"shop-kafka-2 at {made[1].ip}:9092: timed out"
    assert sorted(tried) == sorted((machine.ip, 9092) for machine in made)
    platform.destroy("shop-kafka-2")
    assert leftovers.reached(api, connect) == "1 machines reached"


def test_without_an_answer_all_is_missing() -> None:
    api = Api(replace(SETTINGS, endpoint="http://127.0.0.1:9"), patience=0)
    problems = {finding.kind: finding.problem for finding in doctor.findings(api)}
    assert "does not answer" in problems["API"]
    assert "does not answer" in problems["network"]


def test_the_command_asks_the_project(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_bucket(api)
    (tmp_path / "stoneware.toml").write_text(
        '[google]\nproject = "proj-1"\nregion = "us-central1"\nbucket = "things"\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STONEWARE_GOOGLE_ENDPOINT", api.settings.endpoint)
    assert program.run(["doctor", "--platform", "google"]) == 0
    assert "gs://things" in capsys.readouterr().out
    (tmp_path / "stoneware.toml").write_text('platform = "google"\n[google]\nproject = "proj-1"\n')
    assert program.run(["doctor"]) == 2
    assert "needs a region" in capsys.readouterr().err
    assert program.run(["doctor", "--platform", "moon"]) == 2
    assert "there is no platform 'moon'" in capsys.readouterr().err


def test_a_bucket_in_another_region_is_told(api: Api) -> None:
    body = {"name": "things", "location": "europe-west1"}
    api.request("storage", "POST", "/b", "make the bucket", query={"project": PROJECT}, body=body)
    found = {each.kind: each for each in doctor.findings(api)}
    assert found["bucket"].problem == ""
    assert found["bucket"].version.startswith("europe-west1, not us-central1")


USER = {"type": "authorized_user", "client_id": "c", "client_secret": "hush-1", "refresh_token": "hush-2"}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (USER, "user credentials from {path}"),
        ({**USER, "account": "ada@example.com"}, "user credentials of ada@example.com from {path}"),
        (
            {
                "type": "impersonated_service_account",
                "service_account_impersonation_url": "https://x/v1/serviceAccounts/b@p.example:generateAccessToken",
                "source_credentials": USER,
                "delegates": [],
            },
            "impersonated credentials of b@p.example from {path}",
        ),
    ],
)
def test_credentials_are_told_apart_and_kept_secret(
    document: dict[str, object], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "credentials.json"
    path.write_text(json.dumps(document))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    told = doctor.described(Api(replace(SETTINGS, endpoint="")).credentials("look"))
    assert (
        told == f"{said.format(path=path)} file via the GOOGLE_APPLICATION_CREDENTIALS environment variable"
    )
    assert "hush" not in told


def test_credentials_of_a_machine_are_told_by_where_they_are_from() -> None:
    from google.auth import compute_engine
    from google.auth.credentials import AnonymousCredentials

    machine = compute_engine.Credentials(service_account_email="robot@p.example")
    assert doctor.described(machine) == "VM credentials of robot@p.example from metadata server"
    assert doctor.described(AnonymousCredentials()) == "credentials"
