"""Regions, zones, machine types and disk types of the emulated cloud: a part of Google's, as data."""

from __future__ import annotations

import re
from typing import Any

from stoneware.emulator.values import LINK

#: Region: its zones, and the range an auto mode network has there.
REGIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "us-central1": (("a", "b", "c", "f"), "10.128.0.0/20"),
    "europe-west1": (("b", "c", "d"), "10.132.0.0/20"),
    "us-west1": (("a", "b", "c"), "10.138.0.0/20"),
    "asia-east1": (("a", "b", "c"), "10.140.0.0/20"),
    "us-east1": (("b", "c", "d"), "10.142.0.0/20"),
}
ZONES = {f"{region}-{letter}": region for region, (letters, _) in REGIONS.items() for letter in letters}
#: Family of machine types: GiB of memory for each processor, and the numbers of processors.
_FAMILIES: dict[str, tuple[float, tuple[int, ...]]] = {
    "e2-standard": (4, (2, 4, 8, 16, 32)),
    "e2-highmem": (8, (2, 4, 8, 16)),
    "e2-highcpu": (1, (2, 4, 8, 16, 32)),
    "n1-standard": (3.75, (1, 2, 4, 8, 16, 32, 64, 96)),
    "n1-highmem": (6.5, (2, 4, 8, 16, 32, 64, 96)),
    "n2-standard": (4, (2, 4, 8, 16, 32, 48, 64, 80)),
    "n2-highmem": (8, (2, 4, 8, 16, 32, 48, 64, 80)),
    "n2d-standard": (4, (2, 4, 8, 16, 32, 48, 64, 80)),
    "c3-standard": (4, (4, 8, 22, 44, 88)),
    "t2d-standard": (4, (1, 2, 4, 8, 16, 32, 48, 60)),
}
#: Machine type: processors and MiB of memory.
MACHINE_TYPES = {
    "e2-micro": (2, 1024),
    "e2-small": (2, 2048),
    "e2-medium": (2, 4096),
    "f1-micro": (1, 614),
    "g1-small": (1, 1740),
} | {
    f"{family}-{count}": (count, int(count * memory * 1024))
    for family, (memory, counts) in _FAMILIES.items()
    for count in counts
}
_CUSTOM = re.compile(r"(?:[a-z0-9]+-)?custom-(\d{1,3})-(\d{3,7})(?:-ext)?")
DISK_TYPES = ("pd-standard", "pd-balanced", "pd-ssd", "pd-extreme", "hyperdisk-balanced")
PUBLIC = "debian-cloud"  # the project whose images everybody can use
#: Google's other projects of public images, as gcloud asks each of them for a list. They have none here.
OTHERS_PUBLIC = (
    "centos-cloud",
    "cos-cloud",
    "fedora-cloud",
    "fedora-coreos-cloud",
    "opensuse-cloud",
    "oracle-linux-cloud",
    "rhel-cloud",
    "rhel-sap-cloud",
    "rocky-linux-accelerator-cloud",
    "rocky-linux-cloud",
    "suse-cloud",
    "suse-sap-cloud",
    "ubuntu-os-accelerator-images",
    "ubuntu-os-cloud",
    "ubuntu-os-pro-cloud",
    "windows-cloud",
    "windows-sql-cloud",
)
#: Family of Debian's images: the base of Stoneware that is the same release.
PUBLIC_IMAGES = {"debian-12": "debian:12", "debian-13": "debian:13"}


def public_image(family: str, base: str) -> dict[str, Any]:
    """Return the newest image of a family of Debian's, which stands for a base of this computer."""
    return {
        "name": f"{family}-stoneware",
        "family": family,
        "description": f"Stoneware's {base}, in the place of Debian's own image",
        "diskSizeGb": "10",
        "architecture": "X86_64",
        "guestOsFeatures": [
            {"type": name} for name in ("UEFI_COMPATIBLE", "VIRTIO_SCSI_MULTIQUEUE", "GVNIC")
        ],
        "licenses": [f"{LINK}projects/{PUBLIC}/global/licenses/{family}"],
        "x-base": base,
    }


def shape(name: str) -> tuple[int, int] | None:
    """Return processors and MiB of memory of a machine type, a custom one too; None for no machine type."""
    if custom := _CUSTOM.fullmatch(name):
        return int(custom[1]), int(custom[2])
    return MACHINE_TYPES.get(name)


def listed(collection: str, project: str, zone: str | None = None) -> list[dict[str, Any]]:
    """Return the look-up resources of a collection, as `machineTypes` of a zone."""
    place = f"projects/{project}/zones/{zone}" if zone else f"projects/{project}"
    if collection == "regions":
        return [_region(project, name) for name in REGIONS]
    if collection == "zones":
        return [_zone(project, name, region) for name, region in ZONES.items()]
    if collection == "machineTypes":
        shapes = {
            name: {"guestCpus": cpus, "memoryMb": memory} for name, (cpus, memory) in MACHINE_TYPES.items()
        }
        shapes = {
            name: shape | {"isSharedCpu": shape["guestCpus"] * 4096 > shape["memoryMb"]}
            for name, shape in shapes.items()
        }
    else:
        shapes = {name: {} for name in DISK_TYPES}
    return [
        _entry(f"{place}/{collection}/{name}", collection) | {"zone": zone} | more
        for name, more in shapes.items()
    ]


def _entry(key: str, collection: str) -> dict[str, Any]:
    return {
        "kind": f"compute#{collection.removesuffix('s')}",
        "name": key.rsplit("/", 1)[1],
        "selfLink": LINK + key,
    }


def _region(project: str, name: str) -> dict[str, Any]:
    zones = [f"{LINK}projects/{project}/zones/{zone}" for zone, region in ZONES.items() if region == name]
    return _entry(f"projects/{project}/regions/{name}", "regions") | {"status": "UP", "zones": zones}


def _zone(project: str, name: str, region: str) -> dict[str, Any]:
    link = f"{LINK}projects/{project}/regions/{region}"
    return _entry(f"projects/{project}/zones/{name}", "zones") | {"status": "UP", "region": link}
