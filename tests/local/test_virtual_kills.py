"""Virtual machines whose making is killed: nothing of them is left, and their image's disk stays."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from stoneware.platforms.local.host.requirements import TABLE
from stoneware.platforms.local.machines.qemu.disks import ROOT
from stoneware.platforms.local.store import btrfs
from stoneware.platforms.local.store.store import Store
from tests.local.kills import kill_at_work
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
        yield made


def test_a_kill_leaves_nothing(store: Store) -> None:
    content = os.urandom(1 << 20)
    with store.staging(store.data / "checkpoints") as staged:
        btrfs.create(staged / "rootfs")
        (staged / "rootfs" / ROOT).write_bytes(content)
        store.save_checkpoint("disk", staged / "rootfs", {"form": "raw"})
    store.create_volume("v", {"a": "1"})
    for change in range(3, 60, 7):
        kill_at_work(store, _WORK, change)
        assert (store.checkpoint_rootfs("disk") / ROOT).read_bytes() == content
        assert dict(store.volume("v").labels) == {"a": "1"}
        # One that was never started is taken away as well.
        assert list((store.data / "machines").iterdir()) == []
