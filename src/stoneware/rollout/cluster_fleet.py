"""The fleet of a real cluster: the platform's machines, and Terraform over the cluster's directory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import field, replace
from functools import partial
from typing import Any

from stoneware.cluster import events
from stoneware.cluster.apply import ClusterTerraform
from stoneware.cluster.declaration import release_of_spec
from stoneware.cluster.directory import VARIABLES_FILE, ClusterDirectory, not_up
from stoneware.cluster.kept_state import scratch_copy
from stoneware.cluster.model import Observed, Release
from stoneware.cluster.observe import managed_in, observe
from stoneware.cluster.site import Site
from stoneware.dataclass import dataclass
from stoneware.errors import HostError, InputError, MachineError, StonewareError
from stoneware.guest import reports
from stoneware.model.capability import Capability
from stoneware.model.labels import CLUSTER_LABEL, MACHINE_LABEL, SERVICE_LABEL, SLOT_LABEL
from stoneware.model.machine import Machine, Phase, runs
from stoneware.platforms.cluster_records import Document
from stoneware.platforms.declared import ask
from stoneware.platforms.infrastructure import Kind, Subject
from stoneware.platforms.protocols import Platform
from stoneware.platforms.waiting import CHECK_HELPERS, HelperChecks
from stoneware.rollout.gate_protocol import CommandOutcome
from stoneware.rollout.model import MachineView
from stoneware.terraform import variables
from stoneware.terraform.guard import PlanRefused

_AT_ONCE = 20  # machines that are stopped at the same time
_GUARDED = 3  # times that a change is planned again because machines came or went

Entries = Mapping[str, Mapping[str, Any]]


@dataclass
class ClusterFleet:
    """The machines of one cluster; in a `with` block, so that Terraform's worker ends.

    Its user holds the cluster's lock. `reporter` gets what Terraform says where `verbose` is set.
    """

    site: Site
    cluster: str
    reporter: events.Reporter = field(default_factory=events.Silent)
    verbose: bool = False
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _terraform: ClusterTerraform | None = None
    # A driver that begins when a server has died must not wait a second before it notices.
    _helper_checks: HelperChecks = field(default_factory=partial(HelperChecks, at_once=True))
    _checked: tuple[str, Mapping[str, bool]] = ("", field(default_factory=dict))

    def __enter__(self) -> ClusterFleet:
        return self

    def __exit__(self, *details: Any) -> None:
        self._terraform = None
        self._stack.close()

    @property
    def _platform(self) -> Platform:
        return self.site.platform

    # -- looking -------------------------------------------------------------------------------------------

    def observe(self) -> Mapping[str, MachineView]:
        """Return all machines of the cluster by short name, as they say themselves what they run."""
        self._helper_checks.check(self._platform)
        checked = self._health_checks()
        views = {}
        for machine in self._platform.machines():
            labels = machine.spec.labels
            if labels.get(CLUSTER_LABEL) == self.cluster:
                name = labels.get(MACHINE_LABEL) or machine.name
                views[name] = self._view(name, machine, checked=checked.get(name, False))
        return views

    def _view(self, name: str, machine: Machine, *, checked: bool) -> MachineView:
        slot = machine.spec.labels.get(SLOT_LABEL, "")
        declared = release_of_spec(machine.spec)
        return MachineView(
            name=name,
            service=machine.spec.labels.get(SERVICE_LABEL, ""),
            slot=int(slot) if slot.isdecimal() else 0,
            id=machine.id,
            phase=machine.phase,
            health=machine.health,
            release=self._release(machine, declared),
            checked=checked,
            error=machine.trouble,
            ip=machine.ip,
            ports=machine.ports,
            created_from=declared,
        )

    def _release(self, machine: Machine, declared: Release) -> Release | None:
        """Return what a machine reports to run; of one that runs and says nothing, what it was given."""
        if machine.phase is not Phase.RUNNING:
            return None
        try:
            said = reports.status_of(self._platform.guest_attributes(machine.name))
        except (reports.InvalidReportError, InputError):  # garbage, or it was removed between two looks
            said = reports.Status()
        return replace(
            declared,
            image_id=said.image or machine.image_id,
            config_digest=said.config or machine.config_digest,
        )

    def _health_checks(self) -> Mapping[str, bool]:
        """Return which machines have a health check, by the variables of the last apply."""
        stamp = self.site.directory(self.cluster).records.version(Document.DECLARED)
        if not stamp:
            return {}
        # Looked at twice a second while the rollout waits, and read only where it was replaced.
        if self._checked[0] != stamp:
            entries = self._variables()["machines"]
            self._checked = (stamp, {name: bool(entry.get("checked")) for name, entry in entries.items()})
        return self._checked[1]

    def execute(self, machine: str, argv: Sequence[str], seconds: float) -> CommandOutcome:
        """Run a command in a machine (short name); one that cannot be run has a code as a shell gives it."""
        try:
            code, output = self._run(self._name_of(machine), argv, seconds)
        except InputError as error:
            # An exec gate takes this code for a wait: the machine may come back.
            return CommandOutcome(1, error.brief)
        # 124 is what timeout(1) ends with, and the platform's `run` alike.
        return CommandOutcome(code, output if code != 124 else f"{output}\nit took more than {seconds:g} s")

    def _run(self, name: str, argv: Sequence[str], seconds: float) -> tuple[int, str]:
        if Capability.COMMANDS in self._platform.capabilities:
            return self._platform.run(name, argv, timeout=seconds)
        return ask(self._platform, name, argv, timeout=seconds)

    def _name_of(self, short: str) -> str:
        found = observe(self._platform, self.cluster).machines.get(short)
        if found is None:
            raise InputError(f"there is no machine {short!r}")
        return found.machine.name

    # -- stopping ------------------------------------------------------------------------------------------

    def stop(self, machines: Sequence[str]) -> None:
        """Stop machines side by side, each within its own time; those that are down or missing are fine."""
        there = observe(self._platform, self.cluster).machines
        running = [there[name].machine for name in machines if name in there and runs(there[name].machine)]
        if not running:
            return
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            jobs = [pool.submit(self._stop_one, machine.name) for machine in running]
            for job in self._ended_jobs(jobs):
                job.result()

    def _stop_one(self, name: str) -> None:
        if self._platform.observe(name) is not None:
            self._platform.stop(name)

    def _ended_jobs(self, jobs: Sequence[Future[None]]) -> Iterator[Future[None]]:
        """Yield jobs as they end; what machines depend on is looked after meanwhile."""
        left = set(jobs)
        while left:
            ended, left = wait(left, timeout=CHECK_HELPERS, return_when="FIRST_COMPLETED")
            yield from ended
            self._helper_checks.check(self._platform)

    # -- changing ------------------------------------------------------------------------------------------

    def check(self, entries: Entries) -> None:
        """Hold the plan of a change against the guard, in a copy of the directory. Raises PlanRefused."""
        declared = _declared(self._variables(), entries)
        with (
            scratch_copy(self.site.directory(self.cluster)) as copy,
            ClusterTerraform(self._platform, copy, events.Silent()) as terraform,
        ):

            def look(there: Observed) -> None:
                present = _present(declared, entries, there)
                terraform.configure(present)
                terraform.adopt(there)
                terraform.check(_subjects(entries))

            try:
                self._guarded(look)
            except PlanRefused as refused:
                raise _told(refused) from refused

    def _guarded(self, work: Callable[[Observed], None]) -> None:
        """Do what the guard has a say in; again where a machine went down or came up just before it had."""
        there = self._observed()
        for _ in range(_GUARDED):
            try:
                work(there)
            except PlanRefused:
                # A machine that dies at this moment changes the plan, and is no fault of the rollout.
                before, there = there, self._observed()
                if _standing(there) == _standing(before):
                    raise
            else:
                return
        work(there)

    def _observed(self) -> Observed:
        managed = managed_in(self.site.directory(self.cluster), self._platform.infrastructure)
        return observe(self._platform, self.cluster, managed=managed)

    def change(self, entries: Entries) -> None:
        """Make machines as their entries say, by a plan of the whole configuration that the guard lets pass.

        Machines that are down are recreated, whether Terraform sees a reason or not. Those of others that are
        down, or gone, stay as they are. Raises PlanRefused with the variables as they were, MachineError
        where a machine could not be made.
        """
        before = self._variables()
        declared = _declared(before, entries)
        terraform = self._open()
        applied: dict[str, Any] = {}

        def work(there: Observed) -> None:
            present = _present(declared, entries, there)
            applied.update(terraform.configure(present))
            # What a kill kept out of Terraform's state would be made a second time, under a name in use.
            terraform.adopt(there)
            # Only those that do not run: `apply` replaces a machine that runs where its entry differs.
            standing = _standing(there)
            again = [name for name in entries if standing.get(name) is False]
            terraform.apply(_subjects(entries), again=again, strict=True)

        try:
            self._guarded(work)
        except PlanRefused as refused:
            # The refused change must not be applied by the next `up`, which reads these variables.
            self._write(before)
            raise _told(refused) from refused
        except StonewareError as error:
            # Some of it may be made: what is declared has to say so, for `resume` and `drift`.
            if applied:
                self._write(_whole(declared, applied))
            if error.exit_code == HostError.exit_code:  # it is not the machine's fault
                raise HostError(error.brief, details=error.details, resolution=error.resolution) from error
            raise MachineError(error.brief, details=error.details, resolution=error.resolution) from error
        self._write(_whole(declared, applied))  # the others are to be there

    def _open(self) -> ClusterTerraform:
        if self._terraform is None:
            terraform = ClusterTerraform(
                self._platform,
                self.site.directory(self.cluster),
                self.reporter,
                verbose=self.verbose,
            )
            self._terraform = self._stack.enter_context(terraform)
        return self._terraform

    def prepare(self) -> None:
        """Start loading Terraform ahead of the first change."""
        self._open()

    def _variables(self) -> dict[str, Any]:
        return read_variables(self.site.directory(self.cluster))

    def _write(self, variables: Mapping[str, Any]) -> None:
        self.site.directory(self.cluster).declare(variables)


def _declared(before: Mapping[str, Any], entries: Entries) -> dict[str, Any]:
    # Also one that was stopped by hand: what a rollout makes is to run.
    changed = {name: {**entry, "running": True} for name, entry in entries.items()}
    hosts = {**before.get("hosts", {}), **{name: variables.host_of(entry) for name, entry in changed.items()}}
    return {**before, "machines": {**before["machines"], **changed}, "hosts": dict(sorted(hosts.items()))}


def _subjects(entries: Entries) -> set[Subject]:
    return {Subject(Kind.MACHINE, name) for name in entries}


def _present(declared: Mapping[str, Any], changed: Entries, observed: Observed) -> dict[str, Any]:
    """Return the variables for one apply: others that are gone are left out, others that are down stay down.

    A machine that somebody removed or killed meanwhile is the gates' business, not Terraform's.
    """
    there = observed.machines
    machines = {
        name: entry if name in changed else {**entry, "running": runs(there[name].machine)}
        for name, entry in declared["machines"].items()
        if name in changed or name in there
    }
    return {**declared, "machines": machines}


def _whole(declared: Mapping[str, Any], applied: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was applied, with what the platform added, and the others that are down, or gone."""
    machines = {
        # Without what the platform has added, Terraform would refuse the next plan.
        name: {**applied["machines"].get(name, entry), "running": entry.get("running", True)}
        for name, entry in declared["machines"].items()
    }
    return {**applied, "machines": machines}


def _standing(observed: Observed) -> dict[str, bool]:
    """Say of each machine that is there whether it runs."""
    return {name: runs(found.machine) for name, found in observed.machines.items()}


def _told(refused: PlanRefused) -> PlanRefused:
    hint = f"{VARIABLES_FILE} was edited by hand, or something was changed behind Terraform's back"
    return PlanRefused((*refused.violations, hint))


def read_variables(directory: ClusterDirectory) -> dict[str, Any]:
    """Return the variables of a cluster's last apply. Raises InputError where it is not up."""
    try:
        found = directory.variables()
        if found is None or not found["machines"]:
            raise not_up(directory.name)
        for key in ("machines", "volumes", "networks"):
            # Edited by hand, an entry may be anything: a list here would raise far from this place.
            dict(found[key])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{directory.records.place(Document.DECLARED)} cannot be read: {error}",
            details="It records what the machines were created from.",
            resolution="stoneware up    # writes the file again",
        ) from error
    return found
