from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from stoneware.errors import InputError
from stoneware.platforms import registry
from stoneware.platforms.google import settings
from stoneware.platforms.google.settings import Settings
from stoneware.platforms.project_file import find_project_file


def _load(directory: Path, environment: Mapping[str, str]) -> Settings:
    return settings.read_settings(find_project_file(directory, registry.NAMES), environment)


WHOLE = """\
platform = "google"

[google]
project = "proj-1"
region = "europe-west1"
zones = ["europe-west1-b", "europe-west1-c"]
network = "projects/shared-1/global/networks/main"
subnetwork = "machines"
bucket = "proj-1-stoneware"
machine_type = "n2-standard-4"
service_account = "bake@proj-1.iam.gserviceaccount.com"
external_ip = true
kms_key = "projects/p/locations/l/keyRings/r/cryptoKeys/k"
labels = { team = "data" }
"""
LEAST = {
    "STONEWARE_GOOGLE_PROJECT": "proj-1",
    "STONEWARE_GOOGLE_REGION": "us-central1",
    "STONEWARE_GOOGLE_BUCKET": "things",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "stoneware.toml"
    path.write_text(WHOLE)
    return path


def test_all_keys_are_read_from_a_file_above(file: Path) -> None:
    below = file.parent / "a/b"
    below.mkdir(parents=True)
    found = _load(below, {})
    assert found == Settings(
        project="proj-1",
        region="europe-west1",
        zones=("europe-west1-b", "europe-west1-c"),
        network="projects/shared-1/global/networks/main",
        subnetwork="machines",
        bucket="proj-1-stoneware",
        machine_type="n2-standard-4",
        service_account="bake@proj-1.iam.gserviceaccount.com",
        external_ip=True,
        kms_key="projects/p/locations/l/keyRings/r/cryptoKeys/k",
        labels={"team": "data"},
    )
    assert find_project_file(below, ("local", "google")).platform == "google"


def test_variables_come_before_the_file(file: Path) -> None:
    given = {
        "STONEWARE_GOOGLE_ZONES": "europe-west1-d, europe-west1-b",
        "STONEWARE_GOOGLE_EXTERNAL_IP": "false",
        "STONEWARE_GOOGLE_LABELS": "team=web,cost=low",
        "STONEWARE_GOOGLE_ENDPOINT": "http://127.0.0.1:8089/",
        "STONEWARE_GOOGLE_PROVIDER": "/some/provider",
        "STONEWARE_GOOGLE_BUCKET": "",
        "GOOGLE_CLOUD_PROJECT": "other-1",
    }
    found = _load(file.parent, given)
    assert found.zones == ("europe-west1-d", "europe-west1-b")
    assert found.external_ip is False
    assert found.labels == {"team": "web", "cost": "low"}
    assert found.endpoint == "http://127.0.0.1:8089"
    assert (found.bucket, found.project) == ("proj-1-stoneware", "proj-1")


def test_variables_are_enough(tmp_path: Path) -> None:
    assert _load(tmp_path, LEAST) == Settings("proj-1", "us-central1", "things")


@pytest.mark.parametrize(
    ("key", "variable"),
    [
        ("project", "GOOGLE_CLOUD_PROJECT"),
        ("project", "CLOUDSDK_CORE_PROJECT"),
        ("region", "GOOGLE_REGION"),
        ("region", "CLOUDSDK_COMPUTE_REGION"),
    ],
)
def test_the_usual_variables_are_read_last(tmp_path: Path, key: str, variable: str) -> None:
    value = {"project": "proj-2", "region": "europe-west4"}[key]
    own = f"STONEWARE_GOOGLE_{key.upper()}"
    assert getattr(_load(tmp_path, {**LEAST, own: "", variable: value}), key) == value
    assert getattr(_load(tmp_path, {**LEAST, variable: "No Such"}), key) == LEAST[own]
    with pytest.raises(InputError, match="No Such") as caught:
        _load(tmp_path, {**LEAST, own: "", variable: "No Such"})
    assert caught.value.location == variable


def test_settings_come_back_from_a_document(file: Path) -> None:
    found = _load(file.parent, {})
    assert settings.from_document(found.to_document()) == found


@pytest.mark.parametrize("key", ["project", "region", "bucket"])
def test_what_is_needed_and_missing_is_named(tmp_path: Path, key: str) -> None:
    given = {name: value for name, value in LEAST.items() if not name.endswith(key.upper())}
    with pytest.raises(InputError, match=f"needs a {key}") as caught:
        _load(tmp_path, given)
    assert f"STONEWARE_GOOGLE_{key.upper()}" in caught.value.details
    assert f"{key} = " in caught.value.resolution


@pytest.mark.parametrize(
    ("line", "text", "words"),
    [
        (4, 'project = "Proj"', "6 to 30"),
        (4, "project = 7", "6 to 30"),
        (5, 'region = "europe"', "a region"),
        (6, 'zones = "europe-west1-b"', "a list of zones"),
        (6, "zones = []", "a list of zones"),
        (6, 'zones = ["us-east1-b"]', "not in the region"),
        (9, 'bucket = "gs://things"', "without gs://"),
        (12, 'external_ip = "yes"', "true or false"),
        (14, 'labels = { Team = "data" }', "lowercase letters"),
        (14, "labels = { team = 3 }", "lowercase letters"),
        (14, 'colour = "red"', "has no key 'colour'"),
        (14, "labels = ", "is not TOML"),
    ],
)
def test_wrong_settings_are_told_with_their_place(file: Path, line: int, text: str, words: str) -> None:
    lines = WHOLE.splitlines()
    lines[line - 1] = text
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError) as caught:
        _load(file.parent, {})
    assert words in caught.value.brief
    assert caught.value.location == f"{file}:{line}"
    assert caught.value.resolution


