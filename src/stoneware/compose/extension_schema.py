"""The keys below `x-stoneware`, `x-google` and `x-local`, as pydantic models."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any

from pydantic import AfterValidator

from stoneware.compose.schema_parts import Part
from stoneware.compose.values import Disk, Filled, Flag, Seconds, Size, wrong

_SMALLEST = 1 << 30  # bytes: Compute Engine counts in GiB


def _like(pattern: str, what: str, example: str) -> AfterValidator:
    """Return a validator for a text of Compute Engine's; `example` is one that is right."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise wrong(f"{value!r} is not {what}", f"For example: {example}.")
        return value

    return AfterValidator(check)


def _range(value: str) -> str:
    try:
        ipaddress.IPv4Network(value)
    except ValueError:
        raise wrong(f"{value!r} is not a range of addresses", "For example: 10.0.0.0/8.") from None
    return value


def _whole_disk(value: int) -> int:
    if value < _SMALLEST:  # `disk_size: 10` would become the smallest disk there is
        raise wrong(f"a disk of {value} bytes is too small for Compute Engine", "For example: 10g.")
    return value


Zone = Annotated[Filled, _like(r"[a-z]+-[a-z]+[0-9]+-[a-z]", "a zone", "europe-west1-b")]
Region = Annotated[Filled, _like(r"[a-z]+-[a-z]+[0-9]+", "a region", "europe-west1")]
MachineType = Annotated[Filled, _like(r"[a-z][a-z0-9-]{0,62}", "a machine type", "e2-standard-2")]
DiskType = Annotated[Filled, _like(r"[a-z][a-z0-9-]{0,62}", "a disk type", "pd-balanced or pd-ssd")]
Account = Annotated[
    Filled, _like(r"[^@\s]+@[a-z0-9.-]+", "a service account", "kafka@my-project.iam.gserviceaccount.com")
]
Scope = Annotated[
    Filled, _like(r"[A-Za-z][A-Za-z0-9:/._-]*", "a scope", "https://www.googleapis.com/auth/cloud-platform")
]
Tag = Annotated[Filled, _like(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?", "a network tag", "kafka-clients")]
Place = Annotated[Filled, _like(r"[A-Za-z0-9./:_-]+", "the name of a network", "default")]
DnsZone = Annotated[Filled, _like(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?", "the name of a managed zone", "shop")]
DnsName = Annotated[
    Filled,
    _like(
        r"(?=.{1,200}$)(?:[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?\.)*[a-z0-9-]+\.?", "a domain", "shop.internal"
    ),
]
DiskSize = Annotated[Size, AfterValidator(_whole_disk)]
Ranges = list[Annotated[Filled, AfterValidator(_range)]]


class Stoneware(Part):
    """`x-stoneware` of a service: how it is rolled out. The gates themselves are checked where they are."""

    gates: list[Any] | None = None
    gate_timeout: Seconds | None = None
    finalize_after: Seconds | None = None


class Local(Part):
    """`x-local` of a cluster and of networks: nothing yet."""


class LocalVolume(Part):
    """`x-local` of a volume: how large a disk is, or what a directory may take."""

    size: Disk | None = None


class LocalService(Part):
    """`x-local` of a service."""

    vm: Flag | None = None


class GoogleCluster(Part):
    """`x-google` of a cluster: for all of its services, unless they say otherwise."""

    project: Filled | None = None
    region: Region | None = None
    zone: Zone | None = None
    zones: list[Zone] | None = None
    machine_type: MachineType | None = None
    disk_type: DiskType | None = None
    network: Place | None = None
    subnetwork: Place | None = None
    service_account: Account | None = None
    scopes: list[Scope] | None = None
    tags: list[Tag] | None = None
    external_ip: Flag | None = None
    deletion_protection: Flag | None = None
    dns_zone: DnsZone | None = None
    dns_name: DnsName | None = None
    source_ranges: Ranges | None = None


class GoogleService(Part):
    """`x-google` of a service. `disk_type` and `disk_size` are those of the disk that it boots from."""

    machine_type: MachineType | None = None
    min_cpu_platform: Filled | None = None
    zone: Zone | None = None
    zones: list[Zone] | None = None
    disk_type: DiskType | None = None
    disk_size: DiskSize | None = None
    network: Place | None = None
    subnetwork: Place | None = None
    service_account: Account | None = None
    scopes: list[Scope] | None = None
    tags: list[Tag] | None = None
    spot: Flag | None = None
    external_ip: Flag | None = None
    deletion_protection: Flag | None = None
    dns_zone: DnsZone | None = None
    dns_name: DnsName | None = None
    source_ranges: Ranges | None = None


class GoogleVolume(Part):
    """`x-google` of a volume."""

    disk_type: DiskType | None = None
    disk_size: DiskSize | None = None
    zone: Zone | None = None


class GoogleNetwork(Part):
    """`x-google` of a network: machines of the cluster are in one network of the VPC."""

    network: Place | None = None
    subnetwork: Place | None = None
    region: Region | None = None
