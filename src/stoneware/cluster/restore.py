"""Bringing machines back that are down or gone, as they were applied last: the file's changes wait."""

from __future__ import annotations

import time
from collections.abc import Callable

from stoneware.cluster import events
from stoneware.cluster.directory import ClusterDirectory, not_up
from stoneware.cluster.kept_state import set_damaged_state_aside
from stoneware.cluster.model import Action, ClusterPlan, Desired, Observed
from stoneware.cluster.observe import managed_in, observe
from stoneware.cluster.parts import check_parts, made_by
from stoneware.cluster.plan import make_plan
from stoneware.cluster.ports import check_ports
from stoneware.cluster.rollback_limits import check_floors
from stoneware.cluster.selection import Selection, limited, limited_plan, select
from stoneware.cluster.site import Site
from stoneware.cluster.up import UpOptions, UpResult
from stoneware.cluster.volume_kinds import check_kinds
from stoneware.cluster.waves import Waves

COMMAND = "stoneware up --restore"


def restore(
    name: str,
    site: Site,
    options: UpOptions,
    *,
    reporter: events.Reporter,
    confirm: Callable[[ClusterPlan], None],
    guard: Callable[[ClusterDirectory], None] = lambda _: None,
) -> UpResult:
    """Make, start or replace the machines of a cluster that do not run, with the release they had.

    Healthy machines stay as they are, also where the file differs: it is not read. Otherwise as `up`.
    """
    started = time.monotonic()
    directory = site.directory(name)
    with directory.lock(COMMAND, timeout=options.lock_timeout):
        set_damaged_state_aside(directory, reporter)
        guard(directory)
        applied = site.applied(name)
        if applied is None or not applied.machines:
            raise not_up(name)
        selection = _selected(options, applied)
        managed = managed_in(directory, site.platform.infrastructure)
        observed = observe(site.platform, name, managed=managed)
        desired = limited(applied, observed, selection)
        plan = _plan(desired, observed, selection)
        check_floors(plan, desired, observed, site.store)
        check_kinds(plan, desired, observed, site.platform.conversion_faults)
        check_ports(site.platform, desired, observed, plan)
        check_parts(site.platform.infrastructure, None, desired, made_by(plan))
        if plan.changes:
            reporter.emit(events.PlanMade(plan))
        if any(step.action is Action.REPLACE for step in plan.changes):
            confirm(plan)
        waves = Waves(
            site, reporter, desired, observed, plan, options.wait_timeout, options.verbose, options.settle
        )
        waves.apply()
        if options.wait:
            waves.wait()
        after = observe(site.platform, name)
    return UpResult(plan, desired, after, (), time.monotonic() - started)


def _selected(options: UpOptions, applied: Desired) -> Selection:
    services: dict[str, list[str]] = {}
    for machine in applied.machines.values():
        services.setdefault(machine.service, []).append(machine.name)
    if not options.names:
        return Selection(frozenset(applied.machines))
    return select(options.names, services, applied.depends_on)


def _plan(desired: Desired, observed: Observed, selection: Selection) -> ClusterPlan:
    """Return the plan for what does not run; what stays as it is, is not waited for."""
    plan = limited_plan(make_plan(desired, observed), observed, selection, restore=True)
    changed = {step.name for step in plan.changes if step.kind == "machine"}
    waves = (tuple(name for name in wave if name in changed) for wave in plan.waves)
    return ClusterPlan(plan.cluster, plan.steps, tuple(wave for wave in waves if wave))
