"""What a finished bake leaves to a process of its own, and who removes it where that process is killed."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from stoneware.bake.workdir import recover, workspace
from stoneware.files import locked
from stoneware.model.machine import MachineSpec, Phase
from stoneware.platforms.protocols import Images
from stoneware.provider.builders import remove_builders
from tests.bake.bake_store import BakeStore
from tests.bake.conftest import Context
from tests.bake.faults import Baking, eventually, tidy
from tests.platforms.memory import MemoryPlatform

StartBake = Callable[..., Baking]


class Left:
    """Stands for the process that a bake starts: it holds the lock until it is ended."""

    def __init__(self) -> None:
        self.builds: list[str] = []
        self._lock = -1

    def __call__(self, build_id: str, lock: int) -> None:
        self.builds.append(build_id)
        self._lock = os.dup(lock)

    def end(self) -> None:
        os.close(self._lock)


@pytest.fixture
def store(tmp_path: Path) -> Images:
    (tmp_path / "builds").mkdir()
    return BakeStore(tmp_path)


@pytest.fixture
def platform() -> MemoryPlatform:
    return MemoryPlatform()


def begin(directory: Path, platform: MemoryPlatform) -> None:
    """Do what a bake does that makes a builder."""
    (directory / "secret-token").write_text("hidden")
    (directory / "stage-0").mkdir()
    (directory / "stage-0/secret-patterns").write_text("hidden")
    platform.create(MachineSpec(f"{directory.name}-0", "checkpoint:base", kind="builder"))


def test_a_finished_bake_hands_its_lock_over_and_keeps_no_secret(
    store: Images, platform: MemoryPlatform
) -> None:
    left = Left()
    with workspace(store, platform, left) as directory:
        begin(directory, platform)
    assert left.builds == [directory.name]
    assert not list(directory.rglob("secret-*"))
    with pytest.raises(TimeoutError), locked(store.build_lock_path(directory.name), timeout=0):
        pass
    assert recover(store, platform) == []  # somebody does it
    assert recover(store, platform, patience=0.05) == []
    assert directory.is_dir()
    left.end()
    [said] = recover(store, platform)
    assert said == f"removed what the interrupted bake {directory.name} had left: its builder is destroyed"
    assert not directory.exists()
    assert platform.machines() == []


def test_a_bake_that_failed_leaves_its_builder_to_the_next_command(
    store: Images, platform: MemoryPlatform
) -> None:
    left = Left()
    places = []

    def bake() -> None:
        with workspace(store, platform, left) as directory:
            places.append(directory)
            begin(directory, platform)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bake()
    [directory] = places
    assert left.builds == []
    assert directory.is_dir()
    with locked(store.build_lock_path(directory.name), timeout=0):
        pass


def test_nothing_is_left_where_there_is_no_builder(store: Images, platform: MemoryPlatform) -> None:
    left = Left()
    with workspace(store, platform, left) as directory:
        (directory / "stage-0").mkdir()
    assert left.builds == []
    assert not directory.exists()
    assert not store.build_lock_path(directory.name).exists()


@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.DAMAGED])
def test_a_machine_whose_records_are_gone_is_removed_with_its_bake(
    platform: MemoryPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: Phase
) -> None:
    """A crash of the computer may empty a builder's records: then nothing says any more what it was."""
    for name in ("bake-1-0", "bake-12-0"):
        platform.create(MachineSpec(name, "checkpoint:base"))
    known = platform.machines()
    monkeypatch.setattr(platform, "machines", lambda: [replace(each, phase=phase) for each in known])
    bake = tmp_path / "bake-1"
    bake.mkdir()
    assert remove_builders(platform, bake) == (phase is Phase.DAMAGED)
    monkeypatch.undo()
    left = {machine.name for machine in platform.machines()}
    assert left == {"bake-12-0"} | ({"bake-1-0"} if phase is Phase.RUNNING else set())


@pytest.fixture
def one(context: Context) -> Context:
    context.write({"Machinefile": "FROM debian:12\nRUN echo one >/one\n"})
    return context


def removals(home: Path) -> list[int]:
    """Return the processes that remove builders of a store."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            own = f"STONEWARE_HOME={home}".encode() in (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"stoneware.cli.bake_removal" in words and own:
            found.append(int(entry.name))
    return found


def held(home: Path) -> int:
    """Hold the process that removes builders of a store as soon as there is one, and return it."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        for pid in removals(home):
            os.kill(pid, signal.SIGSTOP)
            return pid
        time.sleep(0.002)
    raise AssertionError("no process removes the builder")


@pytest.mark.machine
def test_a_bake_returns_before_its_builder_is_removed(one: Context, start_bake: StartBake) -> None:
    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(held, one.home)
        baking = start_bake()
        image = baking.result()["image_id"]
        removal = holding.result()
    assert baking.builder().root.is_dir()
    os.kill(removal, signal.SIGCONT)
    assert one.run("ps", "-aq") == ("", ""), "it waits for the end"
    assert not list((one.home / "data/builds").iterdir())
    assert eventually(lambda: removal not in removals(one.home))
    assert image in {found["id"] for found in json.loads(one.run("images", "--json")[0])}
    assert tidy(one.home)


@pytest.mark.machine
def test_the_next_command_does_what_a_killed_removal_has_not(one: Context, start_bake: StartBake) -> None:
    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(held, one.home)
        baking = start_bake()
        assert baking.end() == 0
        os.kill(holding.result(), signal.SIGKILL)
    assert "had left: its builder is destroyed" in one.run("ps")[1]
    assert one.run("ps", "-aq") == ("", "")
    assert tidy(one.home)
