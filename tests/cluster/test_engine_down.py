"""What `down` does, by the real Terraform and the real provider, to machines in memory."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from stoneware.cluster.apply import ClusterTerraform
from stoneware.errors import InputError, MachineError
from stoneware.terraform.results import Plan
from stoneware.terraform.statefile import STATE_FILE
from tests.cluster.engine import ALL, Declined, EngineBench

pytestmark = pytest.mark.tool


def test_down_keeps_the_disks(bench: EngineBench) -> None:
    bench.up()
    disks = bench.volumes()
    result = bench.down()
    stops = [call.split()[1] for call in bench.platform.calls if call.startswith("stop ")]
    assert stops[0] == "shop-web-1"
    assert stops[-1] == "shop-db-1"
    assert (bench.machines(), bench.networks(), bench.volumes()) == ([], [], disks)
    assert result.kept == tuple(disks)
    assert bench.asked == []
    with pytest.raises(InputError, match="is not up"):
        bench.down()
    bench.up()
    assert bench.machines() == ALL


def test_terraform_plans_while_the_machines_of_a_down_stop(
    bench: EngineBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.up()
    planned, plan, stop = threading.Event(), ClusterTerraform.plan, bench.platform.stop

    def plans(self: ClusterTerraform, *args: Any, **options: Any) -> Plan:
        found = plan(self, *args, **options)
        planned.set()
        return found

    def stops(name: str, **options: Any) -> None:
        assert planned.wait(300)
        stop(name, **options)

    monkeypatch.setattr(ClusterTerraform, "plan", plans)
    monkeypatch.setattr(bench.platform, "stop", stops)
    bench.down()
    assert bench.machines() == []


@pytest.mark.parametrize("here", [True, False])
def test_machines_of_this_computer_are_removed_as_soon_as_they_have_stopped(
    bench: EngineBench, monkeypatch: pytest.MonkeyPatch, here: bool
) -> None:
    bench.up()
    left: list[list[str]] = []
    carry_out = ClusterTerraform.carry_out

    def looks(self: ClusterTerraform, plan: Plan, **options: Any) -> None:
        left.append(bench.machines())
        carry_out(self, plan, **options)

    monkeypatch.setattr(bench.platform, "is_here", here)
    monkeypatch.setattr(ClusterTerraform, "carry_out", looks)
    bench.down()
    (found,) = left
    # While the last ones stop, which all others depend on, Terraform begins.
    assert set(found) <= {"shop-db-1"} if here else found == ALL
    assert bench.machines() == []


@pytest.mark.parametrize("timeout", [None, 5.0])
def test_terraform_removes_what_it_knows_while_the_last_machines_stop(
    bench: EngineBench, monkeypatch: pytest.MonkeyPatch, timeout: float | None
) -> None:
    bench.up()
    begun, carry_out, stop = threading.Event(), ClusterTerraform.carry_out, bench.platform.stop
    seen: list[bool] = []

    def begins(self: ClusterTerraform, plan: Plan, **options: Any) -> None:
        begun.set()
        carry_out(self, plan, **options)

    def stops(name: str, **options: Any) -> None:
        if name == "shop-db-1":
            # With a timeout of the user's it comes behind: Terraform would stop what it finds by another one.
            seen.append(begun.wait(300 if timeout is None else 0))
        stop(name, **options)

    monkeypatch.setattr(ClusterTerraform, "carry_out", begins)
    monkeypatch.setattr(bench.platform, "stop", stops)
    bench.down(timeout=timeout)
    assert seen[0] == (timeout is None)
    assert (bench.machines(), bench.networks()) == ([], [])


def test_no_machine_is_removed_whose_removal_terraform_refuses(
    bench: EngineBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.up()

    def refuses(*_: Any, **__: Any) -> Plan:
        raise InputError("the plan is refused")

    with monkeypatch.context() as patch:
        patch.setattr(ClusterTerraform, "plan", refuses)
        with pytest.raises(InputError, match="the plan is refused"):
            bench.down()
    assert bench.machines() == ALL
    bench.down()
    assert bench.machines() == []


def test_a_refusal_is_told_where_somebody_has_removed_a_machine_meanwhile(
    bench: EngineBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.up()
    stopped, stop = threading.Event(), bench.platform.stop

    def refuses(*_: Any, **__: Any) -> Plan:
        assert stopped.wait(300)
        raise InputError("the plan is refused")

    def stops(name: str, **options: Any) -> None:
        stop(name, **options)
        if name == "shop-web-1":
            bench.platform.destroy(name)
            stopped.set()

    monkeypatch.setattr(bench.platform, "stop", stops)
    monkeypatch.setattr(ClusterTerraform, "plan", refuses)
    with pytest.raises(InputError, match="the plan is refused"):
        bench.down()


def test_a_down_that_ends_while_it_stops_leaves_what_is_declared(
    bench: EngineBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.up()
    directory = bench.clusters / "shop"
    before = {path.name: path.read_bytes() for path in directory.iterdir()}

    def fails(name: str, **_: Any) -> None:
        raise MachineError(f"{name} does not stop")

    with monkeypatch.context() as patch:
        patch.setattr(bench.platform, "stop", fails)
        with pytest.raises(MachineError, match="does not stop"):
            bench.down()
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before
    bench.down()
    stops = [call.split()[1] for call in bench.platform.calls if call.startswith("stop ")]
    assert (stops[0], stops[-1]) == ("shop-web-1", "shop-db-1")
    assert not list(directory.glob("left*")) + list(directory.glob("*.tfplan"))


@pytest.mark.parametrize("volumes", [False, True])
def test_down_where_somebody_removed_a_disk_and_a_machine(bench: EngineBench, volumes: bool) -> None:
    """Terraform's state still has them: neither is refused, and no other disk goes with it."""
    bench.up()
    gone, *kept = bench.volumes()
    bench.platform.destroy(next(name for name in ALL if gone.startswith(name)))
    bench.platform.destroy_volume(gone)
    result = bench.down(volumes=volumes)
    assert (bench.machines(), bench.networks()) == ([], [])
    assert bench.volumes() == ([] if volumes else kept)
    assert result.kept == (() if volumes else tuple(kept))
    bench.up()
    assert bench.machines() == ALL


