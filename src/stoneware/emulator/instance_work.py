"""What is done with the machines of instances while operations run.

Each piece of work may be done again: a kill at any moment leaves it to the next emulator (`resume`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from stoneware.emulator import contents, firewalls, instance_disks, values
from stoneware.emulator.dns.resolving import name_network
from stoneware.emulator.dns.resolving import tell as tell_names
from stoneware.emulator.errors import ApiError
from stoneware.emulator.jobs import Job
from stoneware.emulator.machine_spec import (
    disk_key,
    disk_name,
    identity,
    items,
    machine_name,
    mount,
    network_name,
    spec,
)
from stoneware.emulator.prepare import SAVE, running_user
from stoneware.emulator.service import Service
from stoneware.emulator.store import Record
from stoneware.emulator.values import LINK
from stoneware.platforms.instances import Computers

DISKS = "x-disks"  # of an instance: device names of disks that come or go, by the key of their operation
_GRACE = 90.0  # seconds that services get at a stop, as on Compute Engine
_SPOT_GRACE = 30.0  # … where the instance may be preempted
_RESTARTED = ApiError(500, "internalError", "The emulator ended before this was done.")


def _add(
    service: Service,
    key: str,
    operation: str,
    work: Callable[[Computers, Record], object],
    ended: Callable[[Record, ApiError | None], None],
) -> None:
    """Do something with the machine of an instance, then note in the store how that ended."""
    computers = service.computers

    def run() -> None:
        # It may have been deleted before this came to its turn.
        if computers is not None and (record := service.store.get(key)) is not None:
            work(computers, record)

    def finish(failure: ApiError | None) -> None:
        with service.store.transaction():
            if (record := service.store.get(key)) is not None:
                ended(record, failure)
            if operation:
                service.operations.finish(operation, failure)

    service.begin(Job(key, run, finish))


def boot(service: Service, key: str, operation: str) -> None:
    """Start the machine of an instance. A new instance whose machine does not start is removed."""

    def ended(record: Record, failure: ApiError | None) -> None:
        if failure is None:
            _running(service, key, record)
        # One that has run before stays, stopped.
        elif "lastStartTimestamp" in record:
            _terminated(service, key, record)
        else:
            _undo(service, key, record)

    _add(service, key, operation, lambda computers, record: _start(service, computers, key, record), ended)


def _start(service: Service, computers: Computers, key: str, record: Record) -> None:
    own, *others = record["disks"]
    for disk in others:
        _have_disk(service, computers, disk)
    _network(service, computers, record)
    name_network(service, record["x-network"])
    source = contents.source(computers, service.store.get(disk_key(own)) or {})
    wanted = spec(service.store, key, record, source, service.instance_tokens.of(key, record))
    rules = firewalls.ingress(service.store, key, record)
    computers.boot(replace(wanted, ingress=rules))
    service.guarded[key] = rules


def _have_disk(service: Service, computers: Computers, disk: Record) -> None:
    known = service.store.get(disk_key(disk)) or {}
    computers.make_disk(disk_name(known), int(known["sizeGb"]) << 30)


def _network(service: Service, computers: Computers, record: Record) -> None:
    """Have the network of an instance on this computer, with the ranges that instances have addresses in."""
    link = record["x-network"]
    # One at a time, or the ranges that were seen first could be written last.
    with service.networking:
        found = service.store.matching("projects/", "instances")
        here = {other["x-subnetwork"] for _, other in found if other["x-network"] == link}
        records = [service.store.get(subnet.removeprefix(LINK)) or {} for subnet in sorted(here)]
        network = service.store.get(link.removeprefix(LINK)) or {}
        computers.make_network(network_name(network), [one["ipCidrRange"] for one in records])


def _power_off(service: Service, computers: Computers, key: str, record: Record, *, timeout: float) -> None:
    """Stop a machine, and note what it leaves on its boot disk where that is kept."""
    if record["scheduling"]["preemptible"]:
        timeout = min(timeout, _SPOT_GRACE)
    save = record.get(SAVE, "")
    if computers.power_off(machine_name(key), save, timeout=timeout):
        with service.store.transaction():
            contents.put(service, disk_key(record["disks"][0]), save)


def restart(service: Service, key: str, operation: str) -> None:
    """Switch a machine off and on."""

    def work(computers: Computers, record: Record) -> None:
        # As by the button: no service gets time to end.
        _power_off(service, computers, key, record, timeout=0)
        _start(service, computers, key, record)

    def ended(record: Record, failure: ApiError | None) -> None:
        record.pop(SAVE, None)
        (_running if failure is None else _terminated)(service, key, record)

    _add(service, key, operation, work, ended)


def halt(service: Service, key: str, operation: str, *, timeout: float = _GRACE) -> None:
    """Stop a machine and keep what it leaves on its boot disk; no operation: it has ended by itself."""

    def work(computers: Computers, record: Record) -> None:
        _power_off(service, computers, key, record, timeout=timeout)

    def ended(record: Record, failure: ApiError | None) -> None:
        if failure is not None:
            # It could not be stopped, so it runs.
            service.keep("instances", key, record | {"status": "RUNNING"})
            return
        del record[SAVE]
        _terminated(service, key, record)

    _add(service, key, operation, work, ended)


def halt_at_once(service: Service, key: str, operation: str) -> None:
    """Do the same without time for services to end."""
    halt(service, key, operation, timeout=0)


def remove(service: Service, key: str, operation: str, *, at_once: bool = False) -> None:
    """Stop a machine and forget its instance, with the disks that go with it."""

    def work(computers: Computers, record: Record) -> None:
        _power_off(service, computers, key, record, timeout=0 if at_once else _GRACE)

    def ended(record: Record, failure: ApiError | None) -> None:
        if failure is not None:
            service.keep("instances", key, record | {"status": "RUNNING"})
            return
        _forget(service, key, record, [disk for disk in record["disks"] if disk["autoDelete"]])

    _add(service, key, operation, work, ended)


def plug(service: Service, key: str, operation: str) -> None:
    """Give a machine that runs the disk which an operation has attached to its instance."""

    def move(computers: Computers, record: Record, disk: Record) -> None:
        _have_disk(service, computers, disk)
        computers.attach(machine_name(key), mount(service.store, disk))
        _say_disks(service, computers, key, record)

    _move_disk(service, key, operation, move, leaves=False)


def unplug(service: Service, key: str, operation: str) -> None:
    """Take from a machine that runs the disk which an operation detaches; it stays where that fails."""

    def move(computers: Computers, record: Record, disk: Record) -> None:
        computers.detach(machine_name(key), mount(service.store, disk))
        left = [other for other in record["disks"] if other != disk]
        _say_disks(service, computers, key, record | {"disks": left})

    _move_disk(service, key, operation, move, leaves=True)


def enlarge(service: Service, key: str, operation: str) -> None:
    """Let the machine that runs with a disk, `key`, see that it is larger; else it does when it starts."""
    computers = service.computers
    holder = running_user(service.store, service.store.get(key) or {})

    def run() -> None:
        # It may have been deleted before this came to its turn.
        if computers is not None and holder is not None and (disk := service.store.get(key)) is not None:
            computers.enlarge_disk(disk_name(disk), int(disk["sizeGb"]) << 30)

    def ended(failure: ApiError | None) -> None:
        with service.store.transaction():
            service.operations.finish(operation, failure)

    # After what is under way with that machine's disks.
    service.begin(Job(holder or key, run, ended))


def _move_disk(
    service: Service,
    key: str,
    operation: str,
    move: Callable[[Computers, Record, Record], object],
    *,
    leaves: bool,
) -> None:
    """Do something with the disk of an operation, which leaves or comes; where that fails, it has not."""

    def work(computers: Computers, record: Record) -> None:
        if (disk := _coming_or_going(record, operation)) is not None:
            move(computers, record, disk)

    def ended(record: Record, failure: ApiError | None) -> None:
        _settled(service, key, record, operation, gone=leaves == (failure is None))

    _add(service, key, operation, work, ended)


def _coming_or_going(record: Record, operation: str) -> Record | None:
    device = record.get(DISKS, {}).get(operation)
    return next((disk for disk in record["disks"] if disk["deviceName"] == device), None)


def _say_disks(service: Service, computers: Computers, key: str, record: Record) -> None:
    """Let a machine's metadata server name the disks that it has now."""
    said = identity(service.store, key, record, service.instance_tokens.of(key, record))
    computers.tell(machine_name(key), items(record["metadata"]), said)


