"""Making a cluster what its file says: what is missing is created, in the order of its dependencies."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from stoneware.cluster import events
from stoneware.cluster.apply import ClusterTerraform, set_damaged_state_aside
from stoneware.cluster.desired import desire
from stoneware.cluster.directory import ClusterDirectory
from stoneware.cluster.lock import cluster_lock
from stoneware.cluster.model import (
    LABEL_SERVICE,
    LABEL_SLOT,
    Action,
    ClusterPlan,
    Desired,
    DesiredMachine,
    Observed,
    Step,
)
from stoneware.cluster.observe import observe
from stoneware.cluster.plan import address, make_plan, needs_rollout
from stoneware.cluster.ports import check_ports
from stoneware.cluster.rollback_limits import check_floors
from stoneware.cluster.secrets import NEW, all_secrets, known_versions, put_secrets, read_secrets
from stoneware.cluster.selection import Selection, limited, limited_plan, part_of, select
from stoneware.cluster.site import Site
from stoneware.cluster.tfvars import to_tfvars
from stoneware.cluster.waiting import Expected, MachinesFailed, Watch
from stoneware.compose.model import Cluster, Condition
from stoneware.errors import InputError
from stoneware.files import write_json
from stoneware.platforms.waiting import Goal, Level
from stoneware.provider.machine_state import own_metadata
from stoneware.records import DamagedError
from stoneware.terraform.runner import managed_addresses

if TYPE_CHECKING:
    from stoneware.cluster.images import Displays

COMMAND = "stoneware up"
_ASKED = (Action.REPLACE, Action.REMOVE)
_MADE = (Action.CREATE, Action.START, Action.REPLACE)


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


@dataclass(frozen=True)
class UpResult:
    """What `up` did: the plan that was followed, what is there now, how long it took."""

    plan: ClusterPlan
    desired: Desired
    observed: Observed
    baked: tuple[str, ...]
    seconds: float


class RolloutNeeded(InputError):
    """Machines that run well differ from the file; nothing was done. `steps` say which and why."""

    def __init__(self, steps: tuple[Step, ...], dead: Sequence[str] = ()) -> None:
        names = ", ".join(step.name for step in steps)
        back = f"stoneware up --restore    # {', '.join(dead)}: back as before, without what changed\n"
        super().__init__(
            f"{names} run{'s' if len(steps) == 1 else ''} well, and `up` does not replace what runs well",
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
    """Make the cluster what its file says and wait until it is well.

    `confirm` is asked before machines are replaced or removed, and raises where the answer is no; `guard`
    raises where something else has to end first. Raises InputError where nothing was done, MachinesFailed
    where machines did not come up.
    """
    started = time.monotonic()
    directory = site.directory(cluster.name)
    selection = _selected(options.names, cluster)
    cluster = part_of(cluster, selection) if selection else cluster
    with cluster_lock(directory.lock_path, COMMAND, timeout=options.lock_timeout):
        set_damaged_state_aside(directory, reporter)
        guard(directory)
        values = read_secrets(cluster, environment)
        baked = _bake(cluster, site, options, bakes)
        versions = known_versions(site.platform, cluster.name, values)
        desired = desire(cluster, site.store, values, versions)
        observed, plan, desired = _decide(desired, selection, site, options, reporter)
        if any(step.action in _ASKED and step.kind == "machine" for step in plan.changes):
            confirm(plan)
        if plan.changes:
            # Not before: what is refused, or declined, changes nothing of what running machines have.
            directory.keep_origin(_origin(cluster, directory.known_origin()))
            if NEW in versions.values():
                versions = put_secrets(site.platform, cluster.name, values)
                desired = desire(cluster, site.store, values, versions)
                desired = limited(desired, observed, selection) if selection else desired
        try:
            Run(site, options, reporter, desired, observed, plan).run()
        except KeyboardInterrupt:
            reporter.emit(events.Note("interrupted: the next `stoneware up` goes on from here"))
            raise
        after = observe(site.platform, cluster.name)
    return UpResult(plan, desired, after, tuple(baked), time.monotonic() - started)


def _bake(cluster: Cluster, site: Site, options: UpOptions, bakes: Displays) -> list[str]:
    if not options.bake or all(service.build is None for service in cluster.services.values()):
        return []
    from stoneware.bake.api import Place
    from stoneware.cluster.images import bake_images

    return bake_images(cluster, Place(site.platform, site.store), bakes, verbose=options.verbose)


def _selected(names: Sequence[str], cluster: Cluster) -> Selection | None:
    if not names:
        return None
    machines = {
        name: [machine.name for machine in service.machines] for name, service in cluster.services.items()
    }
    return select(names, machines, {name: service.depends_on for name, service in cluster.services.items()})


def _decide(
    desired: Desired, selection: Selection | None, site: Site, options: UpOptions, reporter: events.Reporter
) -> tuple[Observed, ClusterPlan, Desired]:
    """Return what there is, what is to be done, which is told, and what is wanted. Raises RolloutNeeded."""
    for warning in desired.warnings:
        reporter.emit(events.Note(warning, warning=True))
    managed = managed_addresses(site.directory(desired.name).path)
    observed = observe(site.platform, desired.name, managed=managed)
    desired = limited(desired, observed, selection) if selection else desired
    plan = make_plan(desired, observed, recreate=options.recreate)
    plan = limited_plan(plan, observed, selection) if selection else plan
    check_floors(plan, desired, observed, site.store)
    refused = () if options.recreate else needs_rollout(plan, desired, observed)
    if refused:
        spared = {step.name for step in refused}
        Run(site, options, reporter, desired, observed, plan).mend(spared)
        raise RolloutNeeded(refused, [name for name in _dead(plan, site) if name not in spared])
    check_ports(site.platform, desired, observed, plan)
    if plan.changes:
        reporter.emit(events.PlanMade(plan))
    return observed, plan, desired


def _dead(plan: ClusterPlan, site: Site) -> list[str]:
    """Return the machines that are to be made or started and could come back as they were applied last."""
    try:
        applied = site.applied(plan.cluster)
    except (InputError, DamagedError):
        return []
    made = {step.name for step in plan.changes if step.action in _MADE and step.kind == "machine"}
    return sorted(name for name in (applied.machines if applied else {}) if name in made)


def _origin(cluster: Cluster, before: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of where a cluster comes from: its file, and all secrets that were ever put for it.

    Those are for `down` to destroy.
    """
    file = {"file": str(cluster.files[0])} if cluster.files else {}
    return {**before, "secrets": all_secrets(cluster, before), **file}


