"""A machine as an instance of Compute Engine: what it is made with, and what one that is there says of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from stoneware.config import digest
from stoneware.errors import InputError
from stoneware.files import canonical_json, sha256_hex
from stoneware.guest.reported import Reported, reported
from stoneware.model import guest_lines, guest_protocol, machine_fields, runtime
from stoneware.model.labels import CLUSTER_LABEL
from stoneware.model.machine import Health, Machine, MachineSpec, Phase
from stoneware.model.machine_fields import FIELDS
from stoneware.model.resources import DISKS, PortMapping, SecretMount, VolumeMount
from stoneware.platforms.google import names
from stoneware.platforms.google.api import last
from stoneware.platforms.google.hardware import Hardware, hardware_for
from stoneware.platforms.google.settings import Settings
from stoneware.untrusted.bounded import BoundsError, bounded_json

SPEC = "stoneware-spec"  # the attribute that has what was declared of a machine
HOSTS = "stoneware-hosts"  # that which has the addresses and names of its cluster's machines
_KEPT_ELSEWHERE = ("metadata", "files", "source", "identity")
WRITTEN = {SPEC, HOSTS, *machine_fields.PLATFORM_ATTRIBUTES}
_SECRETS = "https://secretmanager.googleapis.com"
_STARTING = {"PROVISIONING", "STAGING", "PENDING", "REPAIRING"}
_STOPPING = {"STOPPING", "PENDING_STOP", "SUSPENDING", "DEPROVISIONING"}
_SPEC_BYTES = 256 * 1024  # of an attribute


# -- made with ---------------------------------------------------------------------------------------------


def instance_of(spec: MachineSpec, settings: Settings, *, zone: str, image: str) -> dict[str, Any]:
    """Return the part `instance` of a machine in the cluster module's variables.

    `image` is the link of the image that it boots from. Raises InputError where it could not boot.
    """
    hardware = hardware_for(spec, settings)
    _check_token(spec, hardware)
    return {
        "name": names.cloud_name(spec.name),
        "zone": zone,
        "image": image,
        "hostname": hostname_of(spec),
        "machine_type": hardware.machine_type,
        "min_cpu_platform": hardware.min_cpu_platform,
        "boot_size": hardware.boot_size,
        "boot_type": hardware.boot_type,
        "network": hardware.network,
        "subnetwork": hardware.subnetwork,
        "external_ip": hardware.external_ip,
        "service_account": hardware.service_account,
        "scopes": list(hardware.scopes),
        "spot": hardware.spot,
        "deletion_protection": hardware.deletion_protection,
        "source_ranges": list(hardware.source_ranges),
        "exposed": [_exposed(port) for port in hardware.exposed],
        "dns_zone": hardware.dns_zone,
        "rule": names.cloud_name(f"{spec.name}-ports"),
        "tags": tags_of(spec, settings),
        "labels": labels_of(spec),
        "metadata": written(spec, settings),
        "replace_on": replaced_on(spec),
        "disks": disks_of(spec, settings, zone),
    }


def _exposed(port: str) -> dict[str, Any]:
    number, _, protocol = port.partition("/")
    return {"machine_port": int(number), "protocol": protocol or "tcp"}


def _check_token(spec: MachineSpec, hardware: Hardware) -> None:
    """Refuse secrets for a machine without a service account: it has no token to fetch them with."""
    if spec.secrets and not hardware.service_account:
        raise InputError(
            f"{spec.name} has secrets, and no service account to fetch them with",
            details="Its token has to read them: roles/secretmanager.secretAccessor.",
            resolution="service_account below x-google of machines.yaml, or in [google] of stoneware.toml",
        )


def tags_of(spec: MachineSpec, settings: Settings) -> list[str]:
    """Return an instance's network tags: those of its networks, of its own ports, and those of the file."""
    own = names.cloud_name(f"{spec.name}-ports")
    wanted = {
        own,
        *map(names.cloud_name, spec.networks),
        *hardware_for(spec, settings).tags,
    }
    return sorted(wanted)


