"""A store that btrfs has made read-only: in which order it comes back to life, and when it cannot."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from stoneware.errors import HostError
from stoneware.platforms.local.machines import kill as machine_kill
from stoneware.platforms.local.machines.record import Paths
from stoneware.platforms.local.network import router as routers
from stoneware.platforms.local.store import errors as store_errors
from stoneware.platforms.local.store import pool as store_pool
from stoneware.platforms.local.store import revive as reviving
from stoneware.platforms.local.store import walls as store_walls
from stoneware.platforms.local.store.revive import revive
from stoneware.process import ProcessError

pytestmark = pytest.mark.pure


class Computer:
    """A computer on which a store is mounted read-only: what is done to it, and what it does then."""

    def __init__(self, home: Path) -> None:
        self.home, self.data = home, home / "data"
        self.done: list[str] = []
        self.alive = {"web", "db"}
        self.mounted = True
        self.read_only = True
        self.free = 1 << 40
        self.busy = 0  # so many times unmounting fails

    def processes(self, paths: Paths) -> SimpleNamespace:
        return SimpleNamespace(alive=paths.name in self.alive)

    def kill(self, paths: Paths) -> None:
        self.done.append(f"kill {paths.name}")

    def unmount(self, home: Path) -> None:
        assert home == self.home
        if self.busy:
            self.busy -= 1
            raise ProcessError(["umount"], 32, "target is busy")
        self.done.append("unmount")
        self.mounted = False

    def mount(self, home: Path) -> None:
        assert home == self.home
        self.done.append("mount")
        self.mounted = True

    def teardown(self, _store: object) -> None:
        self.done.append("router")


def _patient(check: Callable[[], bool], _seconds: float) -> bool:
    return any(check() for _ in range(5))


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Computer:
    made = Computer(tmp_path)
    (tmp_path / "pool.btrfs").touch()
    for name in ("web", "db", "old", ".staged-x"):
        (tmp_path / "data/machines" / name).mkdir(parents=True)
    monkeypatch.setattr(reviving, "shown_processes", made.processes)
    monkeypatch.setattr(machine_kill, "kill", made.kill)
    monkeypatch.setattr(machine_kill, "wait_until", _patient)
    monkeypatch.setattr(routers, "teardown", made.teardown)
    monkeypatch.setattr(store_pool, "unmount", made.unmount)
    monkeypatch.setattr(store_pool, "mount", made.mount)
    monkeypatch.setattr(store_walls, "is_mount_point", lambda _path: made.mounted)
    monkeypatch.setattr(store_errors, "is_read_only", lambda _path: "mount" not in made.done)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=made.free))
    return made


def test_what_cannot_write_ends_before_the_store_is_mounted_again(computer: Computer) -> None:
    computer.busy = 2  # what was open is let go of a moment later
    told = revive(computer)
    assert computer.done == ["kill db", "kill web", "router", "unmount", "mount"]
    assert "mounted it again" in told[0]
    assert told[1].endswith("stoneware start db web")


def test_without_machines_there_is_nothing_to_start_again(computer: Computer) -> None:
    computer.alive = set()
    assert len(revive(computer)) == 1


@pytest.mark.parametrize("lacking", ["room", "pool"])
def test_nothing_is_touched_where_it_would_not_help(computer: Computer, lacking: str) -> None:
    if lacking == "room":
        computer.free = 1 << 10
    else:
        (computer.home / "pool.btrfs").unlink()
    with pytest.raises(HostError, match="is read-only"):
        revive(computer)
    assert computer.done == []


def test_a_program_that_uses_the_store_is_asked_for(computer: Computer) -> None:
    computer.busy = 99
    with pytest.raises(HostError, match="a program still uses it") as told:
        revive(computer)
    assert told.value.resolution.startswith(f"fuser -vm {computer.data}")


def test_a_store_that_cannot_be_mounted_is_held_elsewhere(
    computer: Computer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_pool, "mount", lambda home: computer.done.append(f"try {home.name}"))
    with pytest.raises(HostError, match="keeps it from being mounted"):
        revive(computer)
    assert len(computer.done) > 5, "it is tried more than once: other namespaces let go later"


def test_a_store_that_stays_read_only_is_told(computer: Computer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_errors, "is_read_only", lambda _path: True)
    with pytest.raises(HostError, match="is read-only") as told:
        revive(computer)
    assert "again does not help" in told.value.details
