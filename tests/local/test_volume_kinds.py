"""Volumes that are disks: made, grown, converted both ways with all that is on them, and kills."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stoneware import process
from stoneware.errors import InputError
from stoneware.model.labels import CLUSTER_LABEL
from stoneware.model.machine import MachineSpec
from stoneware.model.resources import DIRECTORY, DISK, VolumeMount
from stoneware.platforms.local.disks import reading
from stoneware.platforms.local.disks.reading import TOOLS
from stoneware.platforms.local.host.requirements import TABLE
from stoneware.platforms.local.platform import LocalPlatform
from stoneware.platforms.local.store import qgroups, volume_kinds
from stoneware.platforms.local.store import quota as store_quota
from stoneware.platforms.local.store.errors import StoreFull
from stoneware.platforms.local.store.store import Store
from tests.local.kills import kill_at_work
from tests.stores import blank_store

pytestmark = pytest.mark.machine
_MIB = 1 << 20


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with blank_store(tmp_path_factory.mktemp("kinds") / "home", "2G") as made:
        yield made


@pytest.fixture
def platform(store: Store) -> Iterator[LocalPlatform]:
    yield LocalPlatform(store)
    for one in store.snapshots():
        store.remove_snapshot(one.volume, one.name)
    for volume in store.volumes():
        store.remove_volume(volume.name)
    assert not [*store.data.glob("*/.staged-*")]


def checked(disk: Path) -> None:
    """Have e2fsck, which changes nothing, find no fault."""
    done = subprocess.run(["e2fsck", "-fn", disk], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_disk_is_sparse_and_only_grows(platform: LocalPlatform) -> None:
    made = platform.create_volume("d", {}, 20 << 30, kind=DISK)
    assert (made.kind, made.size) == (DISK, 20 << 30)
    disk = platform.store.disk_path("d")
    status = disk.stat()
    assert (status.st_size, status.st_blocks, stat.S_IMODE(status.st_mode)) == (20 << 30, 0, 0o600)
    platform.resize_volume("d", 30 << 30)
    platform.create_volume("d", {}, 40 << 30)
    found = platform.volume("d")
    assert found is not None
    assert found.size == 40 << 30
    with pytest.raises(InputError, match="only grows"):
        platform.resize_volume("d", 39 << 30)
    assert disk.stat().st_size == 40 << 30


@pytest.mark.parametrize(
    ("size", "words"), [(_MIB * 100 + 1, "whole number"), (65 << 40, "64 TiB"), (1, "too small")]
)
def test_no_disk_has_such_a_size(platform: LocalPlatform, size: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        platform.create_volume("d", {}, size, kind=DISK)
    assert platform.volumes() == []


def test_what_has_no_size_is_not_resized(platform: LocalPlatform) -> None:
    with pytest.raises(InputError, match="there is no volume"):
        platform.resize_volume("d", 1 << 30)
    platform.create_volume("d", {})
    with pytest.raises(InputError, match="is a directory") as caught:
        platform.resize_volume("d", 1 << 30)
    assert caught.value.resolution.startswith("stoneware volume create --size")


def test_a_blank_volume_becomes_what_its_machine_needs(platform: LocalPlatform) -> None:
    store = platform.store
    store.create_volume("v", {"a": "1"}, 256 * _MIB)
    with store.volume_locks(["v"]):
        store.become_locked("v", DISK, "m")
        disk = store.volume("v")
        assert (disk.kind, disk.size, dict(disk.labels)) == (DISK, 256 * _MIB, {"a": "1"})
        store.become_locked("v", DIRECTORY, "m")
        directory = store.volume("v")
        assert (directory.kind, directory.size) == (DIRECTORY, 256 * _MIB)
        (store.volume_path("v") / "data").mkdir()
        with pytest.raises(InputError, match="which is a directory") as caught:
            store.become_locked("v", DISK, "m")
        assert caught.value.resolution.startswith("stoneware volume convert v")
        store.create_volume("d", size=64 * _MIB, kind=DISK)
        store.disk_path("d").write_bytes(b"x")
        with pytest.raises(InputError, match="which is a disk") as caught:
            store.become_locked("d", DIRECTORY, "m")
        assert caught.value.resolution.startswith("stoneware volume convert d --to directory")


def _fill(top: Path) -> None:
    data = top / "data"
    data.mkdir()
    (data / "plain").write_text("text")
    os.chown(data / "plain", 1000, 33)
    (data / "plain").chmod(0o4751)
    os.setxattr(data / "plain", "user.key", b"value")
    os.link(data / "plain", data / "second name")
    (data / "link").symlink_to("/etc/passwd")
    (data / ("n" * 255)).write_bytes(os.urandom(100_000))
    (data / b"bad\xff\n".decode(errors="surrogateescape")).write_text("hostile name")
    with (data / "sparse").open("wb") as stream:
        stream.truncate(64 * _MIB)
        stream.seek(63 * _MIB)
        stream.write(b"end")
    os.mkfifo(data / "fifo", 0o620)
    os.setxattr(
        data / "sparse", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000")
    )
    (data / "empty").mkdir(mode=0o1777)
    (data / "empty").chmod(0o1777)
    for path in sorted(data.rglob("*"), reverse=True):
        os.utime(path, (1_000_000_000, 1_000_000_000), follow_symlinks=False)


def _listed(top: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(top.rglob("*")):
        status = path.lstat()
        names = os.listxattr(path, follow_symlinks=False)
        attributes = {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
        content: object = path.readlink() if path.is_symlink() else ""
        if stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
        numbers = (status.st_mode, status.st_uid, status.st_gid, int(status.st_mtime))
        links = status.st_nlink if stat.S_ISREG(status.st_mode) else 0
        found[os.fsdecode(path.relative_to(top))] = (*numbers, links, attributes, content)
    return found


@pytest.fixture
def tools() -> None:
    lacking = [one.name for one in TABLE if one.name in TOOLS and one.quick()]
    if lacking:
        pytest.skip(f"reading disks needs {lacking}")


def test_all_that_is_on_a_volume_survives_both_conversions(platform: LocalPlatform, tools: None) -> None:
    _fill(platform.store.create_volume("v", {"a": "1"}))
    platform.raise_floor("v", "3")
    before = _listed(platform.store.volume_path("v"))
    platform.snapshot_volume("v", "as-directory")
    platform.convert_volume("v", DISK, 512 * _MIB)
    disk = platform.store.volume("v")
    assert (disk.kind, disk.size, dict(disk.labels), disk.floor) == (DISK, 512 * _MIB, {"a": "1"}, "3")
    checked(platform.store.disk_path("v"))
    assert platform.store.disk_path("v").stat().st_blocks * 512 < 100 * _MIB  # it is sparse
    platform.snapshot_volume("v", "as-disk")
    platform.resize_volume("v", 600 * _MIB)
    platform.convert_volume("v", DIRECTORY)
    assert platform.store.volume("v").kind == DIRECTORY
    top = platform.store.volume_path("v")
    assert _listed(top) == before
    assert (top / "data/sparse").stat().st_blocks * 512 < _MIB
    assert [path.name for path in top.iterdir()] == ["data"]
    platform.restore_volume("v", "as-disk")
    restored = platform.store.volume("v")
    assert (restored.kind, restored.size) == (DISK, 512 * _MIB)
    platform.restore_volume("v", "as-directory")
    assert _listed(platform.store.volume_path("v")) == before
    with pytest.raises(InputError, match="is a directory already"):
        platform.convert_volume("v", DIRECTORY)
    with pytest.raises(InputError, match="too small") as caught:
        platform.convert_volume("v", DISK, 64 * _MIB)
    assert "--size" in caught.value.resolution
    for size in (65 << 40, 64 * _MIB + 1):
        with pytest.raises(InputError, match="A disk ") as caught:
            platform.convert_volume("v", DISK, size)
        assert caught.value.resolution.startswith("stoneware volume convert v")
    assert _listed(platform.store.volume_path("v")) == before


def test_making_a_machine_of_a_cluster_converts_the_clusters_volumes(
    platform: LocalPlatform, tools: None
) -> None:
    def spec(cluster: str, *, vm: bool) -> MachineSpec:
        labels = {CLUSTER_LABEL: cluster} if cluster else {}
        return MachineSpec("m", "image:x", vm=vm, volumes=(VolumeMount("v", "/data"),), labels=labels)

    platform.create_volume("v", {CLUSTER_LABEL: "shop"}, 64 * _MIB)
    _fill(platform.store.volume_path("v"))
    before = _listed(platform.store.volume_path("v"))
    for other in ("", "another"):
        with (
            pytest.raises(InputError, match="which is a directory"),
            platform.volumes_of(spec(other, vm=True)),
        ):
            pass
    with platform.volumes_of(spec("shop", vm=True)):
        disk = platform.store.volume("v")
        assert disk.kind == DISK
        assert disk.size is not None
        assert disk.size > 64 * _MIB  # the file system takes room as well
        checked(platform.store.disk_path("v"))
    assert platform.conversion_faults({"v": DIRECTORY}) == {"v": []}
    platform.resize_volume("v", 512 * _MIB)
    with platform.volumes_of(spec("shop", vm=False)):
        directory = platform.store.volume("v")
        assert (directory.kind, directory.size) == (DIRECTORY, 512 * _MIB)
        assert _listed(platform.store.volume_path("v")) == before


def test_a_container_of_no_cluster_has_what_is_on_a_disk_that_none_owns(
    platform: LocalPlatform, tools: None
) -> None:
    def spec(*, vm: bool) -> MachineSpec:
        return MachineSpec("m", "image:x", vm=vm, volumes=(VolumeMount("v", "/data"),))

    platform.create_volume("v", {})
    _fill(platform.store.volume_path("v"))
    before = _listed(platform.store.volume_path("v"))
    platform.convert_volume("v", DISK, 512 * _MIB)
    with platform.volumes_of(spec(vm=False)):
        assert platform.store.volume("v").kind == DIRECTORY
        assert _listed(platform.store.volume_path("v")) == before
    with pytest.raises(InputError, match="which is a directory"), platform.volumes_of(spec(vm=True)):
        pass
    # A cluster's own is left to it.
    platform.create_volume("d", {CLUSTER_LABEL: "shop"}, 64 * _MIB, kind=DISK)
    platform.store.disk_path("d").write_bytes(b"x")
    other = replace(spec(vm=False), volumes=(VolumeMount("d", "/data"),))
    with pytest.raises(InputError, match="which is a disk"), platform.volumes_of(other):
        pass


def test_a_tool_that_is_missing_is_known_before(
    platform: LocalPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.create_volume("v", {})
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(process, "which", lambda _: None)
    for kind, tool in ((DISK, "mkfs.ext4"), (DIRECTORY, "fuse2fs")):
        [fault] = platform.conversion_faults({"v": kind})["v"]
        assert (tool in fault, "apt-get install" in fault) == (True, True)


@pytest.mark.parametrize("kind", [DISK, DIRECTORY])
def test_a_full_store_loses_nothing(platform: LocalPlatform, tools: None, kind: str) -> None:
    store = platform.store
    if qgroups.mode(store.data) != qgroups.SIMPLE:
        pytest.skip("what all volumes may take is limited by simple quotas")
    (store.create_volume("v", size=256 * _MIB) / "data").write_bytes(os.urandom(24 * _MIB))
    if kind == DIRECTORY:
        platform.convert_volume("v", DISK)
    before = store.volume_path("v") / ("data" if kind == DISK else "disk.raw")
    digest = hashlib.sha256(before.read_bytes()).digest()
    os.sync()
    known = qgroups.figures(store.data, store_quota.EVERYTHING)
    assert known is not None
    qgroups.set_limit(store.data, store_quota.EVERYTHING, known.used + known.held + 8 * _MIB)
    try:
        [fault] = platform.conversion_faults({"v": kind})["v"]
        assert "MiB left" in fault
        with pytest.raises(StoreFull):
            platform.convert_volume("v", kind)
        assert not [*store.data.glob("*/.staged-*")]
        assert store.volume("v").kind == (DIRECTORY if kind == DISK else DISK)
        assert hashlib.sha256(before.read_bytes()).digest() == digest
    finally:
        store_quota.keep_reserve(store.home, store.data)
    platform.convert_volume("v", kind)


def test_a_disk_that_takes_for_ever_is_given_up(
    platform: LocalPlatform, tools: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "endless").open("wb") as stream:
        stream.seek(8 << 40)
        stream.write(b"end")
    platform.create_volume("d", {}, 64 * _MIB, kind=DISK)
    disk = platform.store.disk_path("d")
    subprocess.run(["mkfs.ext4", "-q", "-F", "-b", "4096", "-d", tmp_path, disk], check=True)
    monkeypatch.setattr(reading, "_LEAST_SECONDS", 1)
    with pytest.raises(InputError, match="takes longer to convert"):
        platform.convert_volume("d", DIRECTORY)
    assert platform.store.volume("d").kind == DISK
    checked(platform.store.disk_path("d"))
    (platform.store.create_volume("v") / "file").write_text("x")
    monkeypatch.setattr(reading, "limits_of", lambda _: ["timeout", "-s", "KILL", "0.001"])
    with pytest.raises(InputError, match="takes longer to convert"):
        platform.convert_volume("v", DISK)
    assert (platform.store.volume_path("v") / "file").read_text() == "x"


def test_a_restored_disk_is_as_large_as_it_has_become(platform: LocalPlatform) -> None:
    platform.create_volume("d", {}, 64 * _MIB, kind=DISK)
    platform.snapshot_volume("d", "one")
    platform.resize_volume("d", 128 * _MIB)
    platform.restore_volume("d", "one")
    assert platform.store.volume("d").size == 128 * _MIB


def test_a_disk_that_cannot_be_read_stays(platform: LocalPlatform, tools: None) -> None:
    platform.create_volume("d", {}, 64 * _MIB, kind=DISK)
    disk = platform.store.disk_path("d")
    with disk.open("r+b") as stream:
        stream.write(os.urandom(_MIB))
    before = disk.read_bytes()
    with pytest.raises(InputError, match="cannot be read"):
        platform.convert_volume("d", DIRECTORY)
    assert platform.store.disk_path("d").read_bytes() == before


def test_devices_are_no_containers(platform: LocalPlatform, tools: None, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    os.mknod(tmp_path / "data/sda", stat.S_IFBLK | 0o666, os.makedev(8, 0))
    platform.create_volume("d", {}, 64 * _MIB, kind=DISK)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-d", tmp_path, platform.store.disk_path("d")], check=True)
    with pytest.raises(InputError, match="device files") as caught:
        platform.convert_volume("d", DIRECTORY)
    assert caught.value.details == "./data/sda"
    assert platform.store.volume("d").kind == DISK


_WORK = """
import sys; from pathlib import Path; from stoneware.platforms.local.platform import LocalPlatform
from stoneware.model.machine import MachineSpec; from stoneware.model.resources import VolumeMount
from stoneware.platforms.local.store.store import Store
def made(vm):
    labels = {"stoneware.cluster": "shop"}
    spec = MachineSpec("m", "image:x", vm=vm, volumes=(VolumeMount("v", "/data"),), labels=labels)
    with platform.volumes_of(spec): pass