def test_down_with_volumes_leaves_nothing_but_snapshots(bench: EngineBench) -> None:
    bench.up()
    disks = bench.volumes()
    for snapshot in ("one", "two"):
        bench.platform.snapshot_volume(disks[0], snapshot)
    result = bench.down(volumes=True)
    assert result.snapshots == {disks[0]: ("one", "two")}
    assert (bench.machines(), bench.networks(), bench.volumes()) == ([], [], [])
    assert result.volumes == tuple(disks)
    assert len(bench.asked) == 1
    assert not (bench.clusters / "shop").exists()
    assert bench.platform._secrets == {}
    with pytest.raises(InputError, match="is not up"):
        bench.down(volumes=True)
    assert not (bench.clusters / "shop").exists()


def test_down_with_volumes_can_come_later(bench: EngineBench) -> None:
    bench.up()
    bench.down()
    bench.down(volumes=True)
    assert bench.volumes() == []
    assert not (bench.clusters / "shop").exists()


def test_down_without_a_state_removes_what_has_the_label(bench: EngineBench) -> None:
    bench.up()
    for path in (bench.clusters / "shop").iterdir():
        path.unlink()
    bench.down(volumes=True)
    assert (bench.machines(), bench.networks(), bench.volumes()) == ([], [], [])


def test_declined_volumes_leave_everything(bench: EngineBench) -> None:
    bench.up()
    bench.answer = False
    with pytest.raises(Declined):
        bench.down(volumes=True)
    assert bench.machines() == ALL


def test_down_after_a_kill_in_the_middle_of_an_import(bench: EngineBench) -> None:
    bench.up()
    file = bench.clusters / "shop" / STATE_FILE
    state = json.loads(file.read_text())
    for resource in state["resources"]:
        for instance in resource["instances"]:
            instance.pop("dependencies", None)
    file.write_text(json.dumps(state))
    bench.down(volumes=True)  # nothing that is in use can be removed
    assert (bench.machines(), bench.networks(), bench.volumes()) == ([], [], [])
