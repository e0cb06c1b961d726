"""Taking a whole store down: what is done, in which order, and what a fault keeps."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from stoneware.errors import MachineError
from stoneware.model.machine import MachineSpec
from stoneware.platforms.local.machines import stop
from stoneware.platforms.local.machines.record import Paths
from stoneware.platforms.local.store import pool as store_pool
from stoneware.platforms.local.store import recover as recovery
from stoneware.platforms.local.store import walls as store_walls
from stoneware.platforms.local.store.store import Store
from tests.local.plain_store import plain_store, put_machine, runs_as

pytestmark = pytest.mark.pure

SPEC = MachineSpec("m1", f"image:sha256:{'0' * 64}")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    return plain_store(tmp_path / "home", monkeypatch)


@pytest.fixture
def taken_down(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done to a store, in order."""
    done: list[str] = []
    router = "stoneware.platforms.local.network.router.teardown"
    monkeypatch.setattr(router, lambda _: done.append("router"))
    monkeypatch.setattr(store_pool, "unmount", lambda _: done.append("mount"))
    return done


def test_a_store_is_taken_down_after_its_machines_and_kept(
    store: Store, taken_down: list[str], process: subprocess.Popen[bytes]
) -> None:
    runs_as(put_machine(store, SPEC), process.pid)
    recovery.teardown(store)
    assert process.wait(60) == -9
    assert taken_down == ["router", "mount"]
    assert (store.data / "machines/m1/spec.json").exists()


def test_a_machine_that_cannot_be_ended_keeps_no_other_running(
    store: Store, taken_down: list[str], process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    end = stop.kill

    def kill_or_fail(paths: Paths) -> None:
        if paths.name == "m0":
            raise MachineError("it stays")
        end(paths)

    monkeypatch.setattr(stop, "kill", kill_or_fail)
    put_machine(store, replace(SPEC, name="m0"))
    runs_as(put_machine(store, SPEC), process.pid)
    recovery.teardown(store)
    assert process.wait(60) == -9
    assert taken_down == ["router", "mount"]


def test_a_mount_that_is_busy_is_tried_until_it_goes(
    store: Store, taken_down: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted = [True, True, False]
    monkeypatch.setattr(store_walls, "is_mount_point", lambda _: mounted.pop(0))
    recovery.teardown(store)
    assert taken_down == ["router", "mount", "mount", "mount"]


def test_a_store_is_removed_with_all_that_is_in_it(store: Store, taken_down: list[str]) -> None:
    put_machine(store, SPEC)
    recovery.teardown(store, remove=True)
    assert taken_down == ["router", "mount"]
    assert not store.home.exists()
