"""Disks of containers that run: directories that come to a machine and go from it while it lives."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from pathlib import Path

from stoneware.errors import MachineError
from stoneware.model.resources import VolumeMount
from stoneware.platforms.local.machines import mounting, mounts
from stoneware.platforms.local.machines.door import Door
from stoneware.platforms.local.machines.first_process import await_leader
from stoneware.platforms.local.machines.record import Paths, shown_processes
from stoneware.process import tool_environment

_TAKES = 20.0  # seconds that mounting may take: the machine's file systems are on the way
_LETS_GO = 2.0  # seconds for a machine to stop using what it is to lose
_LOOK = 0.1  # seconds between two looks
_TRIES = 3  # of a machine that boots again meanwhile


def plug(paths: Paths, source: Path, mount: VolumeMount) -> None:
    """Let a machine have a directory at a disk's place, at once; one that has ended is left alone.

    What its next boot mounts is settled before. Raises MachineError.
    """
    directory = mounts.shown(source)
    for _ in range(_TRIES):
        leader = _leader(paths)
        if leader is None or _is_there(leader, directory, mount):
            return
        try:
            with contextlib.closing(Door(paths)) as door:
                _plug(door, source, mount)
        except MachineError:
            if shown_processes(paths).leader == leader:
                raise
        if shown_processes(paths).leader == leader:
            return
    raise _restless(paths)


def _is_there(leader: int, directory: mounts.Shown, mount: VolumeMount) -> bool:
    return mounts.uses(leader, directory, mount.path)[0]


def _leader(paths: Paths) -> int | None:
    """Return a machine's first process, awaited where it boots; None where the machine has ended."""
    found = shown_processes(paths)
    if found.leader is None and found.alive:
        with contextlib.suppress(MachineError):  # it ends instead
            await_leader(paths)
        found = shown_processes(paths)
    return found.leader


def _plug(door: Door, source: Path, mount: VolumeMount) -> None:
    door.make_directory(mount.path)
    with door.namespace("user") as user, door.namespace("mnt") as spaces:
        argv = mounting.command(str(source), mount.path, user, spaces, read_only=mount.read_only)
        try:
            done = subprocess.run(
                argv,
                pass_fds=(user, spaces),
                env=tool_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=_TAKES,
            )
        except subprocess.TimeoutExpired as error:
            raise _not_plugged(door, mount, "It does not answer in time.") from error
    if done.returncode:
        raise _not_plugged(door, mount, done.stderr.strip()[-300:])


def _not_plugged(door: Door, mount: VolumeMount, why: str) -> MachineError:
    return MachineError(
        f"the machine {door.machine!r} cannot have a disk at {mount.path} while it runs",
        details=why,
        resolution=f"stoneware restart {door.machine}",
    )


def unplug(paths: Paths, source: Path, mount: VolumeMount) -> None:
    """Take a directory from a machine that runs. Raises MachineError where it goes on using it."""
    directory = mounts.shown(source)
    deadline = time.monotonic() + _LETS_GO
    while (leader := _leader(paths)) is not None:
        there, others = mounts.uses(leader, directory, mount.path)
        if not others:
            _tidy(paths, mount)
            if there:
                there, others = mounts.uses(leader, directory, mount.path)
            if not there and not others:
                return
        if time.monotonic() > deadline:
            raise _kept(paths, mount, others)
        time.sleep(_LOOK)


def _tidy(paths: Paths, mount: VolumeMount) -> None:
    """Remove the directory at a disk's place, and with it what is mounted there, in all its namespaces."""
    with contextlib.suppress(MachineError), contextlib.closing(Door(paths)) as door:
        door.remove_directory(mount.path)


def _kept(paths: Paths, mount: VolumeMount, others: list[str]) -> MachineError:
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    why = "; ".join(others[:3]) + more if others else "it has something else at that place"
    return MachineError(
        f"the machine {paths.name!r} does not let go of its disk {os.path.basename(mount.path)}",  # noqa: PTH119
        details=f"In the machine {why}.",
        resolution="unmount it in the machine, or stop that",
    )


def _restless(paths: Paths) -> MachineError:
    return MachineError(
        f"the machine {paths.name!r} boots over and over", resolution=f"stoneware logs {paths.name}"
    )
