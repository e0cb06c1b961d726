"""Changes of instances that are there: metadata, tags, type, accounts and the like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stoneware.emulator import actions, errors, firewalls, instance_fill, prepare, resources, values
from stoneware.emulator.errors import ApiError
from stoneware.emulator.instance_disks import hold, let_go, stopped
from stoneware.emulator.instance_work import tell
from stoneware.emulator.machine_spec import items
from stoneware.emulator.service import Call, Service
from stoneware.emulator.store import Record

_UPDATABLE = ("canIpForward", "deletionProtection", "description")


def _place(service: Service, call: Call) -> prepare.Place:
    return prepare.Place(service.store, call.project, call.scope)


def set_metadata(service: Service, call: Call) -> Record:
    """Replace the metadata of an instance; a machine that waits for a change is told."""
    new = instance_fill.metadata(call.body.get("items", []))
    return _told(service, call, "setMetadata", {"metadata": new}, of="metadata")


def set_tags(service: Service, call: Call) -> Record:
    """Replace the network tags of an instance."""
    return _told(
        service, call, "setTags", {"tags": instance_fill.tags(call.body.get("items", []))}, of="tags"
    )


def set_scheduling(service: Service, call: Call) -> Record:
    """Change the scheduling of an instance."""
    return _told(service, call, "setScheduling", {"scheduling": instance_fill.scheduling(call.body)})


def _told(service: Service, call: Call, kind: str, change: Record, of: str = "") -> Record:
    """Change a record, and tell its machine where it runs. `of`: the field whose fingerprint is checked."""
    key = call.key("instances")
    record = service.existing(key)
    if of and call.body.get("fingerprint") != record[of]["fingerprint"]:
        raise ApiError(
            412, "conditionNotMet", f"Supplied fingerprint does not match current {of} fingerprint."
        )
    before = items(record["metadata"])
    service.keep("instances", key, record | change)
    # Firewall rules name instances by their tags.
    if of == "tags":
        firewalls.tell(service, record["x-network"])
    if record["status"] != "RUNNING" or service.opened is None:
        return service.started(call, kind, key, record["id"])
    # Its operation ends once the machine has been told.
    operation = service.started(call, kind, key, record["id"], working=True)
    tell(service, key, before, call.operation(operation))
    return operation


def common_metadata(service: Service, call: Call) -> Record:
    """Replace the metadata that all instances of a project see; the running machines are told."""
    operation = actions.common_metadata(service, call)
    # Each machine's metadata server has the project's attributes too.
    for key, record in service.store.everywhere(call.project, "instances"):
        tell(service, key, items(record["metadata"]))
    return operation


def set_machine_type(service: Service, call: Call) -> Record:
    """Change the machine type of a stopped instance."""
    key, record = stopped(service, call, "its machine type is changed")
    record["machineType"] = instance_fill.machine_type(_place(service, call), call.body.get("machineType"))
    service.keep("instances", key, record)
    return service.started(call, "setMachineType", key, record["id"])


def set_service_account(service: Service, call: Call) -> Record:
    """Change the service account of a stopped instance; none without an e-mail address."""
    key, record = stopped(service, call, "its service account is changed")
    given = [call.body] if call.body.get("email") else []
    record.pop("serviceAccounts", None)
    if found := instance_fill.accounts(call.project, given):
        record["serviceAccounts"] = found
    service.keep("instances", key, record)
    # Firewall rules name instances by their accounts, too.
    firewalls.tell(service, record["x-network"])
    return service.started(call, "setServiceAccount", key, record["id"])


def set_deletion_protection(service: Service, call: Call) -> Record:
    """Say whether an instance can be deleted."""
    key = f"{call.parent}/instances/{call.query['resource']}"
    record = service.existing(key)
    # Google takes true where the parameter is missing.
    record["deletionProtection"] = bool(call.query.get("deletionProtection", True))
    service.keep("instances", key, record)
    return service.started(call, "setDeletionProtection", key, record["id"])


def update(service: Service, call: Call) -> Record:
    """Change what of an instance can be changed as a whole; all else must be as it is."""
    key = call.key("instances")
    record = service.existing(key)
    if call.body.get("fingerprint") not in (None, record["fingerprint"]):
        raise errors.stale("Resource")
    change = {field: call.body[field] for field in _UPDATABLE if field in call.body}
    service.keep("instances", key, record | change)
    return service.started(call, "update", key, record["id"])


def add_access_config(service: Service, call: Call) -> Record:
    """Give an interface an external address."""
    key, record, interface = _interface(service, call)
    if interface.get("accessConfigs"):
        raise errors.invalid("networkInterface", "nic0", "At most one access config is supported.")
    interface["accessConfigs"] = [instance_fill.external(_place(service, call), call.body)]
    return _readdressed(service, call, "AddAccessConfig", key, record)


def delete_access_config(service: Service, call: Call) -> Record:
    """Take the external address of an interface."""
    key, record, interface = _interface(service, call)
    if not interface.pop("accessConfigs", None):
        raise errors.invalid("accessConfig", call.query["accessConfig"], "The interface has none.")
    return _readdressed(service, call, "DeleteAccessConfig", key, record)


def _interface(service: Service, call: Call) -> tuple[str, Record, Record]:
    key = call.key("instances")
    record = service.existing(key)
    if call.query["networkInterface"] != "nic0":
        raise errors.invalid("networkInterface", call.query["networkInterface"], "There is nic0 only.")
    return key, record, record["networkInterfaces"][0]


def _readdressed(service: Service, call: Call, kind: str, key: str, record: Record) -> Record:
    let_go(service, key, service.existing(key))
    interface = record["networkInterfaces"][0]
    interface["fingerprint"] = values.fingerprint(interface | {"fingerprint": None})
    hold(service, key, record)
    return _told(service, call, kind, {"networkInterfaces": record["networkInterfaces"]})


HANDLERS: dict[str, Callable[[Service, Call], dict[str, Any]]] = {
    "addAccessConfig": add_access_config,
    "deleteAccessConfig": delete_access_config,
    "setDeletionProtection": set_deletion_protection,
    "setLabels": resources.set_labels,
    "setMachineType": set_machine_type,
    "setMetadata": set_metadata,
    "setScheduling": set_scheduling,
    "setServiceAccount": set_service_account,
    "setTags": set_tags,
    "update": update,
}
