"""What comes out of an instance: its serial port and its guest attributes."""

from __future__ import annotations

from stoneware.emulator import errors
from stoneware.emulator.machine_spec import machine_name
from stoneware.emulator.service import Call, Service
from stoneware.emulator.store import Record
from stoneware.emulator.values import LINK
from stoneware.untrusted.visible import visible

_LARGEST = 1 << 20  # bytes that a serial port keeps, and that are returned at once


def serial_port(service: Service, call: Call) -> Record:
    """Return a piece of what an instance wrote to its console; of a stopped one nothing can be read.

    Its other serial ports are there, and silent. What a terminal would obey is spelt out.
    """
    key = call.key("instances")
    record = service.existing(key)
    computers = service.opened
    name = machine_name(key)
    if (
        record["status"] not in ("RUNNING", "STOPPING")
        or computers is None
        # It may have ended by itself a moment ago.
        or name not in computers.running()
    ):
        raise errors.ApiError(400, "resourceNotReady", f"The resource '{key}' is not ready")
    start = int(call.query.get("start", 0))
    data, at, after = b"", max(start, 0), max(start, 0)
    if int(call.query.get("port", 1)) == 1:
        data, at, after = computers.console(name, start, _LARGEST)
    text = visible(data.decode(errors="replace"), keep="\n\r\t")
    found = {"kind": "compute#serialPortOutput", "selfLink": f"{LINK}{key}/serialPort"}
    return found | {"contents": text, "start": str(at), "next": str(after)}


def guest_attributes(service: Service, call: Call) -> Record:
    """Return guest attributes of an instance: all, those of a namespace, or one. Raises ApiError (404)."""
    key = call.key("instances")
    service.existing(key)
    reports = service.opened.reports(machine_name(key)) if service.opened else {}
    path = call.query.get("queryPath") or ""
    variable = call.query.get("variableKey") or ""
    wanted = variable or path
    chosen = {name: value for name, value in reports.items() if _matches(name, wanted)}
    # Google says the same until the first one is written.
    if not chosen:
        raise errors.not_found(f"{key}/guestAttributes/{wanted}")
    found: Record = {"kind": "compute#guestAttributes", "selfLink": f"{LINK}{key}/guestAttributes/{wanted}"}
    if variable:
        return found | {"variableKey": variable, "variableValue": next(iter(chosen.values()))}
    entries = [
        {"namespace": name.partition("/")[0], "key": name.partition("/")[2], "value": value}
        for name, value in sorted(chosen.items())
    ]
    return found | {"queryPath": path, "queryValue": {"items": entries}}


def _matches(name: str, wanted: str) -> bool:
    space = wanted.rstrip("/")
    return not space or name == space or name.startswith(f"{space}/")
