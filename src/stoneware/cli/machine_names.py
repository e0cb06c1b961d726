"""The machines that words on the command line mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stoneware.cli.clusters import cluster_here
from stoneware.errors import InputError, MachineError
from stoneware.launch import machine_search
from stoneware.model.labels import CLUSTER_LABEL
from stoneware.model.machine import Machine, Phase
from stoneware.platforms.protocols import Platform


def find_machine(platform: Platform, name: str) -> Machine:
    """Return the machine of a name, an id, or a short name; of several the one of the cluster here."""
    return machine_search.find_machine(platform, name, prefer=cluster_here)


def find_machines(
    platform: Platform, names: Sequence[str], *, cluster: str = "", several: bool = False
) -> list[Machine]:
    """Return the machines that names, ids, short names and services mean, each once. Raises InputError.

    A service is all of its machines. With a `cluster` only its machines are meant; `several`: a word may mean
    machines of several clusters.
    """
    known = machines_of(platform, cluster) if cluster else platform.machines()
    # Called only for a word that several clusters have: it reads the file that is here.
    prefer: Callable[[], str] = (lambda: cluster) if cluster else cluster_here
    meant: dict[str, Machine] = {}
    for name in names:
        # A whole name wins over a service that is called so.
        exact = [machine for machine in known if machine.name == name]
        found = exact or machine_search.labelled(known, name, prefer=prefer)
        if found and not exact and not several:
            _check_one_cluster(name, found)
        if not found and cluster:
            there = ", ".join(machine_search.short_name(machine) for machine in known)
            raise InputError(
                f"the cluster {cluster} has no machine and no service {name!r}",
                details=f"There are: {there}.",
            )
        for machine in found or [find_machine(platform, name)]:
            meant[machine.name] = machine
    return list(meant.values())


def machines_of(platform: Platform, cluster: str) -> list[Machine]:
    """Return the machines of a cluster. Raises InputError where it has none."""
    found = machine_search.in_cluster(platform.machines(), cluster)
    if not found:
        from stoneware.cluster.directory import not_up

        raise not_up(cluster)
    return found


def _check_one_cluster(name: str, found: Sequence[Machine]) -> None:
    if len({machine.spec.labels.get(CLUSTER_LABEL) for machine in found}) > 1:
        raise InputError(
            f"{name!r} is in several clusters",
            details=f"There are: {', '.join(machine.name for machine in found)}.",
            resolution="name one of them, or the cluster: -p NAME",
        )


def need_running(machine: Machine) -> None:
    """Raise MachineError where a machine cannot run a command now."""
    if machine.phase in (Phase.STOPPED, Phase.CREATED, Phase.STOPPING):
        raise MachineError(
            f"the machine {machine.name} is {machine.phase}", resolution=f"stoneware start {machine.name}"
        )
