"""What is declared of a cluster, as its module's variables: written for an apply, read as last applied."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from stoneware.cluster.model import Desired, DesiredMachine, Observed
from stoneware.compose.model import ClusterNetwork, ClusterVolume, Condition
from stoneware.config import digest
from stoneware.errors import InputError
from stoneware.files import canonical_json, sha256_hex
from stoneware.model.guest_protocol import CONFIG
from stoneware.model.labels import CLUSTER_LABEL, SERVICE_LABEL, SLOT_LABEL
from stoneware.model.machine import runs
from stoneware.terraform import variables


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
    `applied` last (from_tfvars); where `observed` is given, those that are missing are left out and those
    that do not run stay stopped, so that an early wave does not make or start machines of a later one.

    `{"networks": {NAME: {"labels", "internal", "subnets"}}, "volumes": {NAME: {"labels", "extras"}},
    "machines": {SHORT: {…}}, "hosts": {SHORT: {…}}}`; a machine is what `terraform.variables.machine`
    returns, and commit, reloads, checked, zones and depends_on (service to condition), which Terraform drops.
    `hosts` are all machines of the cluster, be they there or not: what `terraform.variables.host` returns.
    External volumes and networks are not in it. Networks are those of `desired` and those that kept machines
    are on; volumes are those of `desired`, of `applied` and `keep_volumes`: no apply ever drops a disk.
    """
    chosen = set(machines)
    there = {name: entry for name, entry in desired.machines.items() if name in chosen}
    kept = _kept(applied, observed, chosen)
    order = [*desired.machines, *(name for name in kept if name not in desired.machines)]
    documents = {}
    for name in order:
        if name in there:
            documents[name] = _document(there[name], desired)
        elif name in kept and applied is not None:
            # A machine that is down stays down: this apply is not about it.
            documents[name] = _document(kept[name], applied) | {"running": _is_up(name, observed)}
    # Those of later waves, too: on Compute Engine the hosts block of each machine is the same from the start.
    members = {**kept, **{name: entry for name, entry in desired.machines.items() if name not in kept}}
    return {
        "networks": _networks(desired, applied, kept.values()),
        "volumes": _volumes(desired, applied, keep_volumes),
        "machines": documents,
        "hosts": {name: variables.host(it.spec, it.slot, it.zones) for name, it in sorted(members.items())},
    }


def from_tfvars(name: str, tfvars: Mapping[str, Any]) -> Desired:
    """Return the cluster that was applied last. Raises InputError where the variables are damaged."""
    try:
        machines = {short: _read_machine(short, entry) for short, entry in tfvars["machines"].items()}
        return Desired(
            name,
            # The objects of JSON have no order; plans go by service and number.
            dict(sorted(machines.items(), key=lambda item: (item[1].service, item[1].slot))),
            _read_depends_on(tfvars["machines"]),
            {key: _read_volume(key, entry) for key, entry in tfvars["volumes"].items()},
            {key: _read_network(key, entry) for key, entry in tfvars["networks"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"what was applied last to the cluster {name} cannot be read",
            details=f"{type(error).__name__}: {error}",
            resolution="stoneware up    # writes the file again",
        ) from error


def recreate_on(machine: DesiredMachine) -> str:
    """Return the text whose change makes a new machine: its configuration and secrets, unless it reloads."""
    if machine.reloads:
        return ""
    # Not the secret's value: this text is in Terraform's state.
    secrets = [(use.secret, use.target, use.version, use.mode) for use in machine.spec.secrets]
    if not secrets:
        return machine.config_digest
    return f"sha256:{sha256_hex(canonical_json([machine.config_digest, secrets]))}"


def _document(machine: DesiredMachine, cluster: Desired) -> dict[str, Any]:
    needs = cluster.depends_on.get(machine.service, {})
    return variables.machine(machine.spec, recreate_on=recreate_on(machine)) | {
        "commit": machine.commit,
        "reloads": machine.reloads,
        "checked": machine.checked,
        "zones": list(machine.zones),
        "depends_on": {service: str(condition) for service, condition in needs.items()},
    }


def _kept(
    applied: Desired | None, observed: Observed | None, chosen: Collection[str]
) -> dict[str, DesiredMachine]:
    if applied is None:
        return {}
    return {
        name: machine
        for name, machine in applied.machines.items()
        if name not in chosen and (observed is None or name in observed.machines)
    }


def _is_up(name: str, observed: Observed | None) -> bool:
    if observed is None:
        return True
    return runs(observed.machines[name].machine)


def _networks(
    desired: Desired, applied: Desired | None, kept: Iterable[DesiredMachine]
) -> dict[str, dict[str, Any]]:
    networks = {**(applied.networks if applied else {}), **desired.networks}
    used = {network for machine in kept for network in machine.spec.networks} | set(desired.networks)
    return {
        name: variables.network(network.labels, internal=network.internal, subnets=network.subnets)
        for name, network in networks.items()
        if name in used and not network.external
    }


def _volumes(desired: Desired, applied: Desired | None, keep: Collection[str]) -> dict[str, dict[str, Any]]:
    own = {CLUSTER_LABEL: desired.name}
    volumes = {
        **{name: ClusterVolume(name, labels=own) for name in keep},
        **(applied.volumes if applied else {}),
        **desired.volumes,
    }
    return {name: _volume(it) for name, it in volumes.items() if not it.external}


def _volume(volume: ClusterVolume) -> dict[str, Any]:
    found = variables.volume(volume.labels, volume.extras)
    return found if volume.size is None else {**found, "size": volume.size}


def _read_network(name: str, entry: Mapping[str, Any]) -> ClusterNetwork:
    return ClusterNetwork(
        name,
        labels=dict(entry["labels"]),
        internal=bool(entry.get("internal")),
        subnets=tuple(entry.get("subnets") or ()),
    )


def _read_volume(name: str, entry: Mapping[str, Any]) -> ClusterVolume:
    return ClusterVolume(
        name,
        labels=dict(entry["labels"]),
        extras=dict(entry.get("extras") or {}),
        size=int(entry["size"]) if entry.get("size") else None,
    )


def _read_machine(short: str, entry: Mapping[str, Any]) -> DesiredMachine:
    spec = variables.read_machine(entry)
    image_id = spec.source.removeprefix("image:")
    return DesiredMachine(
        name=short,
        service=spec.labels[SERVICE_LABEL],
        slot=int(spec.labels[SLOT_LABEL]),
        # Terraform's variables omit a host name that is the machine's own name.
        spec=replace(spec, hostname=spec.hostname or spec.name),
        image=spec.image_ref,
        image_id=image_id,
        commit=str(entry.get("commit", "")),
        config_digest=digest(spec.metadata.get(CONFIG, "")),
        reloads=bool(entry.get("reloads")),
        checked=bool(entry.get("checked")),
        zones=tuple(map(str, entry.get("zones") or ())),
    )


def _read_depends_on(machines: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Condition]]:
    return {
        entry["labels"][SERVICE_LABEL]: {
            service: Condition(text) for service, text in entry.get("depends_on", {}).items()
        }
        for entry in machines.values()
    }
