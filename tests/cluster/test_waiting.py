"""Waiting for the machines of a cluster, over a platform in memory and a clock of its own."""

from __future__ import annotations

from typing import Any

import pytest

from stoneware.cluster import events
from stoneware.cluster.waiting import Expected, MachinesFailed, Watch
from stoneware.errors import HostError
from stoneware.model.machine import FailedCheck, Health, MachineSpec, Phase
from stoneware.platforms.waiting import Goal, Level
from tests.cluster.engine import Recorder
from tests.cluster.support import Clock
from tests.platforms.memory import MemoryPlatform


class Bench:
    def __init__(self, timeout: float = 60) -> None:
        self.platform = MemoryPlatform()
        self.clock = Clock()
        self.recorder = Recorder()
        self.watch = Watch(self.platform, self.recorder, timeout, self.clock, self.clock.sleep)

    def add(
        self, name: str, *, action: str = "create", checked: bool = True, settled: bool = False, **more: Any
    ) -> None:
        self.platform.create(MachineSpec(f"c-{name}", "image:sha256:1"))
        self.platform.show(f"c-{name}", phase=Phase.BOOTING, health=Health.NONE)
        goal = Goal(f"c-{name}", healthy=checked, stopping_fails=True, **more)
        self.watch.add(Expected(name, action, goal, settled))

    def later(self, seconds: float, name: str, **observed: Any) -> None:
        self.clock.at[seconds] = lambda: self.platform.show(f"c-{name}", **observed)


def test_machines_are_watched_until_they_are_healthy() -> None:
    bench = Bench()
    bench.add("a")
    bench.add("b", checked=False)
    bench.later(1, "a", phase=Phase.RUNNING, health=Health.STARTING)
    bench.later(2, "b", phase=Phase.RUNNING)
    bench.later(3, "a", health=Health.HEALTHY)
    bench.watch.until_all()
    done = bench.recorder.of(events.MachineFinished)
    assert [(event.name, event.state) for event in done] == [("b", "running"), ("a", "healthy")]
    assert [round(event.seconds) for event in done] == [2, 3]
    states = [(event.phase, event.health) for event in bench.recorder.of(events.MachineProgress)
              if event.name == "a"]  # fmt: skip
    assert states == [("booting", "none"), ("running", "starting"), ("running", "healthy")]


def test_running_is_enough_where_it_is_asked_for() -> None:
    bench = Bench()
    bench.add("a")
    bench.later(1, "a", phase=Phase.RUNNING, health=Health.STARTING)
    bench.watch.until({"a": Level.RUNNING})
    assert round(bench.clock.now - 100) == 1


@pytest.mark.parametrize(
    ("observed", "reason"),
    [
        ({"phase": Phase.FAILED, "error": "the config is wrong"}, "failed: the config is wrong"),
        ({"phase": Phase.STOPPED, "exit_code": 3}, "has stopped (exit code 3)"),
        ({"phase": Phase.RUNNING, "health": Health.UNHEALTHY}, "is unhealthy"),
    ],
)
def test_what_will_not_come_up_is_not_waited_for(observed: dict[str, Any], reason: str) -> None:
    bench = Bench()
    bench.add("a")
    bench.add("b")
    bench.later(1, "a", **observed)
    bench.later(2, "b", phase=Phase.RUNNING, health=Health.HEALTHY)
    with pytest.raises(MachinesFailed) as raised:
        bench.watch.until_all()
    assert raised.value.brief == f"the machine a {reason}"
    assert "c-a boots" in raised.value.details
    assert raised.value.resolution.startswith("stoneware logs c-a ")
    assert [event.name for event in bench.recorder.of(events.MachineFinished)] == ["b"]  # it was waited for


