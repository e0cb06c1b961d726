"""`up`, drift, a change of a rollout, and `down` on Compute Engine: real Terraform against the emulator.

The machines behind the instances are in memory, and report what the boot agent of a machine reports.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from stoneware.cluster import events
from stoneware.cluster.apply import ClusterTerraform, refreshed
from stoneware.cluster.down import DownResult
from stoneware.cluster.drift import DriftItem, find_drift
from stoneware.cluster.eject import eject
from stoneware.cluster.model import Action, Desired
from stoneware.cluster.observe import managed_in, observe
from stoneware.cluster.tfvars import to_tfvars
from stoneware.cluster.up import RolloutNeeded
from stoneware.errors import StonewareError
from stoneware.model.guest_protocol import INSPECT
from stoneware.model.machine import Health, Phase
from stoneware.platforms.google.clusters import GoogleRecords
from stoneware.platforms.google.infrastructure import EXTENSION
from stoneware.rollout.cluster_fleet import ClusterFleet
from stoneware.terraform.guard import PlanRefused
from stoneware.terraform.runner import Terraform
from tests.cluster.engine import EngineBench
from tests.cluster.support import wanted_of
from tests.google.cloud import Cloud, Request, once
from tests.google.engine import bench_at, link_of, served_for_clusters

pytestmark = pytest.mark.tool
ALL = ["shop-app-1", "shop-app-2", "shop-db-1", "shop-web-1"]
MOST_PER_MACHINE = 80  # requests of one that is rolled, in a cluster of four: Terraform looks at all of them
V2 = {"services": {"app": {"image": "app:2"}}}
SMALLER = {"services": {"app": {"replicas": 1}}}
LESS = [name for name in ALL if name != "shop-app-2"]
ONE = {"services": {"app": None, "web": None}}


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    with served_for_clusters(tmp_path / "emulator") as made:
        yield made


@pytest.fixture
def bench(
    cloud: Cloud, tmp_path: Path, google_provider: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> EngineBench:
    monkeypatch.delenv("STONEWARE_TERRAFORM", raising=False)
    return bench_at(EngineBench, cloud, tmp_path, google_provider)


def _wanted(bench: EngineBench, changes: Mapping[str, Any] | None = None) -> Desired:
    version = bench.platform.secret_version("shop-app-token", bench.secret.encode())
    return wanted_of(changes, versions={"app-token": version}, extension=EXTENSION)


def test_the_life_of_a_cluster(bench: EngineBench, cloud: Cloud, tmp_path: Path) -> None:
    result = bench.up(wait_timeout=60)
    assert bench.machines() == ALL
    assert {step.action for step in result.plan.steps} == {Action.CREATE}
    platform = bench.platform
    assert {machine.phase for machine in platform.machines()} == {Phase.RUNNING}
    assert [machine.health for machine in platform.machines()][:2] == [Health.HEALTHY] * 2
    assert (bench.networks(), len(bench.volumes())) == (["shop-default"], 2)
    assert set(cloud.of("addresses")) == set(ALL)

    cloud.take()
    again = bench.up(wait_timeout=60)
    assert again.plan.changes == ()
    assert cloud.changes() == []  # nothing is changed where nothing differs
    _ejected(bench, cloud, tmp_path / "ejected")

    # The question of its files is an attribute that Terraform did not write, and no drift.
    platform.set_metadata("shop-app-1", {INSPECT: "0123"})
    assert _drift(bench, _wanted(bench)) == []
    platform.set_metadata("shop-db-1", {"colour": "red"})
    (item,) = _drift(bench, _wanted(bench))
    assert (item.machine, item.wanted, item.found) == ("db-1", "none", '{"colour": "red"}')
    platform.set_metadata("shop-db-1", {"colour": None})

    with pytest.raises(RolloutNeeded, match="app-1, app-2 are healthy"):
        bench.up(V2)
    _rolled(bench, cloud)

    gone: DownResult = bench.down()
    assert set(gone.machines) == {"app-1", "app-2", "db-1", "web-1"}
    assert bench.machines() == []
    assert not cloud.of("addresses")
    assert not [name for name in cloud.of("firewalls") if name.startswith("shop")]
    assert len(gone.kept) == 2
    back = bench.up(V2, wait_timeout=60)
    assert {step.action for step in back.plan.steps if step.kind == "machine"} == {Action.CREATE}
    assert len(bench.volumes()) == 2
    bench.down(volumes=True)
    assert (bench.volumes(), dict(cloud.of("instances")), dict(cloud.of("disks"))) == ([], {}, {})
    assert not platform.has_secret("shop-app-token", "1")


def _drift(bench: EngineBench, desired: Desired) -> list[DriftItem]:
    """Return what differs from what is wanted, besides that nobody was asked for files."""
    directory = bench.site.directory("shop")
    infrastructure = bench.platform.infrastructure
    observed = observe(bench.platform, "shop", managed=managed_in(directory, infrastructure))
    changes = refreshed(bench.site.platform, directory)
    return list(find_drift(desired, observed, changes, infrastructure).items)


def _ejected(bench: EngineBench, cloud: Cloud, directory: Path) -> None:
    """Plan and apply the cluster's configuration with nothing of ours: the same state, nothing to change."""
    files = eject(bench.site, "shop", directory)
    assert {"README.md", "main.tf", "settings.tf", "machines.auto.tfvars.json"} <= set(files)
    assert 'backend "gcs"' in (directory / "settings.tf").read_text()
    environment = bench.platform.infrastructure.environment()
    cloud.take()
    with Terraform(directory, environment=environment) as terraform:
        plan = terraform.plan()
        assert len(plan.changes) > len(ALL)
        assert [each.address for each in plan.changes if not each.noop] == []
        terraform.apply(plan)
    assert [each for each in cloud.changes() if "/compute/" in each.line] == []