platform = LocalPlatform(Store.open(Path(sys.argv[1]))); size = 256 << 20; mortal()
while True:
    if platform.volume("v").kind == "disk":
        size += 1 << 20
        platform.resize_volume("v", max(size, platform.volume("v").size))
        for one in platform.snapshots("v"): platform.destroy_snapshot("v", one.name)
        platform.snapshot_volume("v", "one")
        made(False)
    else:
        made(True)
    platform.create_volume("w", {}, 64 << 20, kind="disk"); platform.destroy_volume("w")
"""


def test_a_kill_loses_nothing(platform: LocalPlatform, tools: None) -> None:
    store = platform.store
    labels = {"a": "1", CLUSTER_LABEL: "shop"}
    data = store.create_volume("v", labels, 256 * _MIB) / "data"
    data.mkdir()
    (data / "file").write_text("as it was")
    for change in range(10, 150, 28):  # there and back it is a hundred and fifty
        kill_at_work(store, _WORK, change)
        volume = store.volume("v")
        assert dict(volume.labels) == labels
        if volume.kind == DISK:
            checked(store.disk_path("v"))
        else:
            assert (store.volume_path("v") / "data/file").read_text() == "as it was"
    if store.volume("v").kind == DISK:
        platform.convert_volume("v", DIRECTORY)
    assert (store.volume_path("v") / "data/file").read_text() == "as it was"
    assert not volume_kinds.is_blank(store.data / "volumes/v")
