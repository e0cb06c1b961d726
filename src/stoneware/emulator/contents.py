"""What is in disks, images and snapshots: an image of Google's, what a machine left, or nothing yet."""

from __future__ import annotations

from collections.abc import Callable

from stoneware.emulator import errors
from stoneware.emulator.jobs import Job
from stoneware.emulator.machine_spec import disk_name, machine_name, network_name
from stoneware.emulator.prepare import BASE, KEPT, SAVE, running_user
from stoneware.emulator.service import Call, Service
from stoneware.emulator.store import Record
from stoneware.emulator.values import LINK, new_id
from stoneware.platforms.instances import CONTENTS, Computers

# Where keys of contents are. That of an instance is noted before the contents are kept, that of its disk
# after: a kill may come in between.
_KEYS = {"disks": KEPT, "images": KEPT, "snapshots": KEPT, "instances": SAVE}


def new_key() -> str:
    """Return a key under which contents can be kept."""
    return CONTENTS + new_id()


def is_blank(disk: Record) -> bool:
    """Say whether a disk was made of nothing; it then is a volume of its own."""
    return KEPT not in disk and BASE not in disk


def source(computers: Computers, disk: Record) -> str:
    """Return the key of what is in a disk, made where an image of Google's is missing here."""
    if kept := disk.get(KEPT):
        return str(kept)
    return computers.base(disk[BASE])


def put(service: Service, disk: str, contents: str) -> None:
    """Note what a machine has left in a disk, a key; what was in it before is forgotten if nothing has it."""
    record = service.store.get(disk)
    if record is not None:
        before = dict(record)
        record[KEPT] = contents
        service.store.put(disk, record)
        # After the new record: what it had is forgotten only where no record has it.
        release(service, disk, before)


def release(service: Service, key: str, gone: Record) -> None:
    """Remove what this computer had for a resource that is gone: contents, once no other disk has them."""
    computers = service.opened
    if computers is None:
        return
    if gone["kind"] == "compute#network":
        _later(service, key, lambda: computers.remove_network(network_name(gone)))
    elif "sizeGb" in gone and is_blank(gone):
        _later(service, key, lambda: computers.remove_disk(disk_name(gone)))
    elif (kept := gone.get(KEPT)) and kept not in used(service):
        _later(service, key, lambda: computers.forget(kept))


def _later(service: Service, key: str, work: Callable[[], None]) -> None:
    # Not within the request, which this may take longer than.
    service.begin(Job(key, work, lambda _: None))


def used(service: Service) -> frozenset[str]:
    """Return all keys of contents that something has, or is to have once its machine has stopped."""
    return frozenset(
        record[field]
        for collection, field in _KEYS.items()
        for _, record in service.store.matching("projects/", collection)
        if field in record
    )


def forget_unused(service: Service) -> None:
    """Forget what nothing has: a kill may have come between the record and the contents."""
    if (computers := service.opened) is not None:
        for key in computers.kept() - used(service):
            computers.forget(key)


def capture(service: Service, call: Call, kind: str, key: str, target: tuple[str, str]) -> Record:
    """Return the operation that makes a new image or snapshot, `key`, whole.

    Where a machine runs on the source disk, what is on it now is kept first. `target`: key and id of what
    the operation is about.
    """
    record = service.existing(key)
    disk = (record.get("sourceDisk") or "").removeprefix(LINK)
    holder = running_user(service.store, service.store.get(disk) or {}) if disk else None
    computers = service.opened
    # What no machine writes to is kept already, and the new one has the same key.
    if holder is None or computers is None or not _boots(service, holder, disk):
        return service.started(call, kind, *target)
    ready = record["status"]
    service.store.put(key, record | {"status": "PENDING" if "/images/" in key else "CREATING"})
    operation = service.started(call, kind, *target, working=True)
    name, contents = machine_name(holder), new_key()

    def ended(failure: errors.ApiError | None) -> None:
        with service.store.transaction():
            # It may have been deleted while its contents were copied.
            made = service.store.get(key)
            if failure is None and made is not None:
                service.store.put(key, made | {KEPT: contents, "status": ready})
            elif made is not None:
                service.store.remove(key)
            service.operations.finish(call.operation(operation), failure)

    # With the instance's own work, one after the other: its machine must not go meanwhile.
    service.begin(Job(holder, lambda: computers.keep(name, contents), ended))
    return operation


def _boots(service: Service, instance: str, disk: str) -> bool:
    record = service.store.get(instance) or {}
    return bool(record.get("disks")) and record["disks"][0]["source"] == LINK + disk
