"""Records of zones, of the record sets in them and of changes: their keys, and pages of them."""

from __future__ import annotations

from collections.abc import Iterable

from stoneware.emulator import errors
from stoneware.emulator.errors import ApiError
from stoneware.emulator.records import DatedRecords
from stoneware.emulator.service import Call
from stoneware.emulator.store import Record

_PAGE = 1000


class Records(DatedRecords):
    """The zones of a store."""

    def zones(self, call: Call) -> str:
        """Return the key below which a project's zones are. Raises ApiError (404)."""
        key = f"projects/{call.project}"
        if self.store.get(key) is None:
            raise errors.not_found(key)
        return f"{key}/managedZones"

    def zone(self, call: Call) -> tuple[str, Record]:
        """Return the key and record of a zone, by its name or number. Raises ApiError (404)."""
        place, name = self.zones(call), str(call.query["managedZone"])
        found = self.store.get(f"{place}/{name}")
        if found is not None:
            return f"{place}/{name}", found
        for key, record in self.store.under(place):
            if record.get("id") == name and record.get("kind") == "dns#managedZone":
                return key, record
        raise missing("managedZone", name)

    def sets(self, zone: str) -> list[tuple[str, Record]]:
        """Return the record sets of a zone, by its key, in the order of names and types."""
        return sorted(self.store.under(f"{zone}/rrsets"), key=lambda pair: pair[0])


def set_key(zone: str, name: str, kind: str) -> str:
    """Return the key of a record set; names have no slash."""
    return f"{zone}/rrsets/{name.replace('/', '_')} {kind}"


def missing(parameter: str, name: str) -> ApiError:
    """Return the error for what is not there."""
    message = f"The 'parameters.{parameter}' resource named '{name}' does not exist."
    return ApiError(404, "notFound", message)


def taken(what: str, name: str) -> ApiError:
    """Return the error for what is there already."""
    return ApiError(409, "alreadyExists", f"The resource '{what}' named '{name}' already exists")


def wrong(field: str, value: object, why: str = "") -> ApiError:
    """Return the error for a value that makes no sense."""
    return ApiError(400, "invalid", f"Invalid value for '{field}': '{value}'{' ' if why else ''}{why}")


def page(call: Call, field: str, kind: str, found: Iterable[Record]) -> Record:
    """Return a page of a list."""
    items = list(found)
    token = str(call.query.get("pageToken") or "0")
    start = int(token) if token.isdigit() and len(token) < 10 else 0
    most = min(int(call.query.get("maxResults") or _PAGE), _PAGE)
    reply: Record = {"kind": kind, field: items[start : start + most]}
    return reply | ({"nextPageToken": str(start + most)} if start + most < len(items) else {})
