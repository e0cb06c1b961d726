"""The gate every rollout has: the machines themselves, as their agents report them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stoneware.cluster.model import Release
from stoneware.model.machine import Health, Phase
from stoneware.rollout.gate_protocol import READY, GateContext, Verdict, stop, wait
from stoneware.rollout.model import How, MachineView


class MachineGate:
    """Before: all other machines are healthy. After: this one runs the right release and is healthy."""

    name = "machine"

    def before(self, machine: str, context: GateContext) -> Verdict:
        """Wait for the other machines, unless this one is unhealthy: then it is the one to replace first."""
        if not context.views[machine].healthy:
            return READY
        for name, view in context.views.items():
            if name != machine and name not in context.down and not view.healthy:
                return wait(f"{name} {condition(view)}")
        # What is gone has no view: it is missed among those that there have to be.
        gone = sorted(context.expected - set(context.views) - context.down - {machine})
        return wait(f"{gone[0]} is gone") if gone else READY

    def after(self, machine: str, context: GateContext) -> Verdict:
        """Say whether the machine runs what it is to run, and is healthy."""
        view = context.views.get(machine)
        if view is None:
            return stop("the machine is gone")
        if view.phase in (Phase.FAILED, Phase.STOPPED, Phase.STOPPING, Phase.DAMAGED):
            return stop(f"the machine {condition(view)}")
        if (
            context.change.how is How.RELOAD
            and view.phase is Phase.RUNNING
            and view.release != context.target
        ):
            return wait("the machine has not taken its new configuration on yet")
        # None: it has not said yet what it runs.
        if view.phase is Phase.RUNNING and view.release not in (None, context.target):
            return stop(_other(view.release, context.target))
        if view.healthy and view.release == context.target:
            return READY
        return wait(f"the machine {condition(view)}")

    def order(self, machines: Sequence[str], _context: GateContext) -> Sequence[str]:
        """Leave the order as it is."""
        return machines


def _other(found: Release | None, target: Release | None) -> str:
    if found and target and replace(found, declared=target.declared) == target:
        return "its declaration differs from what it was created from"
    return f"it runs {found} instead of {target}"


def condition(view: MachineView) -> str:
    """Return what a machine does, to be put after its name."""
    words = {Phase.FAILED: "has failed", Phase.DAMAGED: "is damaged", Phase.STOPPED: "has stopped"}
    condition = words.get(view.phase, f"is {view.phase}")
    if view.phase is Phase.RUNNING and view.health is not Health.NONE:
        condition = f"is {view.health}"
    return f"{condition}: {view.error}" if view.error else condition
