"""What doctor says of a project's quotas, permissions and APIs, by Google's replies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from stoneware.errors import StonewareError
from stoneware.platforms.google import doctor, errors, quotas
from stoneware.platforms.google.api import Api
from stoneware.platforms.google.permissions import FOR_BAKES, FOR_CLUSTERS, FOR_PUBLIC_ADDRESSES
from stoneware.platforms.google.settings import Settings
from tests.google.clusters import SETTINGS

pytestmark = pytest.mark.pure


class Project(Api):
    """Google, which has some quotas and permissions, and maybe no Secret Manager."""

    def __init__(self, settings: Settings, quotas: Mapping[str, Any], lacking: tuple[str, ...] = ()) -> None:
        super().__init__(settings)
        self.quotas, self.lacking = quotas, lacking

    def request(self, service: str, method: str, path: str, what: str, **more: Any) -> dict[str, Any]:
        if service == "compute":
            place = "project" if path.startswith("/projects/") else "region"
            return {"name": path, "quotas": self.quotas.get(place)}
        if service == "secretmanager":
            words = "secretmanager.googleapis.com has not been used"
            said = {"error": {"message": words, "details": [{"reason": "SERVICE_DISABLED"}]}}
            raise errors.of_response(what, 403, said, self.settings.project)
        asked = more["body"]["permissions"]
        return {"permissions": [name for name in asked if name not in self.lacking]}


def quota(metric: str, usage: object, limit: object) -> dict[str, object]:
    return {"metric": metric, "usage": usage, "limit": limit}


def test_quotas_that_count_are_told() -> None:
    region = [quota("CPUS", 4.0, 24.0), quota("NVIDIA_T4_GPUS", 0, 0), quota("IN_USE_ADDRESSES", 8, 8)]
    project = [quota("IMAGES", 3, 2000), quota("CPUS_ALL_REGIONS", 4, 32), quota("CPUS", 0, 0)]
    api = Project(SETTINGS, {"region": region, "project": project})
    assert quotas.told(api) == "CPUS 4 of 24, IMAGES 3 of 2000, CPUS_ALL_REGIONS 4 of 32"


def test_a_quota_that_is_used_up_is_a_problem() -> None:
    region = [quota("CPUS", 24.0, 24.0), quota("INSTANCES", 2, 24), quota("IN_USE_ADDRESSES", 8, 8)]
    given: dict[str, Any] = {"region": region}
    with pytest.raises(StonewareError, match="used up") as caught:
        quotas.told(Project(SETTINGS, given))
    assert caught.value.details == "CPUS 24 of 24"
    with pytest.raises(StonewareError) as caught:
        quotas.told(Project(replace(SETTINGS, external_ip=True), given))
    assert caught.value.details == "CPUS 24 of 24, IN_USE_ADDRESSES 8 of 8"


@pytest.mark.parametrize("said", [None, "x", [None, {}, quota("CPUS", "many", 1), quota("CPUS", 1, None)]])
def test_quotas_of_odd_shapes_are_passed_over(said: object) -> None:
    assert quotas.told(Project(SETTINGS, {"region": said})) == "none that Google tells"


def test_permissions_are_for_bakes_and_for_clusters() -> None:
    lacking = ("compute.addresses.create", *FOR_PUBLIC_ADDRESSES)
    baking, clusters = doctor._permissions(Project(SETTINGS, {}, lacking))
    assert (baking.problem, baking.version) == ("", f"{len(FOR_BAKES)} permissions")
    assert (clusters.problem, clusters.optional) == (
        "permissions are missing: compute.addresses.create",
        True,
    )
    assert clusters.get.startswith("gcloud projects get-iam-policy")
    baking, _ = doctor._permissions(Project(replace(SETTINGS, external_ip=True), {}, lacking))
    assert baking.problem == "permissions are missing: compute.subnetworks.useExternalIp"
    assert len(FOR_BAKES) + len(FOR_PUBLIC_ADDRESSES) <= 100, "Google answers for no more"
    assert len(FOR_CLUSTERS) <= 100


def test_secret_manager_that_is_off_is_told_with_its_command() -> None:
    found = doctor._secrets(Project(SETTINGS, {}))
    assert found.optional
    assert "secretmanager.googleapis.com" in found.problem
    assert found.get == "gcloud services enable secretmanager.googleapis.com --project proj-1"
