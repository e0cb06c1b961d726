"""Methods of record sets, and of changes, which add and remove some of them together or not at all."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from stoneware.emulator import errors
from stoneware.emulator.dns.records import Records, missing, page, set_key, taken, wrong
from stoneware.emulator.dns.zones import DOMAIN
from stoneware.emulator.errors import ApiError
from stoneware.emulator.service import Call, shown
from stoneware.emulator.store import Record

_SET = "entity.change.additions"
_TYPE = re.compile(r"[A-Z0-9]{1,12}")
_ADDRESSES = {"A": ipaddress.IPv4Address, "AAAA": ipaddress.IPv6Address}
_LONGEST_LIFE = 2**31 - 1  # seconds


def create(records: Records, call: Call) -> Record:
    """Make a change. It is done at once, and says so when it is asked for."""
    zone, record = records.zone(call)
    additions, deletions = call.body.get("additions") or [], call.body.get("deletions") or []
    if not (additions or deletions):
        raise wrong("entity.change", "{}", "It adds or removes something.")
    return _changed(records, zone, record, additions, deletions)


def _changed(
    records: Records, zone: str, record: Record, additions: Sequence[Record], deletions: Sequence[Record]
) -> Record:
    # First what goes: a record that changes is one that goes and one that comes, of the same name.
    for one in deletions:
        _remove(records, zone, one)
    added = [_add(records, zone, record, one) for one in additions]
    number = record.get("x-changes", 0) + 1
    records.store.put(zone, {**record, "x-changes": number})
    change = {
        "kind": "dns#change",
        "id": str(number),
        "startTime": records.now(),
        "additions": added,
        "deletions": list(deletions),
        "status": "done",
    }
    records.store.put(f"{zone}/changes/{number:012d}", change)
    # So that clients wait for it, as they have to for Google's.
    return _shown(change) | {"status": "pending"}


def _shown(change: Record) -> Record:
    return {name: value for name, value in shown(change).items() if value != []}


def _remove(records: Records, zone: str, wanted: Record) -> None:
    name, kind = str(wanted.get("name", "")).lower(), str(wanted.get("type", ""))
    found = records.store.get(set_key(zone, name, kind))
    if found is None:
        raise ApiError(
            404,
            "notFound",
            f"The resource record set 'entity.change.deletions' named '{name} ({kind})' does not exist.",
        )
    # Who deletes says what is there, so that nothing goes that somebody else has changed.
    if any(wanted.get(field, found[field]) != found[field] for field in ("ttl", "rrdatas")):
        raise ApiError(
            412,
            "conditionNotMet",
            f"Precondition not met for 'entity.change.deletions' named '{name} ({kind})'",
        )
    if kind in ("NS", "SOA") and name == (records.store.get(zone) or {}).get("dnsName"):
        raise wrong("entity.change.deletions", name, "A zone keeps the records that it begins with.")
    records.store.remove(set_key(zone, name, kind))


def _add(records: Records, zone: str, record: Record, wanted: Record) -> Record:
    one = _checked(record, wanted)
    name, kind = one["name"], one["type"]
    there = {each["type"] for _, each in records.sets(zone) if each["name"] == name}
    if kind in there:
        raise taken(_SET, f"{name} ({kind})")
    # A CNAME stands alone (RFC 1034).
    if "CNAME" in there or (kind == "CNAME" and there):
        raise ApiError(
            400, "cnameResourceRecordSetConflict", f"'{name}' cannot have a CNAME and other records."
        )
    records.store.put(set_key(zone, name, kind), one)
    return shown(one)


def _checked(zone: Record, wanted: Record) -> Record:
    if wanted.get("routingPolicy"):
        raise errors.not_implemented("resourceRecordSet.routingPolicy", "record sets have their data only")
    # Names are the same in either case.
    name, kind = str(wanted.get("name", "")).lower(), str(wanted.get("type", ""))
    if not DOMAIN.fullmatch(name) or not f".{name}".endswith(f".{zone['dnsName']}"):
        raise wrong(f"{_SET}.name", name, f"It ends with {zone['dnsName']}")
    if not _TYPE.fullmatch(kind):
        raise wrong(f"{_SET}.type", kind)
    life, data = wanted.get("ttl", 0), wanted.get("rrdatas") or []
    if not 0 <= int(life) <= _LONGEST_LIFE:
        raise wrong(f"{_SET}.ttl", life)
    if not data or len(set(data)) < len(data):
        raise wrong(f"{_SET}.rrdata", data)
    if kind in _ADDRESSES:
        for text in data:
            _address(kind, text)
    return {
        "kind": "dns#resourceRecordSet",
        "name": name,
        "type": kind,
        "ttl": int(life),
        "rrdatas": list(data),
    }


def _address(kind: str, text: str) -> None:
    try:
        _ADDRESSES[kind](text)
    except ValueError:
        raise wrong(f"{_SET}.rrdata", text) from None


def get(records: Records, call: Call) -> Record:
    """Return a change."""
    zone, _ = records.zone(call)
    number = str(call.query["changeId"])
    found = records.store.get(f"{zone}/changes/{number.zfill(12)}") if number.isdigit() else None
    if found is None:
        raise missing("changeId", number)
    return _shown(found)


def listed(records: Records, call: Call) -> Record:
    """Return a page of the changes, the newest first unless the order says otherwise."""
    zone, _ = records.zone(call)
    found = sorted(records.store.under(f"{zone}/changes"), key=lambda pair: pair[0])
    if call.query.get("sortOrder") != "ascending":
        found.reverse()
    return page(call, "changes", "dns#changesListResponse", (_shown(record) for _, record in found))


def record_sets(records: Records, call: Call) -> Record:
    """Return a page of the record sets, those of a name and type where these are asked for."""
    zone, _ = records.zone(call)
    name, kind = call.query.get("name"), call.query.get("type")
    found = [
        shown(record)
        for _, record in records.sets(zone)
        if name in (None, record["name"]) and kind in (None, record["type"])
    ]
    return page(call, "rrsets", "dns#resourceRecordSetsListResponse", found)


def record_set(records: Records, call: Call) -> Record:
    """Return one record set."""
    zone, _ = records.zone(call)
    return shown(_existing(records, zone, call))


def _existing(records: Records, zone: str, call: Call) -> Record:
    name, kind = str(call.query["name"]).lower(), str(call.query["type"])
    found = records.store.get(set_key(zone, name, kind))
    if found is None:
        raise missing("name", f"{name} ({kind})")
    return found


def add(records: Records, call: Call) -> Record:
    """Make one record set."""
    zone, record = records.zone(call)
    (made,) = _changed(records, zone, record, [call.body], [])["additions"]
    found: Record = made
    return found


def replace(records: Records, call: Call) -> Record:
    """Change what the body has of one record set."""
    zone, record = records.zone(call)
    before = _existing(records, zone, call)
    given: Record = {field: call.body[field] for field in ("ttl", "rrdatas") if field in call.body}
    after: Record = {**before, **given}
    (made,) = _changed(records, zone, record, [after], [before])["additions"]
    found: Record = made
    return found


def remove(records: Records, call: Call) -> Record:
    """Remove one record set."""
    zone, record = records.zone(call)
    _changed(records, zone, record, [], [_existing(records, zone, call)])
    return {}