@dataclass
class Run:
    """The effects of one `up`: wave after wave of Terraform, then waiting."""

    site: Site
    options: UpOptions
    reporter: events.Reporter
    desired: Desired
    observed: Observed
    plan: ClusterPlan

    def __post_init__(self) -> None:
        self._watch = Watch(self.site.platform, self.reporter, self.options.wait_timeout)
        self._actions = {step.name: step.action for step in self.plan.steps if step.kind == "machine"}
        self._others = [step for step in self.plan.changes if step.kind != "machine"]
        self._damaged = False
        self._applied = self._applied_last()

    def run(self) -> None:
        """Do what the plan says."""
        if self.plan.changes:
            directory = self.site.directory(self.desired.name)
            with ClusterTerraform(
                self.site.platform, directory, self.reporter, verbose=self.options.verbose
            ) as terraform:
                self._waves(terraform)
        else:
            self.mend()
            for wave in self.plan.waves:
                self._expect(wave)
        if self.options.wait:
            self._watch.until_all()

    def _applied_last(self) -> Desired:
        """Return what was applied last; machines it does not name are taken as they are observed."""
        try:
            applied = self.site.applied(self.desired.name)
        except (InputError, DamagedError) as error:  # it is written anew
            self._damaged = True
            self.reporter.emit(events.Note(error.brief, warning=True))
            applied = None
        found = {name: self._as_it_is(name) for name in self.observed.machines}
        known = applied or replace(self.desired, volumes={}, networks={}, machines={})
        return replace(known, machines={**found, **known.machines})

    def mend(self, besides: Collection[str] = ()) -> None:
        """Write what is declared where that was damaged; of the machines `besides` what is there."""
        if not self._damaged:
            return
        variables = to_tfvars(
            self.desired,
            self.observed,
            [name for name in self._actions if name not in besides],
            applied=self._applied,
            keep_volumes=sorted(self.observed.volumes),
        )
        path = self.site.directory(self.desired.name).variables_path
        write_json(path, variables, mode=0o600)

    def _as_it_is(self, name: str) -> DesiredMachine:
        machine = self.observed.machines[name].machine
        labels = machine.spec.labels
        wanted = self.desired.machines.get(name)
        return DesiredMachine(
            name=name,
            service=labels.get(LABEL_SERVICE, ""),
            slot=int(labels.get(LABEL_SLOT) or 0),
            spec=replace(machine.spec, metadata=own_metadata(machine.spec)),
            image=machine.image,
            image_id=machine.image_id,
            commit="",
            config_digest=machine.config_digest,
            reloads=wanted is not None and wanted.reloads,
            checked=wanted is not None and wanted.checked,
        )

    def _waves(self, terraform: ClusterTerraform) -> None:
        self._remove_unmanaged()
        removed = self._with(Action.REMOVE)
        done = [*removed, *self._with(Action.ADOPT)]
        first = bool(done or self._others)  # what belongs to no wave goes with the first apply
        for number, wave in enumerate(self.plan.waves):
            names = [name for name in wave if self._changes(name)]
            if names or first:
                self._wait_for_dependencies(names, self.plan.waves[number:])
                done += names
                self._apply(terraform, [*(removed if first else ()), *names], done)
                first = False
            self._expect(wave)
        if first:  # the last machine is gone from the file
            self._apply(terraform, removed, done)
        managed = self.observed.managed or frozenset()
        for step in self._others:
            if step.action is Action.REMOVE and address(step.kind, step.name) not in managed:
                self.site.platform.destroy_network(step.name)

    def _changes(self, name: str) -> bool:
        return self._actions[name] not in (Action.NONE, Action.ADOPT)

    def _with(self, action: Action) -> list[str]:
        return [name for name, found in self._actions.items() if found is action]

    def _remove_unmanaged(self) -> None:
        """Remove machines that nothing wants and Terraform does not know: they cannot be imported."""
        managed = self.observed.managed or frozenset()
        gone = [name for name in self._with(Action.REMOVE) if address("machine", name) not in managed]
        for name in gone:
            machine = self.observed.machines[name].machine.name
            self._watch.begin(name, str(Action.REMOVE))
            self.site.platform.stop(machine)
            self.site.platform.destroy(machine)

    def _apply(self, terraform: ClusterTerraform, names: Collection[str], done: Collection[str]) -> None:
        variables = to_tfvars(
            self.desired,
            self.observed,
            done,
            applied=self._applied,
            keep_volumes=sorted(self.observed.volumes),
        )
        variables["volumes"] = self._present(variables["volumes"])
        terraform.configure(variables)
        adopted = terraform.adopt(variables, self.observed)
        allowed = {address(step.kind, step.name) for step in self._others}
        allowed |= {address("machine", name) for name in names} | set(adopted)
        started = time.monotonic()
        for name in names:
            self._watch.begin(name, str(self._actions[name]))
        again = [address("machine", name) for name in names if self._actions[name] is Action.REPLACE]
        terraform.apply(allowed, again=again)
        for name in names:
            if self._actions[name] is Action.REMOVE:
                seconds = time.monotonic() - started
                self.reporter.emit(events.MachineFinished(name, str(Action.REMOVE), "removed", seconds))

    def _present(self, volumes: Mapping[str, Any]) -> dict[str, Any]:
        """Leave out disks that nothing wants and somebody has removed: Terraform would make them anew."""
        wanted = {mount.volume for one in self.desired.machines.values() for mount in one.spec.volumes}
        wanted |= self.observed.volumes
        return {
            name: value
            for name, value in volumes.items()
            if name in wanted or self.site.platform.volume(name) is not None
        }

    def _expect(self, wave: Collection[str]) -> None:
        """Wait for the machines of a wave from now on, those that are to stay as they are among them."""
        for name in wave:
            machine = self.desired.machines[name]
            action = self._actions[name]
            goal = Goal(
                machine.spec.name,
                healthy=machine.checked,
                config_digest=machine.config_digest if action is Action.UPDATE else "",
                patient=action is Action.UPDATE,
                stopping_fails=True,
            )
            self._watch.add(Expected(name, str(action), goal, settled=not self._changes(name)))

    def _wait_for_dependencies(self, wave: Collection[str], left: Collection[Collection[str]]) -> None:
        """Wait for what the machines of a wave depend on, as far as each dependency says."""
        levels: dict[str, Level] = {}
        for name in wave:
            service = self.desired.machines[name].service
            for other, condition in self.desired.depends_on.get(service, {}).items():
                for machine in self.desired.machines.values():
                    if machine.service == other:
                        level = Level.REACHED if condition is Condition.HEALTHY else Level.RUNNING
                        levels[machine.name] = max(levels.get(machine.name, level), level)
        try:
            self._watch.until(levels)
        except MachinesFailed as error:
            waiting = tuple(name for group in left for name in group if self._changes(name))
            raise MachinesFailed(error.failures, waiting=waiting) from None
