"""Which function serves which method, and what all calls go through."""

from __future__ import annotations

from collections.abc import Callable

from stoneware.emulator import (
    actions,
    catalog,
    disk_changes,
    errors,
    guest,
    instance_changes,
    instances,
    lookups,
    resources,
)
from stoneware.emulator.discovery import Method
from stoneware.emulator.kinds import KINDS
from stoneware.emulator.service import Call, Service
from stoneware.emulator.store import Record

Handler = Callable[[Service, Call], Record]
_LOOKUPS = ("regions", "zones", "machineTypes", "diskTypes")
_OPERATIONS = ("globalOperations", "regionOperations", "zoneOperations")

_RESOURCE: dict[str, Handler] = {
    "aggregatedList": resources.aggregated,
    "delete": resources.delete,
    "get": resources.get,
    "insert": resources.insert,
    "list": resources.listed,
    "setLabels": resources.set_labels,
    "testIamPermissions": resources.test_permissions,
}
_LOOKUP: dict[str, Handler] = {
    "aggregatedList": lookups.aggregated,
    "get": lookups.get,
    "list": lookups.listed,
}
_OPERATION: dict[str, Handler] = {
    "aggregatedList": lookups.all_operations,
    "delete": lookups.remove_operation,
    "get": lookups.operation,
    "list": lookups.operations,
    "wait": lookups.operation,  # once it is done: see answer
}
_INSTANCE: dict[str, Handler] = {
    "attachDisk": disk_changes.attach,
    "delete": instances.delete,
    "detachDisk": disk_changes.detach,
    "getGuestAttributes": guest.guest_attributes,
    "getSerialPortOutput": guest.serial_port,
    "insert": instances.insert,
    "reset": instances.reset,
    "setDiskAutoDelete": disk_changes.set_auto_delete,
    "start": instances.start,
    "stop": instances.stop,
    **instance_changes.HANDLERS,
}
_SPECIAL: dict[str, Handler] = {
    "compute.disks.createSnapshot": actions.create_snapshot,
    "compute.disks.resize": disk_changes.resize,
    "compute.firewalls.update": resources.update,
    "compute.imageFamilyViews.get": actions.family_view,
    "compute.images.deprecate": actions.deprecate,
    "compute.images.getFromFamily": actions.family,
    "compute.networks.switchToCustomMode": actions.switch_to_custom,
    "compute.projects.get": actions.project,
    "compute.projects.setCommonInstanceMetadata": instance_changes.common_metadata,
    "compute.subnetworks.expandIpCidrRange": actions.expand_range,
    "compute.subnetworks.setPrivateIpGoogleAccess": actions.set_private_access,
}


def handler(method: Method) -> Handler | None:
    """Return what serves a method, None for one that is not served."""
    if special := _SPECIAL.get(method.id):
        return special
    if method.collection == "instances" and (own := _INSTANCE.get(method.verb)):
        return own
    if kind := KINDS.get(method.collection):
        return resources.patch if method.verb == "patch" and kind.patchable else _RESOURCE.get(method.verb)
    if method.collection in _LOOKUPS:
        return _LOOKUP.get(method.verb)
    if method.collection in _OPERATIONS:
        return _OPERATION.get(method.verb)
    return None


async def answer(service: Service, call: Call) -> Record:
    """Return the reply to a call. Raises ApiError, 501 for a method that is not served.

    What a call changes is kept whole, with its operation, or not at all; a request that is repeated with its
    id gets the operation that the first one started.
    """
    # First: a server that is busy has done nothing.
    if (refusal := service.faults.refusal()) is not None:
        raise refusal
    serve = handler(call.method)
    if serve is None:
        raise errors.not_implemented(call.method.id, "see the table of its methods in docs/emulator.md")
    project = f"projects/{call.project}"
    public = call.project == catalog.PUBLIC or call.project in catalog.OTHERS_PUBLIC
    if not public and service.store.get(project) is None:
        raise errors.not_found(project)
    if public and call.method.http != "GET":
        raise errors.ApiError(403, "forbidden", f"The images of {call.project} are there to be used only.")
    _check_scope(call)
    # Waited for outside of the transaction, which one thread at a time is in.
    if call.method.collection in _OPERATIONS and call.method.verb == "wait":
        await service.operations.wait(call.key("operations"))
    # A client whose reply was lost asks again with the same id.
    if call.request and (before := service.operations.repeated(call.parent, call.request)):
        return before
    with service.store.transaction():
        return serve(service, call)


def _check_scope(call: Call) -> None:
    for name, known in (("zone", catalog.ZONES), ("region", catalog.REGIONS)):
        of_itself = call.method.collection == f"{name}s"
        if not of_itself and name in call.query and call.query[name] not in known:
            raise errors.invalid(name, call.query[name], f"Unknown {name}.")
