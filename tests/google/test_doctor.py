"""doctor --platform google: found or missing, with the command that fixes it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stoneware.cli import program
from stoneware.platforms.google import doctor
from stoneware.platforms.google.api import Api
from stoneware.platforms.google.bucket import Bucket
from tests.google.cloud import PROJECT, Cloud
from tests.google.clusters import SETTINGS

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
    assert [finding.problem for finding in found] == [""] * 5
    assert found[-1].version == "none left"
    assert [finding.version for finding in found][1:3] == ["us-central1: 2 zones", "us-central1"]
    assert Bucket(api).names("") == []


def test_what_is_missing_has_the_command_that_makes_it(api: Api) -> None:
    api = Api(replace(api.settings, network="nowhere"), patience=0)
    found = {finding.kind: finding for finding in doctor.findings(api)}
    assert "it is not there" in found["bucket"].problem
    assert found["bucket"].get.startswith("gcloud storage buckets create gs://things --project proj-1")
    assert "nowhere" in found["network"].problem
    assert not found["API"].problem


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
