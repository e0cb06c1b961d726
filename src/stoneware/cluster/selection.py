"""A part of a cluster: the services or machines that `up` was asked for, with what they depend on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from stoneware.cluster.model import Action, ClusterPlan, Desired, Observed, Step
from stoneware.cluster.plan import is_healthy
from stoneware.compose.model import Cluster, ClusterNetwork
from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.machinefile.flags import nearest
from stoneware.model.labels import CLUSTER_LABEL, SERVICE_LABEL


@dataclass(frozen=True)
class Selection:
    """The machines that were asked for, by short name, and those that they depend on."""

    asked: frozenset[str]
    needed: frozenset[str] = frozenset()
    services: frozenset[str] = frozenset()  # whole services that were asked for

    @property
    def all(self) -> frozenset[str]:
        """All of them."""
        return self.asked | self.needed


def select(
    names: Sequence[str], services: Mapping[str, Sequence[str]], depends_on: Mapping[str, Iterable[str]]
) -> Selection:
    """Return what services or short names of machines mean; `services` are their machines.

    Raises InputError for a name that is neither.
    """
    asked: set[str] = set()
    whole: set[str] = set()
    owners = {machine: service for service, machines in services.items() for machine in machines}
    for name in names:
        if name in services:
            asked |= set(services[name])
            whole.add(name)
        elif name in owners:
            asked.add(name)
        else:
            raise _unknown(name, [*services, *owners])
    needed = {
        machine
        for service in _below({owners[machine] for machine in asked} | whole, depends_on)
        for machine in services.get(service, ())
    }
    return Selection(frozenset(asked), frozenset(needed - asked), frozenset(whole))


def _unknown(name: str, known: Sequence[str]) -> InputError:
    near = nearest(name, known)
    return InputError(
        f"the cluster has no service and no machine {name!r}",
        details=f"There are: {', '.join(known)}.",
        resolution=f"stoneware up {near}" if near else "stoneware config --services",
    )


def _below(services: Collection[str], depends_on: Mapping[str, Iterable[str]]) -> set[str]:
    found: set[str] = set()
    left = list(services)
    while left:
        for other in depends_on.get(left.pop(), ()):
            if other not in found:
                found.add(other)
                left.append(other)
    return found


def part_of(cluster: Cluster, selection: Selection | None) -> Cluster:
    """Return the file's cluster with only the services that a selection has machines of; None: all."""
    if selection is None:
        return cluster
    services = {
        name: service
        for name, service in cluster.services.items()
        if any(machine.name in selection.all for machine in service.machines)
    }
    return replace(cluster, services=services)


def limited(desired: Desired, observed: Observed, selection: Selection | None) -> Desired:
    """Return what is wanted without the disks and networks of machines that were not selected; None: all.

    Networks that are there stay, whether the file has them or not: they are not this command's business. So
    do disks, as they were applied last; here it is not known whose they are.
    """
    if selection is None:
        return desired
    own = {CLUSTER_LABEL: desired.name}
    there = {
        name: ClusterNetwork(name, False, own, name in observed.internal, observed.subnets.get(name, ()))
        for name in observed.networks
    }
    desired = replace(desired, networks={**there, **desired.networks})
    specs = [machine.spec for name, machine in desired.machines.items() if name in selection.all]
    # Disks of other services would be wanted with the cluster's label only, and lose their other labels.
    volumes = {mount.volume for spec in specs for mount in spec.volumes}
    networks = {name for spec in specs for name in spec.networks} | observed.networks
    return replace(
        desired, volumes=_only(desired.volumes, volumes), networks=_only(desired.networks, networks)
    )


def _only(things: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: thing for name, thing in things.items() if name in names}


def limited_plan(
    plan: ClusterPlan, observed: Observed, selection: Selection | None, *, restore: bool = False
) -> ClusterPlan:
    """Return a plan's steps for the selected machines (None: all); the others are as if they were not there.

    A machine that is only needed, and with `restore` any, is left as it is where it is healthy.
    """
    if selection is None:
        return plan
    steps = [_limited(step, observed, selection, restore=restore) for step in plan.steps]
    waves = (tuple(name for name in wave if name in selection.all) for wave in plan.waves)
    return replace(
        plan,
        steps=tuple(step for step in steps if step is not None),
        waves=tuple(wave for wave in waves if wave),
    )


def _limited(step: Step, observed: Observed, selection: Selection, *, restore: bool) -> Step | None:
    if step.kind != "machine":
        another = step.action is Action.NONE and step.reasons  # a disk of a machine that was not selected
        return None if step.action is Action.REMOVE or another else step
    found = observed.machines.get(step.name)
    if step.action is Action.REMOVE:
        service = found.machine.spec.labels.get(SERVICE_LABEL, "") if found else ""
        # `up web-1` says nothing about web-3; `up web` does, and takes away a replica too many.
        return step if service in selection.services and not restore else None
    if step.name not in selection.all:
        return None
    spared = restore or step.name in selection.needed
    # An import changes no machine, and later applies need it in Terraform's state.
    if spared and found is not None and is_healthy(found.machine) and step.action is not Action.ADOPT:
        return replace(step, action=Action.NONE, reasons=())
    return step
