"""Taking a cluster down: machines in the reverse order of their dependencies, networks, disks if asked."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from stoneware.cluster import events
from stoneware.cluster.apply import ClusterTerraform
from stoneware.cluster.directory import ClusterDirectory, not_up
from stoneware.cluster.kept_state import set_damaged_state_aside
from stoneware.cluster.model import Action, Desired, Observed
from stoneware.cluster.observe import managed_in, observe
from stoneware.cluster.site import Site
from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.model.capability import Capability
from stoneware.model.labels import SERVICE_LABEL
from stoneware.model.machine import Phase
from stoneware.platforms.infrastructure import Kind, Subject
from stoneware.platforms.protocols import Platform
from stoneware.records import DamagedError
from stoneware.terraform.results import Plan

COMMAND = "stoneware down"
_LEFT_FILE = "left.tfvars.json"  # the variables for Terraform's plan: what is left of the cluster
_AT_ONCE = 20  # machines that are stopped at the same time


@dataclass(frozen=True)
class DownOptions:
    """How `down` was asked for. `timeout` (seconds) takes the place of the machines' own stop timeouts."""

    volumes: bool = False
    timeout: float | None = None
    lock_timeout: float = 0.0
    verbose: bool = False


@dataclass(frozen=True)
class DownResult:
    """What was removed, and the disks that were kept. Machines by their short names.

    `snapshots` are those of removed disks, which stay: names by disk.
    """

    cluster: str
    machines: tuple[str, ...]
    networks: tuple[str, ...]
    volumes: tuple[str, ...]
    kept: tuple[str, ...]
    snapshots: Mapping[str, Sequence[str]]
    seconds: float


@dataclass(frozen=True)
class Removal:
    """What `down` is about to remove, and the disks that stay."""

    machines: tuple[str, ...]
    networks: tuple[str, ...]
    volumes: tuple[str, ...]
    kept: tuple[str, ...]

    @property
    def nothing(self) -> bool:
        """Say whether there is nothing to remove."""
        return not (self.machines or self.networks or self.volumes)


def down(
    name: str,
    site: Site,
    options: DownOptions,
    *,
    reporter: events.Reporter,
    confirm: Callable[[Removal], None],
    guard: Callable[[ClusterDirectory], None] = lambda _: None,
) -> DownResult:
    """Remove a cluster's machines and networks, and with `volumes` its disks.

    `confirm` is asked before disks are removed, and raises where the answer is no; `guard` raises where
    something else has to end first. Raises InputError where there is no such cluster.
    """
    started = time.monotonic()
    directory = site.directory(name)
    with directory.lock(COMMAND, timeout=options.lock_timeout):
        # Under the lock: before, it could be a state that another command is just writing.
        set_damaged_state_aside(directory, reporter)
        guard(directory)
        managed = managed_in(directory, site.platform.infrastructure, parts=True)
        observed = observe(site.platform, name, managed=managed)
        removal = _removal(observed, volumes=options.volumes)
        _check_up(removal, observed, directory)
        if removal.volumes:
            confirm(removal)
        with _told_of_removals(observed, reporter, started):
            _stop_and_destroy(observed, site, options, reporter)
            _sweep(site.platform, name, options, reporter)
        _forget(directory, site.platform)
    return DownResult(
        name,
        removal.machines,
        removal.networks,
        removal.volumes,
        removal.kept,
        _snapshots_left(site.platform, removal.volumes),
        time.monotonic() - started,
    )


def _snapshots_left(platform: Platform, volumes: Sequence[str]) -> dict[str, Sequence[str]]:
    """Return the snapshots of disks that are gone."""
    if not volumes or Capability.SNAPSHOTS not in platform.capabilities:
        return {}
    left = {volume: tuple(one.name for one in platform.snapshots(volume)) for volume in volumes}
    return {volume: names for volume, names in left.items() if names}


def _check_up(removal: Removal, observed: Observed, directory: ClusterDirectory) -> None:
    """Raise InputError where there is nothing to take down: no cluster at all, or only disks that stay."""
    unknown = not observed.managed and not directory.exists()
    only_disks = bool(removal.kept) and not _has_machines(observed)
    if removal.nothing and (unknown or only_disks):
        raise _not_up(observed.name, removal.kept)


@contextlib.contextmanager
def _told_of_removals(observed: Observed, reporter: events.Reporter, started: float) -> Iterator[None]:
    for seen in observed.machines:
        reporter.emit(events.MachineStarted(seen, str(Action.REMOVE)))
    yield
    for seen in observed.machines:
        seconds = time.monotonic() - started
        reporter.emit(events.MachineFinished(seen, str(Action.REMOVE), "removed", seconds))


