"""What `up` and rollouts do to volumes, by the real Terraform: another kind, another size."""

from __future__ import annotations

from typing import Any

import pytest

from stoneware.cluster.apply import refreshed
from stoneware.cluster.drift import find_drift
from stoneware.cluster.model import Action
from stoneware.cluster.observe import observe
from stoneware.cluster.up import RolloutNeeded
from stoneware.errors import InputError
from stoneware.model.machine import Phase
from stoneware.model.resources import DIRECTORY, DISK, Volume
from stoneware.provider.infrastructure import EXTENSION
from stoneware.rollout.state import Outcome
from tests.cluster.support import wanted_of
from tests.rollout import conftest as rollouts
from tests.rollout.bench import RolloutBench

pytestmark = pytest.mark.tool
bench = rollouts.bench

DATA = "shop-db-1-data"
MOVED: dict[str, Any] = {"services": {"db": {"vm": True}}}
CONVERTED = [f"convert {DATA} {DISK}"]


def conversions(bench: RolloutBench) -> list[str]:
    """Return what was converted since the last look; each while its machine was not there."""
    calls = list(bench.platform.calls)
    bench.platform.calls.clear()
    for call in calls:
        if call.startswith(f"convert {DATA}"):
            done = calls[: calls.index(call)]
            assert ("destroy shop-db-1" in done, done[-1]) == (True, "create shop-db-1")
    return [call for call in calls if call.startswith(f"convert {DATA}")]


def drift(bench: RolloutBench, changes: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return what Terraform and the sizes say; machines in memory report no files."""
    version, site = bench.spec("shop-app-1").secrets[0].version, bench.site
    desired = wanted_of(changes, versions={"app-token": version}, extension=EXTENSION)
    found = find_drift(
        desired,
        observe(bench.platform, "shop"),
        refreshed(bench.platform, site.directory("shop")),
        bench.platform.infrastructure,
    )
    return [(item.machine, item.wanted, item.found) for item in found.items]


def data(bench: RolloutBench) -> Volume:
    found = bench.platform.volume(DATA)
    assert found is not None
    return found


def test_up_converts_the_volumes_of_machines_that_become_the_other_kind(bench: RolloutBench) -> None:
    with pytest.raises(RolloutNeeded, match="db-1 is healthy"):
        bench.up(MOVED)
    assert (conversions(bench), data(bench).kind) == ([], DIRECTORY)
    result = bench.up(MOVED, recreate=True)
    [step] = [step for step in result.plan.changes if step.name == "db-1"]
    assert f"converts its volume {DATA}: directory → disk, with all that is on it" in step.reasons
    assert (conversions(bench), data(bench).kind) == (CONVERTED, DISK)
    assert bench.up(MOVED).plan.changes == ()
    bench.up(recreate=True)
    assert (conversions(bench), data(bench).kind) == ([f"convert {DATA} {DIRECTORY}"], DIRECTORY)


def test_what_is_known_to_fail_stops_no_machine(bench: RolloutBench) -> None:
    bench.platform.no_conversion = "this computer lacks fuse2fs"
    with pytest.raises(InputError) as caught:
        bench.up(MOVED, recreate=True)
    lines = caught.value.details.splitlines()
    assert lines[0] == f"db-1 needs the volume {DATA} to be a disk: this computer lacks fuse2fs"
    assert bench.preview(MOVED).blocked == tuple(lines)
    assert bench.platform.calls == []


def test_a_rollout_converts_and_its_rollback_converts_back(bench: RolloutBench) -> None:
    bench.rollout(MOVED)
    assert (conversions(bench), data(bench).kind) == (CONVERTED, DISK)
    bench.rollback()
    assert (conversions(bench), data(bench).kind) == ([f"convert {DATA} {DIRECTORY}"], DIRECTORY)


def test_a_conversion_that_fails_loses_nothing_and_the_machine_is_as_before(bench: RolloutBench) -> None:
    bench.platform.fail_next_create = InputError(f"the disk {DATA!r} has device files")
    state = bench.rollout(MOVED)
    assert state is not None
    assert (state.outcome, "device files" in state.reason) == (Outcome.ROLLED_BACK, True)
    machine = bench.platform.observe("shop-db-1")
    assert machine is not None
    assert (machine.spec.vm, machine.phase, data(bench).kind) == (False, Phase.RUNNING, DIRECTORY)


def test_a_size_that_grows_is_an_update_in_place(bench: RolloutBench) -> None:
    def file(size: str) -> dict[str, Any]:
        own = {"extensions": {"x-local": {"size": size}}, "place": "machines.yaml:9:7"}
        return {**MOVED, "volumes": {DATA: own}}

    bench.up(file("1g"), recreate=True)
    assert data(bench).size == 1 << 30
    bench.platform.calls.clear()
    result = bench.up(file("2g"))
    assert [(step.kind, step.name, step.action) for step in result.plan.changes] == [
        ("volume", DATA, Action.UPDATE)
    ]
    assert (data(bench).size, conversions(bench)) == (2 << 30, [])
    assert bench.machines() == ["shop-app-1", "shop-app-2", "shop-db-1", "shop-web-1"]
    assert drift(bench, file("2g")) == []
    bench.platform.resize_volume(DATA, 3 << 30)
    assert drift(bench, file("2g")) == []
    assert drift(bench, file("4g")) == [(DATA, "4 GiB", "3 GiB")]
    assert bench.up(file("2g")).plan.changes == ()  # by hand, and as before in the file
    with pytest.raises(InputError, match="a disk only grows") as caught:
        bench.up(file("1g"))
    assert caught.value.location == "machines.yaml:9:7"
    assert data(bench).size == 3 << 30
    assert [f"by `stoneware up` only: the volume {DATA} grows" in bench.preview(file("4g")).notes[0]] == [
        True
    ]
