"""What a rollout is planned from: the file, the images, the machines, the journal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from stoneware.bake.place import Place
from stoneware.cluster.desired import desire
from stoneware.cluster.images import Displays, PlannedCatalogue, bake_images, pending_services, plan_images
from stoneware.cluster.model import Desired
from stoneware.cluster.needs import needs_of
from stoneware.cluster.observe import managed_in, observe
from stoneware.cluster.parts import check_parts
from stoneware.cluster.secrets import NEW, all_secrets, known_versions, put_secrets, read_secrets
from stoneware.cluster.site import Site
from stoneware.compose.model import Cluster
from stoneware.config import Secret
from stoneware.model.capability import Capability, Need, require
from stoneware.model.guest_protocol import COMMANDS
from stoneware.platforms.infrastructure import Kind, Subject
from stoneware.rollout.cluster_fleet import read_variables
from stoneware.rollout.declared_commands import check_declared, declared_by
from stoneware.rollout.journal import journal_of
from stoneware.rollout.leaders import with_leaders
from stoneware.rollout.model import How, Policy
from stoneware.rollout.planner import Planned, Present, plan_rollout
from stoneware.rollout.policies import KEY, policies_of
from stoneware.rollout.registry import runs_commands
from stoneware.rollout.rollback_limits import floors_of
from stoneware.rollout.state import Mode, RolloutState


def preview(
    cluster: Cluster,
    site: Site,
    environment: Mapping[str, str],
    *,
    canary: Sequence[str] = (),
    insist: bool = False,
) -> Planned:
    """Plan a rollout and touch nothing: images that have to be baked first count as unknown."""
    policies = policies_of(cluster)
    require(site.platform, _needs(cluster, policies))
    present = present_of(site, cluster.name)
    values = read_secrets(cluster, environment)
    images = plan_images(cluster, site.store)
    versions = known_versions(site.platform, cluster.name, values)
    catalogue = PlannedCatalogue(site.store, images)
    pending = pending_services(images)
    own = site.platform.infrastructure.extension
    # What would be baked has no id yet, and so no contract that config could be held against.
    desired = desire(cluster, catalogue, values, versions, pending=pending, extension=own)
    check_declared(desired, policies, site)
    planned = plan_rollout(desired, present, policies, canary=canary)
    _check_parts(planned, cluster, desired, site)
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
    require(site.platform, _needs(cluster, policies))
    # Ahead of the bakes, which take minutes: a secret that is missing is told at once.
    values = read_secrets(cluster, environment)
    if bakes is not None:
        bake_images(cluster, Place(site.platform, site.store, site.leave), bakes, verbose=verbose)
    # After the bakes: the plan compares with what runs now.
    present = present_of(site, cluster.name)
    versions = known_versions(site.platform, cluster.name, values)
    own = site.platform.infrastructure.extension
    desired = desire(cluster, site.store, values, versions, extension=own)
    check_declared(desired, policies, site)
    planned = plan_rollout(desired, present, policies, canary=canary)
    _check_parts(planned, cluster, desired, site)
    planned = with_leaders(planned, site, insist=insist)
    # New values are handed over only once the plan stands: a refused rollout leaves no secret behind. They
    # get their versions by that, and releases contain those: so the plan is made again.
    if planned.nothing or planned.blocked or NEW not in versions.values():
        return planned
    desired = desire(cluster, site.store, values, _handed_over(cluster, site, values), extension=own)
    again = plan_rollout(desired, present, policies, canary=canary)
    plan = replace(again.plan, insisted=insist)
    return replace(again, plan=plan, leaders=planned.leaders, notes=planned.notes)


def _needs(cluster: Cluster, policies: Mapping[str, Policy]) -> Iterator[Need]:
    """Yield what the machines take, and what the gates do."""
    yield from needs_of(cluster)
    for name, policy in policies.items():
        for gate in policy.gates:
            [(kind, settings)] = gate.items()
            if runs_commands(kind) and declared_by(kind, settings) is None:
                place = cluster.services[name].where(KEY, "gates")
                instead = f"give it commands of the image's own: {COMMANDS}NAME; or leave the gate {kind} out"
                yield Need(Capability.COMMANDS, place, instead)


def _check_parts(planned: Planned, cluster: Cluster, desired: Desired, site: Site) -> None:
    """Raise InputError where the platform lacks what the machines that are replaced would be made of."""
    made = (change.machine for change in planned.plan.changes if change.how is How.REPLACE)
    making = [Subject(Kind.MACHINE, name) for name in made]
    check_parts(site.platform.infrastructure, cluster, desired, making)


def _handed_over(cluster: Cluster, site: Site, values: Mapping[str, Secret]) -> dict[str, str]:
    """Hand the secrets over and return their versions; `down` knows of them from before that on."""
    directory = site.directory(cluster.name)
    origin = directory.origin()
    directory.keep_origin({**origin, "secrets": all_secrets(cluster, origin)})
    return put_secrets(site.platform, cluster.name, values)


def unfinished(state: RolloutState | None) -> bool:
    """Say whether a rollout waits for somebody, or is under way."""
    return state is not None and state.mode is not Mode.ENDED


def present_of(site: Site, cluster: str) -> Present:
    """Return what there is of a cluster. Raises InputError for one that is not up."""
    directory = site.directory(cluster)
    variables = read_variables(directory)
    managed = managed_in(directory, site.platform.infrastructure)
    images = set(site.store.image_ids())

    def labels(image: str) -> Mapping[str, str] | None:
        return image_labels(site, image) if image in images else None

    return Present(
        observed=observe(site.platform, cluster, managed=managed, images=site.store),
        variables=variables,
        labels=labels,
        floors=floors_of(journal_of(directory).read()),
        kept=site.platform.has_secret,
        # What the machine itself has is free once it has been stopped.
        ports=lambda name, ports: site.platform.port_faults({name: ports}, besides=[name]).get(name, []),
        kinds=site.platform.conversion_faults,
    )


def image_labels(site: Site, image: str) -> dict[str, str]:
    """Return the labels of an image in the store."""
    return {str(key): str(value) for key, value in site.store.manifest(image)["labels"].items()}