def labels_of(spec: MachineSpec) -> dict[str, str]:
    """Return an instance's labels."""
    return {**names.cloud_labels(spec.labels), names.MARK: spec.kind}


def disks_of(spec: MachineSpec, settings: Settings, zone: str) -> list[dict[str, Any]]:
    """Return the data disks of an instance: each with the name that the machine finds it by."""
    return [
        {
            "volume": mount.volume,
            "device": device_of(mount),
            "source": f"projects/{settings.project}/zones/{zone}/disks/{names.cloud_name(mount.volume)}",
            "read_only": mount.read_only,
        }
        for mount in spec.volumes
    ]


def device_of(mount: VolumeMount) -> str:
    """Return the name of a disk's device: below /dev/disk/by-id/google-."""
    return mount.path.removeprefix(DISKS) if guest_lines.is_disk(mount) else names.cloud_name(mount.volume)


def hostname_of(spec: MachineSpec) -> str | None:
    """Return an instance's own host name, where it is not the instance's name: one with a domain.

    The machine leaves out a domain that ends with `.internal`.
    """
    wanted = spec.hostname or spec.name
    if wanted == names.cloud_name(spec.name):
        return None
    domain = names.cloud_name(spec.labels.get(CLUSTER_LABEL) or names.MARK)
    # Google takes no host name without a domain.
    return wanted if "." in wanted else f"{wanted}.{domain}.internal"


def written(spec: MachineSpec, settings: Settings) -> dict[str, str]:
    """Return the attributes that this platform writes of a machine, besides those that were declared."""
    found = {
        guest_protocol.VOLUMES: guest_lines.volume_lines(spec, lambda _, mount: f"{DISKS}{device_of(mount)}"),
        guest_protocol.SECRETS: guest_lines.secret_lines(
            spec.secrets, lambda mount: secret_address(mount, settings)
        ),
        guest_protocol.PROCESS: runtime.process_text(spec.process),
        guest_protocol.SYSTEM: runtime.system_text(spec.system),
        SPEC: spec_text(spec),
    }
    return {key: text for key, text in found.items() if text}


def secret_address(mount: SecretMount, settings: Settings) -> str:
    """Return where a machine fetches a secret, with its own token: one version of it, never the latest."""
    emulated = settings.guest_endpoint or (guest_protocol.GUEST_ENDPOINT if settings.endpoint else "")
    base = emulated or _SECRETS
    own = f"projects/{settings.project}/secrets/{names.secret_id(mount.secret)}"
    secret = mount.secret if mount.elsewhere else own
    return f"{base}/v1/{secret}/versions/{mount.version or 'none'}:access"


def spec_text(spec: MachineSpec) -> str:
    """Return what was declared of a machine, as its attribute has it: no values of its config or secrets."""
    said = {
        name: field.kind.write(getattr(spec, name))
        for name, field in FIELDS.items()
        # Without what has its default: a field of a later version must not differ in machines of before.
        if name not in _KEPT_ELSEWHERE and getattr(spec, name) != field.default
    }
    return canonical_json({**said, "source": spec.source}).decode()


def replaced_on(spec: MachineSpec, recreate_on: str = "") -> str:
    """Return the text whose change makes a new machine: all that a living one does not take on."""
    lasting = {
        name: field.kind.write(getattr(spec, name))
        for name, field in FIELDS.items()
        # The same here, or an update of Stoneware would replace every machine.
        if field.declared and not field.in_place and getattr(spec, name) != field.default
    }
    return f"sha256:{sha256_hex(canonical_json([lasting, recreate_on]))}"


# -- there -------------------------------------------------------------------------------------------------


