"""Who leads: shown by a plan, and no canary unless the user insists."""

from __future__ import annotations

from dataclasses import replace

from stoneware.cluster.site import Site
from stoneware.errors import InputError, StonewareError
from stoneware.rollout import registry
from stoneware.rollout.cluster_fleet import ClusterFleet
from stoneware.rollout.gate_protocol import GateContext, Leader
from stoneware.rollout.planner import Planned


def with_leaders(planned: Planned, site: Site, *, insist: bool = False) -> Planned:
    """Return a plan with who leads, asked of the gates; what they cannot say is a note.

    Raises InputError for a canary that leads while others could go first, unless the user does `insist`.
    """
    plan = planned.plan
    # Without gates nothing knows of leaders, and no machine has to be asked.
    if not any(policy.gates for policy in plan.policies.values()):
        return planned
    leaders: dict[str, Leader] = {}
    notes = []
    keeper = registry.gatekeeper(plan.policies)
    with ClusterFleet(site, plan.cluster) as fleet:
        views = fleet.observe()
        for service in plan.policies:
            # Gates are asked about the service: any of its changes stands for it.
            change = next(one for one in plan.changes if one.service == service)
            try:
                found = keeper.leader(GateContext(plan.cluster, views, change, fleet.execute))
            except StonewareError as error:
                why = "; ".join(filter(None, [error.brief, error.details]))
                notes.append(f"who leads {service} is not known: {why}")
                continue
            if found is not None:
                leaders[found.machine] = found
    done = replace(
        planned,
        plan=replace(plan, insisted=insist),
        notes=(*planned.notes, *notes),
        leaders=tuple(leaders.values()),
    )
    if not insist:
        _check(done)
    return done


def _check(planned: Planned) -> None:
    changes = {change.machine: change for change in planned.plan.changes}
    led = {leader.machine: leader for leader in planned.leaders}
    for name in planned.plan.canary:
        if name not in led or name not in changes:
            continue
        others = [one for one in changes if one not in led and one not in planned.plan.canary]
        same = [one for one in others if changes[one].service == changes[name].service]
        if good := (same or others)[:1]:
            raise InputError(
                f"{name} {led[name].words}, so the rollout takes it last and not as the canary",
                details="While it is down what it leads stands still or finds another: once, if it is last.",
                resolution=(
                    f"stoneware rollout --canary {good[0]}\n"
                    f"stoneware rollout --canary {name} --canary-may-lead    # all the same"
                ),
            )


def leader_lines(planned: Planned) -> list[str]:
    """Return a sentence for each leader: who it is and when it goes."""
    changed = {change.machine for change in planned.plan.changes}
    lines = []
    for leader in planned.leaders:
        when = "it does not change"
        if leader.machine in changed:
            first = planned.plan.insisted and leader.machine in planned.plan.canary
            when = "it goes first, as the canary" if first else "it goes last"
        lines.append(f"{leader.machine} {leader.words}: {when}")
    return lines
