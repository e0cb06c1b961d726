"""What `up` does, by the real Terraform and the real provider, to machines in memory."""

from __future__ import annotations

import json

import pytest

from stoneware.cluster import events
from stoneware.cluster.model import Action
from stoneware.cluster.up import RolloutNeeded
from stoneware.cluster.waiting import MachinesFailed, Watch
from stoneware.errors import InputError, MachineError
from stoneware.model.machine import Health, Machine, MachineSpec, Phase
from tests.cluster.engine import ALL, SECRET, Declined, EngineBench, creations

pytestmark = pytest.mark.tool


def test_a_cluster_comes_up_in_the_order_of_its_dependencies(bench: EngineBench) -> None:
    result = bench.up()
    assert bench.machines() == ALL
    made = creations(bench)
    assert made[0] == "shop-db-1"
    assert made[-1] == "shop-web-1"
    assert {step.action for step in result.plan.steps} == {Action.CREATE}
    assert bench.networks() == ["shop-default"]
    assert "shop-db-1-data" in bench.volumes()
    assert len(bench.managed()) == 4 + 1 + len(bench.volumes())
    assert {event.name for event in bench.recorder.of(events.MachineFinished)} == {
        "app-1", "app-2", "db-1", "web-1"
    }  # fmt: skip
    assert bench.asked == []  # nothing is asked where things are only made


def test_ports_are_looked_at_before_anything_is_made(bench: EngineBench) -> None:
    changes = {"services": {"web": {"ports": ["80"]}}}
    bench.platform.busy_ports = {8001: "nginx (process 7) listens on it"}
    with pytest.raises(InputError, match="cannot be published; no machine was created or stopped") as raised:
        bench.up(changes)
    assert "web-1: port 8001/tcp of this computer is in use: nginx (process 7)" in raised.value.details
    assert (bench.machines(), bench.networks(), bench.volumes()) == ([], [], [])


def test_up_once_more_has_nothing_to_do(bench: EngineBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.up()
    monkeypatch.setattr("stoneware.cluster.waves.ClusterTerraform", None)  # it is not even started
    result = bench.up()
    assert result.plan.changes == ()
    assert bench.platform.calls == []
    assert {type(event) for event in bench.recorder.seen} <= {events.Note}


def test_no_secret_is_in_terraforms_files(bench: EngineBench) -> None:
    bench.up()
    files = [path for path in (bench.clusters / "shop").rglob("*") if path.is_file()]
    assert {"terraform.tfstate", "machines.auto.tfvars.json", "cluster.json"} <= {path.name for path in files}
    for path in files:
        assert SECRET.encode() not in path.read_bytes(), path
    assert SECRET not in repr(bench.recorder.seen)
    assert bench.spec("shop-app-1").secrets[0].secret == "shop-app-token"


def test_a_missing_machine_is_made_again(bench: EngineBench) -> None:
    bench.up()
    bench.platform.destroy("shop-app-2")
    bench.up()
    assert creations(bench) == ["shop-app-2"]


def test_a_stopped_machine_is_started(bench: EngineBench) -> None:
    bench.up()
    bench.platform.stop("shop-db-1")
    result = bench.up()
    assert [(step.name, step.action) for step in result.plan.changes] == [("db-1", Action.START)]
    assert "start shop-db-1" in bench.platform.calls
    assert creations(bench) == []


def test_a_failed_machine_is_replaced_after_a_question(bench: EngineBench) -> None:
    bench.platform.broken = {"shop-app-1"}
    with pytest.raises(MachinesFailed) as raised:
        bench.up()
    assert "the config is wrong" in raised.value.details
    assert "no such setting" in raised.value.details  # its console
    assert "web-1" in raised.value.details  # what was not made because of it
    assert "shop-app-2" in bench.machines()  # the others are left
    bench.platform.broken = set()
    bench.up()
    assert len(bench.asked) == 1
    assert set(creations(bench)) == {"shop-app-1", "shop-web-1"}


def test_no_is_an_answer(bench: EngineBench) -> None:
    bench.up()
    bench.platform.show("shop-app-1", phase=Phase.FAILED)
    bench.answer = False
    with pytest.raises(Declined):
        bench.up()
    assert creations(bench) == []


def test_what_a_machine_depends_on_has_to_be_healthy(bench: EngineBench) -> None:
    bench.platform.sick = {"shop-app-2"}
    with pytest.raises(MachinesFailed) as raised:
        bench.up({"services": {"web": {"depends_on": {"app": "service_healthy"}}}}, wait_timeout=0.3)
    assert raised.value.failures[0].name == "app-2"
    assert "not healthy within 0.3 seconds" in raised.value.brief
    assert "shop-web-1" not in bench.machines()


def test_service_started_does_not_wait_for_health(bench: EngineBench) -> None:
    bench.platform.sick = {"shop-app-2"}
    with pytest.raises(MachinesFailed) as raised:
        bench.up(wait_timeout=0.3)  # web depends on app: service_started
    assert [failure.name for failure in raised.value.failures] == ["app-2"]
    assert "shop-web-1" in bench.machines()


def test_only_what_begins_and_has_no_health_check_has_to_settle(bench: EngineBench) -> None:
    def settled() -> set[str]:
        return {name for name, seconds in waits.items() if seconds}

    waits: dict[str, float] = {}
    watch = Watch.add
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Watch, "add", lambda own, it: (waits.update({it.name: it.goal.settle}), watch(own, it))[1]
        )
        bench.up(settle=0.01)
        assert settled() == {"db-1", "web-1"}  # app has a health check
        waits.clear()
        bench.platform.show("shop-web-1", phase=Phase.STOPPED)
        bench.up(settle=0.01)
        assert settled() == {"web-1"}  # the other runs


