"""The point of no return: a command of the image, run once in one machine after its rollout proved good."""

from __future__ import annotations

import time
from collections.abc import Mapping

from stoneware.cluster.site import Site
from stoneware.dataclass import dataclass
from stoneware.errors import InputError, MachineError
from stoneware.image.versions import checked_floor, version_of
from stoneware.model.labels import FINALIZE_LABEL, FLOOR_LABEL, SERVICE_LABEL
from stoneware.rollout.cluster_fleet import ClusterFleet, read_variables
from stoneware.rollout.declared_commands import check_finalize, plain_words
from stoneware.rollout.journal import Event, journal_of
from stoneware.rollout.lock import check_unlocked
from stoneware.rollout.model import MachineView, Policy
from stoneware.rollout.planner import release_of
from stoneware.rollout.prepare import image_labels
from stoneware.rollout.rollback_limits import Finalized, finalized_of
from stoneware.rollout.session import latest
from stoneware.rollout.state import Outcome, RolloutState
from stoneware.terraform import variables

COMMAND = "stoneware rollout finalize"
TIMEOUT = 600.0  # seconds the command gets
_KEPT = 4000  # characters of its output in the journal


@dataclass(frozen=True)
class Finalization:
    """What is finalized of one service: its command runs in `machine`. `done`: it was already."""

    service: str
    image: str
    version: str
    floor: str
    command: str
    machine: str
    done: Finalized | None = None


@dataclass(frozen=True)
class FinalizePreview:
    """What finalizing would do, for which rollout; `due` is when it may be (seconds since the epoch)."""

    rollout: str
    steps: tuple[Finalization, ...]
    due: float

    @property
    def open(self) -> tuple[Finalization, ...]:
        """What has not been done yet."""
        return tuple(step for step in self.steps if step.done is None)


def preview_finalize(site: Site, cluster: str) -> FinalizePreview:
    """Return what finalizing would do.

    Raises InputError unless the last rollout was completed and every machine is healthy on its image.
    """
    directory = site.directory(cluster)
    entries = read_variables(directory)["machines"]
    events = journal_of(directory).read()
    state = _completed(latest(directory), cluster)
    with ClusterFleet(site, cluster) as fleet:
        views = fleet.observe()
    images = _images(views, {name: release_of(entry).image_id for name, entry in entries.items()})
    done = {(item.service, item.image): item for item in finalized_of(events)}
    steps, waits = [], [0.0]
    for service, image in images.items():
        labels = image_labels(site, image)
        if FINALIZE_LABEL not in labels and FLOOR_LABEL not in labels:
            continue
        waits.append(state.plan.policies.get(service, Policy()).finalize_after)
        machine = min(name for name, view in views.items() if view.service == service)
        floor, command = checked_floor(labels), labels.get(FINALIZE_LABEL, "")
        found = done.get((service, image))
        steps.append(Finalization(service, image, version_of(labels), floor, command, machine, found))
    # The time that `finalize_after` asks for begins with the end of the rollout.
    ended = max(event.time for event in events if event.rollout == state.id and event.name == "ended")
    return FinalizePreview(state.id, tuple(steps), ended + max(waits))


def check_due(preview: FinalizePreview, *, now: bool) -> None:
    """Raise InputError where something is to be finalized earlier than the file asks for, unless `now`."""
    early = preview.due - time.time()
    if preview.open and early > 0 and not now:
        raise InputError(
            f"it is too early to finalize {preview.rollout}: {early / 3600:.1f} hours to go",
            details="The file asks to wait with x-stoneware.finalize_after.",
            resolution=f"{COMMAND} --now    # does not wait",
        )


