"""Machines that run, stop, fail and are waited for, driven by real Terraform."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from stoneware.errors import HostError, MachineError
from stoneware.machinefile.recipe import HealthCheck
from stoneware.model.machine import Health, Machine, MachineSpec, Phase
from stoneware.provider.server import ProviderServer
from stoneware.terraform.results import TerraformError
from stoneware.terraform.runner import Terraform
from tests.platforms.memory import MemoryPlatform

from .conftest import IMAGE, Configure
from .memory_images import MemoryImages
from .test_machine_resource import ADDRESS, machine

pytestmark = pytest.mark.tool


def values(terraform: Terraform) -> dict[str, object]:
    resource = terraform.state().get(ADDRESS)
    assert resource is not None
    return dict(resource.values)


KILLS: dict[str, Callable[[MemoryPlatform], None]] = {
    "stopped": lambda platform: platform.stop("m1"),
    "stopping": lambda platform: platform.show("m1", phase=Phase.STOPPING, ports=()),
    "killed": lambda platform: platform.show("m1", phase=Phase.STOPPED, exit_code=137, ports=()),
    "failed": lambda platform: platform.show("m1", phase=Phase.FAILED, exit_code=1, ports=()),
}


@pytest.mark.parametrize("how", sorted(KILLS))
def test_a_machine_that_does_not_run_is_started(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform, how: str
) -> None:
    configure(machine(ports="[{ machine_port = 80 }]"))
    terraform.apply()
    KILLS[how](platform)
    plan = terraform.plan()
    [change] = plan.changes
    assert change.actions == ("update",)
    assert (change.before or {})["running"] is False
    assert (change.after or {})["running"] is True
    assert set(change.unknown) == {"phase", "health", "published"}
    platform.calls.clear()
    terraform.apply(plan)
    assert platform.calls == ["start m1"]
    [made] = platform.machines()
    assert (made.id, made.phase) == ("m00000001", Phase.RUNNING)
    assert values(terraform)["published"] != []
    assert terraform.plan().noop


def test_a_machine_is_stopped_and_started_in_place(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform
) -> None:
    configure(machine(stop_timeout="42"))
    terraform.apply()
    platform.calls.clear()
    configure(machine(stop_timeout="42", running="false"))
    assert terraform.apply().changed == 1
    assert platform.calls == ["stop m1 42"]
    assert values(terraform)["phase"] == "stopped"
    assert terraform.plan().noop
    platform.start("m1")  # behind its back
    assert [change.actions for change in terraform.plan().changes] == [("update",)]
    terraform.apply()
    assert platform.machines()[0].phase is Phase.STOPPED
    configure(machine(stop_timeout="42"))
    terraform.apply()
    assert platform.machines()[0].phase is Phase.RUNNING
    assert terraform.plan().noop


def test_a_machine_may_be_made_to_stand_still(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform
) -> None:
    configure(machine(running="false", wait_for='"healthy"'))
    assert terraform.apply().added == 1
    assert platform.machines()[0].phase is Phase.STOPPED
    assert terraform.plan().noop


def test_a_builder_is_left_alone(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform
) -> None:
    configure(machine(kind='"builder"'))
    terraform.apply()
    platform.calls.clear()
    terraform.destroy()
    assert platform.calls == ["destroy m1"]


@pytest.mark.parametrize(
    ("timeouts", "limit"), [("null", "30"), ('{ delete = "5s" }', "5"), ('{ delete = "1h" }', "30")]
)
def test_a_machine_is_stopped_in_order_before_it_goes(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform, timeouts: str, limit: str
) -> None:
    configure(machine(stop_timeout="30", timeouts=timeouts))
    terraform.apply()
    assert terraform.plan().noop
    platform.calls.clear()
    terraform.destroy()
    assert platform.calls == [f"stop m1 {limit}", "destroy m1"]


def test_one_that_stands_still_is_not_stopped_again(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform
) -> None:
    configure(machine())
    terraform.apply()
    platform.stop("m1")
    platform.calls.clear()
    terraform.destroy()
    assert platform.calls == ["destroy m1"]


class Boot:
    """A boot that shows one state after the other, each time it is looked at."""

    def __init__(self, platform: MemoryPlatform, *states: tuple[Phase, Health]) -> None:
        self.platform = platform
        self.left = list(states)
        self._observe = platform.observe
        platform.observe = self.observe  # type: ignore[method-assign]
        platform.boot = self.begin  # type: ignore[method-assign]

    def begin(self, name: str) -> None:
        self.platform.show(name, phase=Phase.BOOTING)

    def observe(self, name: str) -> Machine | None:
        machine = self._observe(name)
        if machine is not None and self.left:
            phase, health = self.left.pop(0)
            self.platform.show(name, phase=phase, health=health)
        return self._observe(name)


UP = (Phase.RUNNING, Health.STARTING)
HEALTHY = (Phase.RUNNING, Health.HEALTHY)
CONFIGURING = (Phase.CONFIGURING, Health.NONE)


GOALS = {
    "": ((CONFIGURING, HEALTHY), ("configuring", "none")),
    "running": ((CONFIGURING, UP, HEALTHY), ("running", "starting")),
    "healthy": ((CONFIGURING, UP, UP, HEALTHY), ("running", "healthy")),
}


@pytest.mark.parametrize("goal", sorted(GOALS))
def test_a_creation_is_waited_for_as_far_as_asked(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform, goal: str
) -> None:
    states, reached = GOALS[goal]
    configure(machine(wait_for=f'"{goal}"'))
    plan = terraform.plan()
    Boot(platform, *states)
    terraform.apply(plan)
    assert (values(terraform)["phase"], values(terraform)["health"]) == reached
    assert terraform.plan().noop


FAILURES = {
    "failed": ((Phase.FAILED, Health.NONE), "the machine m1 failed to start"),
    "ended": ((Phase.STOPPED, Health.NONE), "the machine m1 failed to start"),
    "unhealthy": ((Phase.RUNNING, Health.UNHEALTHY), "the machine m1 is unhealthy"),
}


@pytest.mark.parametrize("how", sorted(FAILURES))
def test_one_that_does_not_come_up_is_told_and_tainted(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform, how: str
) -> None:
    state, brief = FAILURES[how]
    configure(machine(wait_for='"healthy"'))
    plan = terraform.plan()
    Boot(platform, CONFIGURING, state)
    with pytest.raises(TerraformError, match=brief) as caught:
        terraform.apply(plan)
    assert "m1 boots" in caught.value.details  # the end of its console
    assert caught.value.resolution == "stoneware logs m1"
    resource = terraform.state().get(ADDRESS)
    assert resource is not None
    assert resource.tainted
    platform.boot = lambda name: platform.show(name, phase=Phase.RUNNING, health=Health.HEALTHY)  # type: ignore[method-assign]
    done = terraform.apply()
    assert (done.added, done.removed) == (1, 1)
    assert terraform.plan().noop


def test_waiting_has_an_end(terraform: Terraform, configure: Configure, platform: MemoryPlatform) -> None:
    configure(machine(wait_for='"healthy"', timeouts='{ create = "0.2s" }'))
    with pytest.raises(TerraformError, match=r"the machine m1 was not healthy within 0\.2 seconds"):
        terraform.apply()
    assert "phase running, health none" in _details(terraform)


def _details(terraform: Terraform) -> str:
    with pytest.raises(TerraformError) as caught:
        terraform.apply()
    return caught.value.details


def test_a_start_is_waited_for_as_well(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform
) -> None:
    platform.boot = lambda name: platform.show(name, health=Health.HEALTHY)  # type: ignore[method-assign]
    configure(machine(wait_for='"healthy"', timeouts='{ update = "0.2s" }'))
    terraform.apply()
    platform.stop("m1")
    platform.boot = lambda name: platform.show(name, health=Health.STARTING)  # type: ignore[method-assign]
    with pytest.raises(TerraformError, match=r"was not healthy within 0\.2 seconds"):
        terraform.apply()
    assert values(terraform)["running"] is True  # it does run, and is not recreated
    platform.show("m1", health=Health.HEALTHY)
    assert terraform.plan().noop


def test_who_waits_tends_the_platform(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform
) -> None:
    def full() -> None:
        raise HostError("the machines' disk is full", resolution="stoneware prune")

    platform.check_helpers = full  # type: ignore[method-assign]
    configure(machine(wait_for='"healthy"', timeouts='{ create = "1m" }'))
    with pytest.raises(TerraformError, match="the machines' disk is full") as caught:
        terraform.apply()
    assert caught.value.exit_code == HostError.exit_code


def test_an_update_that_fails_half_way_keeps_what_was_done(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform
) -> None:
    configure(machine(labels='{ a = "1" }', metadata='{ k = "1" }'))
    terraform.apply()

    def broken(name: str, changes: object) -> None:
        raise MachineError("the disk is gone")

    keep, platform.set_metadata = platform.set_metadata, broken  # type: ignore[method-assign]
    configure(machine(labels='{ a = "2" }', metadata='{ k = "2" }'))
    with pytest.raises(TerraformError, match="the disk is gone"):
        terraform.apply()
    assert values(terraform)["labels"] == {"a": "2"}
    platform.set_metadata = keep  # type: ignore[method-assign]
    platform.calls.clear()
    terraform.apply()
    assert platform.calls == ["set_metadata m1 ['k']"]
    assert terraform.plan().noop


def test_machines_are_made_at_the_same_time(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform
) -> None:
    together = threading.Barrier(10, timeout=60)  # broken unless ten creations are under way at once

    def meet() -> None:
        together.wait()

    platform.while_creating = meet
    configure(
        """
        resource "stoneware_machine" "m" {
          for_each = toset([for n in range(20) : "m${n}"])
          name     = each.key
          source   = IMAGE
        }
        """
    )
    assert terraform.apply().added == 20


def test_several_machines_that_fail_are_all_told(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform
) -> None:
    platform.boot = lambda name: platform.show(name, phase=Phase.FAILED, error=f"{name} lacks GREETING")  # type: ignore[method-assign]
    configure(
        """
        resource "stoneware_machine" "m" {
          for_each = toset(["m1", "m2", "m3"])
          name     = each.key
          source   = IMAGE
          wait_for = "running"
        }
        """
    )
    with pytest.raises(TerraformError) as caught:
        terraform.apply()
    error = caught.value
    assert sorted(cause.brief for cause in error.causes) == [
        f"the machine m{n} failed to start" for n in (1, 2, 3)
    ]
    assert all(isinstance(cause, MachineError) for cause in error.causes)
    for n in (1, 2, 3):
        assert f'stoneware_machine.m["m{n}"]' in error.details
        assert f"m{n} lacks GREETING" in error.details


CONTRACT = {
    "variables": {"GREETING": {"required": True, "secret": False, "builtin": False, "templates": ["/x:1"]}},
    "needs": [{"text": "${GREETING}", "at": ["/x:1"]}],
    "env": {},
    "schema": None,
}


@pytest.fixture
def images() -> MemoryImages:
    return MemoryImages()


@pytest.fixture
def with_images(tmp_path: Path, platform: MemoryPlatform, images: MemoryImages) -> Terraform:
    return Terraform(tmp_path, provider=ProviderServer(platform, images=images))


def test_config_becomes_metadata_and_stays_a_map(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform
) -> None:
    configure(machine(config='{ B = "2 lines\\nhere", A = "1" }', metadata='{ k = "v" }'))
    terraform.apply()
    assert platform.machines()[0].spec.metadata == {
        "stoneware-config": "A=1\nB=2 lines\\nhere\n",
        "stoneware-mode": "run",
        "enable-guest-attributes": "TRUE",
        "k": "v",
    }
    assert terraform.plan().noop
    configure(machine(config='{ A = "2" }', metadata='{ k = "v" }'))
    platform.calls.clear()
    assert terraform.apply().changed == 1
    assert platform.calls == ["set_metadata m1 ['stoneware-config']"]
    assert terraform.plan().noop
    platform.set_metadata("m1", {"stoneware-config": "A=evil\n", "more": "x"})
    [change] = terraform.plan().drift
    assert change.actions == ("update",)
    terraform.apply()
    assert platform.machines()[0].spec.metadata["stoneware-config"] == "A=2\n"
    assert "more" not in platform.machines()[0].spec.metadata
    assert terraform.plan().noop


def test_config_is_held_against_the_images_contract(
    with_images: Terraform, configure: Configure, images: MemoryImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f'"image:{images.add("web", "latest", contract=CONTRACT, volumes=("/data",))}"'
    with with_images as terraform:
        configure(machine(config="{}").replace("IMAGE", source))
        with pytest.raises(TerraformError, match="cannot start with this config: 1 problem") as caught:
            terraform.plan()
        assert "GREETING is not set" in caught.value.details
        assert 'give it in config: GREETING = "' in caught.value.details
        assert caught.value.diagnostics[0].attribute == "config"
        configure(machine(config='{ GREETING = "hi" }').replace("IMAGE", source))
        plan = terraform.plan()
        assert [warning.summary for warning in plan.warnings] == [
            "the image wants a disk at /data: without one, its data is removed with the machine m1"
        ]
        terraform.apply(plan)
        secrets = '[{ secret = "c-token", target = "GREETING", version = "1" }]'
        configure(machine(config="{}", secrets=secrets).replace("IMAGE", source))
        with pytest.raises(TerraformError, match="1 problem"):  # the contract calls it no secret
            terraform.plan()


def test_an_image_without_a_health_check_is_not_waited_for(
    with_images: Terraform, configure: Configure, images: MemoryImages, platform: MemoryPlatform
) -> None:
    plain = f'"image:{images.add("web", "plain")}"'
    test = HealthCheck(test=("true",))
    checked = f'"image:{images.add("web", "checked", healthcheck=test)}"'
    platform.boot = lambda name: platform.show(name, health=Health.HEALTHY)  # type: ignore[method-assign]
    with with_images as terraform:
        configure(machine(wait_for='"healthy"').replace("IMAGE", plain))
        with pytest.raises(TerraformError, match="has no health check to wait for") as caught:
            terraform.plan()
        assert caught.value.diagnostics[0].attribute == "wait_for"
        override = '{ stoneware-healthcheck = "interval=1000\\ntrue" }'
        configure(machine(wait_for='"healthy"', metadata=override).replace("IMAGE", plain))
        terraform.apply()
        configure(machine(wait_for='"healthy"').replace("IMAGE", checked))
        terraform.apply()


def test_config_is_checked_before_the_creation_where_the_image_was_not_known(
    with_images: Terraform, configure: Configure, images: MemoryImages, platform: MemoryPlatform
) -> None:
    image_id = images.add("web", "latest", contract=CONTRACT)
    later = f'resource "terraform_data" "later" {{ input = "image:{image_id}" }}\n'
    configure(later + machine(config="{}").replace("IMAGE", "terraform_data.later.output"))
    with with_images as terraform:
        plan = terraform.plan()
        with pytest.raises(TerraformError, match="cannot start with this config"):
            terraform.apply(plan)
    assert platform.machines() == []


def test_interrupted_waiting_ends_soon(
    tmp_path: Path, configure: Configure, platform: MemoryPlatform
) -> None:
    """Terraform tells the provider to stop; the waiting ends then, long before its own timeout."""
    from stoneware.platforms.waiting import HelperChecks
    from stoneware.provider.machine_wait import wait_until

    platform.create(MachineSpec("m1", IMAGE))
    stopping = threading.Event()
    threading.Timer(0.1, stopping.set).start()
    with pytest.raises(MachineError, match="interrupted while the machine m1 was not healthy yet"):
        wait_until(platform, "m1", "healthy", 600, stopping=stopping, helper_checks=HelperChecks())
