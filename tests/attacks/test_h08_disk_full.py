"""H8: one machine fills the disk, and from then on nothing works: no way out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stoneware.errors import HostError, InputError
from stoneware.model.machine import Phase
from stoneware.model.resources import VolumeMount
from stoneware.platforms.local.store import qgroups
from stoneware.platforms.local.store import quota as store_quota
from stoneware.platforms.local.store.prune import settle
from stoneware.platforms.local.store.recover import recover, teardown
from stoneware.platforms.local.store.store import Store
from stoneware.untrusted import removal
from tests.bake.faults import fill
from tests.local.engine_lab import Bench, bench
from tests.platforms.awaiting import awaited

pytestmark = pytest.mark.machine

_FILL = "cat /dev/zero >{0}/big 2>/tmp/why; cat /tmp/why; grep -q 'quota exceeded' /tmp/why"
_MIB = 1 << 20


def small_store(home: Path, large: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Make a store of the smallest size that has the base of a larger one."""
    monkeypatch.setenv("STONEWARE_POOL_SIZE", "1G")
    source = Bench(large)
    store = Store.open(home)
    with store.staging(store.data / "checkpoints") as staged:
        subprocess.run(["btrfs", "subvolume", "create", staged / "rootfs"], check=True, capture_output=True)
        root = source.store.checkpoint_rootfs(source.base or "")
        subprocess.run(["cp", "-a", f"{root}/.", staged / "rootfs"], check=True)
        store.save_checkpoint(source.base or "", staged / "rootfs", {})
    settle(store)
    made = Bench(home)
    made.base = source.base
    return made


@pytest.fixture
def small(tmp_path: Path, machine_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    made = small_store(tmp_path / "home", machine_home, monkeypatch)
    yield made
    teardown(made.store, remove=True)
    assert not made.home.exists()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, machine_home: Path) -> Iterator[Bench]:
    """A small store for the tests that leave its base."""
    with pytest.MonkeyPatch.context() as patch:
        made = small_store(tmp_path_factory.mktemp("shared") / "home", machine_home, patch)
    yield made
    teardown(made.store, remove=True)
    assert not made.home.exists()


@pytest.fixture
def shared(store: Bench) -> Iterator[Bench]:
    """The same, with a name of the test's own for its machines and volumes, which go at its end."""
    with bench(store.home) as made:
        made.base = store.base
        yield made
    settle(store.store)


