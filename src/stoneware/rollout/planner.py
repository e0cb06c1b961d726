"""From the cluster that is wanted and the one that is there to the plan of a rollout. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import Any

from stoneware.cluster.declaration import release_of_machine, release_of_spec
from stoneware.cluster.differences import Kind, differences
from stoneware.cluster.model import Desired, DesiredMachine, Observed, Release
from stoneware.cluster.plan import changes_in_place, is_healthy, state_reasons, waves_of
from stoneware.cluster.rollback_limits import floors_of_disks
from stoneware.cluster.subnets import missing
from stoneware.cluster.tfvars import from_tfvars, to_tfvars
from stoneware.cluster.volume_kinds import Faults, conversion_words, kind_faults
from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.image.versions import floor_problem, is_below, version_of, version_words
from stoneware.model.machine import Health, Machine, Phase
from stoneware.model.resources import PortMapping, SecretMount
from stoneware.rollout.gate_protocol import Leader
from stoneware.rollout.model import Change, How, Policy, RolloutPlan
from stoneware.terraform import variables

Labels = Callable[[str], Mapping[str, str] | None]  # of an image by its id; None: it is not there
Entry = Mapping[str, Any]

_BACK = "`stoneware up --restore` brings it back as it was, with a blank one"
_NEW_DISK = "a rollout keeps the disks there are; `stoneware up --recreate` makes new ones"
_LIVE = frozenset({Kind.LIVE})
_RELOADED = frozenset({Kind.LIVE, Kind.CONFIG, Kind.SECRET})


@dataclass(frozen=True)
class Planned:
    """A plan; `blocked` are sentences why it must not be begun, `notes` what it leaves to others.

    `leaders` are the machines that lead, as far as gates know: they go last. `too_old`: nothing blocks
    but images below what was finalized.
    """

    plan: RolloutPlan
    blocked: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    leaders: tuple[Leader, ...] = ()
    too_old: bool = False

    @property
    def nothing(self) -> bool:
        """Say whether there is nothing to do."""
        return not self.plan.changes


@dataclass(frozen=True)
class Present:
    """What there is: the machines, the variables of the last apply, the images, the points of no return."""

    observed: Observed
    variables: Mapping[str, Any]
    labels: Labels
    floors: Mapping[str, str] = field(default_factory=dict)  # by service
    kept: Callable[[str, str], bool] = lambda *_: True  # whether a secret's version has its value still
    # Why a machine (its name on the platform) could not have these ports, if recreated.
    ports: Callable[[str, Sequence[PortMapping]], list[str]] = lambda *_: []
    kinds: Faults = lambda _: {}  # why volumes cannot become of another kind

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The machines' entries of the variables, by short name."""
        found: Mapping[str, Entry] = self.variables["machines"]
        return found


def plan_rollout(
    desired: Desired, present: Present, policies: Mapping[str, Policy], *, canary: Sequence[str] = ()
) -> Planned:
    """Return the changes that lead to what is wanted, each with its reasons, services by depends_on.

    Raises InputError for a canary that is no machine or does not change.
    """
    work = _Work(desired, present)
    # Those that others depend on first, as `up` makes them.
    names = [name for wave in waves_of(desired) for name in wave]
    changes = [change for name in names if (change := work.change(desired.machines[name])) is not None]
    _check_canary(canary, changes, desired)
    notes = [
        f"{name} is not wanted any more: `stoneware up` removes it"
        for name in present.observed.machines
        if name not in desired.machines
    ]
    there = present.observed
    # A rollout changes machines only: that a network stays as it was after it has to be said.
    notes += [
        f"by `stoneware up` only: the {kind} {name} {change}"
        for kind, things, known in (
            ("network", desired.networks, there.networks),
            ("volume", desired.volumes, there.volumes),
        )
        for name, thing in things.items()
        if name in known
        for change in changes_in_place(thing, there)
    ]
    used = {change.service for change in changes}
    own = {service: policies.get(service, Policy()) for service in used}
    plan = RolloutPlan(
        desired.name, tuple(changes), own, tuple(dict.fromkeys(canary)), machines=tuple(desired.machines)
    )
    blocked = tuple(dict.fromkeys(work.blocked))
    return Planned(plan, blocked, tuple(notes), too_old=bool(blocked) and set(blocked) <= set(work.too_old))


