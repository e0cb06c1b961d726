"""The keys below `x-stoneware`, `x-google` and `x-local`, as pydantic models."""

from __future__ import annotations

from typing import Any

from stoneware.compose.schema_parts import Part
from stoneware.compose.values import Filled, Flag, Seconds, Size


class Stoneware(Part):
    """`x-stoneware` of a service: how it is rolled out. The gates themselves are checked where they are."""

    gates: list[Any] | None = None
    gate_timeout: Seconds | None = None
    finalize_after: Seconds | None = None


class Local(Part):
    """`x-local`: nothing yet."""


class GoogleCluster(Part):
    """`x-google` of a cluster, kept for Compute Engine."""

    project: Filled | None = None
    region: Filled | None = None
    zone: Filled | None = None
    zones: list[Filled] | None = None
    network: Filled | None = None
    subnetwork: Filled | None = None
    service_account: Filled | None = None


class GoogleService(Part):
    """`x-google` of a service."""

    machine_type: Filled | None = None
    min_cpu_platform: Filled | None = None
    zone: Filled | None = None
    zones: list[Filled] | None = None
    disk_type: Filled | None = None
    disk_size: Size | None = None
    network: Filled | None = None
    subnetwork: Filled | None = None
    service_account: Filled | None = None
    scopes: list[Filled] | None = None
    tags: list[Filled] | None = None
    spot: Flag | None = None


class GoogleVolume(Part):
    """`x-google` of a volume."""

    disk_type: Filled | None = None
    disk_size: Size | None = None
    zone: Filled | None = None


class GoogleNetwork(Part):
    """`x-google` of a network."""

    network: Filled | None = None
    subnetwork: Filled | None = None
    region: Filled | None = None
