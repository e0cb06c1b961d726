"""Cleaning up what killed commands left behind, and taking a whole store down."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from stoneware.errors import StonewareError
from stoneware.files import locked, read_json, write_json
from stoneware.platforms.local.machines import copy_staging, owner
from stoneware.platforms.local.machines import record as machine_record
from stoneware.platforms.local.machines import stop as machine_stop
from stoneware.platforms.local.machines.record import Paths
from stoneware.platforms.local.machines.vanished import end_vanished
from stoneware.platforms.local.network.known import is_attached
from stoneware.platforms.local.platform import LocalPlatform
from stoneware.platforms.local.store import btrfs
from stoneware.platforms.local.store import errors as store_errors
from stoneware.platforms.local.store import pool as store_pool
from stoneware.platforms.local.store import quota as store_quota
from stoneware.platforms.local.store import walls as store_walls
from stoneware.platforms.local.store.base import NOUNS
from stoneware.platforms.local.store.store import Store
from stoneware.platforms.protocols import BAKED
from stoneware.process import ProcessError
from stoneware.process_identity import boot_id
from stoneware.records import DamagedError
from stoneware.untrusted import removal


def recover(store: Store) -> list[str]:
    """Remove what killed commands left over and say so, a sentence for each thing.

    After a reboot of this computer it starts the machines whose restart policy says so: there is no daemon.

    Cheap where there is nothing to do: some directories are read, nothing is forked. What belongs to a
    command that lives is left alone: it holds the lock. What cannot be removed is told as well, and never in
    the way of a command about something else.
    """
    told = [_remove_staged(store, path) for path in store.stale_staged()]
    # Outside of the store: what a `cp` leaves is where its user wanted the files.
    told += copy_staging.recover(store.home)
    store.sweep_secrets()
    store_quota.keep_reserve(store.home, store.data)
    platform = LocalPlatform(store)
    # Before the machines that have directories: a vanished one may still have the disks of one of those.
    told += _end_vanished(store)
    for path in sorted((store.data / "machines").glob("[!.]*")):
        told += _look_after(platform, Paths(path))
    return told


def _remove_staged(store: Store, path: Path) -> str:
    try:
        with store_errors.clear_errors(store.home):
            store.remove_remains(path)
    except (StonewareError, OSError) as error:
        return _untidy("what an interrupted command has left cannot be removed", error)
    return f"removed an incomplete {NOUNS.get(path.parent.name, 'entry')} of an interrupted command"


def _end_vanished(store: Store) -> list[str]:
    try:
        return end_vanished(store)
    except (StonewareError, OSError) as error:
        return [_untidy("a machine whose directory is gone could not be ended", error)]


def _untidy(brief: str, error: StonewareError | OSError) -> str:
    if not isinstance(error, StonewareError):
        return f"{brief}: {error}"
    reason = f" ({error.details})" if error.details else ""
    return f"{brief}: {error.brief}{reason}; {error.resolution}"


def _look_after(platform: LocalPlatform, paths: Paths) -> list[str]:
    try:
        with store_errors.clear_errors(platform.store.home):
            return _recover_machine(platform, paths)
    except (StonewareError, OSError) as error:
        return [_untidy(f"the machine {paths.name} could not be checked", error)]


def _recover_machine(platform: LocalPlatform, paths: Paths) -> list[str]:
    with contextlib.suppress(DamagedError):  # `ps` tells of it, `rm -f` removes it
        return _recover_whole(platform, paths)
    return []


def _recover_whole(platform: LocalPlatform, paths: Paths) -> list[str]:
    if not _left_over(platform.store, paths):
        return []
    try:
        # Nobody waits here: this is in the way of each command, and the lock of a slow one is held for long.
        with platform.store.lock("machines", paths.name, timeout=0):
            # Once more: whoever had the lock may just have put it right.
            reason = _left_over(platform.store, paths)
            if reason == "attached":
                platform.release(paths)
            elif reason == "orphaned":
                machine_stop.power_off(paths, _stop_timeout(paths))
                platform.release(paths)
                return [f"stopped the machine {paths.name}, whose command was killed"]
            elif reason == "rebooted":
                return [_start_again(platform, paths)]
            elif reason:
                platform.remove_locked(paths)
                return [f"removed the machine {paths.name}, {reason}"]
    except TimeoutError:
        pass  # a living command works on it
    return []


def _stop_timeout(paths: Paths) -> float:
    spec = machine_record.read_spec(paths)
    return spec.stop_timeout if spec else 0.0


def _left_over(store: Store, paths: Paths) -> str:
    """Say why a machine is looked after: a reason to remove it, another word for what to do, or nothing."""
    state: dict[str, Any] = read_json(paths.root / "state.json") or {}
    spec: dict[str, Any] = read_json(paths.root / "spec.json") or {}
    if not state or not spec:
        return ""
    if spec["kind"] == "builder" and _bake_is_gone(store, paths.name):
        return "whose bake was interrupted"
    if state.get("started") is None:
        return "which an interrupted command had not started"  # its maker holds its lock until it is
    alive = machine_record.read_processes(paths, state).alive
    if spec.get("tied") and (alive or spec["tied"] == "remove") and owner.is_gone(paths.owner):
        return "whose command was killed" if spec["tied"] == "remove" else "orphaned"
    if alive:
        return ""
    return _why_ended(store, paths, state, spec)


def _why_ended(store: Store, paths: Paths, state: dict[str, Any], spec: dict[str, Any]) -> str:
    if spec["remove_when_stopped"]:
        return "which has stopped (--rm)"
    if state.get("boot") != boot_id() and _starts_again(paths, spec["restart"]):
        return "rebooted"
    # The second: a command was killed while it started the machine again.
    return "attached" if state.get("attached") or is_attached(store, state["id"]) else ""


def _starts_again(paths: Paths, restart: str) -> bool:
    """Say whether a restart policy starts a machine after a reboot of this computer, as Docker's do."""
    policy = restart.partition(":")[0]
    stopped = (paths.run / "stop").exists()
    # `down`: the shim was told that the computer goes down, which is no end of the machine's own.
    ended = (paths.run / "exit").exists() and not (paths.run / "down").exists()
    return policy == "always" or {
        "unless-stopped": not stopped,
        "on-failure": not stopped and not ended,
    }.get(policy, False)


