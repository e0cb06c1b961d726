"""What a rollout is planned from: the file, the images, the machines, the journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from stoneware.bake.api import Place
from stoneware.cluster.desired import desire, secret_name
from stoneware.cluster.images import Displays, PlannedCatalogue, bake_images, pending_services, plan_images
from stoneware.cluster.observe import observe
from stoneware.cluster.secrets import NEW, known_versions, put_secrets, read_secrets, used_secrets
from stoneware.cluster.site import Site
from stoneware.compose.model import Cluster
from stoneware.errors import InputError
from stoneware.rollout.cluster_fleet import read_variables
from stoneware.rollout.floors import floors_of
from stoneware.rollout.journal import Event, journal_of, rollout_ids
from stoneware.rollout.leaders import with_leaders
from stoneware.rollout.model import Direction, Policy
from stoneware.rollout.planner import Entry, Planned, Present, plan_return, plan_rollout
from stoneware.rollout.policies import policies_of
from stoneware.rollout.state import Mode, RolloutState, Stage, fold
from stoneware.terraform.runner import managed_addresses


def foresee(
    cluster: Cluster,
    site: Site,
    environment: Mapping[str, str],
    *,
    canary: Sequence[str] = (),
    insist: bool = False,
) -> Planned:
    """Plan a rollout and touch nothing: images that have to be baked first count as unknown."""
    policies = policies_of(cluster)
    present = present_of(site, cluster.name)
    values = read_secrets(cluster, environment)
    images = plan_images(cluster, site.store)
    versions = known_versions(site.platform, cluster.name, values)
    catalogue = PlannedCatalogue(site.store, images)
    desired = desire(cluster, catalogue, values, versions, pending=pending_services(images))
    planned = plan_rollout(desired, present, policies, canary=canary)
    return with_leaders(planned, site, insist=insist)


def prepare(
    cluster: Cluster,
    site: Site,
    environment: Mapping[str, str],
    *,
    canary: Sequence[str] = (),
    insist: bool = False,
    bakes: Displays | None = None,
    verbose: bool = False,
) -> Planned:
    """Bake what has to be baked (unless `bakes` is None), hand the secrets over, and plan the rollout."""
    policies = policies_of(cluster)
    values = read_secrets(cluster, environment)
    if bakes is not None:
        bake_images(cluster, Place(site.platform, site.store), bakes, verbose=verbose)
    present = present_of(site, cluster.name)
    versions = known_versions(site.platform, cluster.name, values)
    planned = plan_rollout(desire(cluster, site.store, values, versions), present, policies, canary=canary)
    planned = with_leaders(planned, site, insist=insist)
    if planned.nothing or planned.blocked or NEW not in versions.values():
        return planned
    directory = site.directory(cluster.name)
    names = {secret_name(cluster.name, key) for key in used_secrets(cluster)}
    origin = directory.origin()
    directory.keep_origin({**origin, "secrets": sorted(names | set(origin.get("secrets", [])))})
    versions = put_secrets(site.platform, cluster.name, values)
    again = plan_rollout(desire(cluster, site.store, values, versions), present, policies, canary=canary)
    plan = replace(again.plan, insisted=insist)
    return replace(again, plan=plan, leaders=planned.leaders, notes=planned.notes)


def prepare_return(site: Site, cluster: str, release: str = "") -> Planned:
    """Plan the way back: to before the last rollout that changed anything, or to how it was after one (`r2`).

    Raises InputError where there is no such way.
    """
    journal = journal_of(site.directory(cluster)).read()
    states = [state for name in rollout_ids(journal) if (state := _fold(journal, name)) is not None]
    undone = _undone(states, cluster, release)
    targets: dict[str, Entry] = {}
    policies: dict[str, Policy] = {}
    for state in states:
        policies.update(state.plan.policies)
    for state in reversed(undone):
        targets.update(_before(state))
    return plan_return(cluster, targets, present_of(site, cluster), policies)


def _fold(journal: Sequence[Event], rollout: str) -> RolloutState | None:
    return fold(event for event in journal if event.rollout == rollout)


def _undone(states: Sequence[RolloutState], cluster: str, release: str) -> list[RolloutState]:
    """Return the rollouts to undo, the oldest first."""
    ids = [state.id for state in states]
    if release:
        wanted = release if release.startswith("r") else f"r{release}"
        if wanted not in ids:
            raise InputError(
                f"the cluster {cluster} had no rollout {release!r}",
                details=f"It had: {', '.join(ids)}." if ids else "It had none yet.",
                resolution="stoneware rollout history",
            )
        return list(states[ids.index(wanted) + 1 :])
    lasting = [index for index, state in enumerate(states) if _before(state)]
    if not lasting:
        raise InputError(
            f"the cluster {cluster} had no rollout that it could return from",
            resolution="stoneware rollout history",
        )
    return list(states[lasting[-1] :])


def _before(state: RolloutState) -> dict[str, Any]:
    """Return the entries that machines had before a rollout, of those that it has left changed."""
    changed = {
        name
        for name, item in state.machines.items()
        if item.direction is Direction.FORWARD and item.stage is not Stage.PENDING
    }
    return {
        change.machine: change.entry_before
        for change in state.plan.changes
        if change.machine in changed and change.entry_before is not None
    }


def unfinished(state: RolloutState | None) -> bool:
    """Say whether a rollout waits for somebody, or is under way."""
    return state is not None and state.mode is not Mode.ENDED


def present_of(site: Site, cluster: str) -> Present:
    """Return what there is of a cluster. Raises InputError for one that is not up."""
    directory = site.directory(cluster)
    variables = read_variables(directory)
    managed = managed_addresses(directory.path)
    images = set(site.store.image_ids())

    def labels(image: str) -> Mapping[str, str] | None:
        return image_labels(site, image) if image in images else None

    return Present(
        observed=observe(site.platform, cluster, managed=managed, images=site.store),
        variables=variables,
        labels=labels,
        floors=floors_of(journal_of(directory).read()),
        kept=site.platform.has_secret,
        ports=lambda name, ports: site.platform.port_faults(ports, besides=[name]),
    )


def image_labels(site: Site, image: str) -> dict[str, str]:
    """Return the labels of an image in the store."""
    return {str(key): str(value) for key, value in site.store.manifest(image)["labels"].items()}
