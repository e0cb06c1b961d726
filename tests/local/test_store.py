"""The store: versions, checkpoints, images, tags, volumes, leftovers, and that opening it is quick."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stoneware.errors import HostError, InputError
from stoneware.model.limits import SMALLEST_DISK
from stoneware.platforms.local.machines.stop import wait_until
from stoneware.platforms.local.platform import LocalPlatform
from stoneware.platforms.local.store import btrfs, qgroups, quota, usage
from stoneware.platforms.local.store import errors as store_errors
from stoneware.platforms.local.store.recover import recover, teardown
from stoneware.platforms.local.store.store import Store
from tests.local.engine_lab import Bench
from tests.local.kills import kill_before

pytestmark = pytest.mark.machine

SMALL = "1G"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    monkeypatch.setenv("STONEWARE_POOL_SIZE", SMALL)
    made = Store.open(tmp_path / "home")
    yield made
    teardown(made, remove=True)
    assert not made.home.exists()


@pytest.fixture
def root(store: Store) -> Path:
    path = store.data / "machines" / "root"
    btrfs.create(path)
    (path / "file").write_text("one")
    return path


def test_opening_again_starts_nothing_and_the_pool_is_sparse(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as nothing:
        nothing.setattr(subprocess, "Popen", None)
        Store.open(store.home)
    pool = store.home / "pool.btrfs"
    assert pool.stat().st_size == 1 << 30
    assert pool.stat().st_blocks * 512 < 1 << 28
    assert btrfs.on_btrfs(store.data)


def test_a_store_in_a_btrfs_needs_no_pool(store: Store) -> None:
    inner = Store.open(store.data / "builds" / "inner")
    assert not (inner.home / "pool.btrfs").exists()
    teardown(inner, remove=True)
    assert not inner.home.exists()


def test_a_store_of_another_version_is_left_alone(store: Store) -> None:
    (store.home / "version").write_text("2\n")
    with pytest.raises(HostError, match="has version '2'") as caught:
        Store.open(store.home)
    assert "STONEWARE_HOME" in caught.value.resolution
    (store.home / "version").write_text("1\n")


def test_no_store_where_none_is_to_be_made(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="no store"):
        Store.open(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()


def test_checkpoints_are_snapshots_made_once(store: Store, root: Path) -> None:
    store.save_checkpoint("key", root, {"n": 1})
    (root / "file").write_text("two")
    store.save_checkpoint("key", root, {"n": 2})
    assert (store.checkpoint_rootfs("key") / "file").read_text() == "one"
    assert store.checkpoint_document("key") == {"n": 1}
    assert btrfs.is_read_only(store.checkpoint_rootfs("key"))
    assert store.checkpoint_keys() == ["key"]
    store.remove_checkpoint("key")
    store.remove_checkpoint("key")
    assert not store.has_checkpoint("key")
    with pytest.raises(ValueError, match="not a checkpoint key"):
        store.has_checkpoint("../x")


def test_images_and_tags(store: Store, root: Path) -> None:
    manifest = b'{"name": "hello"}\n'
    image = store.save_image(root, manifest, {"note": 1})
    assert image == f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    assert store.manifest_bytes(image) == manifest
    assert store.image_document(image)["note"] == 1
    store.set_tag("hello:latest", image)
    store.set_tag("team/hello:1.0", image)
    assert store.tags() == {"hello:latest": image, "team/hello:1.0": image}
    for bad in ("hello", "a:b:c", "../x:1", "x:"):
        with pytest.raises(InputError):
            store.set_tag(bad, image)
    store.remove_image(image)
    assert (store.image_ids(), store.tags()) == ([], {})
    with pytest.raises(InputError, match="no image"):
        store.set_tag("hello:latest", image)


def test_volumes(store: Store) -> None:
    path = store.create_volume("v1")
    (path / "x").write_text("1")
    assert store.create_volume("v1") == path
    assert [volume.name for volume in store.volumes()] == ["v1"]
    store.remove_volume("v1")
    with pytest.raises(InputError, match="no volume"):
        store.remove_volume("v1")
    with pytest.raises(InputError, match="not a volume name"):
        store.create_volume("../x")


def test_what_uses_the_space_is_measured(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is what `system df` shows. Without quotas only the whole file system can be."""
    monkeypatch.setenv(quota.VOLUME_VARIABLE, "96m")
    data = store.create_volume("v1")
    store.create_volume("v2", size=SMALLEST_DISK)
    (data / "x").write_bytes(os.urandom(8 << 20))
    left = store.data / "builds/left-behind"
    left.mkdir()
    (left / "bundle").write_bytes(os.urandom(1 << 20))
    os.sync()
    found = usage.measure(LocalPlatform(store))
    volumes = {item.name: item for item in found.items["volumes"]}
    if qgroups.mode(store.data):
        assert (volumes["v1"].limit, volumes["v2"].limit) == (96 << 20, SMALLEST_DISK)
        assert 8 << 20 <= (volumes["v1"].size or 0) < 9 << 20
    assert not volumes["v1"].active
    rows = {row.kind: row for row in found.rows}
    assert (rows["volumes"].total, rows["volumes"].active) == (2, 0)
    assert rows["volumes"].reclaimable == rows["volumes"].size
    assert rows["leftovers"].total == 1
    assert 1 << 20 <= (rows["leftovers"].size or 0) < 2 << 20
    assert found.room is not None
    assert 9 << 20 <= found.room.used < found.room.total <= 1 << 30
    assert found.room.host_free is not None


