"""Disks, images, addresses, firewalls and networks of Compute Engine."""

from __future__ import annotations

from typing import ClassVar

from stoneware.provider.values import Unknown
from tests.google.provider.client import ApiError
from tests.google.provider.documents import Document, Field, Table
from tests.google.provider.kinds import Image, Int64, Link, Name, Unordered, Where, path
from tests.google.provider.planning import Path
from tests.google.provider.resource import Change, Resource, set_labels
from tests.google.provider.schema import Values

NEW = Field(replaces=True)
ID = Field(path="id")
SET = Field(kind=Unordered())
NETWORK = Field(kind=Link("networks", "global"), replaces=True)
REGION = Field(kind=Where("regions"), replaces=True)
ZONE = Field(kind=Where("zones"), replaces=True)


def patch(resource: Resource, old: Values, new: Values) -> None:
    """Send all of a resource again."""
    operation = resource.client.call("PATCH", resource.url(new), resource.body(new))
    resource.finish(operation, new, f"Updating {resource.noun}", "update")


class Disk(Resource):
    """A disk of its own."""

    type = "google_compute_disk"
    noun = "Disk"
    collection = "projects/{project}/zones/{zone}/disks"
    table: ClassVar[Table] = {
        "name": NEW,
        "zone": ZONE,
        "description": NEW,
        "type": Field(kind=Name("diskTypes", "zones"), replaces=True, default="pd-standard"),
        "image": Field("sourceImage", Image(), replaces=True),
        "snapshot": Field("sourceSnapshot", Link("snapshots", "global"), replaces=True),
        "size": Field("sizeGb", Int64(plain=True)),
        "physical_block_size_bytes": Field(kind=Int64(), sent=False),
        "disk_id": ID,
    }
    changes = (
        Change("labels", set_labels),
        Change("size", lambda disk, _old, new: disk.act(new, "resize", {"sizeGb": new["size"]})),
    )

    def customize(self, planned: Values, have: Values | None, replaced: list[Path]) -> None:
        """A disk does not shrink."""
        if shrinks(have, planned, "size"):
            replaced.append(["size"])

    def before_delete(self, values: Values) -> None:
        """Detach it from whatever has it."""
        compute = self.client.settings.endpoint("compute")
        for user in self.fetch(values).get("users", ()):
            found = self.client.get(compute + path(user))
            for disk in found.get("disks", ()):
                if path(disk["source"]) == self.path(values):
                    url = f"{compute}{path(user)}/detachDisk"
                    operation = self.client.call("POST", url, deviceName=disk["deviceName"])
                    self.finish(operation, values, "Detaching disk", "delete")


def shrinks(have: Values | None, planned: Values, name: str) -> bool:
    """Say whether a size gets smaller."""
    old, new = (have or {}).get(name), planned.get(name)
    return isinstance(old, int) and isinstance(new, int) and new < old


class DiskImage(Resource):
    """An image of a disk."""

    type = "google_compute_image"
    noun = "Image"
    collection = "projects/{project}/global/images"
    table: ClassVar[Table] = {
        "name": NEW,
        "description": NEW,
        "family": NEW,
        "archive_size_bytes": Field(kind=Int64()),
        "disk_size_gb": Field(kind=Int64(), replaces=True),
        "licenses": NEW,
        "storage_locations": NEW,
        "source_disk": Field(kind=Link("disks", "zones"), replaces=True),
        "source_image": Field(kind=Link("images", "global"), replaces=True),
        "source_snapshot": Field(kind=Link("snapshots", "global"), replaces=True),
        "guest_os_features": Field(replaces=True, keeps=True),
        "raw_disk": Field(
            replaces=True,
            fields={
                "source": NEW,
                "sha1": Field("sha1Checksum", replaces=True),
                "container_type": Field(replaces=True, default="TAR"),
            },
        ),
    }
    changes = (Change("labels", set_labels),)


class Address(Resource):
    """A reserved address."""

    type = "google_compute_address"
    noun = "Address"
    collection = "projects/{project}/regions/{region}/addresses"
    table: ClassVar[Table] = {
        "name": NEW,
        "region": REGION,
        "address": NEW,
        "address_id": ID,
        "address_type": Field(replaces=True, default="EXTERNAL"),
        "description": NEW,
        "network_tier": NEW,
        "purpose": NEW,
        "subnetwork": Field(kind=Link("subnetworks", "regions"), replaces=True),
    }
    changes = (Change("labels", set_labels),)

    def created(self, values: Values) -> None:
        """Send the labels again, which the creation had already: the provider does."""
        if values["effective_labels"]:
            found = self.present(values)
            set_labels(self, found, found)


