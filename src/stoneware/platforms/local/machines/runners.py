"""Which runner runs a machine: the one place that knows them all."""

from __future__ import annotations

from stoneware.model.machine import MachineSpec
from stoneware.platforms.local.machines.record import Paths
from stoneware.platforms.local.machines.runner import Runner


def runner_of(paths: Paths) -> Runner:
    """Return what runs a machine that is there, whatever its records say."""
    return _runner(vm=paths.disk.exists())


def runner_for(spec: MachineSpec) -> Runner:
    """Return what runs a machine as is wanted."""
    return _runner(vm=spec.vm)


def runners() -> tuple[Runner, ...]:
    """Return all runners."""
    return (_runner(vm=False), _runner(vm=True))


def _runner(*, vm: bool) -> Runner:
    if vm:  # with libraries of its own, which other machines do without
        from stoneware.platforms.local.machines.qemu.runner import Qemu

        return Qemu()
    from stoneware.platforms.local.machines.nspawn import Nspawn

    return Nspawn()
