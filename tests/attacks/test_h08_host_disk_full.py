"""H8, below: the computer's own disk is full, and btrfs makes the store on its sparse file read-only."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stoneware.errors import HostError
from stoneware.platforms.local.store import errors as store_errors
from stoneware.platforms.local.store import qgroups
from stoneware.platforms.local.store.recover import teardown
from stoneware.platforms.local.store.store import Store
from tests.attacks.test_h08_disk_full import run_stoneware
from tests.local.engine_lab import Bench

pytestmark = pytest.mark.machine


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of the computer's that is smaller than the store on it may become."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400M", "tmpfs", mounted], check=True)
    yield mounted
    subprocess.run(["umount", mounted], check=True)


def _fill(path: Path) -> None:
    with path.open("wb", 0) as stream:
        while stream.write(bytes(1 << 20)):
            pass


def test_a_full_disk_below_is_told_and_the_next_command_goes_on(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STONEWARE_POOL_SIZE", "1G")
    lab = Bench.__new__(Bench)
    lab.home, lab.store = disk / "home", Store.open(disk / "home")
    try:
        lab.store.create_volume("kept")
        qgroups.commit(lab.store.data)
        with pytest.raises(OSError, match="No space left"):
            _fill(disk / "somebody-elses")
        done = run_stoneware(lab, "volume", "create", "v")
        assert done.returncode == 3, done.stderr
        assert "df -h" in done.stderr
        _break(lab.store)
        for words in (("ps",), ("volume", "ls"), ("prune", "-f"), ("volume", "rm", "kept")):
            done = run_stoneware(lab, *words)
            assert done.returncode == 3, (words, done.stdout, done.stderr)
            assert "read-only" in done.stderr
        (disk / "somebody-elses").unlink()
        done, refused = _until_mounted(lab)
        assert (done.returncode, done.stdout) == (0, "kept\n"), done.stderr
        # One that is kept from it has unmounted the store already: the next finds it as after a reboot.
        assert refused or "mounted it again" in done.stderr
        assert run_stoneware(lab, "volume", "create", "v").returncode == 0
    finally:
        (disk / "somebody-elses").unlink(missing_ok=True)
        teardown(lab.store, remove=True)


def _until_mounted(lab: Bench) -> tuple[subprocess.CompletedProcess[str], int]:
    """Run a command again while machines of other tests have this store's mount in their namespaces.

    Return what the last one did, and how many were refused.
    """
    deadline = time.monotonic() + 300
    refused = 0
    while True:
        done = run_stoneware(lab, "volume", "ls", "-q")
        if "keeps it from being mounted again" not in done.stderr or time.monotonic() > deadline:
            return done, refused
        assert done.returncode == 3
        refused += 1


def _break(store: Store) -> None:
    """Write until btrfs gives up, as a machine does that was told of no limit."""
    for number in range(1000):
        try:
            (store.data / "builds" / f"f{number}").write_bytes(bytes(range(256)) * 4096)
            subprocess.run(["btrfs", "filesystem", "sync", store.data], check=False, capture_output=True)
        except OSError:
            pass
        if store_errors.is_read_only(store.data):
            with pytest.raises(HostError, match="read-only"):
                store_errors.check_room(store.home, store.data)
            return
    pytest.fail("btrfs goes on writing")
