"""The machine that a word on the command line means."""

from __future__ import annotations

from stoneware.cli.clusters import cluster_here
from stoneware.errors import MachineError
from stoneware.launch import watch
from stoneware.platform import Machine, Phase, Platform


def find_machine(platform: Platform, name: str) -> Machine:
    """Return the machine of a name, an id, or a short name; of several the one of the cluster here."""
    return watch.find_machine(platform, name, prefer=cluster_here)


def need_running(machine: Machine) -> None:
    """Raise MachineError where a machine cannot run a command now."""
    if machine.phase in (Phase.STOPPED, Phase.CREATED, Phase.STOPPING):
        raise MachineError(
            f"the machine {machine.name} is {machine.phase}", resolution=f"stoneware start {machine.name}"
        )