def test_no_wait_does_not_wait(bench: EngineBench) -> None:
    bench.platform.sick = {"shop-app-2"}
    bench.up(wait=False)
    assert bench.machines() == ALL


def test_an_unhealthy_machine_is_told_though_nothing_is_to_be_done(bench: EngineBench) -> None:
    bench.up()
    bench.platform.show("shop-app-1", health=Health.UNHEALTHY)
    with pytest.raises(MachinesFailed, match="app-1 is unhealthy"):
        bench.up()
    assert bench.platform.calls == []


def test_another_image_needs_a_rollout(bench: EngineBench) -> None:
    bench.up()
    with pytest.raises(RolloutNeeded) as raised:
        bench.up({"services": {"app": {"image": "app:2"}}})
    assert {step.name for step in raised.value.steps} == {"app-1", "app-2"}
    assert "up --recreate" in raised.value.resolution
    assert bench.platform.calls == []
    bench.up({"services": {"app": {"image": "app:2"}}}, recreate=True)
    assert len(bench.asked) == 1
    assert set(creations(bench)) == {"shop-app-1", "shop-app-2"}
    assert bench.spec("shop-app-1").source.startswith("image:sha256:2222")


def test_what_is_dead_comes_back_while_a_change_waits(bench: EngineBench) -> None:
    bench.up()
    change = {"services": {"app": {"image": "app:2"}}}
    bench.platform.destroy("shop-app-2")
    bench.platform.destroy("shop-db-1")
    bench.platform.destroy_volume("shop-db-1-data")
    with pytest.raises(RolloutNeeded) as raised:
        bench.up(change)
    assert raised.value.resolution.splitlines()[0] == (
        "stoneware up --restore    # app-2, db-1: back as before, without what changed"
    )
    result = bench.restore("app-2")  # and what it depends on
    assert {step.name for step in result.plan.changes} == {"app-2", "db-1", "shop-db-1-data"}
    assert bench.machines() == ALL
    assert bench.spec("shop-app-2").source == bench.spec("shop-app-1").source
    assert bench.restore().plan.changes == ()
    assert bench.up().plan.changes == ()


def test_services_by_name(bench: EngineBench) -> None:
    bench.up(names=("db",))
    assert (bench.machines(), bench.up(names=("db-1",)).plan.changes) == (["shop-db-1"], ())
    bench.up(names=("web",))  # with all that it depends on
    assert bench.machines() == ALL
    changes = {
        "services": {"db": {"environment": {"A": "b"}}, "app": {"environment": {"LOG_LEVEL": "debug"}}}
    }
    with pytest.raises(RolloutNeeded, match="app-1, app-2 are healthy"):
        bench.up(changes, names=("app",))
    bench.platform.destroy("shop-app-1")
    assert [step.name for step in bench.up(changes, names=("app-1",)).plan.changes] == ["app-1"]
    bench.up(recreate=True)
    bench.up({"services": {"app": {"replicas": 1}, "web": None}}, names=("app",))
    assert bench.machines() == [name for name in ALL if name != "shop-app-2"]
    with pytest.raises(InputError, match="no service and no machine"):
        bench.up(names=("nope",))


def test_an_image_that_reloads_takes_another_config_on(bench: EngineBench) -> None:
    bench.up()
    result = bench.up({"services": {"web": {"environment": {"COLOUR": "blue"}}}})
    assert [(step.name, step.action) for step in result.plan.changes] == [("web-1", Action.UPDATE)]
    assert creations(bench) == []
    assert "COLOUR=blue" in bench.spec("shop-web-1").metadata["stoneware-config"]


