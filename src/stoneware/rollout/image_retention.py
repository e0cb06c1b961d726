"""The images that clusters need: `prune` and `rmi` keep them, and say why."""

from __future__ import annotations

from collections.abc import Iterator

from stoneware.cluster.directory import ClusterDirectory
from stoneware.errors import StonewareError
from stoneware.platforms.cluster_records import Clusters
from stoneware.rollout.journal import Event, journal_of, rollout_ids
from stoneware.rollout.model import RolloutPlan
from stoneware.rollout.state import Mode, RolloutState, fold

_IMAGE = "image:"


def wanted_images(clusters: Clusters) -> dict[str, str]:
    """Return the ids of images that clusters need, each with the reason as a sentence.

    These are the images of what was applied last, of rollouts that have not ended, and those that `stoneware
    rollback` would return to.
    """
    wanted: dict[str, str] = {}
    for name in clusters.names():
        for image, reason in _of_cluster(ClusterDirectory(clusters.of(name))):
            if image:
                wanted.setdefault(image, reason)
    return wanted


def _of_cluster(directory: ClusterDirectory) -> Iterator[tuple[str, str]]:
    try:
        applied = (directory.variables() or {"machines": {}})["machines"]
        for entry in applied.values():
            yield _image(entry["source"]), f"the machines of the cluster {directory.name} run it"
    except (ValueError, KeyError, TypeError, AttributeError):
        pass  # damaged variables: `up` writes them again, and the machines keep their images themselves
    try:
        events = journal_of(directory).read()
    except StonewareError:
        return  # a damaged journal can be neither resumed nor returned from
    for state in _telling(events):
        ended = state.mode is Mode.ENDED
        what = "stoneware rollback would return to it" if ended else "it has not ended"
        reason = f"the rollout {state.id} of the cluster {directory.name} needs it: {what}"
        for image in _images(state.plan):
            yield image, reason


def _telling(events: list[Event]) -> list[RolloutState]:
    """Return the last rollout that changed something for good, and what came after it."""
    states = [
        state
        for name in reversed(rollout_ids(events))
        if (state := fold(event for event in events if event.rollout == name)) is not None
    ]
    telling = []
    for state in states:
        telling.append(state)
        # One that returned by itself leaves nothing to undo: a rollback goes further back than that.
        if state.mode is Mode.ENDED and state.left:
            break
    return telling


def _images(plan: RolloutPlan) -> Iterator[str]:
    for change in plan.changes:
        for entry in (change.entry_before, change.entry_after):
            if entry is not None:
                yield _image(str(entry["source"]))


def _image(source: str) -> str:
    return source.removeprefix(_IMAGE) if source.startswith(_IMAGE) else ""
