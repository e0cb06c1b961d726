"""The life of instances: a machine of this computer while one runs, and what its disks hold after that."""

from __future__ import annotations

from collections.abc import Callable

from stoneware.emulator import checks, contents, errors, instance_disks, instance_work, prepare, values
from stoneware.emulator.machine_spec import disk_key
from stoneware.emulator.service import Call, Service
from stoneware.emulator.store import Record
from stoneware.errors import StonewareError
from stoneware.platforms.instances import Computers

NO_MACHINES = "no local machines stand behind instances here"


def insert(service: Service, call: Call) -> Record:
    """Make an instance, and start its machine."""
    # First: where no machine can run, nothing is noted.
    _computers(service, call)
    if not call.body.get("name"):
        raise errors.required("resource.name")
    for option in ("sourceInstanceTemplate", "sourceMachineImage"):
        if call.query.get(option):
            raise errors.not_implemented(f"compute.instances.insert with {option}", "give all fields")
    key = f"{call.parent}/instances/{call.body['name']}"
    service.absent(key)
    if (failure := service.faults.of_insert(call.parent, "instances")) is not None:
        return service.started(call, "insert", key, values.new_id(), failure)
    place = prepare.Place(service.store, call.project, call.scope)
    content = dict(call.body)
    before = {one for one, _ in service.store.everywhere(call.project, "disks")}
    instance_disks.resolve(service, place, content)
    # What goes again where the machine does not start; other disks were there before.
    content["x-made"] = [disk["source"] for disk in content["disks"] if disk_key(disk) not in before]
    record = service.create(place, "instances", key, content, call.query)
    instance_disks.hold(service, key, record)
    operation = service.started(call, "insert", key, record["id"], working=True)
    instance_work.boot(service, key, call.operation(operation))
    return operation


def _computers(service: Service, call: Call) -> Computers:
    try:
        computers = service.computers
    except StonewareError as error:
        # Messages of the API have one line.
        why = " ".join(f"{error}. {error.details} {error.resolution}".split())
        raise errors.unavailable(f"no machine can run on this computer: {why}") from error
    if computers is None:
        raise errors.not_implemented(call.method.id, NO_MACHINES)
    return computers


def start(service: Service, call: Call) -> Record:
    """Start an instance that is stopped; one that runs is left alone."""
    _computers(service, call)
    return _switch(service, call, "TERMINATED", instance_work.boot)


def stop(service: Service, call: Call) -> Record:
    """Stop an instance that runs; one that is stopped is left alone."""
    _computers(service, call)
    halt = instance_work.halt_at_once if call.query.get("noGracefulShutdown") else instance_work.halt
    return _switch(service, call, "RUNNING", halt)


def reset(service: Service, call: Call) -> Record:
    """Switch an instance off and on, as by its button; what is on its disks stays."""
    _computers(service, call)
    return _switch(service, call, "RUNNING", instance_work.restart)


def _switch(service: Service, call: Call, of: str, begin: Callable[[Service, str, str], None]) -> Record:
    """Begin what the call's method does with an instance of a status; one of another is left alone."""
    kind, key = call.method.verb, call.key("instances")
    record = service.existing(key)
    checks.ready(key, record)
    if record["status"] != of:
        # To start or stop twice is no error, but what is off cannot be reset.
        if kind == "reset":
            raise errors.ApiError(400, "resourceNotReady", f"The resource '{key}' is not ready")
        return service.started(call, kind, key, record["id"])
    record["status"] = "STOPPING" if kind == "stop" else "STAGING"
    if of == "RUNNING":
        record[prepare.SAVE] = contents.new_key()
    service.keep("instances", key, record)
    operation = service.started(call, kind, key, record["id"], working=True)
    begin(service, key, call.operation(operation))
    return operation


def delete(service: Service, call: Call) -> Record:
    """Stop an instance and remove it, with the disks that go with it."""
    _computers(service, call)
    key = call.key("instances")
    record = service.existing(key)
    if record["deletionProtection"]:
        raise errors.invalid("resource.deletionProtection", True, "The instance is protected from deletion.")
    record["status"] = "STOPPING"
    # What goes with the instance need not be kept.
    if not record["disks"][0]["autoDelete"]:
        # One that is being stopped has a key already, under which that work keeps the contents.
        record.setdefault(prepare.SAVE, contents.new_key())
    service.keep("instances", key, record)
    operation = service.started(call, "delete", key, record["id"], working=True)
    at_once = bool(call.query.get("noGracefulShutdown"))
    instance_work.remove(service, key, call.operation(operation), at_once=at_once)
    return operation
