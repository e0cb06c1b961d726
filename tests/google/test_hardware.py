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
from stoneware.errors import InputError
from tests.cluster.engine import EngineBench, Recorder
from tests.google.cloud import Cloud, served
from tests.google.engine import Platform, clusters_of, make_bucket, reporting

pytestmark = pytest.mark.tool
FILE = """\
name: shop
services:
  web:
    image: web:1
    scale: 2
    environment: {{COLOUR: red}}
    x-google: {{machine_type: {machine}}}
    volumes: ["data:/var/lib/web"]
volumes:
  data:
    x-google:
      disk_type: {kind}
      disk_size: {size}
"""


class Bench(EngineBench):
    """A place for the cluster of a file, which has lines."""

    def bring_up(
        self, machine: str = "e2-small", kind: str = "pd-ssd", size: str = "20g", **options: Any
    ) -> UpResult:
        file = self.clusters.parent / "machines.yaml"
        file.write_text(FILE.format(machine=machine, kind=kind, size=size))
        self.recorder = Recorder()
        return up(
            load_cluster([file], directory=file.parent, environment={}, shares_ports=lambda: False),
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
    with served(tmp_path / "emulator", delay=0.01) as made:
        reporting(made)
        make_bucket(made.endpoint)
        yield made


@pytest.fixture
def bench(
    cloud: Cloud, tmp_path: Path, google_provider: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Bench:
    monkeypatch.delenv("STONEWARE_TERRAFORM", raising=False)
    home = tmp_path / "home"
    platform: Any = Platform(cloud.endpoint, home, google_provider)
    return Bench(tmp_path / "clusters", platform=platform, kept=clusters_of(cloud.endpoint, home))


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
    assert {
        name: one["id"] for kind in ("disks", "instances") for name, one in cloud.of(kind).items()
    } == before
    assert bench.bring_up(size="30g").plan.changes == ()
    cloud.take()
    with pytest.raises(InputError) as caught:
        bench.bring_up(size="25g")
    said = caught.value
    assert said.brief == "the disk shop-web-1-data has 30 GiB, and a disk only grows"
    assert said.location.endswith("machines.yaml:13:18")
    assert said.resolution == "write disk_size: 30g, or more"
    assert cloud.changes() == []
