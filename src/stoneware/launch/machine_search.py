"""The machine that a word means: its name, its id, or what it is called in its cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stoneware.errors import InputError
from stoneware.model.labels import CLUSTER_LABEL, MACHINE_LABEL, SERVICE_LABEL
from stoneware.model.machine import Machine
from stoneware.platforms.protocols import Platform


def _nowhere() -> str:
    return ""


def find_machine(platform: Platform, name: str, *, prefer: Callable[[], str] = _nowhere) -> Machine:
    """Return the machine of a name, an id, a unique prefix of it, or of a short name in a cluster.

    A service's name stands for its machine where it has one. Where clusters share a short name, the one that
    `prefer` returns is meant. Raises InputError.
    """
    found = platform.observe(name)
    if found is not None:
        return found
    machines = platform.machines()
    hits = [machine for machine in machines if len(name) >= 3 and machine.id.startswith(name)]
    if len(hits) != 1:
        hits = labelled(machines, name, prefer=prefer)
    if len(hits) == 1:
        return hits[0]
    if hits:
        raise InputError(
            f"{name!r} is not one machine",
            details=f"There are: {', '.join(machine.name for machine in hits)}.",
            resolution="name one of them",
        )
    raise InputError(
        f"there is no machine {name!r}",
        details=f"There are: {', '.join(machine.name for machine in machines)}." if machines else "",
        resolution="stoneware ps -a",
    )


def labelled(
    machines: Sequence[Machine], name: str, *, prefer: Callable[[], str] = _nowhere
) -> list[Machine]:
    """Return the machines of a short name, or of a service; in the preferred cluster where it has some."""
    for label in (MACHINE_LABEL, SERVICE_LABEL):
        hits = [machine for machine in machines if machine.spec.labels.get(label) == name]
        if len({machine.spec.labels.get(CLUSTER_LABEL) for machine in hits}) > 1:
            # `prefer` looks for a cluster's file here, so it is asked only where it decides.
            here = prefer()
            hits = [machine for machine in hits if machine.spec.labels.get(CLUSTER_LABEL) == here] or hits
        if hits:
            return hits
    return []


def short_name(machine: Machine) -> str:
    """Return what a machine is called in its cluster; its name where it is in none."""
    return machine.spec.labels.get(MACHINE_LABEL) or machine.name


def in_cluster(machines: Sequence[Machine], cluster: str) -> list[Machine]:
    """Return the machines of a cluster."""
    return [machine for machine in machines if machine.spec.labels.get(CLUSTER_LABEL) == cluster]