def read_spec(instance: Mapping[str, Any]) -> MachineSpec | None:
    """Return what was declared of an instance, with its present metadata; None where it is none of ours.

    Raises ValueError where somebody has damaged it.
    """
    items = metadata_of(instance)
    if SPEC not in items:
        return None
    try:
        # Who may edit an instance's metadata may have written this.
        document = bounded_json(items[SPEC], _SPEC_BYTES)
        metadata = {key: value for key, value in items.items() if key not in WRITTEN}
        return machine_fields.read_spec({**document, "metadata": metadata})
    except (BoundsError, KeyError, TypeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def metadata_of(instance: Mapping[str, Any]) -> dict[str, str]:
    """Return an instance's attributes."""
    listed = (instance.get("metadata") or {}).get("items") or []
    return {str(item["key"]): str(item.get("value", "")) for item in listed if "key" in item}


def machine_of(instance: Mapping[str, Any], attributes: Mapping[str, str]) -> Machine | None:
    """Return an instance as the machine that it is, with what it reported; None where it is none of ours."""
    fault = ""
    try:
        spec = read_spec(instance)
    # It is listed all the same: it costs, has its name, and `rm` can remove it.
    except ValueError as error:
        spec, fault = MachineSpec(str(instance["name"]), ""), f"its attribute {SPEC} is damaged: {error}"
    if spec is None:
        return None
    said = reported(attributes)
    phase = Phase.DAMAGED if fault else phase_of(instance, said)
    off = phase is Phase.STOPPED
    ip = address_of(instance)
    return Machine(
        name=spec.name,
        id=str(instance.get("id", "")),
        kind=spec.kind,
        image_id=spec.source.removeprefix("image:") if spec.source.startswith("image:") else "",
        image=spec.image_ref,
        phase=phase,
        # One that stops is not healthy any more, whatever it has reported.
        health=said.health if instance.get("status") == "RUNNING" else Health.NONE,
        ip=ip,
        # Published is each port at the machine's own address: there is no host in between.
        ports=() if off else tuple(_reached(port, ip) for port in spec.ports),
        # Until it has reported one, that of what it was told.
        config_digest=said.status.config or digest(spec.metadata.get(guest_protocol.CONFIG, "")),
        error=fault or ("" if off else said.error),
        created=seconds(instance.get("creationTimestamp")) or 0.0,
        started=seconds(instance.get("lastStartTimestamp")),
        exit_code=0 if off else None,
        leader=None,
        spec=spec,
        failed_check=said.failed_check if instance.get("status") == "RUNNING" else None,
    )


def phase_of(instance: Mapping[str, Any], said: Reported) -> Phase:
    """Return where a machine is in its life: by its status, and while that is RUNNING by its reports."""
    status = str(instance.get("status", ""))
    if status in _STARTING:
        return Phase.BOOTING
    if status in _STOPPING:
        return Phase.STOPPING
    return said.phase if status == "RUNNING" else Phase.STOPPED


def address_of(instance: Mapping[str, Any]) -> str:
    """Return an instance's internal address."""
    interfaces: Sequence[Mapping[str, Any]] = instance.get("networkInterfaces") or [{}]
    return str(interfaces[0].get("networkIP", ""))


def zone_of(instance: Mapping[str, Any]) -> str:
    """Return the zone that an instance, or a disk, is in."""
    return last(instance.get("zone"))


def _reached(port: PortMapping, ip: str) -> PortMapping:
    return PortMapping(ip, port.machine_port, port.machine_port, port.protocol)


_FRACTION = re.compile(r"\.(\d{1,6})\d*")


def seconds(text: object) -> float | None:
    """Return a time of Google's in seconds since the epoch, None where there is none."""
    if not isinstance(text, str) or not text:
        return None
    try:
        return datetime.fromisoformat(_FRACTION.sub(r".\1", text)).timestamp()
    except ValueError:
        return None


def items_of(metadata: Mapping[str, str]) -> list[dict[str, str]]:
    """Return attributes as Compute Engine's API has them."""
    return [{"key": key, "value": metadata[key]} for key in sorted(metadata)]


def labels_document(labels: Mapping[str, str]) -> str:
    """Return labels as a text, for what has no labels at Google."""
    return json.dumps(dict(labels), sort_keys=True, separators=(",", ":"))