def plan_return(
    cluster: str, targets: Mapping[str, Entry], present: Present, policies: Mapping[str, Policy]
) -> Planned:
    """Return the plan that brings machines to the entries they had; those that are gone since stay away.

    All that was declared for them comes back, the former values of their secrets as well.
    """
    # A machine that `up` has removed since is not wanted any more: no return brings it back.
    back = {name: target for name, target in targets.items() if name in present.entries}
    desired = from_tfvars(cluster, {**present.variables, "machines": {**present.entries, **back}})
    chosen = {name: machine for name, machine in desired.machines.items() if name in back}
    planned = plan_rollout(replace(desired, machines=chosen), present, policies)
    gone = sorted({item.image_id for item in chosen.values() if present.labels(item.image_id) is None})
    lost = [f"the image {image} is not there any more" for image in gone]
    changed = {change.machine for change in planned.plan.changes}
    uses = {use for name, one in chosen.items() if name in changed for use in one.spec.secrets}
    lost += [_lost(use) for use in sorted(uses) if not present.kept(use.secret, use.version)]
    # The whole cluster has to stand meanwhile, not only the machines that return.
    plan = replace(planned.plan, machines=tuple(present.entries))
    too_old = planned.too_old and not lost
    return replace(planned, plan=plan, blocked=(*planned.blocked, *lost), notes=(), too_old=too_old)


def _lost(use: SecretMount) -> str:
    if use.elsewhere:
        return f"version {use.version} of the secret {use.secret} is not in Secret Manager any more"
    return (
        f"the secret {use.secret} has been changed so often since that its value of then is not kept any more"
    )


def release_of(entry: Entry) -> Release:
    """Return the release that an entry of the variables makes."""
    return release_of_spec(variables.read_machine(entry))


def _check_canary(canary: Sequence[str], changes: Sequence[Change], desired: Desired) -> None:
    changed = {change.machine for change in changes}
    for name in canary:
        if name not in desired.machines:
            known = ", ".join(desired.machines)
            raise InputError(
                f"the cluster {desired.name} has no machine {name!r} to be the canary",
                details=f"There are: {known}.",
            )
        if changes and name not in changed:
            raise InputError(
                f"{name} cannot be the canary: nothing changes on it, so it would prove nothing",
                details=f"These change: {', '.join(change.machine for change in changes)}.",
                resolution=f"stoneware rollout --canary {changes[0].machine}",
            )


