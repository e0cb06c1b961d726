"""One cluster's Terraform: variables in, imports, a guarded plan, its apply."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from stoneware.cluster import events
from stoneware.cluster.directory import VARIABLES_FILE, ClusterDirectory
from stoneware.cluster.kept_state import scratch_copy
from stoneware.cluster.model import Observed
from stoneware.errors import MachineError
from stoneware.files import write_json
from stoneware.platforms.infrastructure import Infrastructure, Kind, Subject
from stoneware.platforms.protocols import Platform
from stoneware.records import DamagedError
from stoneware.terraform.configuration import LIFT_VOLUMES, write_module
from stoneware.terraform.guard import check_plan
from stoneware.terraform.results import Change, Plan, Progress, TerraformError
from stoneware.terraform.runner import Terraform
from stoneware.terraform.statefile import tainted_in, unordered_in
from stoneware.terraform.variables import read_machine

_DECLARED_FILE = "declared.tfvars.json"  # what was declared last, for Terraform to look at
_LOCK_TIMEOUT = 60.0  # seconds that the Terraform of a killed command may take to end
_NEXT = "To do next: "  # how our provider tells it
_CONSOLE = "stoneware logs {}    # then `stoneware up` continues from here"
_CREATED_EACH = 2  # machines created at the same time, for each processor
_MOST_AT_ONCE = 10  # Terraform's own number
_DOING = {"create": "creating", "delete": "removing", "update": "updating"}
_DONE = {"create": "created", "delete": "removed", "update": "changed"}


class ClusterTerraform:
    """Terraform on a cluster's directory; in a `with` block."""

    def __init__(
        self,
        platform: Platform,
        directory: ClusterDirectory,
        reporter: events.Reporter,
        *,
        verbose: bool = False,
    ) -> None:
        self._directory = directory
        self._reporter = reporter
        self._platform = platform
        self._infrastructure = platform.infrastructure
        self._wanted: Mapping[str, Any] = {}
        self._declared: Mapping[str, Any] = {}
        self._imports: Mapping[str, str] = {}
        self._backend = directory.records.backend()
        say = (lambda line: reporter.emit(events.TerraformOutput(line))) if verbose else None
        self._terraform = Terraform(
            directory.path,
            provider=self._infrastructure.provider(),
            environment=self._infrastructure.environment(),
            verbose=say,
            # Where the state is kept with the cluster's lock, that is Terraform's as well.
            lock_timeout=None if self._backend else _LOCK_TIMEOUT,
            state=directory.records.state,
            tell=lambda words: reporter.emit(events.Note(words, warning=True)),
        )

    def __enter__(self) -> Self:
        self._terraform.load()  # the provider is loaded by whoever gives the first command
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._terraform.close()

    def configure(
        self,
        variables: Mapping[str, Any],
        *,
        lift_volumes: bool = False,
        variables_file: str = VARIABLES_FILE,
    ) -> dict[str, Any]:
        """Write the module and the variables of the next plan, and return these as the platform has them.

        `lift_volumes` lets the plan destroy disks.
        """
        self.write_module([LIFT_VOLUMES] if lift_volumes else [])
        self._wanted = variables
        declared = self._declared = self._infrastructure.variables(variables)
        if variables_file == VARIABLES_FILE:
            self._directory.declare(declared)
        else:
            # What is declared stays: by it the next `down` knows, after a kill, in which order to stop.
            write_json(self._directory.path / variables_file, declared, mode=0o600)
        return declared

    def write_module(self, overrides: Sequence[str] = ()) -> None:
        """Write the module, and where Terraform keeps its state."""
        root = dict(self._infrastructure.root())
        if self._backend:
            root["terraform"] = {**root.get("terraform", {}), "backend": dict(self._backend)}
        module = self._infrastructure.cluster_module
        write_module(self._directory.path, module, root=root, overrides=overrides)

    def adopt(self, observed: Observed) -> frozenset[Subject]:
        """Have the plans after it import what the configuration names, what exists, and what the state lacks.

        A kill came in between. Return what that is.
        """
        declared = self._declared
        wanted = _existing(declared, observed)
        self._imports = self._infrastructure.imports(wanted, self._directory.managed(), declared)
        return frozenset(map(self._infrastructure.subject, self._imports))

    def record_order(self) -> None:
        """Have the state say what depends on what of all that is declared; before `configure`.

        So it is after a kill in the middle of an import. Terraform would remove a machine and what that needs
        at the same time, and fail. Nothing but the state is changed.
        """
        state = self._directory.records.state()
        if not unordered_in(state, self._infrastructure.dependent_types):
            return
        file = self._directory.path / _DECLARED_FILE
        # What is declared may be damaged, or refused: then Terraform removes what it can in its own order.
        with contextlib.suppress(DamagedError, TerraformError):
            self.write_module()
            try:
                write_json(file, self._directory.variables() or {}, mode=0o600)
                self._terraform.apply(self._terraform.plan(refresh_only=True, variables=file))
            finally:
                file.unlink(missing_ok=True)

    def apply(
        self,
        allowed: AbstractSet[Subject],
        *,
        again: Collection[str] = (),
        strict: bool = False,
    ) -> None:
        """Plan the whole configuration, refuse what is not allowed, apply the rest."""
        self.carry_out(self.plan(allowed, again=again, strict=strict))

    def carry_out(self, plan: Plan, *, shown: bool = True) -> None:
        """Do what a plan says; `shown`, with what becomes of each machine meanwhile."""
        # No reason to start an apply: it would take the state's lock and write the state again.
        if plan.noop:
            plan.file.unlink(missing_ok=True)
            return
        machines = self._wanted.get("machines", {})
        # Before they exist: machines fetch their secrets while they boot.
        self._platform.let_fetch_secrets(map(read_machine, machines.values()))
        try:
            progress = self._progress if shown else None
            self._terraform.apply(plan, progress=progress, parallelism=_at_once(plan))
        except TerraformError as error:
            for name in machines_of(error, self._infrastructure):
                self._reporter.emit(events.MachineFailed(name, "", error.brief, 0.0))
            raise _explained(error, self._infrastructure) from error
        # Machines are not among these: the watch of their start shows them.
        for change in plan.changes:
            self._tell(change)

    def check(self, allowed: AbstractSet[Subject], *, again: Collection[str] = ()) -> None:
        """Raise PlanRefused where an apply would do more than is allowed; nothing is done either way."""
        self.plan(allowed, again=again, strict=True).file.unlink(missing_ok=True)

    def plan(
        self,
        allowed: AbstractSet[Subject],
        *,
        again: Collection[str] = (),
        to_destroy: AbstractSet[Subject] = frozenset(),
        strict: bool = False,
        refresh: bool = True,
        variables_file: str = "",
    ) -> Plan:
        """Plan the whole configuration; raise PlanRefused where more would be done than is allowed.

        `again` are machines to replace whether Terraform sees a reason or not; `to_destroy` are volumes that
        the user allows to be destroyed. `strict` refuses harmless changes of others too. Without `refresh`
        Terraform asks for no object what it is now. The variables of a file take the place of those that
        are declared.
        """
        infrastructure = self._infrastructure
        replaced = sorted(infrastructure.address(Subject(Kind.MACHINE, name)) for name in again)
        variables = self._directory.path / variables_file if variables_file else None
        plan = self._terraform.plan(
            replace=replaced, refresh=refresh, variables=variables, imports=self._imports
        )
        spared = tuple(
            change
            for change in plan.changes
            if infrastructure.subject(change.address) not in to_destroy
            and not _harmless(change, infrastructure, strict=strict)
            and not self._left_over(change)
        )
        places = {place for change in spared for place in (change.address, change.previous_address) if place}
        # The address of a machine goes with it, but no rollout takes one away.
        addresses = () if strict else (it.name for it in allowed if it.kind is Kind.MACHINE)
        allowed = allowed | {Subject(Kind.ADDRESS, name) for name in addresses}
        own = {place for place in places if infrastructure.subject(place) in allowed}
        check_plan(
            replace(plan, changes=spared),
            # Terraform replaces what a failed creation left tainted, whatever this apply is about.
            allowed=own | tainted_in(self._directory.records.state()),
            disk_types=infrastructure.disk_types,
        )
        return plan

    def _left_over(self, change: Change) -> bool:
        """Say whether a change removes a part, no more, of a machine that this apply does not make.

        An `up` that failed at the machine has made the part, or somebody has removed the machine. It comes
        back with the machine.
        """
        subject = self._infrastructure.subject(change.address)
        return (
            change.actions == ("delete",)
            and subject.kind is Kind.MACHINE
            and subject.name not in self._wanted.get("machines", {})
            and change.address != self._infrastructure.address(subject)
        )

    def refresh(self) -> tuple[Change, ...]:
        """Return what changed behind Terraform's back, and what the last apply lacks; changes nothing."""
        plan = self._terraform.plan(refresh_only=True)
        plan.file.unlink(missing_ok=True)
        return plan.drift

    def show_plan(self) -> str:
        """Return Terraform's own plan as it shows it to people."""
        plan = self._terraform.plan(imports=self._imports)
        try:
            return self._terraform.show(plan)
        finally:
            plan.file.unlink(missing_ok=True)

    def _progress(self, progress: Progress) -> None:
        """Show a machine that is being made, changed or removed; what comes after is watched by others."""
        subject = self._infrastructure.subject(progress.address)
        if (
            subject.kind is Kind.MACHINE
            and progress.status in ("started", "going")
            and progress.action in _DOING
        ):
            self._reporter.emit(events.MachineProgress(subject.name, _DOING[progress.action], ""))

    def _tell(self, change: Change) -> None:
        if change.importing:
            self._reporter.emit(events.Note(f"took {change.address} into Terraform's state, which lacked it"))
        subject = self._infrastructure.subject(change.address)
        if change.noop or subject.kind not in (Kind.VOLUME, Kind.NETWORK):
            return
        words = [_DONE[action] for action in change.actions if action in _DONE]
        self._reporter.emit(events.ResourceFinished(str(subject.kind), subject.name, " and ".join(words)))