def _stop_and_destroy(
    observed: Observed, site: Site, options: DownOptions, reporter: events.Reporter
) -> None:
    """Stop the machines, in their order, and have Terraform remove all that it knows."""
    applied = _applied_last(site, observed.name)
    with (
        _terraform(site, site.directory(observed.name), options, reporter) as terraform,
        _planning(terraform, site, observed, options) as (settled, destroy),
    ):
        stopping = _Stopping(site.platform, options.timeout, settled if site.platform.is_here else None)
        *groups, last = stop_order(observed, applied) or [[]]
        for group in groups:
            with _being_stopped(stopping, observed, group, reporter):
                pass
            _say(group, Phase.STOPPED, reporter)
        # Each machine has a lock here, so Terraform waits for those that still stop. Where it comes first it
        # stops them itself, and knows no timeout but their own.
        at_once = stopping.settled is not None and options.timeout is None
        with _being_stopped(stopping, observed, last, reporter):
            if at_once:
                destroy(shown=False)  # of one that stops it would say that it is being removed
        if not at_once:
            _say(last, Phase.STOPPED, reporter)
            destroy(shown=True)


def _forget(directory: ClusterDirectory, platform: Platform) -> None:
    """Destroy the secrets, and remove the directory where Terraform knows of nothing any more.

    Last: a machine that runs may fetch its secrets until it is gone.
    """
    for secret in directory.known_origin().get("secrets", []):
        platform.destroy_secret(secret)
    # Disks that were kept are still in its state, for a later `up` or `down --volumes`.
    if not directory.managed():
        directory.remove()


def _applied_last(site: Site, name: str) -> Desired | None:
    try:
        return site.applied(name)
    except (InputError, DamagedError):  # damaged: then the machines stop in any order
        return None


def _has_machines(observed: Observed) -> bool:
    """Say whether Terraform's state, or the platform, has more of the cluster than disks."""
    return bool(observed.machines) or any(it.kind is not Kind.VOLUME for it in observed.managed or ())


def _not_up(name: str, kept: Sequence[str]) -> InputError:
    if kept:
        return InputError(
            f"the cluster {name} is not up",
            details=f"Its disks are kept: {', '.join(kept)}.",
            resolution="stoneware up    # or, to remove them and the data on them: stoneware down --volumes",
        )
    return not_up(name)


def _removal(observed: Observed, *, volumes: bool) -> Removal:
    disks = tuple(sorted(observed.volumes))
    return Removal(
        tuple(observed.machines),
        tuple(sorted(observed.networks)),
        disks if volumes else (),
        () if volumes else disks,
    )


@contextlib.contextmanager
def _being_stopped(
    stopping: _Stopping, observed: Observed, group: Sequence[str], reporter: events.Reporter
) -> Iterator[None]:
    """Stop machines; at the end of the block they have stopped."""
    _say(group, Phase.STOPPING, reporter)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        jobs = [pool.submit(stopping.one, observed.machines[name].machine.name) for name in group]
        yield
        for job in jobs:
            job.result()


def _say(group: Sequence[str], phase: Phase, reporter: events.Reporter) -> None:
    for name in group:
        reporter.emit(events.MachineProgress(name, str(phase), ""))


@dataclass(frozen=True)
class _Stopping:
    """How machines are stopped.

    `settled` raises where Terraform refuses to remove them. With it each is removed as soon as it has
    stopped, while others still stop, and Terraform finds it gone; without it, Terraform removes them.
    """

    platform: Platform
    timeout: float | None
    settled: Callable[[], object] | None

    def one(self, machine: str) -> None:
        """Stop a machine. It may have been removed by hand since it was observed."""
        try:
            self.platform.stop(machine, timeout=self.timeout, removing=self.settled is not None)
        except InputError:
            if self.platform.observe(machine) is not None:
                raise
            return
        if self.settled is not None:
            try:
                self.settled()
            except BaseException:  # it stays
                with contextlib.suppress(InputError):  # unless somebody has removed it meanwhile
                    self.platform.stop(machine)
                raise
            self.platform.destroy(machine)


def stop_order(observed: Observed, applied: Desired | None) -> list[list[str]]:
    """Return the machines that are there in groups: a service before those it depends on."""
    needs: Mapping[str, Mapping[str, Any]] = applied.depends_on if applied is not None else {}
    services = {name: seen.machine.spec.labels.get(SERVICE_LABEL, "") for name, seen in _items(observed)}
    depths = _depths(set(services.values()), needs)
    levels = sorted(set(depths.values()), reverse=True)
    return [[name for name in services if depths[services[name]] == level] for level in levels]


def _items(observed: Observed) -> list[tuple[str, Any]]:
    return list(observed.machines.items())


