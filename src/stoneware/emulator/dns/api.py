"""Cloud DNS as one of the emulator's APIs: which function serves which method."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from stoneware.emulator import discovery
from stoneware.emulator.apis import Functions, Handler
from stoneware.emulator.dns import changes, resolving, zones
from stoneware.emulator.dns.records import Records
from stoneware.emulator.service import Call, Service
from stoneware.emulator.store import Record

_FUNCTIONS: dict[str, Callable[[Records, Call], Record]] = {
    "changes.create": changes.create,
    "changes.get": changes.get,
    "changes.list": changes.listed,
    "managedZones.create": zones.create,
    "managedZones.delete": zones.delete,
    "managedZones.get": zones.get,
    "managedZones.list": zones.listed,
    "managedZones.patch": zones.patch,
    "resourceRecordSets.create": changes.add,
    "resourceRecordSets.delete": changes.remove,
    "resourceRecordSets.get": changes.record_set,
    "resourceRecordSets.list": changes.record_sets,
    "resourceRecordSets.patch": changes.replace,
}
_CHANGING = (
    *("changes.create", "managedZones.create", "managedZones.delete", "managedZones.patch"),
    *("resourceRecordSets.create", "resourceRecordSets.delete", "resourceRecordSets.patch"),
)


def _telling(service: Service, serve: Handler) -> Handler:
    """Return a function that also has the machines of networks know what is there after it."""

    def changed(call: Call) -> Record:
        reply = serve(call)
        resolving.tell(service)
        return reply

    return changed


class CloudDns(Functions):
    """Cloud DNS."""

    def __init__(self, service: Service) -> None:
        records = Records(service.store, service.clock)
        handlers: dict[str, Handler] = {}
        for name, function in _FUNCTIONS.items():
            serve: Handler = partial(function, records)
            handlers[f"dns.{name}"] = _telling(service, serve) if name in _CHANGING else serve
        super().__init__(discovery.load("dns.v1"), service, handlers)