def _settled(service: Service, key: str, record: Record, operation: str, *, gone: bool) -> None:
    """Note that a disk has come or gone, and which of the two."""
    disk = _coming_or_going(record, operation)
    under_way = record.pop(DISKS, {})
    under_way.pop(operation, None)
    if under_way:
        record[DISKS] = under_way
    if gone and disk is not None:
        instance_disks.take(service, key, record, disk["deviceName"])
    service.keep("instances", key, record)


def tell(service: Service, key: str, before: dict[str, str], operation: str = "") -> None:
    """Tell a machine that runs what its instance is now. `before`: the metadata that it had."""
    computers = service.opened

    def run() -> None:
        now = service.store.get(key)
        if computers is not None and now is not None and now["status"] == "RUNNING":
            after = items(now["metadata"])
            gone: dict[str, str | None] = dict.fromkeys(before.keys() - after.keys())
            said = identity(service.store, key, now, service.instance_tokens.of(key, now))
            computers.tell(machine_name(key), gone | after, said)

    def ended(failure: ApiError | None) -> None:
        if operation:
            with service.store.transaction():
                service.operations.finish(operation, failure)

    service.begin(Job(key, run, ended))


def _undo(service: Service, key: str, record: Record) -> None:
    """Remove an instance that never ran, with the disks that were made for it."""
    made = record.get("x-made", [])
    _forget(service, key, record, [disk for disk in record["disks"] if disk["source"] in made])