def test_a_key_that_is_nearly_right_is_told(file: Path) -> None:
    file.write_text(WHOLE.replace("machine_type", "machine-type"))
    with pytest.raises(InputError, match="has no key 'machine-type'") as caught:
        _load(file.parent, {})
    assert caught.value.resolution == "write machine_type for machine-type"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STONEWARE_GOOGLE_EXTERNAL_IP", "maybe"),
        ("STONEWARE_GOOGLE_LABELS", "team"),
        ("STONEWARE_GOOGLE_ZONES", ","),
        ("STONEWARE_GOOGLE_ENDPOINT", "127.0.0.1:8089"),
        ("STONEWARE_GOOGLE_MACHINE", "e2-small"),
    ],
)
def test_wrong_variables_are_told(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(InputError) as caught:
        _load(tmp_path, LEAST | {name: value})
    assert name in f"{caught.value.location} {caught.value.brief}"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("platform = 3\n", 1, "platform"),
        ('\ngoogle = "x"\n', 2, "no table"),
        ("\n\n[gogle]\n", 3, "no key 'gogle'"),
        ('plattform = "google"\n', 1, "no key 'plattform'"),
        ("[google\n", 1, "not TOML"),
        ('[google]\nproject = "\n', 2, "not TOML"),
    ],
)
def test_a_wrong_file_is_told_with_its_place(tmp_path: Path, text: str, line: int, words: str) -> None:
    path = tmp_path / "stoneware.toml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        find_project_file(tmp_path, ("local", "google"))
    assert words in caught.value.brief
    assert caught.value.location == f"{path}:{line}"


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "stoneware.toml"
    for words in ("Is a directory", "No such file"):
        path.mkdir() if "directory" in words else path.symlink_to("nowhere")
        with pytest.raises(InputError, match=f"cannot read {path}: {words}"):
            find_project_file(tmp_path / "below", ("local", "google"))
        path.rmdir() if path.is_dir() else path.unlink()


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "stoneware.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        find_project_file(tmp_path)


def test_the_place_of_the_machine_type_is_kept(tmp_path: Path) -> None:
    (tmp_path / "stoneware.toml").write_text(WHOLE)
    assert _load(tmp_path, {}).machine_type_place == f"{tmp_path}/stoneware.toml:10"
    said = {"STONEWARE_GOOGLE_MACHINE_TYPE": "e2-small"}
    assert _load(tmp_path, said).machine_type_place == "STONEWARE_GOOGLE_MACHINE_TYPE"
    (tmp_path / "stoneware.toml").unlink()
    assert _load(tmp_path, LEAST).machine_type_place == ""
