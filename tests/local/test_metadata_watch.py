"""Waiting for changes, with and without the kernel's help."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest

from stoneware.files import write_json
from stoneware.platforms.local.metadata import watch as metadata_watch
from stoneware.platforms.local.metadata.state import stamps
from stoneware.platforms.local.metadata.watch import Watcher


def watcher(tmp_path: Path, *, inotify: bool = True) -> Watcher:
    return Watcher(lambda machine: stamps(machine, tmp_path / "project.json"), use_inotify=inotify)


async def change(path: Path, value: object) -> None:
    await asyncio.sleep(0.05)
    write_json(path, value)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    directory = tmp_path / "m1"
    directory.mkdir()
    write_json(directory / "metadata.json", {})
    return directory


@pytest.mark.parametrize("inotify", [True, False])
@pytest.mark.parametrize("name", ["metadata.json", "spec.json", "../project.json"])
def test_a_change_wakes_all_waiters(tmp_path: Path, machine: Path, inotify: bool, name: str) -> None:
    async def scenario() -> list[bool]:
        subject = watcher(tmp_path, inotify=inotify)
        since = stamps(machine, tmp_path / "project.json")
        waits = [subject.changed(machine, since, 60) for _ in range(3)]
        woken, _ = await asyncio.gather(asyncio.gather(*waits), change(machine / name, {"a": 1}))
        return woken

    assert asyncio.run(scenario()) == [True] * 3


@pytest.mark.parametrize("inotify", [True, False])
def test_a_change_before_the_wait_is_not_missed(tmp_path: Path, machine: Path, inotify: bool) -> None:
    async def scenario() -> bool:
        since = stamps(machine, tmp_path / "project.json")
        write_json(machine / "metadata.json", {"a": 1})
        return await watcher(tmp_path, inotify=inotify).changed(machine, since, 10)

    assert asyncio.run(scenario())


@pytest.mark.parametrize("inotify", [True, False])
def test_waiting_ends_with_the_timeout_and_may_begin_anew(
    tmp_path: Path, machine: Path, inotify: bool
) -> None:
    async def scenario() -> tuple[bool, bool, bool]:
        subject = watcher(tmp_path, inotify=inotify)
        since = stamps(machine, tmp_path / "project.json")
        first = await subject.changed(machine, since, 0.05)
        second, _ = await asyncio.gather(
            subject.changed(machine, since, 10), change(machine / "metadata.json", {"b": 1})
        )
        now = stamps(machine, tmp_path / "project.json")
        third, _ = await asyncio.gather(
            subject.changed(machine, now, 10), change(machine / "metadata.json", {"c": 1})
        )
        return first, second, third

    assert asyncio.run(scenario()) == (False, True, True)


def test_a_machine_that_goes_away_wakes(tmp_path: Path, machine: Path) -> None:
    async def remove() -> None:
        await asyncio.sleep(0.05)
        machine.rename(tmp_path / "gone")

    async def scenario() -> bool:
        since = stamps(machine, tmp_path / "project.json")
        woken, _ = await asyncio.gather(watcher(tmp_path).changed(machine, since, 10), remove())
        return woken

    assert asyncio.run(scenario())


def test_without_an_inotify_instance_it_looks_often(
    tmp_path: Path, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refused:
        def __init__(self) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(metadata_watch, "Inotify", Refused)
    test_a_change_wakes_all_waiters(tmp_path, machine, True, "metadata.json")