def _existing(variables: Mapping[str, Any], observed: Observed) -> dict[Subject, str]:
    """Return what the variables name and was seen, with its name on the platform, and what may be there.

    That is what machines have apart from them: an interrupt may come before the machine is made.
    """
    machines = variables["machines"]
    hosts = variables.get("hosts") or {}
    return {
        **{Subject(Kind.NETWORK, name): name for name in variables["networks"] if name in observed.networks},
        **{Subject(Kind.VOLUME, name): name for name in variables["volumes"] if name in observed.volumes},
        **{
            Subject(Kind.MACHINE, name): observed.machines[name].machine.name
            for name in machines
            if name in observed.machines
        },
        **{Subject(Kind.ADDRESS, name): str(entry["name"]) for name, entry in (hosts or machines).items()},
        **{Subject(Kind.ZONE, name): name for name in variables.get("dns_zones") or ()},
        **{Subject(Kind.PORTS, name): str(entry["name"]) for name, entry in machines.items()},
    }


def _at_once(plan: Plan) -> int | None:
    """Return how many objects an apply works on at the same time; None for Terraform's own number.

    A machine that is created keeps a processor busy: more of them only hold each other up. One that is
    replaced or removed is stopped first, and most of that is waiting.
    """
    creates = all(change.noop or change.actions == ("create",) for change in plan.changes)
    return min(_CREATED_EACH * len(os.sched_getaffinity(0)), _MOST_AT_ONCE) if creates else None


