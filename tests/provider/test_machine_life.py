"""Machines that run, stop, fail and are waited for, driven by real Terraform."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from stoneware.errors import HostError, MachineError
from stoneware.model.machine import Health, Machine, MachineSpec, Phase
from stoneware.terraform.results import TerraformError
from stoneware.terraform.runner import Terraform
from tests.platforms.memory import MemoryPlatform

from .configurations import ADDRESS, machine, machines, values
from .conftest import IMAGE, Configure

pytestmark = pytest.mark.tool


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
    configure(machines(*(f"m{n}" for n in range(20))))
    assert terraform.apply().added == 20


def test_several_machines_that_fail_are_all_told(
    terraform: Terraform, configure: Configure, platform: MemoryPlatform
) -> None:
    platform.boot = lambda name: platform.show(name, phase=Phase.FAILED, error=f"{name} lacks GREETING")  # type: ignore[method-assign]
    configure(machines("m1", "m2", "m3", wait_for='"running"'))
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