@pytest.mark.parametrize("text", ["63m", "lots", "-1"])
def test_a_default_that_no_volume_can_have(store: Store, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(quota.VOLUME_VARIABLE, text)
    with pytest.raises(InputError) as caught:
        store.create_volume("v1")
    assert f"{quota.VOLUME_VARIABLE}=20g" in caught.value.resolution
    assert store.volumes() == []


def test_a_subvolume_with_subvolumes_inside_is_deleted(store: Store, root: Path) -> None:
    (root / "a/b").mkdir(parents=True)
    btrfs.create(root / "a/b/inner")
    store.save_checkpoint("k", root, {})
    btrfs.delete(root)
    assert not root.exists()


def test_a_full_store_says_so(store: Store) -> None:
    with pytest.raises(HostError, match="is full") as caught, store_errors.clear_errors(store.home):
        raise OSError(28, "No space left on device")
    assert "prune" in caught.value.resolution


def test_what_a_killed_command_staged_is_removed(store: Store, root: Path) -> None:
    script = (
        "import os, sys, time; from pathlib import Path; from stoneware.platforms.local.store import btrfs\n"
        "from stoneware.platforms.local.store.store import Store\n"
        "store = Store.open(Path(sys.argv[1]))\n"
        "with store.staging(store.data / 'checkpoints') as staged:\n"
        "    btrfs.create(staged / 'rootfs'); print('there', flush=True); time.sleep(3600)\n"
    )
    maker = subprocess.Popen(
        [sys.executable, "-c", script, str(store.home)], stdout=subprocess.PIPE, text=True
    )
    assert maker.stdout is not None
    assert maker.stdout.readline() == "there\n"
    assert recover(store) == []  # its maker lives
    maker.send_signal(signal.SIGKILL)
    maker.wait()
    maker.stdout.close()
    assert recover(store) == ["removed an incomplete checkpoint of an interrupted command"]
    assert list((store.data / "checkpoints").iterdir()) == []


@pytest.mark.parametrize("change", [10, 25, 40, 55, 70])  # of some seventy-five
def test_a_command_killed_while_it_makes_a_machine(lab: Bench, change: int) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.local.engine_lab import Bench\n"
        "lab = Bench(Path(sys.argv[1])); lab.name = sys.argv[2]; mortal()\n"
        "lab.platform.create(lab.spec())\n"
    )
    assert kill_before(change, script, str(lab.home), lab.name)

    def settled() -> bool:
        recover(lab.store)
        machine = lab.platform.observe(lab.name)
        return machine is None or machine.started is not None

    # A program that it had just forked may hold its locks until it has begun.
    assert wait_until(settled, 300)
    assert [path.name for path in (lab.store.data / "machines").glob(".staged-*")] == []
    lab.platform.destroy(lab.name)
    lab.boot()