def _depths(services: Collection[str], needs: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Return how long the longest chain of dependencies below each service is, circles left aside."""
    depths: dict[str, int] = {}
    begun: set[str] = set()
    left = list(services)
    while left:
        service = left[-1]
        begun.add(service)
        if below := [other for other in needs.get(service, {}) if other not in begun]:
            left += below
            continue
        known = (depths[other] for other in needs.get(service, {}) if other in depths)
        depths[service] = 1 + max(known, default=-1)
        left.pop()
    return depths


@contextlib.contextmanager
def _terraform(
    site: Site, directory: ClusterDirectory, options: DownOptions, reporter: events.Reporter
) -> Iterator[ClusterTerraform | None]:
    """Give Terraform, which loads while the machines stop; None where it knows of nothing."""
    if not directory.managed():
        yield None
        return
    with ClusterTerraform(site.platform, directory, reporter, verbose=options.verbose) as terraform:
        yield terraform


@contextlib.contextmanager
def _planning(
    terraform: ClusterTerraform | None, site: Site, observed: Observed, options: DownOptions
) -> Iterator[tuple[Callable[[], object] | None, Callable[..., None]]]:
    """Let Terraform plan while the machines stop; give what waits for that, and what removes all it knows.

    Where it plans only when they have stopped there is nothing to wait for. What is declared stays until
    then: after a kill the next `down` stops the others by that. What removes takes `shown` of `carry_out`.
    """
    if terraform is None:
        yield (lambda: None), (lambda *, shown: None)  # noqa: ARG005 - there is nothing to show
        return
    going = _Going(terraform, site, observed, volumes=options.volumes)
    # Its plan is shown where that was asked for, and disks are unlocked last.
    last = options.verbose or options.volumes
    planned = contextlib.nullcontext(going.plan) if last else _meanwhile(going)
    try:
        with planned as plan:
            yield (None if last else plan), (lambda *, shown: going.carry_out(plan(), shown=shown))
    finally:
        (site.directory(observed.name).path / _LEFT_FILE).unlink(missing_ok=True)


@contextlib.contextmanager
def _meanwhile(going: _Going) -> Iterator[Callable[[], Plan]]:
    """Let Terraform plan in a thread, and give what waits for its plan; its file is gone at the end."""
    with ThreadPoolExecutor(1) as pool:
        plan = pool.submit(going.plan)
        try:
            yield plan.result
        finally:
            if plan.exception() is None:
                plan.result().file.unlink(missing_ok=True)


class _Going:
    """What Terraform is to remove: all that it knows but the disks, or all."""

    def __init__(self, terraform: ClusterTerraform, site: Site, observed: Observed, *, volumes: bool) -> None:
        self._terraform = terraform
        self._volumes = volumes
        self._managed = observed.managed or frozenset()
        self._disks = {subject for subject in self._managed if subject.kind is Kind.VOLUME}
        kept = {} if volumes else _kept(site, observed.name, self._disks)
        self._left = {"networks": {}, "volumes": kept, "machines": {}}

    def plan(self) -> Plan:
        """Return Terraform's plan. Raises PlanRefused where it would remove anything else."""
        self._terraform.record_order()
        self._terraform.configure(self._left, lift_volumes=self._volumes, variables_file=_LEFT_FILE)
        # What is to go need not be looked at: removing what is gone already is no error. But a kept disk that
        # somebody has removed has to be seen, or Terraform would take it for one to destroy.
        refresh = not self._volumes and len(self._left["volumes"]) < len(self._disks)
        return self._terraform.plan(
            self._managed - self._disks,
            to_destroy=self._disks if self._volumes else frozenset(),
            refresh=refresh,
            variables_file=_LEFT_FILE,
        )

    def carry_out(self, plan: Plan, *, shown: bool) -> None:
        """Declare what is left, and remove the rest; `shown`, with what becomes of each machine."""
        self._terraform.configure(self._left, lift_volumes=self._volumes)
        self._terraform.carry_out(plan, shown=shown)


def _kept(site: Site, cluster: str, disks: Collection[Subject]) -> dict[str, Any]:
    """Return the variables of the disks in the state that exist: Terraform must not drop or make one."""
    applied = _declared(site.directory(cluster)).get("volumes", {})
    kept = {}
    for name in sorted(disk.name for disk in disks):
        volume = site.platform.volume(name)
        if volume is not None:
            kept[name] = applied.get(name) or {"labels": dict(volume.labels)}
    return kept


def _declared(directory: ClusterDirectory) -> dict[str, Any]:
    """Return what is declared, nothing where that is damaged: it is only good to know."""
    try:
        return directory.variables() or {}
    except DamagedError:
        return {}


def _sweep(platform: Platform, name: str, options: DownOptions, reporter: events.Reporter) -> None:
    """Remove what carries the cluster's label and Terraform did not know: a kill came before its state."""
    left = observe(platform, name)
    for seen in left.machines.values():
        platform.destroy(seen.machine.name)
        reporter.emit(events.Note(f"removed the machine {seen.machine.name}, unknown to Terraform"))
    for network in sorted(left.networks):
        platform.destroy_network(network)
    if options.volumes:
        for volume in sorted(left.volumes):
            platform.destroy_volume(volume)
