"""The one loop that waits for machines."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from stoneware.errors import HostError
from stoneware.model.machine import Health, MachineSpec, Phase
from stoneware.platforms.waiting import (
    Fault,
    Goal,
    HelperChecks,
    Level,
    Waiter,
    account,
    console_tail,
    wait_for,
)
from tests.platforms.memory import MemoryPlatform


class Time:
    """A clock that a pause moves by a second; what is to happen at a moment happens then."""

    def __init__(self, **at: Callable[[], object]) -> None:
        self.now = 0.0
        self.at = {float(moment.lstrip("s")): act for moment, act in at.items()}

    def __call__(self) -> float:
        return self.now

    def pause(self, _seconds: float) -> None:
        self.now += 1.0
        if act := self.at.pop(self.now, None):
            act()


@pytest.fixture
def platform() -> MemoryPlatform:
    found = MemoryPlatform()
    found.create(MachineSpec("m1", "image:sha256:1"))
    found.show("m1", phase=Phase.BOOTING, health=Health.NONE)
    return found


def shown(platform: MemoryPlatform, **observed: Any) -> Callable[[], None]:
    return lambda: platform.show("m1", **observed)


@pytest.mark.parametrize(
    ("goal", "observed", "fault"),
    [
        (Goal("m1"), {"phase": Phase.RUNNING}, None),
        (Goal("m1"), {"phase": Phase.FAILED}, Fault.FAILED),
        (Goal("m1"), {"phase": Phase.DAMAGED}, Fault.FAILED),
        (Goal("m1"), {"phase": Phase.STOPPED}, Fault.STOPPED),
        (Goal("m1"), {"phase": Phase.STOPPING}, Fault.LATE),  # it may be started again
        (Goal("m1", stopping_fails=True), {"phase": Phase.STOPPING}, Fault.STOPPED),
        (Goal("m1", healthy=True), {"phase": Phase.RUNNING, "health": Health.HEALTHY}, None),
        (Goal("m1", healthy=True), {"phase": Phase.RUNNING, "health": Health.STARTING}, Fault.LATE),
        (Goal("m1", healthy=True), {"phase": Phase.RUNNING, "health": Health.UNHEALTHY}, Fault.UNHEALTHY),
        (
            Goal("m1", healthy=True, patient=True),
            {"phase": Phase.RUNNING, "health": Health.UNHEALTHY},
            Fault.LATE,
        ),
        (Goal("m1", config_digest="sha256:2"), {"phase": Phase.RUNNING}, Fault.LATE),
        (Goal("m1", config_digest="sha256:2"), {"phase": Phase.RUNNING, "config_digest": "sha256:2"}, None),
    ],
)
def test_a_wait_ends_with_the_machine_or_with_why_not(
    platform: MemoryPlatform, goal: Goal, observed: dict[str, Any], fault: Fault | None
) -> None:
    time = Time(s2=shown(platform, **observed))
    wait = wait_for(platform, goal, 10, clock=time, pause=time.pause)
    assert wait.fault is fault
    assert (wait.level is Level.REACHED) == (fault is None)
    assert time.now == (10 if fault is Fault.LATE else 2)


def test_a_machine_that_is_gone(platform: MemoryPlatform) -> None:
    time = Time(s2=lambda: platform.destroy("m1"))
    wait = wait_for(platform, Goal("m1"), 10, clock=time, pause=time.pause)
    assert (wait.fault, wait.machine) == (Fault.GONE, None)


@pytest.mark.parametrize("after", [{"phase": Phase.STOPPED}, {"phase": Phase.BOOTING}, {"started": 99.0}])
def test_a_machine_that_has_to_settle_goes_on_running(
    platform: MemoryPlatform, after: dict[str, Any]
) -> None:
    time = Time(s9=shown(platform, phase=Phase.RUNNING), s12=shown(platform, **after))
    wait = wait_for(platform, Goal("m1", settle=5), 10, clock=time, pause=time.pause)
    assert (wait.fault, wait.lasted) == (Fault.ENDED, 3)
    time = Time(s9=shown(platform, phase=Phase.RUNNING))
    platform.show("m1", phase=Phase.BOOTING)
    wait = wait_for(platform, Goal("m1", settle=5), 10, clock=time, pause=time.pause)
    assert (wait.fault, time.now) == (None, 14)  # its time to come up was over, but it was up


def test_each_machine_is_waited_for_as_far_as_is_asked(platform: MemoryPlatform) -> None:
    platform.create(MachineSpec("m2", "image:sha256:1"))
    platform.show("m2", phase=Phase.BOOTING, health=Health.NONE)
    time = Time(
        s1=shown(platform, phase=Phase.RUNNING, health=Health.STARTING),
        s3=lambda: platform.show("m2", phase=Phase.FAILED),
        s4=shown(platform, health=Health.HEALTHY),
    )
    seen = []
    waiter = Waiter(
        platform, time, time.pause, seen=lambda key, wait: seen.append((time.now, key, wait.level))
    )
    waiter.add("a", Goal("m1", healthy=True), 60)
    waiter.add("b", Goal("m2", healthy=True), 60)
    waiter.until({"a": Level.RUNNING, "nobody": Level.REACHED})
    assert time.now == 1
    waiter.until({"a": Level.REACHED, "b": Level.REACHED})
    assert time.now == 4
    assert waiter.waits["b"].fault is Fault.FAILED
    assert [key for now, key, _ in seen if now >= 4] == ["a"]  # the other one is not looked at any more
    assert seen[-1] == (4, "a", Level.REACHED)


def test_an_interrupted_wait(platform: MemoryPlatform) -> None:
    stopping = threading.Event()
    stopping.set()
    assert wait_for(platform, Goal("m1"), 600, pause=stopping.wait).fault is Fault.INTERRUPTED


def test_waiting_in_vain_ends(platform: MemoryPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise HostError("the disk is full")

    monkeypatch.setattr(platform, "check_helpers", full)
    time = Time()
    with pytest.raises(HostError, match="full"):
        wait_for(platform, Goal("m1"), 600, clock=time, pause=time.pause)
    assert time.now == 1


def test_a_tender_tends_once_a_second_for_all(
    platform: MemoryPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: list[float] = []
    time = Time()
    monkeypatch.setattr(platform, "check_helpers", lambda: times.append(time.now))
    helper_checks = HelperChecks(time)
    for now in (0.5, 0.9, 1.0, 1.5, 1.9, 2.0, 2.1):
        time.now = now
        helper_checks.check(platform)
    assert times == [1.0, 2.0]
    HelperChecks(time, at_once=True).check(platform)
    assert times == [1.0, 2.0, 2.1]


def test_the_end_of_a_console(platform: MemoryPlatform) -> None:
    platform._consoles["m1"] = b"".join(b"%d\r\n" % number for number in range(30))
    assert console_tail(platform, "m1", 3) == "27\n28\n29"
    platform.show("m1", error="the config is wrong")
    machine = platform.observe("m1")
    assert machine is not None
    assert account(platform, machine).splitlines()[0] == "the config is wrong"
    assert account(platform, machine).splitlines()[1:] == [str(number) for number in range(18, 30)]
    platform.destroy("m1")
    assert console_tail(platform, "m1") == ""
