"""The engine's parts that need neither Terraform nor machines."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stoneware.cluster import events, images
from stoneware.cluster.directory import ClusterDirectory
from stoneware.cluster.down import stop_order
from stoneware.cluster.inspect import inspect_files
from stoneware.cluster.model import Observed, ObservedMachine
from stoneware.cluster.secrets import put_secrets, read_secrets
from stoneware.cluster.waiting import Expected, MachinesFailed, Watch
from stoneware.compose.model import Build, SecretSource
from stoneware.errors import HostError, InputError
from stoneware.model.machine import FailedCheck, Health, MachineSpec, Phase
from stoneware.platforms.cluster_files import FileClusters, FileRecords
from stoneware.platforms.cluster_records import ClusterBusy
from stoneware.platforms.waiting import Goal, Level
from tests.cluster.engine import Recorder
from tests.cluster.support import BASE, cluster_of, observation_of, patched, wanted_of
from tests.platforms.memory import MemoryPlatform


class Clock:
    """A clock that goes on while somebody sleeps; `at` says what happens when."""

    def __init__(self) -> None:
        self.now = 100.0
        self.at: dict[float, Callable[[], None]] = {}

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for moment in sorted(self.at):
            if moment + 100 <= self.now:
                self.at.pop(moment)()


def locked(path: Path, command: str, *, timeout: float = 0.0) -> Any:
    return FileRecords(path).lock(command, timeout)


# -- the lock ----------------------------------------------------------------------------------------


def test_a_held_lock_says_who_has_it_and_since_when(tmp_path: Path) -> None:
    path = tmp_path / "shop"
    held = locked(path, "stoneware up")
    with held, pytest.raises(ClusterBusy) as raised, locked(path, "stoneware down"):
        pass
    assert raised.value.holder["command"] == "stoneware up"
    assert "is being changed by stoneware up" in raised.value.brief
    assert f"process {raised.value.holder['pid']} of " in raised.value.details
    assert "--lock-timeout" in raised.value.resolution
    assert raised.value.exit_code == 1


def test_a_lock_leaves_no_directory_of_its_own(tmp_path: Path) -> None:
    with locked(tmp_path / "shop", "stoneware down"):
        pass
    assert not (tmp_path / "shop").exists()
    with locked(tmp_path / "shop", "stoneware up"):
        (tmp_path / "shop/other").touch()
    assert (tmp_path / "shop/lock").read_text() == ""


def _hold(path: Path, held: Any, go: Any) -> None:
    with locked(path, "stoneware up"):
        held.set()
        go.wait(300)


@pytest.mark.tool
def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, go = context.Event(), context.Event()
    path = tmp_path / "shop"
    process = context.Process(target=_hold, args=(path, held, go))
    process.start()
    assert held.wait(300)
    with pytest.raises(ClusterBusy, match="stoneware up"), locked(path, "stoneware down"):
        pass
    process.kill()
    process.join()
    with locked(path, "stoneware down", timeout=300):
        pass


def test_waiting_for_a_lock_whose_directory_goes(tmp_path: Path) -> None:
    directory = ClusterDirectory(FileRecords(tmp_path / "shop"))
    entered = threading.Event()

    def second() -> None:
        with directory.lock("stoneware up", timeout=300):
            (directory.path / "here").touch()
            entered.set()

    with directory.lock("stoneware down"):
        (directory.path / "modules").mkdir()
        waiting = threading.Thread(target=second)
        waiting.start()
        directory.remove()
    assert entered.wait(300)
    waiting.join()
    assert (directory.path / "here").exists()


def test_clusters_are_those_that_were_applied(tmp_path: Path) -> None:
    assert FileClusters(tmp_path / "none").names() == []
    for name in ("b", "a", "only-locked"):
        (tmp_path / name).mkdir()
    for name in ("b", "a"):
        (tmp_path / name / "machines.auto.tfvars.json").write_text("{}")
    assert FileClusters(tmp_path).names() == ["a", "b"]


def test_a_cluster_remembers_the_file_it_came_from(tmp_path: Path) -> None:
    here, other = tmp_path / "a/machines.yaml", tmp_path / "b/machines.yaml"
    for path in (here, other):
        path.parent.mkdir()
        path.touch()
    directory = ClusterDirectory(FileRecords(tmp_path / "shop"))
    assert directory.other_file([here]) == ""  # it has none yet
    directory.path.mkdir()
    directory.keep_origin({"file": str(here)})
    assert directory.other_file([here, other]) == ""
    assert directory.other_file([other]) == str(here)
    assert directory.other_file([]) == ""
    (tmp_path / "link").symlink_to(here.parent)
    assert directory.other_file([tmp_path / "link/machines.yaml"]) == ""
    here.unlink()  # the project has moved
    assert directory.other_file([other]) == ""


# -- waiting -----------------------------------------------------------------------------------------


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


# -- secrets, images, inspection, order --------------------------------------------------------------


def test_all_missing_secrets_are_told_at_once(tmp_path: Path) -> None:
    cluster = cluster_of(patched(BASE, {"services": {"app": {"secrets": ["one", "two", "three"]}}}))
    (tmp_path / "three").write_bytes(b"\xff\x00 raw")
    sources = {
        "one": SecretSource("one", file=tmp_path / "one"),
        "two": SecretSource("two", variable="TWO"),
        "three": SecretSource("three", file=tmp_path / "three"),
        "unused": SecretSource("unused", variable="UNUSED"),
    }
    cluster = replace(cluster, secrets=sources)
    with pytest.raises(InputError) as raised:
        read_secrets(cluster, {})
    assert raised.value.brief == "2 secrets are missing"
    assert "TWO is not set" in raised.value.details
    (tmp_path / "one").write_text("first")
    values = read_secrets(cluster, {"TWO": "second"})
    assert set(values) == {"one", "two", "three"}
    assert "second" not in repr(values)
    platform = MemoryPlatform()
    versions = put_secrets(platform, "shop", values)
    assert platform._secrets["shop-three"] == {b"\xff\x00 raw": versions["three"]}
    assert put_secrets(platform, "shop", values) == versions


def test_services_that_share_an_image_bake_it_once() -> None:
    cluster = cluster_of(BASE)
    build = Build(Path("/work/app"), target="final", args={"A": "1"})
    services = {
        name: replace(service, build=build, image="shop-app") for name, service in cluster.services.items()
    }
    bakes = images.bakes_of(replace(cluster, services=services))
    (options, names) = bakes["shop-app"]
    assert names == ("db", "app", "web")
    assert (options.context, options.target, options.tags) == (Path("/work/app"), "final", ("shop-app",))
    services["web"] = replace(services["web"], build=replace(build, target=None))
    with pytest.raises(InputError, match="db and web bake one image"):
        images.bakes_of(replace(cluster, services=services))


def _observed(platform: MemoryPlatform, **phases: Phase) -> Observed:
    for name, phase in phases.items():
        platform.create(MachineSpec(f"c-{name}", "image:sha256:1"))
        platform.show(f"c-{name}", phase=phase)
    found = {name: platform.observe(f"c-{name}") for name in phases}
    machines = {name: ObservedMachine(machine) for name, machine in found.items() if machine is not None}
    return Observed("c", machines, frozenset(), frozenset())


def test_running_machines_are_asked_and_waited_for() -> None:
    platform, clock = MemoryPlatform(), Clock()
    observed = _observed(platform, a=Phase.RUNNING, b=Phase.RUNNING, off=Phase.STOPPED)

    def answer(name: str) -> Callable[[], None]:
        def put() -> None:
            machine = platform.observe(f"c-{name}")
            assert machine is not None
            nonce = machine.spec.metadata["stoneware-inspect"]
            platform.report(f"c-{name}", **{"stoneware/inspection": f"{nonce}\n"})

        return put

    clock.at = {1: answer("a"), 2: answer("b")}
    nonces = inspect_files(platform, observed, timeout=10, clock=clock, sleep=clock.sleep)
    assert set(nonces) == {"a", "b"}
    assert round(clock.now - 100) == 2
    assert inspect_files(platform, observed, timeout=3, clock=clock, sleep=clock.sleep) != nonces
    assert round(clock.now - 100) == 5  # old answers are none


def test_machines_stop_before_what_they_depend_on() -> None:
    desired = wanted_of()
    observed = observation_of(desired)
    assert stop_order(observed, desired) == [["web-1"], ["app-1", "app-2"], ["db-1"]]
    assert [sorted(group) for group in stop_order(observed, None)] == [["app-1", "app-2", "db-1", "web-1"]]


def test_a_full_disk_ends_the_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.add("a")

    def full() -> None:
        raise HostError("the store is full")

    monkeypatch.setattr(bench.platform, "check_helpers", full)
    with pytest.raises(HostError, match="the store is full"):
        bench.watch.until_all()
