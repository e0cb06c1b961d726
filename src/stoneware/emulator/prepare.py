"""What the API fills into a new resource, and what it refuses, per type."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from stoneware.emulator import catalog, checks, errors
from stoneware.emulator.store import Record, Store
from stoneware.emulator.values import LINK, reference

BASE = "x-base"  # of what stands for an image of Google's: the base that it is
SAVE = "x-save"  # of an instance that stops: the key under which its machine leaves what is on its root
KEPT = "x-contents"  # of what a machine left: the key under which that is kept
AUTOMATIC = "x-automatic"  # of a subnetwork that an auto mode network brought
EXTERNAL = ipaddress.IPv4Network("203.0.113.0/24")  # for documentation (RFC 5737): it reaches no machine

_DEFAULT_PRIORITY = 65534
_ICMP = {"IPProtocol": "icmp"}
_ANY_PORT = ["0-65535"]
#: The rules that the network `default` of a project begins with: their sources, and what they allow.
_DEFAULT_RULES: dict[str, tuple[str, list[Record]]] = {
    "default-allow-icmp": ("0.0.0.0/0", [_ICMP]),
    "default-allow-internal": (
        "10.128.0.0/9",
        [{"IPProtocol": "tcp", "ports": _ANY_PORT}, {"IPProtocol": "udp", "ports": _ANY_PORT}, _ICMP],
    ),
    "default-allow-rdp": ("0.0.0.0/0", [{"IPProtocol": "tcp", "ports": ["3389"]}]),
    "default-allow-ssh": ("0.0.0.0/0", [{"IPProtocol": "tcp", "ports": ["22"]}]),
}


class Place:
    """Where a resource is made: the store, the project, and the scope as `zones/us-central1-a`."""

    def __init__(self, store: Store, project: str, scope: str) -> None:
        self.store = store
        self.project = project
        self.scope = scope

    def find(self, text: str, collection: str, scope: str | None = None) -> tuple[str, Record]:
        """Return key and record of what a reference names. Raises ApiError (400, 404)."""
        key = reference(text, self.project, collection, scope or self.scope)
        record = self.store.get(key)
        if record is None:
            raise errors.not_found(key)
        return key, record


def family(store: Store, project: str, name: str) -> Record:
    """Return the newest image of a family that is ready and not deprecated. Raises ApiError (404)."""
    images = [
        record
        for _, record in store.under(f"projects/{project}/global/images")
        if record.get("family") == name
        and record["status"] == "READY"
        and record.get("deprecated", {}).get("state", "ACTIVE") == "ACTIVE"
    ]
    if not images:
        raise errors.not_found(f"projects/{project}/global/images/family/{name}")
    return max(images, key=lambda image: (image["creationTimestamp"], image["name"]))


def _image(place: Place, text: str) -> tuple[str, Record]:
    key = reference(text, place.project, "images", "global")
    parts = key.split("/")
    if "family" in parts or "imageFamilyViews" in parts:
        record = family(place.store, parts[1], parts[-1])
        return f"projects/{parts[1]}/global/images/{record['name']}", record
    key, record = place.find(text, "images", "global")
    if record["status"] == "PENDING":
        raise errors.ApiError(400, "resourceNotReady", f"The resource '{key}' is not ready")
    if record.get("deprecated", {}).get("state") in ("OBSOLETE", "DELETED"):
        raise errors.invalid("resource.sourceImage", text, "The image is obsolete or deleted.")
    return key, record


def disk(place: Place, new: Record, query: Mapping[str, Any]) -> None:
    """Fill a disk: size and source from its image or snapshot."""
    least = 0
    if text := new.get("sourceImage") or query.get("sourceImage"):
        key, image = _image(place, text)
        new |= {"sourceImage": LINK + key, "sourceImageId": image["id"]} | _passed_on(new, image)
        least = int(image["diskSizeGb"])
    elif text := new.get("sourceSnapshot"):
        key, snapshot = place.find(text, "snapshots", "global")
        new |= {"sourceSnapshot": LINK + key, "sourceSnapshotId": snapshot["id"]} | _passed_on(new, snapshot)
        least = int(snapshot["diskSizeGb"])
    # 500 is Google's, where neither request nor source says a size.
    size = int(new.get("sizeGb", least or 500))
    if size < max(least, 1):
        raise errors.invalid("resource.sizeGb", size, f"Must be at least {max(least, 1)}.")
    kind = reference(new.get("type", "pd-standard"), place.project, "diskTypes", place.scope)
    if kind.rsplit("/", 1)[1] not in catalog.DISK_TYPES:
        raise errors.not_found(kind)
    new |= {"sizeGb": str(size), "type": LINK + kind, "status": "READY", "physicalBlockSizeBytes": "4096"}


def image(place: Place, new: Record, query: Mapping[str, Any]) -> None:
    """Fill an image made of a disk, an image or a snapshot; one made of an archive is filled later."""
    if BASE in new:
        new |= {"status": "READY", "sourceType": "RAW"}
        return
    given = [name for name in ("sourceDisk", "sourceImage", "sourceSnapshot") if new.get(name)]
    raw = bool((new.get("rawDisk") or {}).get("source"))
    if len(given) + raw != 1:
        raise errors.invalid("resource", new["name"], "Exactly one source of the image must be given.")
    if raw:  # see raw_images
        new |= {"status": "PENDING", "sourceType": "RAW"}
        return
    if given == ["sourceDisk"]:
        key, source = place.find(new["sourceDisk"], "disks")
        # What is written meanwhile would be in the image in part.
        if (user := running_user(place.store, source)) and not query.get("forceCreate"):
            raise errors.in_use(key, user)
        size = source["sizeGb"]
    elif given == ["sourceImage"]:
        key, source = _image(place, new["sourceImage"])
        size = source["diskSizeGb"]
    else:
        key, source = place.find(new["sourceSnapshot"], "snapshots", "global")
        size = source["diskSizeGb"]
    new |= {given[0]: LINK + key, f"{given[0]}Id": source["id"], "diskSizeGb": size}
    new |= {"status": "READY", "sourceType": "RAW"} | _passed_on(new, source)


def running_user(store: Store, disk: Record) -> str | None:
    """Return the key of an instance that has a disk and is not stopped, None where there is none."""
    for link in disk.get("users", []):
        if (store.get(link.removeprefix(LINK)) or {}).get("status") != "TERMINATED":
            return str(link.removeprefix(LINK))
    return None


def _passed_on(new: Record, source: Record) -> Record:
    """Return what a disk, image or snapshot has of its source: the features and licences of both, for one."""
    found: Record = {}
    for name in ("guestOsFeatures", "licenses"):
        # Google passes them on with the contents, and adds those of the request.
        both = [*(new.get(name) or ()), *(source.get(name) or ())]
        if both:
            found[name] = [each for at, each in enumerate(both) if each not in both[:at]]
    if architecture := new.get("architecture") or source.get("architecture"):
        found["architecture"] = architecture
    return found | contents_of(source)


def contents_of(source: Record) -> Record:
    """Return the fields that say what is in a disk, an image or a snapshot, for one that is made of it."""
    return {name: source[name] for name in (BASE, KEPT) if name in source}


def snapshot(place: Place, new: Record, _query: Mapping[str, Any]) -> None:
    """Fill a snapshot of a disk."""
    if not new.get("sourceDisk"):
        raise errors.required("resource.sourceDisk")
    key, source = place.find(new["sourceDisk"], "disks")
    new |= {
        "sourceDisk": LINK + key,
        "sourceDiskId": source["id"],
        "diskSizeGb": source["sizeGb"],
        "status": "READY",
    } | _passed_on(new, source)


def network(_place: Place, new: Record, _query: Mapping[str, Any]) -> None:
    """Fill a network."""
    if new.get("IPv4Range"):
        raise errors.invalid("resource.IPv4Range", new["IPv4Range"], "Legacy networks cannot be created.")
    new.setdefault("autoCreateSubnetworks", True)
    new.setdefault("routingConfig", {"routingMode": "REGIONAL"})
    new.setdefault("mtu", 1460)
    new.setdefault("networkFirewallPolicyEnforcementOrder", "AFTER_CLASSIC_FIREWALL")


def subnetwork(place: Place, new: Record, _query: Mapping[str, Any]) -> None:
    """Fill a subnetwork; its range may overlap with no other of its network."""
    for field in ("network", "ipCidrRange"):
        if not new.get(field):
            raise errors.required(f"resource.{field}")
    key, _ = place.find(new["network"], "networks", "global")
    new["network"] = LINK + key
    within = cidr(new["ipCidrRange"], "resource.ipCidrRange")
    check_range(place.store, new["network"], within)
    new |= {"gatewayAddress": str(within[1]), "purpose": new.get("purpose", "PRIVATE")}
    new |= {"stackType": new.get("stackType", "IPV4_ONLY")}
    new.setdefault("privateIpGoogleAccess", False)


def cidr(text: str | None, field: str) -> ipaddress.IPv4Network:
    """Return a range of a subnetwork, /29 at the smallest. Raises ApiError (400)."""
    if not text:
        raise errors.required(field)
    try:
        found = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise errors.invalid(field, text, f"{error}.") from error
    if found.prefixlen > 29:
        raise errors.invalid(field, text, "A subnetwork has at least 8 addresses.")
    return found


def check_range(store: Store, network: str, wanted: ipaddress.IPv4Network, but: str = "") -> None:
    """Refuse a range that overlaps with another subnetwork's than `but`, a key. Raises ApiError (400)."""
    for key, other in store.matching("projects/", "subnetworks"):
        # Ranges of one network only: two networks may have the same.
        taken = key != but and other["network"] == network
        if taken and wanted.overlaps(ipaddress.IPv4Network(other["ipCidrRange"])):
            why = f"Invalid IPCidrRange: {wanted} conflicts with existing subnetwork '{other['name']}'."
            raise errors.invalid("resource.ipCidrRange", wanted, why)


