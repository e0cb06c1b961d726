"""What Terraform is told of a builder, and in which zones it is tried: without Terraform and Google."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stoneware.errors import InputError
from stoneware.model import guest_protocol
from stoneware.platforms.google import builder as builders
from stoneware.platforms.google.api import Api
from stoneware.platforms.google.builder import GoogleBuilder
from stoneware.platforms.google.images import GoogleImages
from stoneware.platforms.google.infrastructure import GoogleInfrastructure
from stoneware.platforms.google.settings import Settings
from stoneware.terraform.results import Diagnostic, TerraformError
from tests.google.clusters import SETTINGS

pytestmark = pytest.mark.pure

STOCKOUT = "The zone 'z' does not have enough resources available to fulfill the request."
QUOTA = "Quota 'CPUS' exceeded.  Limit: 8.0 in region us-central1."
METADATA = {guest_protocol.TOKEN: "t", guest_protocol.ACCEPT: "FALSE", guest_protocol.GO: "0"}


class Applied:
    """Terraform, which fails in zones."""

    def __init__(self) -> None:
        self.told: list[Mapping[str, Any]] = []
        self.failing: dict[str, str] = {}

    def __call__(
        self,
        infrastructure: object,
        directory: Path,
        output: Callable[[str], None] | None,
        tell: Callable[[str], None] | None,
    ) -> Applied:
        return self

    def apply(self, variables: Mapping[str, Any]) -> None:
        self.told.append(variables)
        if words := self.failing.get(variables["zone"]):
            raise TerraformError("apply", (Diagnostic("error", words, ""),))

    def zones(self) -> list[str]:
        return [variables["zone"] for variables in self.told]


class Asked(Api):
    """Google, which is asked for machine types only, and has none in zones that lack them."""

    def __init__(self, settings: Settings, lacking: tuple[str, ...]) -> None:
        super().__init__(settings)
        self.lacking = lacking

    def find(self, service: str, path: str, what: str, **query: Any) -> dict[str, Any] | None:
        _, zone, kind, name = path.split("/")
        return {"name": name} if kind == "machineTypes" and zone not in self.lacking else None


@pytest.fixture
def terraform(monkeypatch: pytest.MonkeyPatch) -> Applied:
    made = Applied()
    monkeypatch.setattr(builders, "BuilderTerraform", made)
    return made


def builder(directory: Path, settings: Settings = SETTINGS, lacking: tuple[str, ...] = ()) -> GoogleBuilder:
    """Return a builder in a project whose zones have all machine types, but some that have none."""
    place = directory / "bake-1" / "0"
    place.mkdir(parents=True)
    api = Asked(settings, lacking)
    bucket = SimpleNamespace(url=lambda name: f"gs://things/{name}")
    images = SimpleNamespace(api=api, bucket=bucket, source_image=lambda source: f"image of {source}")
    infrastructure = cast("GoogleInfrastructure", None)  # Terraform's alone
    return GoogleBuilder(cast("GoogleImages", images), infrastructure, "bake-1-0", place)


def test_a_builder_is_made_in_the_first_zone(terraform: Applied, tmp_path: Path) -> None:
    builder(tmp_path).boot("checkpoint:ab", METADATA)
    (told,) = terraform.told
    assert told["zone"] == "us-central1-a"
    assert told["image"] == "image of checkpoint:ab"
    # No builder of Google's asks for the words of this computer's metadata server.
    assert told["metadata"] == {guest_protocol.TOKEN: "t", guest_protocol.GO: "0"}
    assert told["labels"]["stoneware-bake"] == "bake-1"
    assert told["service_account"] == "default"
    assert "scopes" not in told


def test_the_next_zone_is_tried_where_one_is_full(terraform: Applied, tmp_path: Path) -> None:
    terraform.failing = {"us-central1-a": STOCKOUT}
    made = builder(tmp_path)
    made.boot("image:x", METADATA)
    assert terraform.zones() == ["us-central1-a", "us-central1-b"]
    assert (tmp_path / "bake-1/0/zone").read_text() == "us-central1-b", "who removes it looks there"


@pytest.mark.parametrize(
    ("words", "tried"),
    [
        (STOCKOUT, ["us-central1-a", "us-central1-b"]),
        (QUOTA, ["us-central1-a"]),
        ("no such", ["us-central1-a"]),
    ],
)
def test_an_error_says_which_zones_were_tried(
    terraform: Applied, tmp_path: Path, words: str, tried: list[str]
) -> None:
    terraform.failing = dict.fromkeys(SETTINGS.zones, words)
    with pytest.raises(TerraformError) as told:
        builder(tmp_path).boot("image:x", METADATA)
    assert terraform.zones() == tried
    assert f"zones that were tried: {', '.join(tried)}" in told.value.details
    assert ("quotas" in told.value.resolution) == (words == QUOTA)


@pytest.mark.parametrize(
    ("endpoint", "guest_endpoint", "storage"),
    [
        ("", "", None),
        ("http://127.0.0.1:8089", "", guest_protocol.GUEST_ENDPOINT),
        ("http://127.0.0.1:8089", "http://10.0.0.1:80", "http://10.0.0.1:80"),
    ],
)
def test_an_instance_of_an_emulator_is_told_where_its_storage_is(
    terraform: Applied, tmp_path: Path, endpoint: str, guest_endpoint: str, storage: str | None
) -> None:
    settings = replace(SETTINGS, endpoint=endpoint, guest_endpoint=guest_endpoint)
    builder(tmp_path, settings).boot("image:x", METADATA)
    assert terraform.told[0]["metadata"].get(guest_protocol.STORAGE) == storage


def test_caches_are_objects_of_the_bucket(terraform: Applied, tmp_path: Path) -> None:
    builder(tmp_path).boot("image:x", METADATA, ["m2", "apt"])
    addresses = terraform.told[0]["metadata"][guest_protocol.CACHES].split()
    assert [address.startswith("gs://things/caches/") for address in addresses] == [True, True]
    assert len(set(addresses)) == 2


def test_a_service_account_has_the_scope_that_its_roles_need(terraform: Applied, tmp_path: Path) -> None:
    builder(tmp_path, replace(SETTINGS, service_account="b@p.iam.gserviceaccount.com")).boot(
        "image:x", METADATA
    )
    assert terraform.told[0]["scopes"] == ["https://www.googleapis.com/auth/cloud-platform"]


def test_a_zone_without_the_machine_type_is_left_out(terraform: Applied, tmp_path: Path) -> None:
    builder(tmp_path, lacking=("us-central1-a",)).boot("checkpoint:ab", METADATA)
    assert terraform.zones() == ["us-central1-b"]


def test_a_stockout_counts_where_no_other_zone_has_the_machine_type(
    terraform: Applied, tmp_path: Path
) -> None:
    terraform.failing = {"us-central1-a": STOCKOUT}
    with pytest.raises(TerraformError) as caught:
        builder(tmp_path, lacking=("us-central1-b",)).boot("checkpoint:ab", METADATA)
    assert caught.value.details.endswith("zones that were tried: us-central1-a")


def test_a_machine_type_that_no_zone_has_is_told_with_its_place(terraform: Applied, tmp_path: Path) -> None:
    settings = replace(SETTINGS, machine_type="e2-smal", machine_type_place="stoneware.toml:4")
    with pytest.raises(InputError) as caught:
        builder(tmp_path, settings, lacking=settings.zones).boot("checkpoint:ab", METADATA)
    said = caught.value
    assert said.brief == (
        "the machine type e2-smal is not in us-central1-a, us-central1-b, so that no builder can be made"
    )
    assert said.location == "stoneware.toml:4"
    assert said.resolution == "gcloud compute machine-types list --zones=us-central1-a,us-central1-b"
    assert terraform.told == []


def test_a_machine_type_of_its_own_measure_is_not_asked_for(terraform: Applied, tmp_path: Path) -> None:
    settings = replace(SETTINGS, machine_type="n2-custom-4-8192")
    builder(tmp_path, settings, lacking=settings.zones).boot("checkpoint:ab", METADATA)
    assert terraform.zones() == ["us-central1-a"]
