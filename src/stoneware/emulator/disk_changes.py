"""Attaching disks to instances, detaching them and making them larger, also while these run."""

from __future__ import annotations

from stoneware.emulator import checks, contents, errors, instance_work, prepare
from stoneware.emulator.instance_disks import attached, hold, of_device, take
from stoneware.emulator.machine_spec import disk_key
from stoneware.emulator.service import Call, Service
from stoneware.emulator.store import Record


def attach(service: Service, call: Call) -> Record:
    """Attach a disk to an instance; the machine of one that runs has it when the operation ends."""
    key, record = _ready(service, call)
    if call.query.get("forceAttach") or call.body.get("forceAttach"):
        raise errors.invalid("forceAttach", True, "Only regional disks can be force-attached.")
    place = prepare.Place(service.store, call.project, call.scope)
    disk = attached(service, place, record, call.body)
    # Listed first: what is listed and has not come to the machine, the next emulator gives to it.
    record["disks"].append(disk)
    hold(service, key, record)
    return _changed(service, call, key, record, disk["deviceName"])


def detach(service: Service, call: Call) -> Record:
    """Detach a disk from an instance; of one that runs when the machine has let go of it."""
    key, record = _ready(service, call)
    device = call.query["deviceName"]
    disk = of_device(record, device)
    if device in record.get(instance_work.DISKS, {}).values():
        raise errors.ApiError(400, "resourceNotReady", f"The resource '{disk_key(disk)}' is not ready")
    if disk["boot"]:
        if record["status"] == "RUNNING":
            raise errors.unusable("To detach the boot disk, the instance must be in TERMINATED state.")
        raise errors.not_implemented("detaching a boot disk", "delete the instance, with autoDelete off")
    if record["status"] != "RUNNING":
        take(service, key, record, device)
    return _changed(service, call, key, record, device)


def _ready(service: Service, call: Call) -> tuple[str, Record]:
    key = call.key("instances")
    record = service.existing(key)
    checks.ready(key, record)
    return key, record


def _changed(service: Service, call: Call, key: str, record: Record, device: str) -> Record:
    """Write a record and return the operation, which ends at once where no machine has to follow."""
    verb = call.method.verb
    if record["status"] != "RUNNING":
        service.keep("instances", key, record)
        return service.started(call, verb, key, record["id"])
    operation = service.started(call, verb, key, record["id"], working=True)
    under_way = record.get(instance_work.DISKS, {})
    service.keep(
        "instances", key, record | {instance_work.DISKS: {**under_way, call.operation(operation): device}}
    )
    (instance_work.plug if verb == "attachDisk" else instance_work.unplug)(
        service, key, call.operation(operation)
    )
    return operation


def set_auto_delete(service: Service, call: Call) -> Record:
    """Say whether a disk goes with its instance."""
    key = call.key("instances")
    record = service.existing(key)
    of_device(record, call.query["deviceName"])["autoDelete"] = call.query["autoDelete"]
    service.keep("instances", key, record)
    return service.started(call, "setDiskAutoDelete", key, record["id"])


def resize(service: Service, call: Call) -> Record:
    """Make a disk larger; a data disk of an instance that runs when the machine sees it."""
    key = call.key("disks")
    record = service.existing(key)
    size = int(call.body.get("sizeGb", 0))
    # As Google's disks, which never shrink: Terraform replaces one that is to be smaller.
    if size <= int(record["sizeGb"]):
        raise errors.invalid("sizeGb", size, f"Must be larger than the {record['sizeGb']} GB it has.")
    record["sizeGb"] = str(size)
    service.store.put(key, record)
    holder = prepare.running_user(service.store, record)
    # What a machine boots from is as large as this when it starts.
    if holder is None or not contents.is_blank(record):
        return service.started(call, "resizeDisk", key, record["id"])
    operation = service.started(call, "resizeDisk", key, record["id"], working=True)
    instance_work.enlarge(service, key, call.operation(operation))
    return operation