def default_rules(network: str) -> list[tuple[str, Record]]:
    """Return the names and contents of the firewall rules of a project's network `default`."""
    said: Record = {"network": network, "priority": _DEFAULT_PRIORITY}
    return [
        (name, said | {"name": name, "sourceRanges": [source], "allowed": allowed})
        for name, (source, allowed) in _DEFAULT_RULES.items()
    ]


def firewall(place: Place, new: Record, _query: Mapping[str, Any]) -> None:
    """Fill a firewall rule."""
    if bool(new.get("allowed")) == bool(new.get("denied")):
        raise errors.invalid("resource", new["name"], "Exactly one of allowed and denied must be given.")
    if new.get("direction") == "EGRESS":
        raise errors.not_implemented("a firewall rule for EGRESS", "instances may send anything")
    checks.firewall(new)
    key, _ = place.find(new.get("network", "default"), "networks", "global")
    new["network"] = LINK + key
    for field, value in {
        "priority": 1000,
        "direction": "INGRESS",
        "disabled": False,
        "logConfig": {"enable": False},
    }.items():
        new.setdefault(field, value)
    sources = ("sourceRanges", "sourceTags", "sourceServiceAccounts")
    # A rule that names no source is about anybody.
    if new["direction"] == "INGRESS" and not any(new.get(field) for field in sources):
        new["sourceRanges"] = ["0.0.0.0/0"]


