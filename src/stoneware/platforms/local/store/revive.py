"""A store that btrfs has made read-only, back to life: mounted again, with nothing running on it."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from stoneware.errors import HostError, StonewareError
from stoneware.platforms.local.machines import kill as machine_kill
from stoneware.platforms.local.machines.record import Paths, shown_processes
from stoneware.platforms.local.network import router as routers
from stoneware.platforms.local.network.layout import StorePaths
from stoneware.platforms.local.store import errors as store_errors
from stoneware.platforms.local.store import pool as store_pool
from stoneware.platforms.local.store import quota as store_quota
from stoneware.platforms.local.store import walls as store_walls
from stoneware.process import ProcessError

_TIMEOUT = 20.0  # seconds for the machines' mounts to go


def revive(store: StorePaths) -> list[str]:
    """Mount a read-only store again and return sentences about it.

    Its machines cannot write a byte any more, so those that run are ended. Raises HostError where there is
    still no room on the disk, or something of the computer's holds the store.
    """
    home, data = store.home, store.data
    if not store_quota.is_pool(home) or shutil.disk_usage(home).free < store_errors.LEAST_HOST_ROOM:
        raise store_errors.read_only(home)
    ended = []
    with contextlib.suppress(OSError):  # what could not be written may not be readable either
        for path in sorted((data / "machines").glob("[!.]*")):
            if shown_processes(Paths(path)).alive:
                ended.append(path.name)
                machine_kill.kill(Paths(path))
    with contextlib.suppress(StonewareError, OSError):  # it cannot write either; it is recreated
        routers.teardown(store)
    if not machine_kill.wait_until(lambda: _unmounted(home, data), _TIMEOUT):
        raise HostError(
            f"the store in {home} is read-only, and a program still uses it",
            resolution=f"fuser -vm {data}    # shows which; end that program, then run the command again",
        )
    # What still goes down in other mount namespaces keeps the failed file system a moment longer.
    if not machine_kill.wait_until(lambda: _mounted(home, data), _TIMEOUT):
        raise store_pool.held_elsewhere(home)
    if store_errors.is_read_only(data):
        raise store_errors.read_only(home, "Mounting the store again does not help.")
    told = [f"the store in {home} had become read-only, as its disk was full: mounted it again"]
    if ended:
        told.append(f"ended what could not write any more: stoneware start {' '.join(ended)}")
    return told


def _mounted(home: Path, data: Path) -> bool:
    with contextlib.suppress(HostError):
        store_pool.mount(home)
    return store_walls.is_mount_point(data)


def _unmounted(home: Path, data: Path) -> bool:
    with contextlib.suppress(ProcessError):
        store_pool.unmount(home)
    return not store_walls.is_mount_point(data)
