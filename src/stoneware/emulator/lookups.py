"""Methods that only look: regions, zones and types of the catalog, and operations."""

from __future__ import annotations

from stoneware.emulator import catalog, errors, resources
from stoneware.emulator.service import Call, Service, shown
from stoneware.emulator.store import Record


def _entries(call: Call) -> list[Record]:
    found = catalog.listed(call.method.collection, call.project, call.query.get("zone"))
    return [shown(entry) for entry in found]


def get(_: Service, call: Call) -> Record:
    """Return an entry of the catalog."""
    name = call.path.rsplit("/", 1)[1]
    found = next((entry for entry in _entries(call) if entry["name"] == name), None)
    if found is None:
        raise errors.not_found(call.path)
    return found


def listed(_: Service, call: Call) -> Record:
    """Return a page of a part of the catalog."""
    return resources.page(call, _entries(call), call.path)


def aggregated(_: Service, call: Call) -> Record:
    """Return the types of all zones, by zone."""
    collection = call.method.collection
    everywhere = [
        shown(entry) for zone in catalog.ZONES for entry in catalog.listed(collection, call.project, zone)
    ]
    return resources.by_place(call, collection, everywhere)


def operation(service: Service, call: Call) -> Record:
    """Return an operation as it is now."""
    return service.operations.get(call.key("operations"))


def operations(service: Service, call: Call) -> Record:
    """Return a page of the operations of one place."""
    place = f"{call.parent}/operations"
    found = service.store.under(place)
    return resources.page(call, [service.operations.show(record) for _, record in found], place)


def all_operations(service: Service, call: Call) -> Record:
    """Return the operations of all places, by place."""
    found = service.store.everywhere(call.project, "operations")
    shown_now = [service.operations.show(record) for _, record in found]
    return resources.by_place(call, "operations", shown_now)


def remove_operation(service: Service, call: Call) -> Record:
    """Forget an operation."""
    key = call.key("operations")
    service.existing(key)
    service.operations.remove(key)
    return {}