class Firewall(Resource):
    """A rule of a network's firewall."""

    type = "google_compute_firewall"
    noun = "Firewall"
    collection = "projects/{project}/global/firewalls"
    table: ClassVar[Table] = {
        "name": NEW,
        "network": NETWORK,
        "direction": NEW,
        "disabled": Field(always=True, default=False),
        "priority": Field(default=1000),
        "destination_ranges": SET,
        "source_ranges": SET,
        "source_tags": SET,
        "target_tags": SET,
        "source_service_accounts": SET,
        "target_service_accounts": SET,
        "allow": Field("allowed", fields={"protocol": Field("IPProtocol")}),
        "deny": Field("denied", fields={"protocol": Field("IPProtocol")}),
    }
    changes = tuple(
        Change(name, patch)
        for name in (
            "allow",
            "deny",
            "description",
            "disabled",
            "priority",
            "destination_ranges",
            "source_ranges",
            "source_tags",
            "target_tags",
            "source_service_accounts",
            "target_service_accounts",
        )
    )

    def outward(self, document: Document, values: Values) -> Document:
        """Say that nothing is logged."""
        return document | {"logConfig": {"enable": False}}


class Network(Resource):
    """A network."""

    type = "google_compute_network"
    noun = "Network"
    collection = "projects/{project}/global/networks"
    table: ClassVar[Table] = {
        "name": NEW,
        "description": NEW,
        "network_id": ID,
        "gateway_ipv4": Field("gatewayIPv4"),
        "auto_create_subnetworks": Field(always=True, replaces=True, default=True),
        "delete_default_routes_on_create": Field(path=None, default=False),
        "mtu": NEW,
        "network_firewall_policy_enforcement_order": Field(default="AFTER_CLASSIC_FIREWALL"),
        "routing_mode": Field("routingConfig.routingMode"),
    }
    changes = (
        Change("network_firewall_policy_enforcement_order", patch),
        Change("routing_mode", patch),
    )


def _expand(resource: Resource, old: Values, new: Values) -> None:
    resource.act(new, "expandIpCidrRange", {"ipCidrRange": new["ip_cidr_range"]})


def _reach(resource: Resource, old: Values, new: Values) -> None:
    body = {"privateIpGoogleAccess": new["private_ip_google_access"]}
    resource.act(new, "setPrivateIpGoogleAccess", body)


class Subnetwork(Resource):
    """A network's range in a region."""

    type = "google_compute_subnetwork"
    noun = "Subnetwork"
    collection = "projects/{project}/regions/{region}/subnetworks"
    table: ClassVar[Table] = {
        "name": NEW,
        "region": REGION,
        "description": NEW,
        "network": NETWORK,
        "purpose": NEW,
        "stack_type": NEW,
        "subnetwork_id": Field("id", Int64()),
    }
    changes = (Change("ip_cidr_range", _expand), Change("private_ip_google_access", _reach))

    def customize(self, planned: Values, have: Values | None, replaced: list[Path]) -> None:
        """Say that Google's services are not reached unless the configuration says so."""
        if planned["private_ip_google_access"] is Unknown:
            planned["private_ip_google_access"] = False


class AttachedDisk(Resource):
    """A disk of one resource at an instance of another."""

    type = "google_compute_attached_disk"
    noun = "attached disk"
    collection = "projects/{project}/zones/{zone}/instances"
    named = "instance"
    table: ClassVar[Table] = {
        "disk": Field("source", Link("disks", "zones"), replaces=True),
        "instance": Field(kind=Name("instances", "zones"), replaces=True, sent=False),
        "device_name": NEW,
        "mode": Field(replaces=True, default="READ_WRITE"),
        "interface": Field(replaces=True, default="SCSI"),
        "zone": Field(kind=Where("zones"), replaces=True, sent=False),
    }

    def path(self, values: Values, of: str = "") -> str:
        """Return the path of the instance, for a creation that of its method."""
        instance = Name("instances", "zones").write(values["instance"], self.place(values))
        return f"{instance}/attachDisk" if of == "collection" else str(instance)

    def identity(self, values: Values) -> str:
        """Return the path of the instance with the name of the disk."""
        return f"{self.path(values)}/{values['disk'].rsplit('/', 1)[-1]}"

    def fetch(self, values: Values) -> Document:
        """Return what the instance has of the disk. Raises ApiError."""
        kind, found = Link("disks", "zones"), super().fetch(values)
        for disk in found.get("disks", ()):
            if kind.same(disk.get("source"), values["disk"]):
                return {**disk, "zone": found["zone"], "instance": found["name"]}
        raise ApiError(404, "the disk is not attached")

    def delete(self, values: Values) -> None:
        """Detach it, if it is attached. Raises ApiError."""
        if self.read(values) is not None:
            self.act(values, "detachDisk", deviceName=values["device_name"])
