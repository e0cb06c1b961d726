"""What a platform shows of a cluster, found by its label."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from stoneware.cluster.directory import ClusterDirectory
from stoneware.cluster.model import Observed, ObservedMachine
from stoneware.guest import reports
from stoneware.launch.plan import Images
from stoneware.model.capability import Capability
from stoneware.model.labels import CLUSTER_LABEL, MACHINE_LABEL
from stoneware.model.machine import Machine
from stoneware.model.resources import DISK
from stoneware.platforms import together
from stoneware.platforms.infrastructure import Infrastructure, Subject
from stoneware.platforms.protocols import Platform
from stoneware.records import DamagedError


def observe(
    platform: Platform,
    name: str,
    *,
    managed: frozenset[Subject] | None = None,
    nonces: Mapping[str, str] | None = None,
    images: Images | None = None,
) -> Observed:
    """Return the machines, volumes and networks that carry the cluster's label.

    `managed` is what managed_in returns. The machines' reports of their files are read only where `nonces`
    is given (it may be empty): by short name, the nonce each machine was asked with; an inspection
    with another nonce is an old one, and the machine counts as not having answered. With `images` the commits
    of the images that run are looked up.
    """
    machines = {}
    for machine in platform.machines():
        labels = machine.spec.labels
        if labels.get(CLUSTER_LABEL) == name:
            machines[labels.get(MACHINE_LABEL) or machine.name] = ObservedMachine(machine)
    if nonces is not None:
        machines = _with_all_reports(platform, machines, nonces)
    volumes = platform.volumes()
    kinded = volumes if Capability.VOLUME_KINDS in platform.capabilities else []
    networks = [it for it in platform.networks() if it.labels.get(CLUSTER_LABEL) == name]
    return Observed(
        name,
        machines,
        frozenset(it.name for it in volumes if it.labels.get(CLUSTER_LABEL) == name),
        frozenset(it.name for it in networks),
        managed,
        _commits(machines, images) if images else {},
        # Of any disk: a machine may mount one that is not the cluster's.
        {it.name: it.floor for it in volumes if it.floor},
        frozenset(it.name for it in networks if it.internal),
        {it.name: it.subnets for it in networks if it.subnets},
        # A blank volume is of neither kind yet: it becomes what its first machine needs.
        {it.name: it.kind for it in kinded if not it.blank},
        {it.name: it.size or 0 for it in volumes if it.kind == DISK},
        {it.name: it.size for it in kinded if it.kind != DISK},
    )


def _with_all_reports(
    platform: Platform, machines: Mapping[str, ObservedMachine], nonces: Mapping[str, str]
) -> dict[str, ObservedMachine]:
    # As many at once as the platform lets: on Compute Engine each is several requests.
    said = together.each(
        platform, lambda it: platform.guest_attributes(it.machine.name), list(machines.values())
    )
    return {
        short: _with_reports(it.machine, attributes, nonces.get(short, ""))
        for (short, it), attributes in zip(machines.items(), said, strict=True)
    }


def managed_in(
    directory: ClusterDirectory, infrastructure: Infrastructure, *, parts: bool = False
) -> frozenset[Subject]:
    """Return what the Terraform state of a cluster knows.

    What the state has `parts` of, and not itself, is in it only where that is asked for.
    """
    subjects = {address: infrastructure.subject(address) for address in directory.managed()}
    return frozenset(it for address, it in subjects.items() if parts or infrastructure.address(it) == address)


def _commits(machines: Mapping[str, ObservedMachine], images: Images) -> dict[str, str]:
    # An image may be removed while machines of it run: they have no commit then.
    there = set(images.image_ids())
    used = {found.machine.image_id for found in machines.values()}
    found = {}
    for image in sorted(used & there):
        with contextlib.suppress(DamagedError):  # it is only told
            found[image] = str(images.manifest(image)["commit"] or "")
    return found


def _with_reports(machine: Machine, attributes: Mapping[str, str], nonce: str) -> ObservedMachine:
    written = reports.digests(attributes.get(reports.FILES, ""))
    return ObservedMachine(machine, written, reports.inspection_of(attributes, nonce))
