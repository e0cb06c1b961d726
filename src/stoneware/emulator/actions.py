"""Methods that one resource type has and no other."""

from __future__ import annotations

import ipaddress

from stoneware.emulator import checks, contents, errors, prepare, values
from stoneware.emulator.resources import subnetworks
from stoneware.emulator.service import Call, Service, shown
from stoneware.emulator.store import Record

_STATES = ("ACTIVE", "DEPRECATED", "OBSOLETE", "DELETED")


def deprecate(service: Service, call: Call) -> Record:
    """Mark an image as deprecated; an empty body takes the mark away."""
    key = call.key("images")
    record = service.existing(key)
    state = call.body.get("state", "ACTIVE")
    if state not in _STATES:
        raise errors.invalid("state", state, f"Must be one of {', '.join(_STATES)}.")
    record.pop("deprecated", None)
    if call.body:
        record["deprecated"] = call.body
    service.store.put(key, record)
    return service.started(call, "deprecate", key, record["id"])


def family(service: Service, call: Call) -> Record:
    """Return the image that a family stands for."""
    return shown(prepare.family(service.store, call.project, call.query["family"]))


def family_view(service: Service, call: Call) -> Record:
    """Return the image that a family stands for, as a zone sees it."""
    return {"image": family(service, call)}


def create_snapshot(service: Service, call: Call) -> Record:
    """Make a snapshot of a disk; the operation is the disk's."""
    if not call.body.get("name"):
        raise errors.required("resource.name")
    key = call.key("disks")
    record = service.existing(key)
    # Snapshots are in no zone.
    place = prepare.Place(service.store, call.project, "global")
    made = f"projects/{call.project}/global/snapshots/{call.body['name']}"
    service.create(place, "snapshots", made, call.body | {"sourceDisk": key}, call.query)
    return contents.capture(service, call, "createSnapshot", made, (key, record["id"]))


def switch_to_custom(service: Service, call: Call) -> Record:
    """Turn the subnetworks that a network brought into ordinary ones."""
    key = call.key("networks")
    record = service.existing(key)
    if not record["autoCreateSubnetworks"]:
        raise errors.unusable("The network is in custom subnet mode already.")
    record["autoCreateSubnetworks"] = False
    service.keep("networks", key, record)
    # With the mark they could not be deleted, and would go with the network.
    for one, subnetwork in subnetworks(service, key):
        subnetwork.pop(prepare.AUTOMATIC, None)
        service.store.put(one, subnetwork)
    return service.started(call, "switchToCustomMode", key, record["id"])


def expand_range(service: Service, call: Call) -> Record:
    """Give a subnetwork a larger range that contains the one it has."""
    key = call.key("subnetworks")
    record = service.existing(key)
    wanted = prepare.cidr(call.body.get("ipCidrRange"), "ipCidrRange")
    have = ipaddress.IPv4Network(record["ipCidrRange"])
    if wanted == have or not have.subnet_of(wanted):
        raise errors.invalid("ipCidrRange", wanted, f"Must be larger than {have} and contain it.")
    prepare.check_range(service.store, record["network"], wanted, but=key)
    record |= {"ipCidrRange": str(wanted), "gatewayAddress": str(wanted[1])}
    service.keep("subnetworks", key, record)
    return service.started(call, "expandIpCidrRange", key, record["id"])


def set_private_access(service: Service, call: Call) -> Record:
    """Say whether machines without an external address reach Google's APIs."""
    key = call.key("subnetworks")
    record = service.existing(key)
    record["privateIpGoogleAccess"] = call.body.get("privateIpGoogleAccess", False)
    service.keep("subnetworks", key, record)
    return service.started(call, "setPrivateIpGoogleAccess", key, record["id"])


def project(service: Service, call: Call) -> Record:
    """Return a project."""
    return shown(service.existing(f"projects/{call.project}"))


def common_metadata(service: Service, call: Call) -> Record:
    """Replace the metadata that all instances of a project see."""
    key = f"projects/{call.project}"
    record = service.existing(key)
    # Who replaces all items has to have read those that are there.
    if call.body.get("fingerprint") != record["commonInstanceMetadata"]["fingerprint"]:
        raise errors.ApiError(
            412, "conditionNotMet", "Supplied fingerprint does not match current metadata fingerprint."
        )
    items = call.body.get("items", [])
    checks.metadata(items)
    record["commonInstanceMetadata"] = {
        "kind": "compute#metadata",
        "items": items,
        "fingerprint": values.fingerprint(items),
    }
    service.store.put(key, record)
    return service.started(call, "setMetadata", key, record["id"])