def refreshed(platform: Platform, directory: ClusterDirectory) -> tuple[Change, ...] | None:
    """Return what changed behind Terraform's back since the last apply; None where it knows of nothing."""
    with scratch_copy(directory) as copy:
        if not copy.managed():
            return None
        with ClusterTerraform(platform, copy, events.Silent()) as terraform:
            if not any(copy.path.glob("*.tf")):  # the cluster was made from another computer
                terraform.write_module()
            return terraform.refresh()


def _harmless(change: Change, infrastructure: Infrastructure, *, strict: bool) -> bool:
    """Say whether a change only puts right, in place, what no machine is recreated or started for.

    Labels that the file has others of, attributes that somebody added by hand, what an import could not know.
    Where `strict`, only a change of words: what the state of an earlier version could not say.
    """
    subject = infrastructure.subject(change.address)
    if subject.kind is Kind.ZONE:
        return True
    # Machines of later waves have their addresses first, so that all others know them.
    if subject.kind is Kind.ADDRESS and change.actions == ("create",):
        return True
    # It is in Terraform's state only, and an import does not bring it along.
    if change.type == "terraform_data" and change.actions == ("create",):
        return True
    if change.actions != ("update",):
        return False
    before, after = change.before or {}, change.after or {}
    changed = {
        name
        for name in change.changed
        # Alike in the plan and changed all the same: masked, as sensitive values are.
        if before.get(name) == after.get(name)
        or not infrastructure.same_value(subject, name, before.get(name), after.get(name))
    }
    harmless = frozenset() if strict else infrastructure.harmless_attributes
    return changed <= harmless | set(change.unknown)


def machines_of(error: TerraformError, infrastructure: Infrastructure) -> list[str]:
    """Return the machines that an error is about, by their short names."""
    subjects = {infrastructure.subject(found.address) for found in error.diagnostics}
    return sorted(subject.name for subject in subjects if subject.kind is Kind.MACHINE)


def _explained(error: TerraformError, infrastructure: Infrastructure) -> MachineError | TerraformError:
    """Return the error with the machines it is about in front, where it is about machines."""
    names = machines_of(error, infrastructure)
    said = infrastructure.refusal(error.details)
    if said is not None:
        error.resolution, error.exit_code = said.resolution, said.exit_code
    if not names:
        return error
    brief = said.brief if said else error.brief
    # What says itself what to do was refused: there is no machine whose console could tell more.
    refused = _NEXT in error.details
    further = "stoneware up    # once that is done" if refused else _CONSOLE.format(names[0])
    explained = MachineError(
        f"{', '.join(names)}: {brief}" if said or len(names) == 1 else brief,
        details=error.details,
        resolution=error.resolution or further,
    )
    explained.exit_code = error.exit_code
    return explained