@dataclass
class _Work:
    """One planning: what is found to be in the way on the way."""

    desired: Desired
    present: Present
    blocked: list[str] = field(default_factory=list)
    too_old: list[str] = field(default_factory=list)  # those of them that only another image puts right
    _entries: dict[str, Entry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._entries = to_tfvars(self.desired, None, self.desired.machines)["machines"]

    def change(self, wanted: DesiredMachine) -> Change | None:
        """Return what has to be done with one machine, or None; what is in the way is noted."""
        found = self.present.observed.machines.get(wanted.name)
        machine = found.machine if found else None
        how, reasons = self._how(wanted, machine)
        if not reasons:
            return None
        before = self.present.entries.get(wanted.name)
        # A return starts the machine, also where it was stopped by hand when the rollout began.
        before = None if before is None else {**before, "running": True}
        self.blocked += self._faults(wanted, machine, before)
        return Change(
            machine=wanted.name,
            service=wanted.service,
            before=None if before is None else release_of(before),
            after=release_of_machine(wanted),
            how=how,
            reasons=reasons,
            entry_before=before,
            entry_after=self._entries[wanted.name],
        )

    def _how(self, wanted: DesiredMachine, machine: Machine | None) -> tuple[How, tuple[str, ...]]:
        words = tuple(conversion_words(wanted, self.present.observed))
        if machine is None:
            return How.REPLACE, ("is not there", *words)
        different = differences(wanted, machine, self.present.observed.commits)
        baked = () if wanted.image_id else ("its image will be baked",)
        state = _state_reasons(machine)
        if state and not different and not baked:
            state = tuple(f"{text}, and already has the new release" for text in state)
        reasons = (*(item.reason for item in different), *baked, *state)
        # Config and secrets reach a machine that runs only where its image says how it reloads.
        live = _RELOADED if wanted.reloads else _LIVE
        in_place = {item.kind for item in different} <= live and is_healthy(machine) and not baked
        return (How.RELOAD, reasons) if in_place else (How.REPLACE, (*reasons, *(words if reasons else ())))

    def _faults(self, wanted: DesiredMachine, machine: Machine | None, before: Entry | None) -> Iterator[str]:
        name = wanted.name
        if machine is not None and before is None:
            yield f"{name} is not in the last `stoneware up`: its earlier release is unknown"
        elif machine is not None and before is not None and before["source"] != machine.spec.source:
            yield (
                f"{name} was not created from the image that machines.auto.tfvars.json has for it: "
                "the file was edited by hand, and there would be no way back"
            )
        yield from self._disks(wanted, machine)
        yield from kind_faults(wanted, self.present.observed, self.present.kinds)
        yield from (f"{name}: {fault}" for fault in self.present.ports(wanted.spec.name, wanted.spec.ports))
        if wanted.image_id:
            old = list(self._floors(wanted, self.present.labels(wanted.image_id) or {}))
            self.too_old += old
            yield from old

    def _floors(self, wanted: DesiredMachine, labels: Mapping[str, str]) -> Iterator[str]:
        # The journal goes with the cluster and the disks may stay, so each has the floor.
        floor, version = self.present.floors.get(wanted.service), version_of(labels)
        if floor and is_below(version, floor):
            lowest = f"{wanted.service} was finalized: {floor} is the lowest now"
            yield f"{wanted.name} would get {version_words(version)}, and {lowest}"
        elif problem := floor_problem(wanted.name, labels, floors_of_disks(wanted, self.present.observed)):
            yield problem

    def _disks(self, wanted: DesiredMachine, machine: Machine | None) -> Iterator[str]:
        """Yield what would become of disks: a rollout neither makes one nor leaves one behind."""
        name, there = wanted.name, self.present.observed
        for network in wanted.spec.networks:
            known = self.desired.networks.get(network)
            if known and not known.external and network not in there.networks:
                yield f"{name} needs the network {network}, which is not there: `stoneware up` makes it"
        for address in missing(wanted, self.desired, there):
            yield (
                f"{name} needs the address {address}, whose subnet is not there: "
                "`stoneware up` with the subnet alone first, or `stoneware up --recreate`"
            )
        if not wanted.image_id:
            return  # what its image wants is not known yet
        uses = {mount.volume: mount.path for mount in wanted.spec.volumes}
        had = {mount.volume: mount.path for mount in machine.spec.volumes} if machine else {}
        for volume, path in uses.items():
            own = self.desired.volumes.get(volume)
            if (own and own.external) or volume in there.volumes:
                continue
            if machine is None and name not in self.present.entries:
                yield f"{name} is new, with a new disk {volume} at {path}: `stoneware up {name}` makes both"
            elif volume in had or machine is None:
                yield f"{name} has lost its disk {volume} at {path}: {_BACK}"
            else:
                yield f"{name} would need a new, blank disk {volume} at {path}: {_NEW_DISK}"
        for volume, path in had.items():
            if volume not in uses:
                yield (
                    f"{name} has the disk {volume} at {path}, and would not have it any more: "
                    f"give the service a volume at {path}, or an image with VOLUME {path}"
                )


def _state_reasons(machine: Machine) -> tuple[str, ...]:
    if machine.phase is Phase.RUNNING and machine.health is Health.UNHEALTHY:
        return ("is unhealthy",)
    return state_reasons(machine)
