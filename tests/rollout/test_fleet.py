"""The fleet of a real cluster, over machines in memory: what it sees, stops and refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stoneware.cluster.declaration import declared_digest
from stoneware.cluster.model import Observed, Release
from stoneware.cluster.observe import observe
from stoneware.errors import HostError, InputError, MachineError
from stoneware.guest.reports import STATUS
from stoneware.model.machine import Health, Phase
from stoneware.platforms.cluster_records import Document
from stoneware.rollout.cluster_fleet import ClusterFleet, read_variables
from stoneware.terraform.guard import PlanRefused
from tests.rollout.bench import RolloutBench, image_id

pytestmark = pytest.mark.tool


def fleet_of(bench: RolloutBench) -> ClusterFleet:
    return ClusterFleet(bench.site, "shop")


def test_machines_as_they_say_themselves(bench: RolloutBench) -> None:
    platform, fleet = bench.platform, fleet_of(bench)
    views = fleet.observe()
    assert list(views) == ["app-1", "app-2", "db-1", "web-1"]
    app = views["app-1"]
    assert (app.service, app.slot, app.checked, app.healthy) == ("app", 1, True, True)
    assert views["web-1"].checked is False
    machine = platform.observe("shop-app-1")
    assert machine is not None
    declared = declared_digest(machine.spec)
    assert app.release == app.created_from == Release(image_id("1"), machine.config_digest, declared)

    platform.report("shop-app-1", **{STATUS: json.dumps({"image": image_id("8"), "config": image_id("9")})})
    platform.report("shop-app-2", **{STATUS: "{not json"})
    platform.report("shop-db-1", **{STATUS: "[1, 2]"})
    views = fleet.observe()
    assert views["app-1"].release == Release(image_id("8"), image_id("9"), declared)
    assert views["app-1"].created_from == app.created_from
    assert views["app-2"].release == views["app-2"].created_from
    assert views["app-2"].created_from is not None
    assert views["app-2"].created_from.image_id == image_id("1")
    assert views["db-1"].release is not None

    platform.show("shop-app-1", phase=Phase.BOOTING)
    platform.show("shop-app-2", phase=Phase.FAILED, error="no\ndisk", health=Health.NONE)
    platform.destroy("shop-web-1")
    views = fleet.observe()
    assert views["app-1"].release is None
    assert views["app-2"].error == "no; disk"
    assert "web-1" not in views
    assert platform.helpers_checked > 0


def test_stopping_what_is_up(bench: RolloutBench) -> None:
    bench.platform.stop("shop-app-2")
    bench.platform.calls.clear()
    fleet_of(bench).stop(["app-1", "app-2", "gone-1"])
    assert bench.platform.calls == ["stop shop-app-1 10"]


def test_a_machine_that_cannot_be_stopped(bench: RolloutBench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, **_: object) -> None:
        raise MachineError(f"{name} cannot be ended")

    monkeypatch.setattr(bench.platform, "stop", refuse)
    with pytest.raises(MachineError):
        fleet_of(bench).stop(["app-1", "app-2"])


def test_commands_in_machines(bench: RolloutBench) -> None:
    fleet = fleet_of(bench)
    bench.platform.commands = lambda *_: (3, "said")
    assert fleet.execute("app-1", ["check"], 5).code == 3
    bench.platform.commands = lambda *_: (124, "said")
    assert "more than 5 s" in fleet.execute("app-1", ["check"], 5).output
    missing = fleet.execute("app-9", ["check"], 5)
    assert missing.code == 1
    assert "app-9" in missing.output


def test_only_what_is_named_changes(bench: RolloutBench) -> None:
    entries = bench.variables()["machines"]
    bench.edit("db-1", labels={**entries["db-1"]["labels"], "more": "yes"})
    before = bench.variables()
    wanted = {**entries["app-1"], "stop_timeout": 33}
    for ask in ("check", "change"):
        with fleet_of(bench) as fleet, pytest.raises(PlanRefused) as told:
            getattr(fleet, ask)({"app-1": wanted})
        assert any('stoneware_machine.machine["db-1"]' in text for text in told.value.violations)
        assert bench.variables() == before
    bench.edit("db-1", labels=entries["db-1"]["labels"])
    with fleet_of(bench) as fleet:
        fleet.check({"app-1": wanted})
        assert bench.spec("shop-app-1").stop_timeout != 33
        fleet.change({"app-1": wanted})
        fleet.change({"app-1": wanted})  # once more does nothing
    assert bench.spec("shop-app-1").stop_timeout == 33
    assert bench.platform.calls == ["amend shop-app-1 ['stop_timeout']"]
    assert bench.variables()["machines"]["app-1"]["stop_timeout"] == 33


@pytest.mark.parametrize("ask", ["check", "change"])
def test_another_machine_dies_just_before_the_plan(
    bench: RolloutBench, monkeypatch: pytest.MonkeyPatch, ask: str
) -> None:
    looks = []

    def look(*arguments: Any, **named: Any) -> Observed:
        looks.append(observe(*arguments, **named))
        if len(looks) == 1:
            bench.platform.stop("shop-db-1")
        return looks[-1]

    monkeypatch.setattr("stoneware.rollout.cluster_fleet.observe", look)
    wanted = {**bench.variables()["machines"]["app-1"], "stop_timeout": 33}
    with fleet_of(bench) as fleet:
        getattr(fleet, ask)({"app-1": wanted})
        assert len(looks) == 2
        assert bench.spec("shop-app-1").stop_timeout == (33 if ask == "change" else 10)
        assert not fleet.observe()["db-1"].alive, "it is the gates' business"
    assert bench.variables()["machines"]["db-1"]["running"] is True


def test_a_machine_that_cannot_be_made(bench: RolloutBench) -> None:
    entries = bench.variables()["machines"]
    bench.platform.stop("shop-app-1")
    bench.platform.fail_next_create = InputError("its image is gone")
    with fleet_of(bench) as fleet:
        with pytest.raises(MachineError) as told:
            fleet.change({"app-1": entries["app-1"]})
        assert "its image is gone" in told.value.brief
        bench.platform.fail_next_create = HostError("no memory is left")
        with pytest.raises(HostError):
            fleet.change({"app-1": entries["app-1"]})
        fleet.change({"app-1": entries["app-1"]})
    assert fleet.observe()["app-1"].healthy


def test_a_disk_that_is_gone_is_not_made(bench: RolloutBench) -> None:
    entries = bench.variables()["machines"]
    bench.platform.destroy("shop-db-1")
    bench.platform.destroy_volume("shop-db-1-data")
    with fleet_of(bench) as fleet, pytest.raises(PlanRefused) as told:
        fleet.change({"db-1": entries["db-1"]})
    assert any("stoneware_volume" in text for text in told.value.violations)
    assert bench.platform.volume("shop-db-1-data") is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"machines": 3}', '{"machines": {"a": {}}, "volumes": 1}']
)
def test_variables_that_are_damaged(bench: RolloutBench, text: str) -> None:
    directory = bench.site.directory("shop")
    directory.path.joinpath(Document.DECLARED).write_text(text)
    with pytest.raises(InputError) as told:
        read_variables(directory)
    assert "stoneware up" in told.value.resolution
    directory.path.joinpath(Document.DECLARED).unlink()
    with pytest.raises(InputError) as told:
        read_variables(directory)
    assert "is not up" in told.value.brief
