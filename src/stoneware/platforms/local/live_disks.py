"""Disks that come to a machine, and go from it, while it runs.

The spec names a disk before the machine has it, and until the machine has let it go: so the disk is no other
machine's meanwhile, and what a killed command has left half done is done by the same call again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from stoneware.errors import InputError, MachineError
from stoneware.model import machine_fields
from stoneware.model.guest_lines import is_disk
from stoneware.model.machine import MachineSpec
from stoneware.model.resources import DIRECTORY, VolumeMount
from stoneware.platforms.local.machines import record as machine_record
from stoneware.platforms.local.machines.record import Paths
from stoneware.platforms.local.machines.runners import runner_of
from stoneware.platforms.local.machines.start import RUN, write_runner
from stoneware.platforms.local.platform_resources import LocalResources
from stoneware.platforms.local.store.store import Store


def attach(platform: LocalResources, name: str, mount: VolumeMount) -> None:
    """Let a machine have a disk more, at once where it runs; a missing machine is no error.

    Where it fails, the machine has not got the disk. Raises InputError and MachineError.
    """
    store, paths = platform.store, Paths(platform.store.data / "machines" / name)
    with store.lock("machines", name):
        spec = _spec(paths, mount)
        if spec is None:
            return
        wanted = replace(spec, volumes=(*(one for one in spec.volumes if one != mount), mount))
        if mount not in spec.volumes:
            # Held until the spec names it: from then on it counts as in use.
            with platform.volumes_of(replace(spec, volumes=(mount,))):
                _record(store, paths, wanted.volumes)
        try:
            store.limit_volume(mount.volume)
            _follow(store, paths, wanted, mount)
        except BaseException:
            _take(platform, paths, wanted, mount)
            raise


def _follow(store: Store, paths: Paths, spec: MachineSpec, mount: VolumeMount) -> None:
    """Let a machine that runs have a disk that its spec names."""
    if not _runs(paths):
        return
    write_runner(store, paths, spec)
    try:
        runner_of(paths).plug(store, paths, spec, mount)
    except MachineError:
        # One that has ended meanwhile has the disk at its next start.
        if _runs(paths):
            raise


def detach(platform: LocalResources, name: str, mount: VolumeMount) -> None:
    """Take a disk from a machine, at once where it runs; one that it has not, and no machine, are no errors.

    Never waits long. Raises MachineError where the machine does not let go: then it has the disk as before.
    """
    paths = Paths(platform.store.data / "machines" / name)
    with platform.store.lock("machines", name):
        spec = _spec(paths, mount)
        if spec is not None and mount in spec.volumes:
            _take(platform, paths, spec, mount)


def _take(platform: LocalResources, paths: Paths, spec: MachineSpec, mount: VolumeMount) -> None:
    store, left = platform.store, tuple(one for one in spec.volumes if one != mount)
    with store.volume_locks([mount.volume]):
        if _runs(paths):
            _unplug(store, paths, spec, replace(spec, volumes=left), mount)
        _record(store, paths, left)


def _unplug(store: Store, paths: Paths, spec: MachineSpec, wanted: MachineSpec, mount: VolumeMount) -> None:
    runner = runner_of(paths)
    if runner.volume_kind == DIRECTORY:
        store.check_whole(mount.volume)
    # First: a machine that boots again meanwhile boots without it.
    write_runner(store, paths, wanted)
    try:
        runner.unplug(store, paths, wanted, mount)
        if runner.volume_kind == DIRECTORY and store.volume_users(mount.volume) == [paths.name]:
            # Nothing says what a machine may have hidden of a directory: an open file on its way between two
            # processes, a mount that is nowhere. So that is another directory than the volume's from now on.
            store.renew_volume_locked(mount.volume)
    except BaseException as error:
        if _runs(paths):
            _follow(store, paths, spec, mount)
            raise
        # It has ended meanwhile, and so it has let go.
        if not isinstance(error, (InputError, MachineError)):
            raise


def _spec(paths: Paths, mount: VolumeMount) -> MachineSpec | None:
    """Return the spec of a machine that can have a disk, None where there is no machine."""
    spec = machine_record.read_spec(paths)
    if spec is None:
        return None
    if not is_disk(mount):
        raise InputError("a volume with a place of its own in a machine is there from its start")
    if _runs(paths) and not (paths.run / RUN).exists():
        raise MachineError(
            f"the machine {paths.name!r} was started by an earlier Stoneware",
            details="Its disks do not change while it runs.",
            resolution=f"stoneware restart {paths.name}",
        )
    return spec


def _runs(paths: Paths) -> bool:
    return machine_record.shown_processes(paths).alive


def _record(store: Store, paths: Paths, volumes: Sequence[VolumeMount]) -> None:
    """Write into a machine's spec which volumes it has."""
    with store.lock("metadata", paths.name):
        field = machine_fields.FIELDS["volumes"]
        machine_record.change_spec(paths.root, {"volumes": field.kind.write(tuple(volumes))})
    # Who has which volume is read again where this directory has changed.
    os.utime(store.data / "machines")