def _rolled(bench: EngineBench, cloud: Cloud) -> None:
    """Bring one machine to another image, as a rollout does, and refuse what would do more."""
    before = {name: one["id"] for name, one in cloud.of("instances").items()}
    wanted = _wanted(bench, V2)
    entries = to_tfvars(wanted, None, wanted.machines)["machines"]
    with ClusterFleet(bench.site, "shop") as fleet:
        change = {"app-1": entries["app-1"]}
        fleet.check(change)
        cloud.take()
        fleet.change(change)
        assert len(once(cloud.asked)) <= MOST_PER_MACHINE, [each.line for each in cloud.asked]
        asked = [each.line for each in cloud.changes()]
        assert asked[0] == "DELETE zones/us-central1-a/instances/shop-app-1"
        assert [line for line in asked if "shop-app-1" not in line] == ["POST zones/us-central1-a/instances"]
        after = {name: one["id"] for name, one in cloud.of("instances").items()}
        assert {name for name in after if after[name] != before[name]} == {"shop-app-1"}
        views = fleet.observe()
        release = views["app-1"].release
        assert release is not None
        assert release.image_id == f"sha256:{'2' * 64}"
        assert views["app-2"].healthy
        # What the rollout leaves is whole: Terraform can plan with it.
        assert {(it.machine, it.what) for it in _drift(bench, wanted)} == {("app-2", "image")}
        # A boot disk that does not say its image any more makes Terraform replace every live machine.
        for key, disk in cloud.service.store.matching("projects/", "disks"):
            if "sourceImage" in disk and "shop-db-1" in key:
                cloud.service.store.put(key, {name: it for name, it in disk.items() if name != "sourceImage"})
        with pytest.raises(PlanRefused) as refused:
            fleet.change({"app-2": entries["app-2"]})
        assert 'google_compute_instance.machine["db-1"] would be replaced' in refused.value.details
        assert {name: one["id"] for name, one in cloud.of("instances").items()} == after
    for key, disk in cloud.service.store.matching("projects/", "disks"):
        if key.endswith("/shop-db-1"):
            cloud.service.store.put(key, {**disk, "sourceImage": link_of("image:d")})


def _lose_the_state(bench: EngineBench) -> None:
    kept = bench.site.directory("shop").records
    assert isinstance(kept, GoogleRecords)
    kept._bucket.remove("clusters/shop/default.tfstate")


def test_machines_that_terraform_lost_are_taken_back(bench: EngineBench, cloud: Cloud) -> None:
    bench.up(wait_timeout=60)
    before = {name: one["id"] for name, one in cloud.of("instances").items()}
    # A rule for ports that the file no longer has: there is nothing in the configuration to import it to.
    allowed = {"allowed": [{"IPProtocol": "tcp", "ports": ["80"]}], "sourceRanges": ["10.0.0.0/8"]}
    cloud.insert(
        "global/firewalls", {"name": "shop-app-1-ports", "description": "Ports of shop-app-1", **allowed}
    )
    _lose_the_state(bench)
    result = bench.up(wait_timeout=60)
    assert {step.action for step in result.plan.steps} == {Action.ADOPT}
    assert {name: one["id"] for name, one in cloud.of("instances").items()} == before
    taken = [it.text for it in bench.recorder.of(events.Note) if it.text.startswith("took ")]
    assert len(taken) == 4 * 2 + 1 + 2  # instances and addresses, the network, two disks
    assert len(bench.managed()) == 4 * 3 + 1 + 2  # instance, address and release; the network; two disks


def test_what_was_made_though_its_reply_was_lost_is_taken_over(bench: EngineBench, cloud: Cloud) -> None:
    _lose_replies(cloud, "addresses")  # before any machine is made
    with pytest.raises(StonewareError):
        bench.up(ONE, wait_timeout=60)
    assert list(cloud.of("addresses")) == ["shop-db-1"]
    assert not [place for place in bench.managed() if "address" in place]
    _lose_replies(cloud, "instances")
    with pytest.raises(StonewareError):
        bench.up(ONE, wait_timeout=60)
    made = _ids(cloud)
    assert cloud.of("instances")
    _lose_replies(cloud)
    bench.up(ONE, wait_timeout=60)
    assert bench.machines() == ["shop-db-1"]
    assert made.items() <= _ids(cloud).items()
    assert bench.up(ONE, wait_timeout=60).plan.changes == ()


