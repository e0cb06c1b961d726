"""The engine's parts that need neither Terraform nor machines."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stoneware.cluster import images
from stoneware.cluster.directory import ClusterDirectory
from stoneware.cluster.down import stop_order
from stoneware.cluster.inspect import inspect_files
from stoneware.cluster.model import Observed, ObservedMachine
from stoneware.cluster.secrets import put_secrets, read_secrets
from stoneware.compose.model import Build, SecretSource
from stoneware.errors import InputError
from stoneware.model.machine import MachineSpec, Phase
from stoneware.platforms.cluster_files import FileClusters, FileRecords
from stoneware.platforms.cluster_records import ClusterBusy
from tests.cluster.support import BASE, Clock, cluster_of, observation_of, patched, wanted_of
from tests.platforms.memory import MemoryPlatform


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
