"""The effects of one `up`: wave after wave of Terraform, and waiting for what has to be there before."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from stoneware.cluster import events, subnets
from stoneware.cluster.apply import ClusterTerraform
from stoneware.cluster.model import Action, ClusterPlan, Desired, DesiredMachine, Observed
from stoneware.cluster.site import Site
from stoneware.cluster.tfvars import to_tfvars
from stoneware.cluster.volume_sizes import size_changes
from stoneware.cluster.waiting import Expected, MachinesFailed, Watch
from stoneware.compose.model import Condition
from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.model.labels import SERVICE_LABEL, SLOT_LABEL
from stoneware.model.machine_fields import own_metadata
from stoneware.platforms.infrastructure import Kind, Subject
from stoneware.platforms.waiting import SETTLE, Goal, Level
from stoneware.records import DamagedError


@dataclass
class Waves:
    """What one `up` does. `wait_timeout` (seconds) is for each machine.

    One without a health check that is made or started has to be up for `settle` seconds.
    """

    site: Site
    reporter: events.Reporter
    desired: Desired
    observed: Observed
    plan: ClusterPlan
    wait_timeout: float
    verbose: bool = False
    settle: float = SETTLE

    def __post_init__(self) -> None:
        self._watch = Watch(self.site.platform, self.reporter, self.wait_timeout)
        self._actions = {step.name: step.action for step in self.plan.steps if step.kind == "machine"}
        self._others = [step for step in self.plan.changes if step.kind != "machine"]
        replaced = [name for name in self._actions if name in self.observed.machines and self._goes(name)]
        self._leaving = subnets.leaving(self.desired, self.observed, replaced)
        self._damaged = False
        self._applied = self._applied_last()

    def apply(self) -> None:
        """Do what the plan says, wave by wave; of the last wave it is not known yet whether it came up."""
        # Without changes Terraform is not loaded: that would be most of the time of such an `up`.
        if not self.plan.changes:
            self.write_declared()
            for wave in self.plan.waves:
                self._expect(wave)
            return
        directory = self.site.directory(self.desired.name)
        with ClusterTerraform(
            self.site.platform, directory, self.reporter, verbose=self.verbose
        ) as terraform:
            self._waves(terraform)

    def wait(self) -> None:
        """Return once every machine is what it was to become. Raises MachinesFailed."""
        self._watch.until_all()

    def _applied_last(self) -> Desired:
        """Return what was applied last; machines it does not name are taken as they are observed."""
        try:
            applied = self.site.applied(self.desired.name)
        except (InputError, DamagedError) as error:  # it is written again
            self._damaged = True
            self.reporter.emit(events.Note(error.brief, warning=True))
            applied = None
        found = {name: self._as_it_is(name) for name in self.observed.machines}
        known = applied or replace(self.desired, volumes={}, networks={}, machines={})
        return replace(known, machines={**found, **known.machines})

    def write_declared(self, besides: Collection[str] = ()) -> None:
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
        declared = self.site.platform.infrastructure.variables(variables)
        self.site.directory(self.desired.name).declare(declared)

    def _as_it_is(self, name: str) -> DesiredMachine:
        machine = self.observed.machines[name].machine
        labels = machine.spec.labels
        wanted = self.desired.machines.get(name)
        return DesiredMachine(
            name=name,
            service=labels.get(SERVICE_LABEL, ""),
            slot=int(labels.get(SLOT_LABEL) or 0),
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
        self._resize()
        # Machines to adopt are in every apply: the import needs their entries in the variables.
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
        if self._leaving:
            self._leaving = {}
            self._apply(terraform, (), done)
        managed = self.observed.managed or frozenset()
        for step in self._others:
            # Networks that a kill left out of Terraform's state: no apply removes those.
            if step.action is Action.REMOVE and Subject(Kind(step.kind), step.name) not in managed:
                self.site.platform.destroy_network(step.name)

    def _resize(self) -> None:
        """Let volumes take what they are to take, before the machines that may want it are made."""
        if self.site.platform.infrastructure.extension.module_grows:
            return
        for step in self._others:
            volume = self.desired.volumes.get(step.name) if step.kind == "volume" else None
            if volume and any(size_changes(volume, self.observed)):
                self.site.platform.create_volume(volume.name, {}, volume.size)
                self.reporter.emit(events.ResourceFinished("volume", volume.name, "changed"))

    def _goes(self, name: str) -> bool:
        return self._actions[name] in (Action.REPLACE, Action.REMOVE)

    def _changes(self, name: str) -> bool:
        return self._actions[name] not in (Action.NONE, Action.ADOPT)

    def _with(self, action: Action) -> list[str]:
        return [name for name, found in self._actions.items() if found is action]

    def _remove_unmanaged(self) -> None:
        """Remove machines that nothing wants and Terraform does not know: they cannot be imported."""
        managed = self.observed.managed or frozenset()
        gone = [name for name in self._with(Action.REMOVE) if Subject(Kind.MACHINE, name) not in managed]
        for name in gone:
            machine = self.observed.machines[name].machine.name
            self._watch.begin(name, str(Action.REMOVE))
            self.site.platform.stop(machine)
            self.site.platform.destroy(machine)

    def _apply(self, terraform: ClusterTerraform, names: Collection[str], done: Collection[str]) -> None:
        # A network loses a subnet when no machine is in it any more.
        variables = to_tfvars(
            subnets.with_subnets(self.desired, self._leaving) if self._leaving else self.desired,
            self.observed,
            done,
            applied=self._applied,
            keep_volumes=sorted(self.observed.volumes),
        )
        # A disk stays in the variables of each wave, since Terraform destroys what they lack.
        variables["volumes"] = self._present(variables["volumes"])
        terraform.record_order()
        # Declared before it is applied: after a kill the next command knows what was on its way.
        terraform.configure(variables)
        adopted = terraform.adopt(self.observed)
        allowed = {Subject(Kind(step.kind), step.name) for step in self._others}
        allowed |= {Subject(Kind.MACHINE, name) for name in names} | set(adopted)
        started = time.monotonic()
        for name in names:
            self._watch.begin(name, str(self._actions[name]))
        # Terraform sees no reason to replace a machine that has failed: its declaration is as before.
        again = [name for name in names if self._actions[name] is Action.REPLACE]
        terraform.apply(allowed, again=again)
        for name in names:
            if self._actions[name] is Action.REMOVE:
                seconds = time.monotonic() - started
                self.reporter.emit(events.MachineFinished(name, str(Action.REMOVE), "removed", seconds))

    def _present(self, volumes: Mapping[str, Any]) -> dict[str, Any]:
        """Leave out disks that nothing wants and somebody has removed: Terraform would create them again."""
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
            begins = self._changes(name) and action is not Action.UPDATE
            goal = Goal(
                machine.spec.name,
                # Without a health check, a machine that runs is all that can be waited for.
                healthy=machine.checked,
                settle=self.settle if begins and not machine.checked else 0.0,
                config_digest=machine.config_digest if action is Action.UPDATE else "",
                # It may have been unhealthy before, and stay so until it has the new configuration.
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
                        # Services of one wave may wait for it with different conditions: the stricter counts.
                        levels[machine.name] = max(levels.get(machine.name, level), level)
        try:
            self._watch.until(levels)
        except MachinesFailed as error:
            waiting = tuple(name for group in left for name in group if self._changes(name))
            raise MachinesFailed(error.failures, waiting=waiting) from None
