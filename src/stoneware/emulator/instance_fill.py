"""What the API fills into a new instance, and what it refuses."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from stoneware.emulator import catalog, checks, errors, values
from stoneware.emulator.machine_spec import project_number
from stoneware.emulator.prepare import EXTERNAL, Place, free_address, taken_addresses
from stoneware.emulator.store import Record
from stoneware.emulator.values import LINK, reference

_SCHEDULING = {
    "automaticRestart": True,
    "onHostMaintenance": "MIGRATE",
    "preemptible": False,
    "provisioningModel": "STANDARD",
}


def instance(place: Place, new: Record, _query: Mapping[str, Any]) -> None:
    """Fill an instance; the disks that it names are there. Raises ApiError."""
    new["machineType"] = machine_type(place, new.get("machineType"))
    new["metadata"] = metadata(new.get("metadata", {}).get("items", []))
    new["tags"] = tags(new.get("tags", {}).get("items", []))
    new["scheduling"] = scheduling(new.get("scheduling", {}))
    new["serviceAccounts"] = accounts(place.project, new.get("serviceAccounts", []))
    # Absent, as in Google's replies, which leave empty lists out.
    if not new["serviceAccounts"]:
        del new["serviceAccounts"]
    new["networkInterfaces"] = [_interface(place, new)]
    new |= {"x-network": new["networkInterfaces"][0]["network"], "status": "PROVISIONING"}
    new |= {"x-subnetwork": new["networkInterfaces"][0]["subnetwork"], "cpuPlatform": "Unknown CPU Platform"}
    for field in ("canIpForward", "deletionProtection", "startRestricted"):
        new.setdefault(field, False)


def machine_type(place: Place, text: str | None) -> str:
    """Return the link of a machine type. Raises ApiError (400, 404)."""
    if not text:
        raise errors.required("resource.machineType")
    key = reference(text, place.project, "machineTypes", place.scope)
    # No client asks before: Terraform only builds the link, so this is where a wrong name is found.
    if catalog.shape(key.rsplit("/", 1)[1]) is None:
        raise errors.invalid(
            "resource.machineType", text, f"Machine type {key.rsplit('/', 1)[1]} does not exist."
        )
    return LINK + key


def metadata(items: list[Record]) -> Record:
    """Return metadata with its fingerprint. Raises ApiError (400)."""
    # Never without a fingerprint: the next setMetadata has to send it, and an old one is refused.
    checks.metadata(items)
    found = {"kind": "compute#metadata", "fingerprint": values.fingerprint(items)}
    return found | ({"items": items} if items else {})


def tags(items: list[str]) -> Record:
    """Return network tags with their fingerprint. Raises ApiError (400)."""
    checks.tags(items)
    return {"fingerprint": values.fingerprint(items)} | ({"items": items} if items else {})


def scheduling(given: Mapping[str, Any]) -> Record:
    """Return the scheduling of an instance; one that may be preempted is not migrated."""
    # Terraform sends what is not set as null, or as an empty text.
    found = _SCHEDULING | {name: value for name, value in given.items() if value not in ("", None)}
    if found["provisioningModel"] == "SPOT" or found["preemptible"]:
        found |= {"preemptible": True, "automaticRestart": False, "onHostMaintenance": "TERMINATE"}
    return found


def default_account(project: str) -> str:
    """Return the service account that instances of a project have where none is named."""
    return f"{project_number(project)}-compute@developer.gserviceaccount.com"


def accounts(project: str, given: list[Record]) -> list[Record]:
    """Return the service accounts of an instance, one at most. Raises ApiError (400)."""
    if len(given) > 1:
        raise errors.invalid(
            "resource.serviceAccounts", len(given), "There may be 1 service account at most."
        )
    own = default_account(project)
    found = []
    for account in given:
        email = account.get("email") or "default"
        if email != "default" and not checks.is_email(email):
            raise errors.invalid("resource.serviceAccounts[0].email", email, "Must be an e-mail address.")
        found.append(account | {"email": own if email == "default" else email})
    return found


def _interface(place: Place, new: Record) -> Record:
    given = new.get("networkInterfaces") or []
    if len(given) != 1:
        raise errors.invalid(
            "resource.networkInterfaces", len(given), "This emulator has instances with one interface."
        )
    interface: Record = dict(given[0])
    key, subnet = _subnetwork(place, interface)
    interface |= {"kind": "compute#networkInterface", "name": "nic0", "stackType": "IPV4_ONLY"}
    interface |= {"network": subnet["network"], "subnetwork": LINK + key}
    interface["networkIP"] = _address(place, interface.get("networkIP"), key, subnet)
    if configs := interface.get("accessConfigs"):
        interface["accessConfigs"] = [external(place, configs[0])]
    interface["fingerprint"] = values.fingerprint(interface)
    return interface


def _subnetwork(place: Place, interface: Record) -> tuple[str, Record]:
    region = f"regions/{catalog.ZONES[place.scope.rsplit('/', 1)[1]]}"
    if text := interface.get("subnetwork"):
        return place.find(text, "subnetworks", region)
    key, network = place.find(interface.get("network", "global/networks/default"), "networks", "global")
    for one, subnet in place.store.under(f"projects/{key.split('/')[1]}/{region}/subnetworks"):
        if subnet["network"] == LINK + key and network["autoCreateSubnetworks"]:
            return one, subnet
    raise errors.invalid(
        "resource.networkInterfaces[0].subnetwork", "", "The network has no subnetwork here."
    )


def _address(place: Place, wanted: str | None, key: str, subnet: Record) -> str:
    """Return the internal address: the one asked for, reserved or not, else the first that is free."""
    within = ipaddress.IPv4Network(subnet["ipCidrRange"])
    if wanted and "/" in wanted:
        wanted = place.find(wanted, "addresses", key.rsplit("/", 2)[0].split("/", 2)[2])[1]["address"]
    # A reserved address is for who names it, and is given to no other.
    reserved = {
        record["address"]
        for _, record in place.store.everywhere(place.project, "addresses")
        if record.get("x-network") == subnet["network"] and record["status"] == "RESERVED"
    }
    taken = taken_addresses(place, subnet["network"])
    return free_address(within, wanted, taken - reserved if wanted else taken)


def external(place: Place, config: Record) -> Record:
    """Return the external address of an interface; it is a record, and reaches no machine."""
    found = {"kind": "compute#accessConfig", "name": "external-nat", "networkTier": "PREMIUM"}
    found |= {"type": "ONE_TO_ONE_NAT"} | config
    taken = taken_addresses(place, None)
    if wanted := config.get("natIP"):
        free = {
            record["address"]
            for _, record in place.store.everywhere(place.project, "addresses")
            if record["addressType"] == "EXTERNAL" and record["status"] == "RESERVED"
        }
        if wanted not in free:
            raise errors.invalid(
                "resource.networkInterfaces[0].accessConfigs[0].natIP", wanted, "It is not reserved."
            )
        return found
    return found | {"natIP": free_address(EXTERNAL, None, taken)}