@pytest.mark.parametrize(
    ("seconds", "observed", "reason"),
    [
        (
            2,
            {"phase": Phase.STOPPED, "exit_code": 0},
            "was up for 1.0 seconds only, then it stopped (exit code 0)",
        ),
        (
            2,
            {"phase": Phase.FAILED, "error": "it ended with exit code 7\nno such mode\n"},
            "was up for 1.0 seconds only, then it failed: it ended with exit code 7",
        ),
        (2, {"started": 200.0}, "was up for 1.0 seconds only, then it was started again"),
        (4, {"phase": Phase.STOPPED, "exit_code": 0}, ""),
    ],
)
def test_without_a_health_check_it_has_to_be_up_for_a_moment(
    seconds: float, observed: dict[str, Any], reason: str
) -> None:
    bench = Bench()
    bench.add("a", checked=False, settle=2.0)
    bench.later(1, "a", phase=Phase.RUNNING)
    bench.later(seconds, "a", **observed)
    bench.watch.until({"a": Level.RUNNING})
    assert round(bench.clock.now - 100) == 1  # enough for those that need it to be started
    if not reason:
        bench.watch.until_all()
        assert round(bench.clock.now - 100) == 3
        return
    with pytest.raises(MachinesFailed) as raised:
        bench.watch.until_all()
    assert raised.value.brief == f"the machine a {reason}"
    assert ("\n  > no such mode\n" in raised.value.details) is ("exit code 7" in reason)


def test_what_an_unhealthy_machines_check_says_is_told_with_a_hint_that_is_no_loop() -> None:
    bench = Bench()
    bench.add("db-1")
    check = FailedCheck(7, 3, "trying\nconnection refused\n")
    bench.later(1, "db-1", phase=Phase.RUNNING, health=Health.UNHEALTHY, failed_check=check)
    with pytest.raises(MachinesFailed) as raised:
        bench.watch.until_all()
    error = raised.value
    assert (
        "its health check failed 3 times in a row, with exit code 7:\n  > trying\n  > connection refused"
        in (error.details)
    )
    first, second = error.resolution.splitlines()
    assert first.startswith("stoneware logs c-db-1 ")
    assert second.endswith("if they are: stoneware restart c-db-1")
    shown = [event.line for event in bench.recorder.of(events.MachineProgress)]
    assert "its health check failed with exit code 7: connection refused" in shown


def test_a_check_that_says_nothing() -> None:
    assert FailedCheck(1, 1, " \n").lines == [
        "its health check failed once, with exit code 1, without output"
    ]
    assert FailedCheck(1, 2, "").line == "its health check failed with exit code 1"
    assert len(FailedCheck(1, 2, "x" * 5000).line) < 300


def test_each_machine_has_its_time() -> None:
    bench = Bench(timeout=10)
    bench.add("a")
    bench.clock.at[5] = lambda: bench.add("b")
    while bench.clock.now < 106:
        bench.clock.sleep(1)
    with pytest.raises(MachinesFailed, match="2 machines did not come up: a, b") as raised:
        bench.watch.until_all()
    assert "was not healthy within 10 seconds" in raised.value.details
    assert round(bench.clock.now - 100) == 15


def test_a_config_has_to_be_in_use_and_old_illness_is_no_failure() -> None:
    bench = Bench()
    bench.add("a", action="update config", config_digest="sha256:new", patient=True)
    bench.platform.show("c-a", phase=Phase.RUNNING, health=Health.UNHEALTHY, config_digest="sha256:old")
    bench.later(2, "a", config_digest="sha256:new")
    bench.later(4, "a", health=Health.HEALTHY)
    bench.watch.until_all()
    assert round(bench.clock.now - 100) == 4


def test_a_machine_that_goes_away_is_missed() -> None:
    bench = Bench()
    bench.add("a")
    bench.clock.at[1] = lambda: bench.platform.destroy("c-a")
    with pytest.raises(MachinesFailed, match="the machine a is gone"):
        bench.watch.until_all()


def test_what_is_well_already_is_not_talked_about() -> None:
    bench = Bench()
    bench.add("a", action="nothing", settled=True)
    bench.platform.show("c-a", phase=Phase.RUNNING, health=Health.HEALTHY)
    bench.watch.until_all()
    assert bench.recorder.seen == []


def test_the_platform_is_looked_after_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(timeout=5)
    times = []
    monkeypatch.setattr(bench.platform, "check_helpers", lambda: times.append(bench.clock.now))
    bench.add("a")
    with pytest.raises(MachinesFailed):
        bench.watch.until_all()
    assert 4 <= len(times) <= 5


def test_a_full_disk_ends_the_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.add("a")

    def full() -> None:
        raise HostError("the store is full")

    monkeypatch.setattr(bench.platform, "check_helpers", full)
    with pytest.raises(HostError, match="the store is full"):
        bench.watch.until_all()