def address(place: Place, new: Record, _query: Mapping[str, Any]) -> None:
    """Fill an address: the one asked for if it is free, else the first free one of its range."""
    new.setdefault("addressType", "EXTERNAL")
    if new["addressType"] == "INTERNAL":
        key, subnet = place.find(new.get("subnetwork", "default"), "subnetworks")
        within = ipaddress.IPv4Network(subnet["ipCidrRange"])
        new |= {"subnetwork": LINK + key, "purpose": new.get("purpose", "GCE_ENDPOINT")}
        network = subnet["network"]
    else:
        within = EXTERNAL
        new.setdefault("networkTier", "PREMIUM")
        network = None
    taken = taken_addresses(place, network)
    new |= {"address": free_address(within, new.get("address"), taken)}
    new |= {"status": "RESERVED", "x-network": network}


def taken_addresses(place: Place, network: str | None) -> set[str]:
    """Return the addresses of a project that are reserved or used, inside a network or (None) external."""
    taken = set()
    for _, other in place.store.everywhere(place.project, "addresses"):
        if (other["addressType"] == "INTERNAL") == bool(network) and other.get("x-network") == network:
            taken.add(other["address"])
    for _, instance in place.store.everywhere(place.project, "instances"):
        for interface in instance["networkInterfaces"]:
            if interface["network"] == network:
                taken.add(interface["networkIP"])
            elif network is None:
                taken |= {config["natIP"] for config in interface.get("accessConfigs", [])}
    return taken


def free_address(within: ipaddress.IPv4Network, wanted: str | None, taken: set[str]) -> str:
    """Return the address that is wanted, or the first free one of a range. Raises ApiError (400)."""
    # Google keeps the first two addresses of a range, and the last two.
    usable = (str(within[at]) for at in range(2, within.num_addresses - 2))
    if wanted is None:
        found = next((one for one in usable if one not in taken), None)
        if found is None:
            raise errors.ApiError(400, "invalid", f"IP space of '{within}' is exhausted.")
        return found
    if wanted not in usable:
        raise errors.invalid("resource.address", wanted, f"The address is not usable in {within}.")
    if wanted in taken:
        raise errors.invalid("resource.address", wanted, "Specified IP address is already reserved.")
    return wanted
