"""A machine's spec read from a document: the variables of Terraform, or a recorded observation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stoneware.model.limits import Ulimit
from stoneware.model.machine import MachineSpec
from stoneware.model.resources import PortMapping, SecretMount, VolumeMount
from stoneware.model.runtime import process_of, system_of


def read_spec(document: Mapping[str, Any]) -> MachineSpec:
    """Return the spec that `terraform.variables.machine` wrote. Raises KeyError, TypeError or ValueError."""
    memory, cpus = document["memory"], document["cpus"]
    return MachineSpec(
        name=str(document["name"]),
        source=str(document["source"]),
        hostname=str(document["hostname"]),
        metadata=dict(document["metadata"]),
        volumes=tuple(VolumeMount(**mount) for mount in document["volumes"]),
        ports=tuple(PortMapping(**port) for port in document["ports"]),
        networks=tuple(document["networks"]),
        names=tuple(document["names"]),
        secrets=tuple(_secret(use) for use in document["secrets"]),
        memory=None if memory is None else int(memory),
        cpus=None if cpus is None else float(cpus),
        **_limits(document),
        read_only=bool(document["read_only"]),
        restart=str(document["restart"]),
        stop_timeout=float(document["stop_timeout"]),
        image_ref=str(document["image_ref"]),
        labels=dict(document["labels"]),
        process=process_of(document.get("process")),
        system=system_of(document.get("system")),
    )


def _limits(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the limits that documents of an older Stoneware lack: the defaults, where nothing is said."""
    names = ("pids_limit", "disk", "log_max_size", "log_max_file")
    given = {name: int(document[name]) for name in names if document.get(name) is not None}
    ulimits = document.get("ulimits") or ()
    return {
        **given,
        "ulimits": tuple(Ulimit(str(it["name"]), int(it["soft"]), int(it["hard"])) for it in ulimits),
    }


def _secret(use: Mapping[str, Any]) -> SecretMount:
    owner = (int(use.get("uid") or 0), int(use.get("gid") or 0))  # an older Stoneware wrote none
    return SecretMount(
        str(use["secret"]), str(use["target"]), str(use["version"]), int(use["mode"], 8), *owner
    )