def _forget(service: Service, key: str, record: Record, disks: list[Record]) -> None:
    service.instance_tokens.revoke(key)
    service.guarded.pop(key, None)
    # Rules that name its tags let its address in at other machines.
    firewalls.tell(service, record["x-network"])
    instance_disks.let_go(service, key, record)
    service.store.remove(key)
    for disk in disks:
        if (gone := service.store.get(disk_key(disk))) is not None:
            service.store.remove(disk_key(disk))
            contents.release(service, disk_key(disk), gone)


def _running(service: Service, key: str, record: Record) -> None:
    now = values.timestamp(service.clock())
    service.keep("instances", key, record | {"status": "RUNNING", "lastStartTimestamp": now})
    firewalls.tell(service, record["x-network"])


def _terminated(service: Service, key: str, record: Record) -> None:
    service.instance_tokens.revoke(key)
    service.guarded.pop(key, None)
    now = values.timestamp(service.clock())
    service.keep("instances", key, record | {"status": "TERMINATED", "lastStopTimestamp": now})


def look(service: Service) -> None:
    """See which machines have ended by themselves, and which have to: preempted, or out of time."""
    computers = service.opened
    if computers is None:
        return
    running = computers.running()
    for key, record in service.store.matching("projects/", "instances"):
        if record["status"] != "RUNNING" or service.jobs.busy(key):
            continue
        if machine_name(key) not in running or _preempted(service, record) or _is_over(service, record):
            _end(service, key)
        # A token is renewed before it ends; the machine reads it from its metadata server.
        elif record.get("serviceAccounts") and service.instance_tokens.is_old(key):
            tell(service, key, items(record["metadata"]))
        elif key not in service.guarded:
            firewalls.tell(service, record["x-network"])
    # Servers that machines depend on may have died.
    if running:
        computers.check_helpers()


def _preempted(service: Service, record: Record) -> bool:
    return bool(record["scheduling"]["preemptible"]) and service.faults.preempts()


def _is_over(service: Service, record: Record) -> bool:
    """Say whether an instance has run for as long as its scheduling lets it."""
    limit = record["scheduling"].get("maxRunDuration", {}).get("seconds")
    if limit is None:
        return False
    began = datetime.fromisoformat(record["lastStartTimestamp"]).timestamp()
    return service.clock() > began + int(limit)


def _end(service: Service, key: str) -> None:
    """Stop an instance that nobody stops, or delete it where its scheduling says so."""
    with service.store.transaction():
        record = service.store.get(key)
        if record is None or record["status"] != "RUNNING":
            return
        # Noted before the work, so that work that is done again keeps the contents under the same key.
        service.keep("instances", key, record | {"status": "STOPPING", SAVE: contents.new_key()})
        _end_work(service, key, record)


def _end_work(service: Service, key: str, record: Record) -> None:
    deletes = record["scheduling"].get("instanceTerminationAction") == "DELETE"
    (remove if deletes else halt)(service, key, "")


_UNDONE = ("PENDING", "CREATING")  # images and snapshots
_AGAIN: dict[str, Callable[[Service, str, str], None]] = {
    "insert": boot,
    "start": boot,
    "stop": halt,
    "reset": restart,
    "delete": remove,
    "attachDisk": plug,
    "detachDisk": unplug,
}


def resume(service: Service) -> None:
    """Go on with what was under way when the last emulator ended, and forget contents that nothing has."""
    # To open the store takes root: not where nothing of this computer is behind the records.
    needed = contents.used(service) or any(service.store.matching("projects/", "instances"))
    computers = service.computers if needed else None
    with service.store.transaction():
        resumed = set()
        for operation in service.operations.working():
            record = service.existing(operation)
            key = record["targetLink"].removeprefix(LINK)
            again = _AGAIN.get(record["operationType"]) if "/instances/" in key else None
            if record["operationType"] == "resizeDisk" and computers is not None:
                enlarge(service, key, operation)
            elif again is not None and computers is not None and service.store.get(key) is not None:
                again(service, key, operation)
                # It may be on its way off at the same time.
                if again not in (plug, unplug):
                    resumed.add(key)
            else:
                made = service.store.get(key) or {}
                if record["operationType"] in ("insert", "createSnapshot") and made.get("status") in _UNDONE:
                    service.store.remove(key)  # an image that has not got what is in it
                service.operations.finish(operation, _RESTARTED)
        if computers is not None:
            # What ends by itself has no operation that tells of it.
            for key, record in service.store.matching("projects/", "instances"):
                if record["status"] == "STOPPING" and key not in resumed:
                    _end_work(service, key, record)
            tell_names(service)  # which may have changed just before a kill
    contents.forget_unused(service)