def _ids(cloud: Cloud) -> dict[tuple[str, str], str]:
    kinds = ("instances", "addresses", "disks")
    return {(kind, name): one["id"] for kind in kinds for name, one in cloud.of(kind).items()}


def test_parts_of_machines_that_are_not_there_are_in_nobodys_way(bench: EngineBench, cloud: Cloud) -> None:
    _refuse_instances(cloud, "shop-app-")
    with pytest.raises(StonewareError, match="the quota of the project is used up") as told:
        bench.up(wait_timeout=60)
    assert told.value.brief.startswith("app-1, app-2: cannot do what was planned")
    assert told.value.resolution.startswith("gcloud compute project-info describe")
    assert bench.machines() == ["shop-db-1"]
    parts = [f'terraform_data.release["app-{number}"]' for number in (1, 2)]
    assert bench.managed() >= set(parts)  # Terraform makes them before the instance
    cloud.each = None
    cloud.fail()
    wanted = _wanted(bench, V2)
    entries = to_tfvars(wanted, None, wanted.machines)["machines"]
    with ClusterFleet(bench.site, "shop") as fleet:
        fleet.check({"app-1": entries["app-1"]})
        fleet.change({"app-1": entries["app-1"]})
    assert bench.machines() == ["shop-app-1", "shop-db-1"]
    assert bench.managed() & set(parts) == {parts[0]}
    bench.up(V2, wait_timeout=60)
    assert bench.machines() == ALL

    # The same where somebody has removed the machine.
    cloud.delete(
        f"zones/{cloud.of('instances')['shop-app-2']['zone'].rsplit('/', 1)[1]}/instances/shop-app-2"
    )
    one = _wanted(bench)
    before = to_tfvars(one, None, one.machines)["machines"]
    with ClusterFleet(bench.site, "shop") as fleet:
        fleet.change({"app-1": before["app-1"]})
    assert bench.machines() == [name for name in ALL if name != "shop-app-2"]


def _refuse_instances(cloud: Cloud, beginning: str) -> None:
    """From now on there is no quota for instances whose names begin so."""

    def each(request: Request) -> None:
        inserted = request.line.startswith("POST ") and request.line.endswith("/instances")
        cloud.fail(*(["quota"] if inserted and request.body["name"].startswith(beginning) else []))

    cloud.each = each


def _lose_replies(cloud: Cloud, *collections: str) -> None:
    """From now on lose the replies to inserts of some kinds, and of nothing else."""

    def each(request: Request) -> None:
        if request.verb != "GET":
            inserted = request.verb == "POST" and request.line.rsplit("/", 1)[-1] in collections
            cloud.fail(*(["lost-reply"] if inserted else []))

    cloud.each = each


def test_a_rollout_goes_on_where_a_kill_came_between_import_and_apply(bench: EngineBench) -> None:
    bench.up(wait_timeout=60)
    directory = bench.site.directory("shop")
    declared = directory.variables()
    assert declared is not None
    _lose_the_state(bench)
    with ClusterTerraform(bench.platform, directory, bench.recorder) as terraform:
        terraform.configure(declared)
        assert terraform.adopt(observe(bench.platform, "shop"))
        terraform._terraform.adopt(terraform._imports)
    wanted = _wanted(bench, V2)
    entries = to_tfvars(wanted, None, wanted.machines)["machines"]
    with ClusterFleet(bench.site, "shop") as fleet:
        fleet.check({"app-1": entries["app-1"]})  # and the guard sees no change of the others
        _lose_the_state(bench)
        fleet.check({"app-1": entries["app-1"]})  # nor where the plan itself is to import them


def test_what_an_import_left_without_its_order_goes_in_order(bench: EngineBench, cloud: Cloud) -> None:
    """A kill came after Terraform wrote what it imported, and before it wrote what that depends on."""
    bench.up(wait_timeout=60)
    _forget_the_order(bench)
    bench.up(SMALLER, wait_timeout=60)
    assert (bench.machines(), set(cloud.of("addresses"))) == (LESS, set(LESS))
    _forget_the_order(bench)
    assert bench.up(SMALLER, wait_timeout=60).plan.changes == ()
    bench.down()
    assert (bench.machines(), dict(cloud.of("addresses"))) == ([], {})
    assert bench.volumes()


def _forget_the_order(bench: EngineBench) -> None:
    """Let Terraform's state say of nothing what it depends on, as after an import."""
    kept = bench.site.directory("shop").records
    assert isinstance(kept, GoogleRecords)
    state = json.loads(kept.state())
    for resource in state["resources"]:
        for instance in resource["instances"]:
            instance.pop("dependencies", None)
    kept._bucket.write("clusters/shop/default.tfstate", json.dumps(state).encode())
