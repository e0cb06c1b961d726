"""What a plan's machines and disks would be made of, and the platform does not have: told before any goes."""

from __future__ import annotations

from collections.abc import Iterable

from stoneware.cluster.model import Action, ClusterPlan, Desired
from stoneware.cluster.tfvars import to_tfvars
from stoneware.compose.model import Cluster
from stoneware.errors import InputError
from stoneware.platforms.infrastructure import Infrastructure, Kind, Lacking, Subject

_MADE = (Action.CREATE, Action.REPLACE)
_PARTS = {"machine": Kind.MACHINE, "volume": Kind.VOLUME}


def made_by(plan: ClusterPlan) -> set[Subject]:
    """Return the machines and disks that a plan makes, be it in the place of others."""
    return {
        Subject(_PARTS[step.kind], step.name)
        for step in plan.changes
        if step.kind in _PARTS and step.action in _MADE
    }


def check_parts(
    infrastructure: Infrastructure, cluster: Cluster | None, desired: Desired, making: Iterable[Subject]
) -> None:
    """Raise InputError where the platform lacks what some machines and disks would be made of.

    With the `cluster` of a file it has the place of what says so.
    """
    wanted = frozenset(making)
    if not wanted:
        return
    found = infrastructure.lacking(to_tfvars(desired, None, desired.machines), wanted)
    if not found:
        return
    first = found[0]
    raise InputError(
        f"{first.what}: nothing was done",
        details="\n".join(_row(one) for one in found),
        resolution=first.resolution,
        location=_place(first, infrastructure.extension.key, cluster, desired),
    )


def _row(lacking: Lacking) -> str:
    names = ", ".join(dict.fromkeys(subject.name for subject in lacking.subjects))
    return f"{names}: {lacking.what}"


def _place(lacking: Lacking, extension: str, cluster: Cluster | None, desired: Desired) -> str:
    """Return where the name is written of what is lacking: at the service, the volume, the cluster."""
    subject = lacking.subjects[0]
    if subject.kind is Kind.VOLUME:
        return desired.volumes[subject.name].where(extension, lacking.key)
    if cluster is None:
        return lacking.place
    service = cluster.services.get(desired.machines[subject.name].service)
    if service is not None and lacking.key in (service.extensions.get(extension) or {}):
        return service.where(extension, lacking.key)
    if lacking.key in (cluster.extensions.get(extension) or {}):
        return cluster.where(extension, lacking.key)
    return lacking.place
