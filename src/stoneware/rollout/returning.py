"""The way back of a cluster by its journal: to before the last rollout, or to how it was after one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from stoneware.cluster.site import Site
from stoneware.errors import InputError
from stoneware.model.labels import SERVICE_LABEL
from stoneware.rollout.journal import Event, journal_of, rollout_ids
from stoneware.rollout.model import Policy
from stoneware.rollout.planner import Entry, Planned, plan_return
from stoneware.rollout.prepare import present_of
from stoneware.rollout.state import RolloutState, fold

BEGINNING = "r0"  # how a cluster was before its first rollout


def prepare_return(site: Site, cluster: str, release: str = "") -> Planned:
    """Plan the way back: to before the last rollout, or to how it was after one (`r2`; `r0`: before all).

    The last rollout is the last one, also where it has returned by itself: then there is nothing to do. The
    notes name machines that stay as they are, for they have nothing to return to. Raises InputError where
    there is no such way.
    """
    journal = journal_of(site.directory(cluster)).read()
    states = [state for name in rollout_ids(journal) if (state := _fold(journal, name)) is not None]
    undone = _undone(states, cluster, release)
    targets: dict[str, Entry] = {}
    policies: dict[str, Policy] = {}
    # A rollback reads no file: a service has the rules of the last rollout that it was part of.
    for state in states:
        policies.update(state.plan.policies)
    # The newest first, so that what machines had before the oldest of them remains.
    for state in reversed(undone):
        targets.update(_before(state))
    present = present_of(site, cluster)
    planned = plan_return(cluster, targets, present, policies)
    notes = [*_staying(undone, targets, present.entries), *_unchanged(states, undone, release)]
    return replace(planned, notes=(*planned.notes, *notes))


def _fold(journal: Sequence[Event], rollout: str) -> RolloutState | None:
    return fold(event for event in journal if event.rollout == rollout)


def _undone(states: Sequence[RolloutState], cluster: str, release: str) -> list[RolloutState]:
    """Return the rollouts to undo, the oldest first."""
    ids = [state.id for state in states]
    if not release and not states:
        raise InputError(
            f"the cluster {cluster} had no rollout that it could return from",
            resolution="stoneware rollout history",
        )
    wanted = release if release.startswith("r") or not release else f"r{release}"  # 3 is taken for r3
    if wanted and wanted not in [BEGINNING, *ids]:
        raise InputError(
            f"the cluster {cluster} had no rollout {release!r}",
            details=f"It had: {', '.join(ids)}." if ids else "It had none yet.",
            resolution="stoneware rollout history",
        )
    if not wanted:
        return list(states[-1:])
    return list(states if wanted == BEGINNING else states[ids.index(wanted) + 1 :])


def _before(state: RolloutState) -> dict[str, Any]:
    """Return the entries that machines had before a rollout, of those that it has left changed."""
    changes = (state.plan.change(name) for name in state.left)
    return {change.machine: change.entry_before for change in changes if change.entry_before is not None}


def _staying(
    undone: Sequence[RolloutState], targets: Mapping[str, Entry], entries: Mapping[str, Entry]
) -> list[str]:
    """Say which machines have come since, and which have gone: neither has anything to return to."""
    if not undone:
        return []
    services = {state.plan.change(name).service for state in undone for name in state.left}
    known = _known(undone[0])
    gone = [name for name in targets if name not in entries]
    return [
        f"{name} was added since, so there is no earlier release: the machine stays as it is "
        f"({entry.get('image_ref') or entry['source']})"
        for name, entry in entries.items()
        if name not in known and name not in targets and entry["labels"].get(SERVICE_LABEL) in services
    ] + [f"{name} is not there any more, and stays away" for name in sorted(gone)]


def _known(first: RolloutState) -> Collection[str]:
    """Return the machines that there were before a rollout, as far as its journal says."""
    own = (change.machine for change in first.plan.changes if change.entry_before is not None)
    return first.present or tuple(own)


def _unchanged(states: Sequence[RolloutState], undone: Sequence[RolloutState], release: str) -> list[str]:
    """Say why there is nothing to return from, and how to get further back."""
    if release or any(state.left for state in undone):
        return []
    last = undone[-1]
    lasting = [index for index, state in enumerate(states) if state.left]
    further = ""
    if lasting:
        place = states[lasting[-1] - 1].id if lasting[-1] else BEGINNING
        further = f"; to before {states[lasting[-1]].id}: stoneware rollback {place}"
    return [f"the last rollout, {last.id}, was {last.outcome} and has left nothing changed{further}"]
