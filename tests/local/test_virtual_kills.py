"""Virtual machines whose making is killed: nothing of them is left, and their image's disk stays."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from stoneware.model.machine import MachineSpec, Phase
from stoneware.model.resources import VolumeMount
from stoneware.platforms.local.host.requirements import TABLE
from stoneware.platforms.local.machines.qemu.disks import ROOT
from stoneware.platforms.local.machines.record import Paths, shown_processes
from stoneware.platforms.local.platform import LocalPlatform
from stoneware.platforms.local.store import btrfs
from stoneware.platforms.local.store.recover import recover
from stoneware.platforms.local.store.store import Store
from tests.local.kills import kill_at_work, lose_power
from tests.platforms.awaiting import awaited
from tests.stores import blank_store

pytestmark = pytest.mark.machine

# A machine's start is the same for all kinds, so what differs is made here: its disks and its volume's.
_WORK = """
import itertools, sys; from pathlib import Path; from stoneware.model.machine import MachineSpec
from stoneware.model.resources import VolumeMount
from stoneware.platforms.local.machines.start import make_directory
from stoneware.platforms.local.platform import LocalPlatform
from stoneware.platforms.local.store.store import Store
from tests.stores import blank_store
platform = LocalPlatform(Store.open(Path(sys.argv[1]))); mortal()
for number in itertools.count():
    if platform.observe("m") is not None: platform.destroy("m")
    spec = MachineSpec("m", "checkpoint:disk", vm=True, volumes=(VolumeMount("v", "/data"),))
    with platform.store.lock("machines", "m"), platform.volumes_of(spec):
        make_directory(platform.store, platform, spec, f"m{number:08d}")
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    lacking = [one.name for one in TABLE if one.name in ("qemu-system-x86_64", "OVMF", "tun") and one.quick()]
    if lacking:
        pytest.skip(f"virtual machines need {lacking}")
    with blank_store(tmp_path_factory.mktemp("kills") / "home") as made:
        with made.staging(made.data / "checkpoints") as staged:
            btrfs.create(staged / "rootfs")
            (staged / "rootfs" / ROOT).write_bytes(os.urandom(1 << 20))  # nothing boots from it
            made.save_checkpoint("disk", staged / "rootfs", {"form": "raw"})
        made.create_volume("v", {"a": "1"})
        yield made


def test_a_kill_leaves_nothing(store: Store) -> None:
    content = (store.checkpoint_rootfs("disk") / ROOT).read_bytes()
    for change in range(3, 60, 7):
        kill_at_work(store, _WORK, change)
        assert (store.checkpoint_rootfs("disk") / ROOT).read_bytes() == content
        assert dict(store.volume("v").labels) == {"a": "1"}
        # One that was never started is taken away as well.
        assert list((store.data / "machines").iterdir()) == []


def running(platform: LocalPlatform, name: str) -> Paths:
    """Return where a machine's files are, once its QEMU runs."""
    paths = Paths(platform.store.data / "machines" / name)
    awaited(platform, name, lambda _: shown_processes(paths).leader is not None)
    return paths


def test_those_that_ran_when_the_computer_lost_power(store: Store) -> None:
    platform = LocalPlatform(store)
    volumes = (VolumeMount("v", "/data"),)
    again = MachineSpec("again", "checkpoint:disk", vm=True, restart="always", volumes=volumes)
    for spec in (again, MachineSpec("over", "checkpoint:disk", vm=True)):
        platform.create(spec)
        paths = running(platform, spec.name)
        with (paths.disk / ROOT).open("r+b") as disk:
            disk.write(b"written before")
        lose_power(paths)
    assert recover(store) == ["started the machine again again after the reboot of this computer"]
    running(platform, "again")
    for name in ("again", "over"):
        with (Paths(store.data / "machines" / name).disk / ROOT).open("rb") as kept:
            assert kept.read(14) == b"written before"
    over = platform.observe("over")
    assert over is not None
    assert over.phase is Phase.STOPPED
    platform.start("over")
    running(platform, "over")
    for name in ("again", "over"):
        platform.destroy(name)
    assert list((store.data / "machines").iterdir()) == []
    assert dict(store.volume("v").labels) == {"a": "1"}
    assert recover(store) == []