def finalize(site: Site, cluster: str, *, now: bool = False, lock_timeout: float = 0.0) -> list[Finalized]:
    """Pass the point of no return of every service that has one, and return what was done.

    `now` does not wait for the time that the file asks for. Raises InputError where it is too early,
    MachineError where a command failed: it may be run again.
    """
    directory = site.directory(cluster)
    read_variables(directory)  # the cluster is up: else locking it would make its directory
    with directory.lock(COMMAND, timeout=lock_timeout):
        check_unlocked(directory)
        preview = preview_finalize(site, cluster)
        check_due(preview, now=now)
        # All before the first is run: a refused label must not leave one service finalized and another not.
        for step in preview.open:
            if step.command:
                check_finalize(site, step.command, step.image)
        return [_pass(site, cluster, preview.rollout, step) for step in preview.open]


def _pass(site: Site, cluster: str, rollout: str, step: Finalization) -> Finalized:
    journal = journal_of(site.directory(cluster))
    fields = {
        "service": step.service,
        "image": step.image,
        "version": step.version,
        "floor": step.floor,
        "command": step.command,
        "machine": step.machine,
    }
    journal.append(Event(time.time(), rollout, "finalizing", fields))
    # The floor comes first: whatever ends the command, or us, what it has written may be unreadable below it.
    if step.floor:  # it belongs to the disks: the journal goes with the cluster, they may stay
        for volume in _disks(site, cluster, step.service):
            site.platform.raise_floor(volume, step.floor)
    output = _run(site, cluster, step) if step.command else ""
    done = Event(time.time(), rollout, "finalized", {**fields, "output": output[-_KEPT:]})
    journal.append(done)
    return finalized_of([done])[0]


def _disks(site: Site, cluster: str, service: str) -> list[str]:
    """Return the disks that the machines of a service write to."""
    specs = map(variables.read_machine, read_variables(site.directory(cluster))["machines"].values())
    own = (spec for spec in specs if spec.labels.get(SERVICE_LABEL) == service)
    return sorted({mount.volume for spec in own for mount in spec.volumes if not mount.read_only})


def _run(site: Site, cluster: str, step: Finalization) -> str:
    with ClusterFleet(site, cluster) as fleet:
        # Commands of the image's own need no shell: so they run where there is no other way into machines.
        words = plain_words(step.command) or ["/bin/sh", "-c", step.command]
        outcome = fleet.execute(step.machine, words, TIMEOUT)
    if outcome.code != 0:
        lowest = f"{step.floor} is the lowest version from now on, for what it may have done."
        raise MachineError(
            f"{step.service} was not finalized: the command ended with exit code {outcome.code} "
            f"in {step.machine}",
            details=f"{step.command}\n{outcome.output[-_KEPT:].rstrip()}" + f"\n{lowest}" * bool(step.floor),
            resolution=f"{COMMAND}    # tries it again",
        )
    return outcome.output


def _completed(state: RolloutState | None, cluster: str) -> RolloutState:
    if state is None:
        raise InputError(f"the cluster {cluster} had no rollout yet, so there is nothing to finalize")
    if state.outcome is not Outcome.COMPLETED:
        how = state.outcome or state.mode
        raise InputError(
            f"the last rollout of the cluster {cluster}, {state.id}, is {how}",
            details="Only a completed one is finalized.",
            resolution="stoneware rollout status",
        )
    return state


def _images(views: Mapping[str, MachineView], declared: Mapping[str, str]) -> dict[str, str]:
    """Return the image of each service. Raises InputError unless all its machines run it and are healthy."""
    images: dict[str, str] = {}
    for name, image in declared.items():
        view = views.get(name)
        if view is None or not view.healthy or view.release is None or view.release.image_id != image:
            raise InputError(
                f"{name} is not healthy on the image of the last rollout, so nothing may be finalized",
                details=view.error if view else "The machine does not exist.",
                resolution="stoneware status",
            )
        if images.setdefault(view.service, image) != image:
            raise InputError(
                f"the machines of {view.service} run different images, so nothing may be finalized",
                resolution="stoneware rollout    # brings all of them to the new one",
            )
    return images