def _start_again(platform: LocalPlatform, paths: Paths) -> str:
    try:
        platform.start_locked(paths)
    except StonewareError as error:
        # Told once, and then by `ps`: a machine that cannot start must not be in the way of every command.
        state: dict[str, Any] = read_json(paths.root / "state.json") or {}
        write_json(paths.root / "state.json", {**state, "boot": boot_id()}, mode=0o600)
        (paths.run / "error").write_text(f"it did not start after a reboot: {error.brief}\n")
        return f"cannot start the machine {paths.name} again after the reboot: {error.brief}"
    return f"started the machine {paths.name} again after the reboot of this computer"


def _is_held(path: Path) -> bool:
    try:
        with locked(path, timeout=0):
            return False
    except TimeoutError:
        return True


def _bake_is_gone(store: Store, machine: str) -> bool:
    """Say whether a builder, called BAKE-STAGE, has neither a living bake nor a directory that knows it.

    While the directory is there the next bake destroys the builder by Terraform, whose state is in it.
    """
    build_id = machine.rpartition("-")[0]
    if not build_id or store.build_path(build_id).exists():
        return False
    lock = store.build_lock_path(build_id)
    return not (lock.exists() and _is_held(lock))


def teardown(store: Store, *, remove: bool = False) -> None:
    """End all machines, the network and the mount of a store; with `remove` the store itself as well."""
    from stoneware.platforms.local.network import router as routers

    machines = store.data / "machines"
    _await_removals(store)
    with contextlib.suppress(OSError):  # a store whose disk has failed may not even be readable
        for path in sorted(machines.glob("[!.]*")) if machines.is_dir() else ():
            # One that cannot be ended must not keep the others running.
            with contextlib.suppress(StonewareError):
                machine_stop.kill(Paths(path))
    # Behind the machines, whose ports it has, and before the mount: its servers have files open there.
    routers.teardown(store)
    # What a process had open is let go of a moment after its end; until then the mount is busy.
    mounted = machine_stop.wait_until(lambda: _unmounted(store), 20.0)
    if not mounted:
        store_pool.unmount(store.home)  # once more, for its error
    if remove:
        _remove_home(store)


def _await_removals(store: Store) -> None:
    """Let the processes end that remove the builders of finished bakes: they would mount the store again."""
    with contextlib.suppress(OSError, TimeoutError):
        for path in (store.data / "builds").glob(f"*/{BAKED}"):
            with locked(store.build_lock_path(path.parent.name), timeout=20.0):
                pass


def _unmounted(store: Store) -> bool:
    with contextlib.suppress(ProcessError):
        store_pool.unmount(store.home)
    return not store_walls.is_mount_point(store.data)


def _remove_home(store: Store) -> None:
    if not (store.home / "pool.btrfs").exists() and store.data.is_dir():
        # Where HOME is on btrfs itself nothing was unmounted, and subvolumes are no plain directories.
        for kind in store.data.iterdir():
            btrfs.remove_tree(kind)
    removal.remove_tree(store.home)
