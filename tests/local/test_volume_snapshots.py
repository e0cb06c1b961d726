"""Snapshots of volumes: of one that a machine writes to, what they cost, and kills in the middle."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stoneware.errors import InputError
from stoneware.model.resources import VolumeMount
from stoneware.platforms.local.platform import LocalPlatform
from stoneware.platforms.local.store import btrfs, qgroups, usage
from stoneware.platforms.local.store.prune import settle
from stoneware.platforms.local.store.recover import teardown
from stoneware.platforms.local.store.store import Store
from tests.local.engine_lab import Bench
from tests.local.kills import kill_at_work

pytestmark = pytest.mark.machine
_MIB = 1 << 20


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    monkeypatch.setenv("STONEWARE_POOL_SIZE", "1G")
    made = Store.open(tmp_path / "home")
    yield made
    teardown(made, remove=True)
    assert not made.home.exists()


def test_a_database_is_rolled_back(lab: Bench) -> None:
    volume, rows = f"{lab.name}-v", "/run/stoneware/volumes/0/rows"
    lab.boot(volumes=(VolumeMount(volume, "/srv"),))
    try:
        assert lab.sh(f"echo old >{rows}") == 0  # no sync: the kernel writes it out first
        lab.platform.snapshot_volume(volume, "one")
        assert lab.sh(f"echo new >{rows}") == 0
        with pytest.raises(InputError, match="is in use") as caught:
            lab.platform.restore_volume(volume, "one")
        assert f"stoneware stop {lab.name}" in caught.value.resolution
        lab.platform.stop(lab.name)
        kept = lab.platform.restore_volume(volume, "one")
        assert kept is not None
        lab.platform.start(lab.name)
        lab.booted()
        assert lab.read(rows) == "old\n"
        assert lab.sh(f"echo more >>{rows}") == 0
        lab.platform.stop(lab.name)
        lab.platform.restore_volume(volume, kept.name)
        assert (lab.store.volume_path(volume) / "rows").read_text() == "new\n"
    finally:
        for one in lab.store.snapshots(volume):
            lab.store.remove_snapshot(volume, one.name)


def test_what_snapshots_hold_leaves_a_volume_its_size(store: Store) -> None:
    data = store.create_volume("v", size=64 * _MIB)

    def fill() -> None:
        with (data / "big").open("wb") as stream:
            stream.write(os.urandom(48 * _MIB))
            os.fsync(stream.fileno())

    fill()
    assert store.snapshot_volume("v", "one").size == 48 * _MIB
    fill()  # would be beyond 64 MiB with what the snapshot holds
    with store.volume_locks(["v"]):
        store.restore_volume_locked("v", "one")
    fill()
    if qgroups.mode(store.data) == qgroups.SIMPLE:
        figures = store.volume_figures("v")
        assert figures is not None
        assert figures.used >= 3 * 48 * _MIB
    for one in store.snapshots("v"):
        store.remove_snapshot("v", one.name)
    settle(store)
    store.limit_volume("v")
    figures = store.volume_figures("v")
    assert figures is not None
    assert (figures.limit, figures.used < 49 * _MIB) == (64 * _MIB, True)
    store.snapshot_volume("v", "last")
    store.remove_volume("v")
    (item,) = usage.measure(LocalPlatform(store)).items["snapshots"]
    assert (item.name, item.active) == ("v@last", False)
    if qgroups.mode(store.data) == qgroups.SIMPLE:
        assert 48 * _MIB <= (item.size or 0) < 49 * _MIB
    store.remove_snapshot("v", "last")
    settle(store)
    assert [*qgroups.groups(store.data, 1)] == []


def test_a_volume_that_a_snapshot_would_leave_something_out_of(store: Store) -> None:
    data = store.create_volume("v")
    btrfs.create(data / "inner")
    (data / "inner" / "file").write_text("lost")
    with pytest.raises(InputError, match="subvolumes inside") as caught:
        store.snapshot_volume("v", "one")
    assert caught.value.details == "/inner"
    assert store.snapshots() == []


_WORK = """
import sys; from pathlib import Path; from stoneware.platforms.local.store.store import Store
store = Store.open(Path(sys.argv[1])); mortal()
while True:
    for one in store.snapshots("v"):
        if one.name != "one": store.remove_snapshot("v", one.name)
    with store.volume_locks(["v"]):
        store.restore_volume_locked("v", "one")
    data = store.volume_path("v")
    data.joinpath("new").write_text("changed")  # a kill in the middle of a plain write leaves an empty file
    data.joinpath("new").rename(data / "file")
"""


def test_a_kill_leaves_nothing_broken(store: Store) -> None:
    data = store.create_volume("v", {"a": "1"})
    (data / "file").write_text("as it was")
    store.snapshot_volume("v", "one")
    for change in range(1, 100, 9):  # a round of the work has fifty
        kill_at_work(store, _WORK, change)
        assert (data / "file").read_text() in ("as it was", "changed")
        assert dict(store.volume("v").labels) == {"a": "1"}
        assert "one" in [one.name for one in store.snapshots("v")]
    with store.volume_locks(["v"]):
        store.restore_volume_locked("v", "one")
    assert (data / "file").read_text() == "as it was"
