"""The steps from a cluster as it is to the cluster as it is wanted, each with its reasons. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from stoneware.cluster import subnets
from stoneware.cluster.differences import Kind, differences
from stoneware.cluster.model import Action, ClusterPlan, Desired, DesiredMachine, Observed, Step
from stoneware.cluster.volume_kinds import conversion_words
from stoneware.cluster.volume_sizes import size_changes
from stoneware.compose.model import ClusterNetwork, ClusterVolume
from stoneware.model.labels import SERVICE_LABEL
from stoneware.model.machine import Health, Machine, Phase
from stoneware.platforms.infrastructure import Kind as Part
from stoneware.platforms.infrastructure import Subject

_ALWAYS_LIVE = frozenset({Kind.LIVE})
_RELOADED = frozenset({Kind.LIVE, Kind.CONFIG, Kind.SECRET})
_THERE = "is not there"
_UNMANAGED = "is not in Terraform's state"


def make_plan(desired: Desired, observed: Observed, *, recreate: bool = False) -> ClusterPlan:
    """Return a step for each machine, volume and network: also for those with nothing to do.

    Missing: create. Stopped: start. Failed: replace. Only what changes in place (labels, the stop grace
    period, the health check; configuration and secrets where the image takes them on while it runs): update.
    Any other difference: replace. Equal but not in Terraform's state: adopt (import). A service that is gone
    from the file: remove. Volumes are created, never removed: those that nothing wants any more have a step
    with nothing to do that says so. Networks of the cluster are created and removed;
    whether one is internal changes in place, and so do its subnets. A disk grows in place.

    Terraform does not see every reason to replace (that a machine failed, that its configuration is not in
    force): ask it for each replacement by address (`-replace`).

    Order: networks, volumes, removals of machines, machines wave by wave, removals of networks. `waves` holds
    the short names of all machines wanted, grouped so that what a machine depends on is in an earlier wave.
    With `recreate`, machines that would take a new configuration on while they run are replaced as well.
    """
    waves = waves_of(desired)
    steps = [
        *_resources("network", desired.networks, observed.networks, observed),
        *_resources("volume", desired.volumes, observed.volumes, observed),
        *_kept(desired, observed),
        *_removals(desired, observed),
        *(_step(desired.machines[name], desired, observed, recreate) for wave in waves for name in wave),
        *(
            Step("network", name, Action.REMOVE, ("is gone from the file",))
            for name in sorted(observed.networks - set(desired.networks))
        ),
    ]
    return ClusterPlan(desired.name, tuple(steps), waves)


def needs_rollout(plan: ClusterPlan, desired: Desired, observed: Observed) -> tuple[Step, ...]:
    """Return the replacements of healthy machines, which `up` refuses without --recreate."""
    return tuple(
        step
        for step in plan.steps
        if step.kind == "machine"
        and step.action is Action.REPLACE
        and step.name in desired.machines
        and is_healthy(observed.machines[step.name].machine)
    )


def is_healthy(machine: Machine) -> bool:
    """Say whether a machine is up and, where it has a health check, healthy."""
    return machine.phase is Phase.RUNNING and machine.health in (Health.NONE, Health.HEALTHY)


def waves_of(desired: Desired) -> tuple[tuple[str, ...], ...]:
    """Group the machines by the longest chain of dependencies that their service has below it."""
    levels = _levels(desired.depends_on)
    waves: dict[int, list[str]] = {}
    for machine in desired.machines.values():
        waves.setdefault(levels.get(machine.service, 0), []).append(machine.name)
    return tuple(tuple(waves[level]) for level in sorted(waves))


def _levels(depends_on: Mapping[str, Iterable[str]]) -> dict[str, int]:
    # Not recursive: a chain may be as long as the file. A cycle, which no file has, would be left at 0.
    dependents: dict[str, list[str]] = {}
    waiting = {}
    for service, needs in depends_on.items():
        known = [need for need in needs if need in depends_on]
        waiting[service] = len(known)
        for need in known:
            dependents.setdefault(need, []).append(service)
    ready = [service for service, count in waiting.items() if not count]
    levels = dict.fromkeys(ready, 0)
    for service in ready:
        for dependent in dependents.get(service, ()):
            levels[dependent] = max(levels.get(dependent, 0), levels[service] + 1)
            waiting[dependent] -= 1
            if not waiting[dependent]:
                ready.append(dependent)
    return levels


def _resources(
    kind: str, wanted: Mapping[str, ClusterVolume | ClusterNetwork], there: frozenset[str], observed: Observed
) -> Iterator[Step]:
    """Yield the steps of the networks or volumes that are wanted; those made elsewhere are left alone."""
    for name, thing in wanted.items():
        if thing.external:
            continue
        # In the state but not on the platform: somebody removed the disk behind Terraform's back.
        lost = observed.managed is not None and Subject(Part(kind), name) in observed.managed
        if name not in there:
            gone = "is gone, with its data: a blank one takes its place"
            yield Step(kind, name, Action.CREATE, (gone if lost and kind == "volume" else _THERE,))
        elif observed.managed is not None and not lost:
            yield Step(kind, name, Action.ADOPT, (*changes_in_place(thing, observed), _UNMANAGED))
        elif changed := changes_in_place(thing, observed):
            yield Step(kind, name, Action.UPDATE, changed)
        else:
            yield Step(kind, name, Action.NONE, ())


def changes_in_place(thing: ClusterVolume | ClusterNetwork, observed: Observed) -> tuple[str, ...]:
    """Say what of a volume or network that is there changes in place; what is made elsewhere does not."""
    if not isinstance(thing, ClusterNetwork):
        return tuple(size_changes(thing, observed))
    if thing.external:
        return ()
    found = []
    if thing.internal != (thing.name in observed.internal):
        found.append(
            "becomes internal: its machines reach nothing outside, and are not reached from there"
            if thing.internal
            else "is internal no more: its machines reach what is outside"
        )
    return (*found, *subnets.changes(thing.subnets, observed.subnets.get(thing.name, ())))


def _kept(desired: Desired, observed: Observed) -> Iterator[Step]:
    unsure = {
        mount.volume
        for name, wanted in desired.machines.items()
        if not wanted.image_id and name in observed.machines
        for mount in observed.machines[name].machine.spec.volumes
    }  # an image that is to be baked may want them
    for name in sorted(observed.volumes - set(desired.volumes) - unsure):
        yield Step("volume", name, Action.NONE, ("is kept, though no machine wants it any more",))


def _removals(desired: Desired, observed: Observed) -> Iterator[Step]:
    wanted: dict[str, int] = {}
    for machine in desired.machines.values():
        wanted[machine.service] = wanted.get(machine.service, 0) + 1
    for name in observed.machines:
        if name not in desired.machines:
            service = observed.machines[name].machine.spec.labels.get(SERVICE_LABEL, "")
            reason = f"service {service} is gone from the file"
            if service in desired.depends_on:
                count = wanted.get(service, 0)
                reason = f"{service} has {count} replica{'s' * (count != 1)} now"
            yield Step("machine", name, Action.REMOVE, (reason, *_unmanaged(name, observed)))


def _unmanaged(name: str, observed: Observed) -> tuple[str, ...]:
    known = observed.managed is None or Subject(Part.MACHINE, name) in observed.managed
    return () if known else (_UNMANAGED,)


def _step(wanted: DesiredMachine, desired: Desired, observed: Observed, recreate: bool) -> Step:
    found = observed.machines.get(wanted.name)
    baked = ("its image will be baked",) if not wanted.image_id else ()
    if found is None:
        words = conversion_words(wanted, observed)
        return Step("machine", wanted.name, Action.CREATE, (_THERE, *baked, *words))
    machine = found.machine
    different = differences(wanted, machine, observed.commits)
    state = state_reasons(machine)
    unmanaged = _unmanaged(wanted.name, observed)
    stranded = subnets.stranded(wanted, machine, desired, observed)
    reasons = (
        *(item.reason for item in different),
        *((stranded,) if stranded else ()),
        *baked,
        *state,
        *unmanaged,
    )
    converted = tuple(conversion_words(wanted, observed)) if reasons else ()
    kinds = {item.kind for item in different}
    live = _RELOADED if wanted.reloads and not recreate else _ALWAYS_LIVE
    again = baked or stranded or not kinds <= live  # what is still to be baked may differ in anything
    # A volume is converted where a machine is made, not where one is started.
    if machine.phase in (Phase.FAILED, Phase.DAMAGED) or again or (state and converted):
        action = Action.REPLACE
    elif kinds:
        action = Action.UPDATE
    elif state:
        action = Action.START
    else:
        action = Action.ADOPT if unmanaged else Action.NONE
    made = action is Action.REPLACE
    return Step("machine", wanted.name, action, (*reasons, *(converted if made else ())))


def state_reasons(machine: Machine) -> tuple[str, ...]:
    """Say why a machine is not up; nothing where it is, or is on its way."""
    phase, code = machine.phase, machine.exit_code
    if phase in (Phase.FAILED, Phase.DAMAGED):
        return (f"failed: {' '.join(machine.error.split()) or 'it does not say why'}",)
    if phase is Phase.STOPPED:
        # 137 is 128 + SIGKILL, the exit code that shells and Docker report for it.
        how = f"killed (exit code {code})" if code == 137 else f"exit code {code}"
        return (f"stopped: {how}" if code else "stopped",)
    words = {Phase.CREATED: "was created, but never started", Phase.STOPPING: "is stopping"}
    return (words[phase],) if phase in words else ()
