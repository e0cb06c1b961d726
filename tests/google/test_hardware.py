"""What machines and disks are made of: what Google lacks is refused in time, and so is a smaller disk."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stoneware.bake.events import Silent
from stoneware.cluster.model import Action, ClusterPlan
from stoneware.cluster.up import UpOptions, UpResult, up
from stoneware.compose.load import load_cluster
from stoneware.compose.model import Cluster
from stoneware.errors import InputError
from stoneware.rollout.prepare import preview
from tests.cluster.engine import EngineBench, Recorder
from tests.google.cloud import Cloud, lines
from tests.google.engine import bench_at, link_of, served_for_clusters

pytestmark = pytest.mark.tool
FILE = """\
name: shop
services:
  web:
    image: web:1
    scale: 2
    environment: {{COLOUR: red}}
    x-google: {{machine_type: {machine}{more}}}
    volumes: ["data:/var/lib/web"]
volumes:
  data:
    x-google:
      disk_type: {kind}
      disk_size: {size}
"""


class Bench(EngineBench):
    """A place for the cluster of a file, which has lines."""

    def cluster(
        self, machine: str = "e2-small", kind: str = "pd-ssd", size: str = "20g", more: str = ""
    ) -> Cluster:
        file = self.clusters.parent / "machines.yaml"
        file.write_text(FILE.format(machine=machine, kind=kind, size=size, more=more))
        return load_cluster([file], directory=file.parent, environment={})

    def bring_up(
        self, machine: str = "e2-small", kind: str = "pd-ssd", size: str = "20g", **options: Any
    ) -> UpResult:
        self.recorder = Recorder()
        return up(
            self.cluster(machine, kind, size),
            self.site,
            UpOptions(wait_timeout=30, settle=0, **options),
            reporter=self.recorder,
            bakes=lambda: contextlib.nullcontext(Silent()),
            environment={},
            confirm=self._agree,
        )

    def _agree(self, plan: Any) -> None:
        assert isinstance(plan, ClusterPlan)


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    with served_for_clusters(tmp_path / "emulator") as made:
        yield made


@pytest.fixture
def bench(
    cloud: Cloud, tmp_path: Path, google_provider: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Bench:
    monkeypatch.delenv("STONEWARE_TERRAFORM", raising=False)
    return bench_at(Bench, cloud, tmp_path, google_provider)


def _ids(cloud: Cloud) -> dict[str, str]:
    return {
        f"{kind} {name}": it["id"] for kind in ("disks", "instances") for name, it in cloud.of(kind).items()
    }


def _sizes(cloud: Cloud) -> list[str]:
    return sorted(one["sizeGb"] for name, one in cloud.of("disks").items() if "data" in name)


def test_a_disk_grows_and_never_becomes_smaller(bench: Bench, cloud: Cloud) -> None:
    bench.bring_up()
    before = _ids(cloud)
    result = bench.bring_up(size="30g")
    assert [(step.kind, step.action, step.reasons) for step in result.plan.changes] == [
        ("volume", Action.UPDATE, ("grows from 20 GiB to 30 GiB, and what is on it stays",))
    ] * 2
    assert _sizes(cloud) == ["30", "30"]
    assert _ids(cloud) == before
    assert bench.bring_up(size="30g").plan.changes == ()
    cloud.take()
    with pytest.raises(InputError) as caught:
        bench.bring_up(size="25g")
    said = caught.value
    assert said.brief == "the disk shop-web-1-data has 30 GiB, and a disk only grows"
    assert said.location.endswith("machines.yaml:13:18")
    assert said.resolution == "write disk_size: 30g, or more"
    assert cloud.changes() == []


def _types(cloud: Cloud) -> list[str]:
    return sorted(line for line in lines(cloud.take()) if "Types/" in line)


def test_a_machine_type_that_is_not_there_costs_no_machine(bench: Bench, cloud: Cloud) -> None:
    bench.bring_up()
    # Each type is asked for once in each zone that it is wanted in.
    a, b = (f"GET zones/us-central1-{zone}" for zone in "ab")
    found = [f"{zone}/{kind}" for zone in (a, b) for kind in ("diskTypes/pd-ssd", "machineTypes/e2-small")]
    assert _types(cloud) == found
    before = _ids(cloud)
    for refuse in (
        lambda: bench.bring_up("e2-smal", recreate=True),
        lambda: preview(bench.cluster("e2-smal"), bench.site, {}),
    ):
        with pytest.raises(InputError) as caught:
            refuse()
        said = caught.value
        assert said.brief == (
            "the machine type e2-smal is not in us-central1-a, us-central1-b: nothing was done"
        )
        assert said.details == "web-1, web-2: the machine type e2-smal is not in us-central1-a, us-central1-b"
        assert said.location.endswith("machines.yaml:7:30")
        assert said.resolution == ("gcloud compute machine-types list --zones=us-central1-a,us-central1-b")
        assert [line for line in lines(cloud.changes()) if "/compute/" in line or "zones/" in line] == []
        assert _ids(cloud) == before
    # What stays as it is is asked nothing for.
    assert bench.bring_up().plan.changes == ()
    assert _types(cloud) == []
    # A type of one's own measure is in no list of Google's.
    result = bench.bring_up("e2-custom-2-4096", recreate=True)
    assert {step.action for step in result.plan.changes} == {Action.REPLACE}
    assert _types(cloud) == []


def test_a_disk_type_that_is_not_there_makes_no_machine(bench: Bench, cloud: Cloud) -> None:
    with pytest.raises(InputError) as caught:
        bench.bring_up(kind="pd-sdd")
    said = caught.value
    assert said.brief.startswith("the disk type pd-sdd is not in us-central1-a, us-central1-b")
    assert said.location.endswith("machines.yaml:12:18")
    assert said.resolution.startswith("gcloud compute disk-types list --zones=us-central1-a")
    assert (dict(cloud.of("instances")), dict(cloud.of("disks"))) == ({}, {})


def test_a_boot_disk_that_the_image_does_not_fit_on_costs_no_machine(bench: Bench, cloud: Cloud) -> None:
    bench.bring_up()
    store, key = cloud.service.store, link_of("").partition("/v1/")[2]
    store.put(key, (store.get(key) or {}) | {"diskSizeGb": "25"})
    before = _ids(cloud)
    with pytest.raises(InputError) as caught:
        preview(bench.cluster(more=", disk_size: 20g"), bench.site, {})
    said = caught.value
    assert said.brief == "a boot disk of 20 GB is smaller than its image, which has 25 GB: nothing was done"
    assert said.location.endswith("machines.yaml:7:51")
    assert said.resolution == "disk_size: 25g, or more; without it the disk is as large as the image"
    assert _ids(cloud) == before
    preview(bench.cluster(more=", disk_size: 25g"), bench.site, {})
