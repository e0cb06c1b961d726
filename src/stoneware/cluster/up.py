"""Changing a cluster to what its file declares, in the order of its dependencies."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stoneware.cluster import events
from stoneware.cluster.desired import desire
from stoneware.cluster.directory import ClusterDirectory
from stoneware.cluster.kept_state import set_damaged_state_aside
from stoneware.cluster.model import (
    Action,
    ClusterPlan,
    Desired,
    Observed,
    Step,
)
from stoneware.cluster.needs import needs_of
from stoneware.cluster.observe import managed_in, observe
from stoneware.cluster.parts import check_parts, made_by
from stoneware.cluster.plan import make_plan, needs_rollout
from stoneware.cluster.ports import check_ports
from stoneware.cluster.rollback_limits import check_floors
from stoneware.cluster.secrets import NEW, all_secrets, known_versions, put_secrets, read_secrets
from stoneware.cluster.selection import Selection, limited, limited_plan, part_of, select
from stoneware.cluster.site import Site
from stoneware.cluster.volume_kinds import check_kinds
from stoneware.cluster.volume_sizes import check_sizes
from stoneware.cluster.waves import Waves
from stoneware.compose.model import Cluster
from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.model.capability import require
from stoneware.platforms.waiting import SETTLE
from stoneware.records import DamagedError

if TYPE_CHECKING:
    from stoneware.cluster.images import Displays
    from stoneware.config import Secret

COMMAND = "stoneware up"
_ASKED = (Action.REPLACE, Action.REMOVE)
_COMES_UP = (Action.CREATE, Action.START, Action.REPLACE)


@dataclass(frozen=True)
class UpOptions:
    """How `up` was asked for. Times are in seconds; `wait_timeout` is for each machine."""

    bake: bool = True
    recreate: bool = False
    wait: bool = True
    wait_timeout: float = 300.0
    lock_timeout: float = 0.0
    verbose: bool = False
    names: tuple[str, ...] = ()  # services or machines; none: all
    settle: float = SETTLE  # how long a machine without a health check has to be up


@dataclass(frozen=True)
class UpResult:
    """What `up` did: the plan that was followed, what is there now, how long it took."""

    plan: ClusterPlan
    desired: Desired
    observed: Observed
    baked: tuple[str, ...]
    seconds: float


class RolloutNeeded(InputError):
    """Healthy machines differ from the file; nothing was done. `steps` say which and why."""

    def __init__(self, steps: tuple[Step, ...], dead: Sequence[str] = ()) -> None:
        names = ", ".join(step.name for step in steps)
        back = f"stoneware up --restore    # {', '.join(dead)}: back as before, without what changed\n"
        super().__init__(
            f"{names} {'is' if len(steps) == 1 else 'are'} healthy, "
            "and `up` does not replace healthy machines",
            details="\n".join(f"{step.name}: {'; '.join(step.reasons)}" for step in steps),
            resolution=(
                f"{back if dead else ''}"
                "stoneware rollout    # one by one, each healthy before the next\n"
                "stoneware up --recreate    # all at once"
            ),
        )
        self.steps = steps


def up(
    cluster: Cluster,
    site: Site,
    options: UpOptions,
    *,
    reporter: events.Reporter,
    bakes: Displays,
    environment: Mapping[str, str],
    confirm: Callable[[ClusterPlan], None],
    guard: Callable[[ClusterDirectory], None] = lambda _: None,
) -> UpResult:
    """Make the cluster what its file says and wait until its machines are healthy.

    `confirm` is asked before machines are replaced or removed, and raises where the answer is no; `guard`
    raises where something else has to end first. Raises InputError where nothing was done, MachinesFailed
    where machines did not come up.
    """
    started = time.monotonic()
    selection = _selected(options.names, cluster)
    cluster = part_of(cluster, selection)
    require(site.platform, needs_of(cluster))
    directory = site.directory(cluster.name)
    with directory.lock(COMMAND, timeout=options.lock_timeout):
        set_damaged_state_aside(directory, reporter)
        # A rollout that has not ended: this command must not finish it by accident.
        guard(directory)
        # Ahead of the bakes, which take minutes: a secret that is missing is told at once.
        values = read_secrets(cluster, environment)
        baked = _images(cluster, site, options, bakes)
        versions = known_versions(site.platform, cluster.name, values)
        # After the bakes, which take minutes: the plan compares with what runs now.
        waves = _planned(_desired(cluster, site, values, versions), selection, site, options, reporter)
        _check(waves, cluster, recreate=options.recreate)
        _ask(waves.plan, confirm)
        if waves.plan.changes:
            # Not before: what is refused, or declined, changes nothing of what running machines have.
            directory.keep_origin(_origin(cluster, directory.known_origin()))
            # `down` destroys them by the origin, which names them before they are there.
            if NEW in versions.values():
                put = put_secrets(site.platform, cluster.name, values)
                # The versions of new secrets are known only now; they are part of what a machine is given.
                waves.desired = limited(_desired(cluster, site, values, put), waves.observed, selection)
        _carry_out(waves, reporter, wait=options.wait)
        after = observe(site.platform, cluster.name)
    return UpResult(waves.plan, waves.desired, after, tuple(baked), time.monotonic() - started)


def _carry_out(waves: Waves, reporter: events.Reporter, *, wait: bool) -> None:
    with _told_of_interrupts(reporter):
        waves.apply()
        if wait:
            waves.wait()


def _planned(
    desired: Desired,
    selection: Selection | None,
    site: Site,
    options: UpOptions,
    reporter: events.Reporter,
) -> Waves:
    """Compare what is wanted with what is there, and return what is to be done about it."""
    _warn(desired, reporter)
    managed = managed_in(site.directory(desired.name), site.platform.infrastructure)
    observed = observe(site.platform, desired.name, managed=managed)
    desired = limited(desired, observed, selection)
    plan = limited_plan(make_plan(desired, observed, recreate=options.recreate), observed, selection)
    return Waves(
        site, reporter, desired, observed, plan, options.wait_timeout, options.verbose, options.settle
    )


def _images(cluster: Cluster, site: Site, options: UpOptions, bakes: Displays) -> list[str]:
    if not options.bake or all(service.build is None for service in cluster.services.values()):
        return []
    # An `up` without bakes does not import the bake, which is slow to import.
    from stoneware.bake.place import Place
    from stoneware.cluster.images import bake_images

    return bake_images(cluster, Place(site.platform, site.store, site.leave), bakes, verbose=options.verbose)


def _selected(names: Sequence[str], cluster: Cluster) -> Selection | None:
    if not names:
        return None
    machines = {
        name: [machine.name for machine in service.machines] for name, service in cluster.services.items()
    }
    return select(names, machines, {name: service.depends_on for name, service in cluster.services.items()})


def _desired(
    cluster: Cluster, site: Site, values: Mapping[str, Secret], versions: Mapping[str, str]
) -> Desired:
    return desire(cluster, site.store, values, versions, extension=site.platform.infrastructure.extension)


def _warn(desired: Desired, reporter: events.Reporter) -> None:
    for warning in desired.warnings:
        reporter.emit(events.Note(warning, warning=True))


def _check(waves: Waves, cluster: Cluster, *, recreate: bool) -> None:
    """Raise RolloutNeeded or InputError where the plan is not to be followed; what is to be done is told."""
    site, plan, desired, observed = waves.site, waves.plan, waves.desired, waves.observed
    check_floors(plan, desired, observed, site.store)
    check_sizes(desired, observed, known_applied(site, plan.cluster))
    check_kinds(plan, desired, observed, site.platform.conversion_faults)
    refused = () if recreate else needs_rollout(plan, desired, observed)
    if refused:
        spared = {step.name for step in refused}
        # Also where nothing is done: `rollout` and `--restore`, advised below, read what is declared.
        waves.write_declared(spared)
        raise RolloutNeeded(refused, [name for name in _dead(plan, site) if name not in spared])
    # Before anything is made, or a port in the way would leave half a cluster.
    check_ports(site.platform, desired, observed, plan)
    check_parts(site.platform.infrastructure, cluster, desired, made_by(plan))
    if plan.changes:
        waves.reporter.emit(events.PlanMade(plan))


def _ask(plan: ClusterPlan, confirm: Callable[[ClusterPlan], None]) -> None:
    if any(step.action in _ASKED and step.kind == "machine" for step in plan.changes):
        confirm(plan)


@contextlib.contextmanager
def _told_of_interrupts(reporter: events.Reporter) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        reporter.emit(events.Note("interrupted: the next `stoneware up` continues from here"))
        raise


def _dead(plan: ClusterPlan, site: Site) -> list[str]:
    """Return the machines that are to be made or started and could come back as they were applied last."""
    applied = known_applied(site, plan.cluster)
    restarted = {step.name for step in plan.changes if step.action in _COMES_UP and step.kind == "machine"}
    return sorted(name for name in (applied.machines if applied else {}) if name in restarted)


def known_applied(site: Site, name: str) -> Desired | None:
    """Return what was applied to a cluster last, None where that is not known."""
    try:
        return site.applied(name)
    except (InputError, DamagedError):
        return None


def _origin(cluster: Cluster, before: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of where a cluster comes from: its file, and all secrets that were ever put for it.

    Those are for `down` to destroy.
    """
    file = {"file": str(cluster.files[0])} if cluster.files else {}
    return {**before, "secrets": all_secrets(cluster, before), **file}
