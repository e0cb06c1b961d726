"""Ports of this computer that a cluster's machines want: looked at before any of them is made or stopped."""

from __future__ import annotations

from stoneware.cluster.model import Action, ClusterPlan, Desired, Observed
from stoneware.errors import InputError
from stoneware.platforms.protocols import Platform

_FREED = (Action.CREATE, Action.REPLACE, Action.START, Action.REMOVE)  # what these have is free by then
_TAKEN = (Action.CREATE, Action.REPLACE, Action.START)


def port_faults(platform: Platform, desired: Desired, observed: Observed, plan: ClusterPlan) -> list[str]:
    """Return what is in the way of the ports that a plan's machines want, a sentence for each."""
    actions = {step.name: step.action for step in plan.steps if step.kind == "machine"}
    freed = [
        observed.machines[name].machine.name
        for name, action in actions.items()
        if action in _FREED and name in observed.machines
    ]
    taking = [name for name, action in actions.items() if action in _TAKEN and name in desired.machines]
    specs = {name: desired.machines[name].spec for name in taking}
    found = platform.port_faults({spec.name: spec.ports for spec in specs.values()}, besides=freed)
    return [f"{name}: {fault}" for name, spec in specs.items() for fault in found.get(spec.name, ())]


def check_ports(platform: Platform, desired: Desired, observed: Observed, plan: ClusterPlan) -> None:
    """Raise InputError where a plan's machines could not have their ports."""
    if faults := port_faults(platform, desired, observed, plan):
        count = "a port" if len(faults) == 1 else f"{len(faults)} ports"
        raise InputError(
            f"{count} of this computer cannot be published; no machine was created or stopped",
            details="\n".join(faults),
            resolution=(
                "free them, or write other ones under ports: (0 takes a free one), then: stoneware up"
            ),
        )
