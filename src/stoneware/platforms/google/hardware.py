"""What an instance is made of: what machines.yaml says below x-google, else the settings, else defaults."""

from __future__ import annotations

import math
from collections.abc import Mapping

from stoneware.dataclass import dataclass
from stoneware.errors import InputError
from stoneware.model.limits import parse_size
from stoneware.model.machine import MachineSpec
from stoneware.platforms.google.settings import Settings
from stoneware.platforms.infrastructure import EXPOSED

_GIB = 1 << 30
_SMALLEST = 10  # GB of a disk
_DISK_TYPE = "pd-balanced"
# Secret Manager takes no narrower one; what the token may do is said by its account's roles.
_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)


@dataclass(frozen=True)
class Hardware:
    """An instance's part of Google Cloud. Sizes are in Google's GB; None: as large as the image."""

    machine_type: str
    min_cpu_platform: str | None
    boot_size: int | None
    boot_type: str
    network: str
    subnetwork: str | None
    external_ip: bool
    service_account: str | None
    scopes: tuple[str, ...]
    spot: bool
    deletion_protection: bool
    source_ranges: tuple[str, ...]
    exposed: tuple[str, ...]  # ports of the image that these reach, `80/tcp`
    dns_zone: str | None
    dns_name: str | None  # of a zone that is to be made, with the dot at its end
    tags: tuple[str, ...]


def hardware_of(extras: Mapping[str, str], settings: Settings, disk: int | None = None) -> Hardware:
    """Return what an instance is made of. `disk` is the most that its root may take, in bytes.

    Raises InputError where the file is for another project or region than the settings are.
    """
    for key, ours in (("project", settings.project), ("region", settings.region)):
        if extras.get(key, ours) != ours:
            raise InputError(
                f"x-google says the {key} {extras[key]}, but the settings say {ours}",
                details="A cluster is in one project and one region, those that Stoneware's settings name.",
                resolution=f"STONEWARE_GOOGLE_{key.upper()}={extras[key]} stoneware …    # or no {key}:",
            )
    if extras.get("dns_name") and not extras.get("dns_zone"):
        raise InputError(
            f"x-google says the dns_name {extras['dns_name']}, and no dns_zone",
            details="A zone that is made needs a name as well; one that is there has its domain already.",
            resolution="dns_zone: NAME    # besides dns_name",
        )
    size = extras.get("disk_size")
    network = extras.get("network", settings.network)
    return Hardware(
        machine_type=extras.get("machine_type", settings.machine_type),
        min_cpu_platform=extras.get("min_cpu_platform"),
        # What is said for this platform comes before `storage_opt.size`.
        boot_size=gigabytes(parse_size(size)) if size else gigabytes(disk) if disk else None,
        boot_type=extras.get("disk_type", _DISK_TYPE),
        network=network,
        subnetwork=extras.get("subnetwork") or settings.subnetwork or None,
        external_ip=_flag(extras, "external_ip", default=settings.external_ip),
        service_account=extras.get("service_account") or settings.service_account or None,
        scopes=_words(extras, "scopes") or _SCOPES,
        spot=_flag(extras, "spot"),
        deletion_protection=_flag(extras, "deletion_protection"),
        source_ranges=_words(extras, "source_ranges"),
        exposed=_words(extras, EXPOSED),
        dns_zone=extras.get("dns_zone"),
        dns_name=f"{extras['dns_name'].rstrip('.')}." if extras.get("dns_name") else None,
        tags=_words(extras, "tags"),
    )


def disk_of(extras: Mapping[str, str], there: int = 0) -> tuple[str, int]:
    """Return a data disk's type and its size in GB; one that is there (of so many GB) never shrinks."""
    size = extras.get("disk_size")
    return extras.get("disk_type", _DISK_TYPE), max(gigabytes(parse_size(size)) if size else _SMALLEST, there)


def gigabytes(size: int) -> int:
    """Return bytes in GB, rounded up: what a disk has at least."""
    return max(math.ceil(size / _GIB), _SMALLEST)


def _words(extras: Mapping[str, str], key: str) -> tuple[str, ...]:
    return tuple(word for word in extras.get(key, "").split(",") if word)


def hardware_for(spec: MachineSpec, settings: Settings) -> Hardware:
    """Return what a machine's instance is made of. Raises as `hardware_of`."""
    return hardware_of({**spec.extras, **spec.live_extras}, settings, spec.disk)


def _flag(extras: Mapping[str, str], key: str, *, default: bool = False) -> bool:
    return extras[key] == "true" if key in extras else default
