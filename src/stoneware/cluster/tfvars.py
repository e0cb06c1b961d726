"""The variables of the Terraform module local/cluster: written for an apply, and read back as what was applied."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from stoneware.cluster.model import Desired, Observed

FILE = "machines.auto.tfvars.json"


def to_tfvars(
    desired: Desired,
    observed: Observed | None,
    machines: Collection[str],
    *,
    applied: Desired | None = None,
    keep_volumes: Collection[str] = (),
) -> dict[str, Any]:
    """Return the variables for an apply that brings `machines` (short names) to what is wanted of them.

    Those of them that are not wanted any more are gone from the result. All other machines stay as they were
    `applied` last (from_tfvars); where `observed` is given, those that are missing are left out and those that
    do not run stay stopped, so that an early wave does not make or start machines of a later one.

    `{"networks": {NAME: {"labels"}}, "volumes": {NAME: {"labels"}}, "machines": {SHORT: {…}}}`. A machine has
    the attributes of `stoneware_machine` by name (name, source, image_ref, hostname, metadata, volumes, ports,
    networks, names, secrets, memory, cpus, read_only, restart, stop_timeout, labels, recreate_on, running,
    wait_for), and commit, config_digest, reloads, checked and depends_on, which Terraform does not look at.
    External volumes and networks are not in it. Networks are those of `desired` and those that kept machines
    are on; volumes are those of `desired`, of `applied` and `keep_volumes`: no apply ever drops a disk.
    """
    raise NotImplementedError


def from_tfvars(name: str, variables: Mapping[str, Any]) -> Desired:
    """Return the cluster that was applied last. Raises InputError where the variables are damaged."""
    raise NotImplementedError