def test_another_secret_is_another_release(bench: EngineBench) -> None:
    bench.up()
    before = bench.spec("shop-app-1").secrets[0].version
    bench.secret = "another"
    with pytest.raises(RolloutNeeded):
        bench.up()
    assert bench.platform.secret_version("shop-app-token", b"another") is None  # nothing was done
    bench.up(recreate=True)
    assert bench.spec("shop-app-1").secrets[0].version != before


def test_scaling_down_keeps_disks(bench: EngineBench) -> None:
    three = {"services": {"db": {"replicas": 3}}}
    bench.up(three)
    disks = bench.volumes()
    bench.up()
    assert len(bench.asked) == 1
    assert bench.machines() == ALL
    assert bench.volumes() == disks
    bench.up(three)
    assert set(creations(bench)) == {"shop-db-2", "shop-db-3"}


def test_a_disk_that_was_removed_by_hand_stays_removed(bench: EngineBench) -> None:
    bench.up({"services": {"db": {"replicas": 2}}})
    bench.up()
    bench.platform.destroy_volume("shop-db-2-data")
    bench.platform.destroy("shop-app-1")
    bench.up()
    assert "shop-db-2-data" not in bench.volumes()


def test_attributes_and_labels_by_hand_are_in_nobodys_way(bench: EngineBench) -> None:
    bench.up()
    bench.platform.set_metadata("shop-db-1", {"somebody": "was here"})
    bench.platform.change_network("shop-default", {"stoneware.cluster": "shop", "more": "x"})
    bench.up({"services": {"web": {"replicas": 2}}})
    assert creations(bench) == ["shop-web-2"]
    assert "somebody" not in bench.spec("shop-db-1").metadata


def test_a_network_becomes_internal_in_place(bench: EngineBench) -> None:
    bench.up()
    for internal in (True, False):
        bench.up({"networks": {"shop-default": {"internal": internal}}})
        assert creations(bench) == []
        network = bench.platform.network("shop-default")
        assert network is not None
        assert network.internal is internal
        assert bench.up({"networks": {"shop-default": {"internal": internal}}}).plan.changes == ()


def test_a_networks_subnets_change_in_place_and_with_its_machines(bench: EngineBench) -> None:
    def file(subnet: str, address: str | None = None) -> dict[str, object]:
        own = {"addresses": {"shop-default": address}} if address else {}
        return {"networks": {"shop-default": {"subnets": [subnet]}}, "services": {"db": own}}

    def there() -> tuple[list[str], str]:
        network, machine = bench.platform.network("shop-default"), bench.platform.observe("shop-db-1")
        assert network is not None
        assert machine is not None
        return list(network.subnets), machine.ip

    bench.up()
    before = there()[1]
    bench.up(file("10.5.0.0/24"))
    assert creations(bench) == []
    assert there() == (["10.5.0.0/24"], before)
    with pytest.raises(RolloutNeeded):
        bench.up(file("10.5.0.0/24", "10.5.0.5"))
    # The second time another subnet instead: it is there before the machine, and the old one goes after it.
    for subnet, address in (("10.5.0.0/24", "10.5.0.5"), ("10.6.0.0/24", "10.6.0.5")):
        bench.up(file(subnet, address), recreate=True)
        assert creations(bench) == ["shop-db-1"]
        assert there() == ([subnet], address)
        assert bench.up(file(subnet, address)).plan.changes == ()


def test_terraforms_error_names_the_machine(bench: EngineBench) -> None:
    bench.platform.fail_next_create = InputError("port 8001 is in use", resolution="free it")
    with pytest.raises(Exception, match="db-1: port 8001 is in use") as raised:
        bench.up()
    assert raised.value.resolution == "free it"  # type: ignore[attr-defined]
    bench.up()
    assert bench.machines() == ALL


def test_several_refusals_do_not_lead_to_consoles_that_are_not_there(
    bench: EngineBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = bench.platform.create

    def refusing(spec: MachineSpec) -> Machine:
        if "app" in spec.name:
            raise InputError(f"no room for {spec.name}", resolution="make room")
        return create(spec)

    monkeypatch.setattr(bench.platform, "create", refusing)
    with pytest.raises(MachineError) as raised:
        bench.up()
    assert raised.value.details.count("To do next: make room") == 2
    assert raised.value.resolution == "stoneware up    # once that is done"


def test_the_directory_shows_the_lock_only_while_it_is_held(bench: EngineBench) -> None:
    bench.up()
    assert (bench.clusters / "shop/lock").read_text() == ""
    kept = json.loads((bench.clusters / "shop/cluster.json").read_text())
    assert kept == {"file": "/work/machines.yaml", "secrets": ["shop-app-token"]}