def run_stoneware(lab: Bench, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line on a store; it may fail, but never with a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "stoneware.cli.main", *words],
        env={**os.environ, "STONEWARE_HOME": str(lab.home)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done


def _free(store: Store) -> int:
    return shutil.disk_usage(store.data).free


def test_a_machine_that_fills_its_root_and_its_volume_stops_nobody(small: Bench) -> None:
    volume = f"{small.name}-v"
    small.boot(volumes=(VolumeMount(volume, "/srv"),))
    for place in ("/run/stoneware/volumes/0", "/var"):
        assert small.sh(_FILL.format(place)) == 0
    used = small.store.volume_figures(volume)
    assert used is not None
    assert used.limit is not None
    assert used.limit - 4 * _MIB < used.used + used.held <= used.limit
    other = f"{small.name}-b"
    small.platform.create(small.spec(name=other))  # and it can write
    small.booted(other)
    assert (
        small.platform.run(other, ["sh", "-c", "head -c 20M /dev/zero >/var/x && sync"], timeout=60)[0] == 0
    )
    for words in (
        ("ps",), ("exec", small.name, "true"), ("stop", small.name), ("start", small.name), ("ps", "-a"),
        ("volume", "ls"), ("rm", "-f", small.name), ("volume", "rm", volume), ("prune", "-f"),
    ):  # fmt: skip
        done = run_stoneware(small, *words)
        assert done.returncode == 0, (words, done.stderr)


def test_guests_cannot_take_the_reserve_and_records_go_on(small: Bench) -> None:
    volumes = [f"{small.name}-v{number}" for number in range(2)]
    before = _free(small.store)
    for name in volumes:
        small.store.create_volume(name, size=100 << 30)  # more than there is: only the reserve is in the way
    small.boot(volumes=tuple(VolumeMount(name, f"/srv/{name}") for name in volumes), disk=100 << 30)
    many = "cd /run/stoneware/volumes/1; i=0; while echo x >$i; do i=$((i+1)); done"
    assert small.sh(f"timeout 5 sh -c '{many}' 2>/dev/null; true") == 0
    assert small.sh(_FILL.format("/run/stoneware/volumes/0")) == 0
    left = store_quota.guests_left(small.home, small.store.data)
    assert left is not None
    assert left < 4 * _MIB
    assert os.statvfs(small.store.data).f_bavail * 4096 > 32 * _MIB
    with pytest.raises(HostError, match="is full") as caught:
        small.platform.create(small.spec(name=f"{small.name}-b"))
    assert "prune" in caught.value.resolution
    small.platform.set_metadata(small.name, {"stoneware-config": "A=b\n"})
    small.platform.stop(small.name)
    small.platform.start(small.name)
    awaited(small.platform, small.name, Phase.RUNNING)
    small.platform.destroy(small.name)
    for name in volumes:
        small.store.remove_volume(name)
    # What the kernel has freed before that is none of what settling frees.
    settle(small.store)
    assert _free(small.store) > before - 32 * _MIB
    assert recover(small.store) == []


def test_volumes_have_their_own_limits(shared: Bench) -> None:
    """What a guest makes in one counts to its limit, subvolumes too; one that is full can be made larger."""
    nested, full = f"{shared.name}-nested", f"{shared.name}-full"
    for name in (nested, full):
        shared.store.create_volume(name, size=64 * _MIB)
    with pytest.raises(InputError, match="too small"):
        shared.store.create_volume(f"{full}2", size=1000)
    shared.boot(volumes=(VolumeMount(nested, "/srv"), VolumeMount(full, "/mnt")))
    # BTRFS_IOC_SUBVOL_CREATE, as root of a machine may.
    made = 'sysopen(D, ".", 65536) or die; $a = pack("q a4088", 0, "in"); ioctl(D, 0x5000940E, $a) or die $!'
    assert shared.sh(f"cd /run/stoneware/volumes/0 && perl -e '{made}' && mkdir in/more") == 0
    assert shared.sh(_FILL.format("/run/stoneware/volumes/0/in")) == 0
    used = shared.store.volume_figures(nested)
    assert used is not None
    assert 48 * _MIB < used.used + used.held <= 64 * _MIB
    assert shared.sh(_FILL.format("/run/stoneware/volumes/1")) == 0
    assert run_stoneware(shared, "volume", "create", "--size", "128m", full).returncode == 0
    assert shared.sh("head -c 32M /dev/zero >/run/stoneware/volumes/1/more && sync") == 0
    assert shared.store.volume(full).size == 128 * _MIB


def test_an_older_store_gets_limits_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STONEWARE_POOL_SIZE", "1G")
    with monkeypatch.context() as old:
        old.setattr(store_quota, "prepare", lambda *_: "")
        store = Store.open(tmp_path / "home")
        store.create_volume("v")
    try:
        assert qgroups.mode(store.data) == ""
        assert "limits" in Store.open(store.home).told[0]
        found = store.volume_figures("v")
        assert found is not None
        assert found.limit
        assert Store.open(store.home).told == []
    finally:
        teardown(store, remove=True)


def _fill_metadata(directory: Path) -> None:
    """Fill what data has left of the file system with small files."""
    for number in range(10**6):
        (directory / f"f{number}").write_bytes(b"x" * 2000)


def test_removing_needs_no_room(shared: Bench) -> None:
    """Even where the reserve is gone: our own files are in no group that has a limit.

    It is the last one with this store: `prune` removes the base as well.
    """
    volume = f"{shared.name}-v"
    shared.boot(volumes=(VolumeMount(volume, "/srv"),))
    ballast = shared.store.data / "builds" / "ballast"
    ballast.mkdir()
    fill(ballast)
    with pytest.raises(OSError, match="No space left"):
        _fill_metadata(ballast)
    done = run_stoneware(shared, "volume", "create", "w")
    assert done.returncode == 3
    assert "is full" in done.stderr
    for words in (("ps",), ("rm", "-f", shared.name), ("volume", "rm", volume), ("prune", "-f")):
        done = run_stoneware(shared, *words)
        assert done.returncode == 0, (words, done.stderr)
    assert shared.platform.machines() == []
    assert shared.store.volumes() == []
    removal.remove_tree(ballast)
    settle(shared.store)
    for word in ("create", "rm"):
        assert run_stoneware(shared, "volume", word, "w").returncode == 0
