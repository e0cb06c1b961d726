"""The local machine that stands behind an instance: its name, its spec, and what its metadata server says."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from stoneware.emulator import catalog
from stoneware.emulator.store import Record, Store
from stoneware.emulator.values import LINK
from stoneware.model.machine import MachineSpec
from stoneware.model.resources import DISKS, VolumeMount

LABEL = "stoneware.emulator"  # of a machine behind an instance: the instance's key
_LONGEST = 55  # characters of a name that are kept before the digits that make it unique


def machine_name(key: str) -> str:
    """Return the name of the machine behind an instance, by the instance's key; unique on this computer."""
    # Instances of two zones, or projects, may have one name; a machine has it for the whole computer.
    digits = hashlib.sha256(key.encode()).hexdigest()[:7]
    return f"{key.rsplit('/', 1)[1][:_LONGEST]}-{digits}"


def disk_key(attached: Record) -> str:
    """Return the key of a disk that an instance has."""
    return str(attached["source"].removeprefix(LINK))


def disk_name(disk: Record) -> str:
    """Return the name of the volume that stands for a disk without an image."""
    return f"disk-{disk['id']}"


def network_name(network: Record) -> str:
    """Return the name of the network of this computer behind one of the cloud's."""
    # By the id as well: a network that is made again is another one on this computer too.
    return f"{network['name']}-{network['id'][-8:]}"


def project_number(project: str) -> int:
    """Return the number of a project, always the same for its name."""
    return 10**11 + int.from_bytes(hashlib.sha256(project.encode()).digest()[:8]) % 10**11


def items(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return metadata as keys and values."""
    return {item["key"]: item.get("value", "") for item in metadata.get("items", [])}


Token = Mapping[str, Any] | None


def spec(store: Store, key: str, instance: Record, source: str, token: Token) -> MachineSpec:
    """Return the spec of the machine behind an instance. `source`: key of its boot disk's contents.

    `token`: its service account's (`access_token`), and until when (`expires`).
    """
    name, project, zone = instance["name"], key.split("/")[1], key.split("/")[3]
    cpus, memory = catalog.shape(instance["machineType"].rsplit("/", 1)[1]) or (1, 1024)
    boot, *others = instance["disks"]
    domains = (f"{name}.{zone}.c.{project}.internal", f"{name}.c.{project}.internal")
    interface = instance["networkInterfaces"][0]
    network = network_name(store.get(interface["network"].removeprefix(LINK)) or {})
    size = int((store.get(disk_key(boot)) or {}).get("sizeGb", 10))
    return MachineSpec(
        name=machine_name(key),
        source=f"checkpoint:{source}",
        hostname=name,
        names=(name, *domains),
        networks=(network,),
        addresses={network: interface["networkIP"]},
        metadata=items(instance["metadata"]),
        volumes=tuple(mount(store, disk) for disk in others),
        memory=memory << 20,
        # More than there are cannot be given to a machine.
        cpus=float(min(cpus, os.cpu_count() or 1)),
        disk=size << 30,
        stop_timeout=90.0,  # as on Compute Engine
        image_ref=instance.get("x-image", ""),
        labels={LABEL: key},
        identity=identity(store, key, instance, token),
    )


def mount(store: Store, disk: Record) -> VolumeMount:
    """Return what the machine behind an instance has for a disk that it does not boot from."""
    record = store.get(disk_key(disk)) or {}
    return VolumeMount(
        disk_name(record), f"{DISKS}{disk['deviceName']}", read_only=disk["mode"] == "READ_ONLY"
    )


def identity(store: Store, key: str, instance: Record, token: Token) -> dict[str, str]:
    """Return what an instance's metadata server says of it, by path, as JSON."""
    project, zone = key.split("/")[1], key.split("/")[3]
    number = project_number(project)
    record = store.get(f"projects/{project}") or {}
    kind = instance["machineType"].rsplit("/", 1)[1]
    said: dict[str, Any] = {
        "project/attributes": items(record.get("commonInstanceMetadata", {})),
        "project/numeric-project-id": number,
        "project/project-id": project,
        "instance/description": instance.get("description", ""),
        "instance/disks": [_disk(store, at, disk) for at, disk in enumerate(instance["disks"])],
        "instance/hostname": instance.get("hostname") or f"{instance['name']}.{zone}.c.{project}.internal",
        # A bare number, as of Google's metadata server, though it may be larger than 2**53.
        "instance/id": int(instance["id"]),
        "instance/image": instance.get("x-image", ""),
        "instance/machine-type": f"projects/{number}/machineTypes/{kind}",
        "instance/name": instance["name"],
        "instance/preempted": "FALSE",
        "instance/scheduling": _scheduling(instance["scheduling"]),
        "instance/service-accounts": _accounts(instance.get("serviceAccounts", []), token),
        "instance/tags": instance["tags"].get("items", []),
        "instance/zone": f"projects/{number}/zones/{zone}",
        **_interface(instance["networkInterfaces"][0], number),
    }
    return {path: json.dumps(value) for path, value in said.items()}


def _disk(store: Store, at: int, disk: Record) -> dict[str, Any]:
    kind = (store.get(disk_key(disk)) or {}).get("type", "pd-standard").rsplit("/", 1)[-1]
    return {
        "device-name": disk["deviceName"],
        "index": at,
        "interface": disk.get("interface", "SCSI"),
        "mode": disk["mode"],
        "type": "PERSISTENT-SSD" if "ssd" in kind else "PERSISTENT-BALANCED",
    }


def _scheduling(scheduling: Mapping[str, Any]) -> dict[str, str]:
    return {
        "automatic-restart": str(scheduling["automaticRestart"]).upper(),
        "on-host-maintenance": scheduling["onHostMaintenance"],
        "preemptible": str(scheduling["preemptible"]).upper(),
    }


def _accounts(accounts: list[Record], token: Token) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for account in accounts:
        one = {"aliases": ["default"], "email": account["email"], "scopes": account.get("scopes", [])}
        if token:
            one["token"] = dict(token)
        found |= {"default": one, account["email"]: one}
    return found


def _interface(interface: Record, number: int) -> dict[str, Any]:
    path = "instance/network-interfaces/0/"
    configs = [
        {"external-ip": one.get("natIP", ""), "type": "ONE_TO_ONE_NAT"}
        for one in interface.get("accessConfigs", [])
    ]
    return {
        f"{path}access-configs": configs,
        f"{path}network": f"projects/{number}/networks/{interface['network'].rsplit('/', 1)[1]}",
    }
