"""Two computers and one cluster: what one has begun, another sees, goes on with, and takes down."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from stoneware.cluster.apply import refreshed
from stoneware.cluster.drift import find_drift
from stoneware.cluster.observe import managed_in, observe
from stoneware.platforms.google.infrastructure import EXTENSION
from stoneware.rollout.history import history
from stoneware.rollout.journal import Event
from stoneware.rollout.lock import RolloutUnfinished, check_unlocked
from stoneware.rollout.prepare import prepare
from stoneware.rollout.state import Outcome
from tests.cluster.support import wanted_of
from tests.google.cloud import Cloud, once
from tests.google.engine import Platform, clusters_of, served_for_clusters
from tests.rollout.bench import RolloutBench, app

pytestmark = pytest.mark.tool
PER_MACHINE = 50  # requests to the bucket for a machine that is rolled, renewals of the lock among them


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    monkeypatch.delenv("STONEWARE_TERRAFORM", raising=False)
    with served_for_clusters(tmp_path / "emulator") as made:
        yield made


def computer(endpoint: str, home: Path, environment: Mapping[str, str]) -> RolloutBench:
    """Return what a user types on a computer that has nothing but a home of its own."""
    platform: Any = Platform(endpoint, home, environment)
    return RolloutBench(home / "no files", platform=platform, kept=clusters_of(endpoint, home))


def _killed_driver(endpoint: str, home: Path, environment: dict[str, str]) -> None:
    """Roll the cluster out, and die while Terraform replaces the first machine."""
    bench = computer(endpoint, home, environment)
    session = bench.session()

    def die(event: Event, state: object) -> None:
        if event.name == "applying":
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGKILL)).start()

    session.observer.event = die  # type: ignore[method-assign]
    session.begin(lambda: prepare(bench.file(app("app:2")), bench.site, bench.environment))


def test_a_cluster_of_two_computers(cloud: Cloud, tmp_path: Path, google_provider: dict[str, str]) -> None:
    here = computer(cloud.endpoint, tmp_path / "here", google_provider)
    there = computer(cloud.endpoint, tmp_path / "there", google_provider)
    here.up(wait_timeout=300)
    assert there.site.clusters.names() == ["shop"]
    _no_drift(there)
    [(_, secret)] = cloud.service.store.matching("projects/", "secrets")
    [binding] = secret["x-policy"]["bindings"]
    assert binding["role"] == "roles/secretmanager.secretAccessor"
    assert [member.partition(":")[0] for member in binding["members"]] == ["serviceAccount"]

    before = {name: one["id"] for name, one in cloud.of("instances").items()}
    driver = multiprocessing.get_context("spawn").Process(
        target=_killed_driver, args=(cloud.endpoint, tmp_path / "there", google_provider)
    )
    driver.start()
    driver.join(300)
    assert driver.exitcode == -signal.SIGKILL

    directory = here.site.directory("shop")
    with pytest.raises(RolloutUnfinished, match="r1") as told:
        check_unlocked(directory)
    assert "is gone" in told.value.details
    assert "rollout resume" in told.value.resolution
    cloud.take()
    state = here.session().resume()
    asked = [each for each in cloud.take() if "/storage/v1/" in each.line or "/bucket/" in each.line]
    assert len(once(asked)) <= 2 * PER_MACHINE
    assert state.outcome is Outcome.COMPLETED
    assert here.running() == {"app-1": "2", "app-2": "2", "db-1": "d", "web-1": "e"}
    after = {name: one["id"] for name, one in cloud.of("instances").items()}
    assert {name for name in after if after[name] != before[name]} == {"shop-app-1", "shop-app-2"}
    [row] = history(there.journal(), 0.0)
    assert (row.id, row.outcome) == ("r1", "completed")
    check_unlocked(there.site.directory("shop"))

    back = there.rollback()
    assert back is not None
    assert back.outcome is Outcome.COMPLETED
    assert there.running()["app-1"] == "1"
    gone = there.down(volumes=True)
    assert set(gone.machines) == {"app-1", "app-2", "db-1", "web-1"}
    assert dict(cloud.of("instances")) == dict(cloud.of("disks")) == {}
    assert here.site.clusters.names() == []
    assert clusters_of(cloud.endpoint, tmp_path)._bucket.names("clusters/") == []


def _no_drift(bench: RolloutBench) -> None:
    directory = bench.site.directory("shop")
    platform = bench.platform
    changes = refreshed(platform, directory)
    managed = managed_in(directory, platform.infrastructure)
    version = platform.secret_version("shop-app-token", bench.secret.encode())
    desired = wanted_of(versions={"app-token": version}, extension=EXTENSION)
    report = find_drift(desired, observe(platform, "shop", managed=managed), changes, platform.infrastructure)
    assert report.items == ()
