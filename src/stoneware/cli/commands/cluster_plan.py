"""plan: what `up` would do, and why."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from stoneware.cli import clusters, options
from stoneware.cli.output import print_json, print_line, say
from stoneware.cli.parameters import Command, flag
from stoneware.dataclass import dataclass

if TYPE_CHECKING:
    from pathlib import Path

    from stoneware.cluster.images import PlannedImage
    from stoneware.cluster.model import ClusterPlan, Desired, Observed, Step
    from stoneware.cluster.site import Site
    from stoneware.compose.model import Cluster

DIFFERENT = 5


@dataclass(frozen=True)
class _Looked:
    """All that was found out for a plan."""

    cluster: Cluster
    desired: Desired
    observed: Observed
    plan: ClusterPlan
    rollout: tuple[Step, ...]
    images: dict[str, PlannedImage]


@click.command("plan", cls=Command)
@options.cluster
@options.profile
@options.scale
@flag("--recreate", help="As up --recreate does it: replace what differs.")
@flag("--detailed-exitcode", "--exit-code", help="Exit with 5 where something would be done.")
@options.verbose
@options.json_output
def plan(
    file: tuple[Path, ...],
    project_name: str,
    env_file: tuple[Path, ...],
    project_directory: Path | None,
    *,
    profile: tuple[str, ...],
    scale: tuple[str, ...],
    recreate: bool,
    detailed_exitcode: bool,
    verbose: bool,
    json_output: bool,
) -> None:
    """Show what up would do, machine by machine, and why; touch nothing.

    What a changed Machinefile will change is known only once it is baked: its machines are then shown
    as far as they can be.
    """
    from stoneware.cluster.parts import check_parts, made_by
    from stoneware.cluster.rollback_limits import check_floors
    from stoneware.cluster.up import known_applied
    from stoneware.cluster.volume_kinds import check_kinds
    from stoneware.cluster.volume_sizes import check_sizes

    found = clusters.source(file, project_name, env_file, project_directory, scale, profiles=profile)
    site = clusters.open_site()
    looked = _look(found, site, scale, recreate=recreate)
    if json_output:
        print_json(_document(looked))
    else:
        _show(looked)
    if verbose:
        _show_terraform(site, looked)
    # After the plan: what is refused is in it.
    check_floors(looked.plan, looked.desired, looked.observed, site.store)
    check_sizes(looked.desired, looked.observed, known_applied(site, looked.plan.cluster))
    check_kinds(looked.plan, looked.desired, looked.observed, site.platform.conversion_faults)
    check_parts(site.platform.infrastructure, looked.cluster, looked.desired, made_by(looked.plan))
    # What a bake will change is known only after it.
    if detailed_exitcode and (looked.plan.changes or any(one.runs for one in looked.images.values())):
        raise click.exceptions.Exit(DIFFERENT)


def _look(found: clusters.Source, site: Site, scale: Any, *, recreate: bool) -> _Looked:
    import os

    from stoneware.cluster.desired import desire
    from stoneware.cluster.images import PlannedCatalogue, pending_services, plan_images
    from stoneware.cluster.needs import needs_of
    from stoneware.cluster.observe import managed_in, observe
    from stoneware.cluster.plan import make_plan, needs_rollout
    from stoneware.cluster.ports import port_faults
    from stoneware.cluster.secrets import known_versions, read_secrets
    from stoneware.model.capability import require

    cluster = clusters.load(found, scale, making=True)
    clusters.note_origin(cluster, site)
    require(site.platform, needs_of(cluster))
    values = read_secrets(cluster, os.environ)
    images = plan_images(cluster, site.store)
    catalogue = PlannedCatalogue(site.store, images)
    versions = known_versions(site.platform, cluster.name, values)  # a plan puts no secret on the platform
    pending = pending_services(images)
    own = site.platform.infrastructure.extension
    desired = desire(cluster, catalogue, values, versions, pending=pending, extension=own)
    for warning in desired.warnings:
        say(f"warning: {warning}")
    managed = managed_in(site.directory(cluster.name), site.platform.infrastructure)
    observed = observe(site.platform, cluster.name, managed=managed)
    cluster_plan = make_plan(desired, observed, recreate=recreate)
    for fault in port_faults(site.platform, desired, observed, cluster_plan):
        say(f"warning: {fault}")
    rollout = () if recreate else needs_rollout(cluster_plan, desired, observed)
    return _Looked(cluster, desired, observed, cluster_plan, rollout, images)


def _document(looked: _Looked) -> dict[str, Any]:
    from stoneware.cluster.documents import plan_document

    images = [
        {"image": one.image, "services": list(one.services), "bake": one.runs, "reason": one.reason}
        for one in looked.images.values()
    ]
    return {**plan_document(looked.plan, looked.desired, rollout=looked.rollout), "images": images}


def _show(looked: _Looked) -> None:
    from stoneware.ui.cluster import plan_summary, plan_text

    sys.stdout.write(plan_text(looked.plan))
    for one in looked.images.values():
        if one.runs:
            print_line(f"image {one.image} will be baked: {one.reason}")
    say(plan_summary(looked.plan))
    if looked.rollout:
        names = ", ".join(step.name for step in looked.rollout)
        say(f"up does not replace healthy machines ({names}): stoneware rollout, or stoneware up --recreate")


def _show_terraform(site: Site, looked: _Looked) -> None:
    """Show Terraform's own plan, made in a copy of the cluster's directory."""
    from stoneware.cluster.apply import ClusterTerraform
    from stoneware.cluster.events import Silent
    from stoneware.cluster.kept_state import scratch_copy
    from stoneware.cluster.tfvars import to_tfvars

    if any(not machine.image_id for machine in looked.desired.machines.values()):
        say("Terraform's plan needs the images: the plan is shown when they are baked")
        return
    name = looked.desired.name
    variables = to_tfvars(
        looked.desired,
        looked.observed,
        [step.name for step in looked.plan.steps if step.kind == "machine"],
        applied=site.applied(name),
        keep_volumes=sorted(looked.observed.volumes),
    )
    with (
        scratch_copy(site.directory(name)) as copy,  # no `up` is disturbed
        ClusterTerraform(site.platform, copy, Silent()) as terraform,
    ):
        terraform.configure(variables)
        terraform.adopt(looked.observed)
        # On stderr with --json, so that nothing else is on stdout.
        say(terraform.show_plan().rstrip())
