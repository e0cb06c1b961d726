"""Methods of managed zones."""

from __future__ import annotations

import re

from stoneware.emulator import checks, errors, values
from stoneware.emulator.dns.records import Records, page, set_key, taken, wrong
from stoneware.emulator.errors import ApiError
from stoneware.emulator.service import Call, shown
from stoneware.emulator.store import Record

_NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
DOMAIN = re.compile(r"(?=.{2,254}$)(?:(?:[A-Za-z0-9_*](?:[-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?)\.)+")
_KEPT = ("name", "dnsName", "description", "visibility", "privateVisibilityConfig", "labels")
_LATER = (
    "forwardingConfig",
    "peeringConfig",
    "reverseLookupConfig",
    "serviceDirectoryConfig",
    "dnssecConfig",
)
_CHANGED = ("description", "privateVisibilityConfig", "labels")
_PRIVATE = ["ns-gcp-private.googledomains.com."]
_PUBLIC = [f"ns-cloud-a{number}.googledomains.com." for number in (1, 2, 3, 4)]


def create(records: Records, call: Call) -> Record:
    """Make a zone, which begins with the records that each zone has."""
    body = _checked(call.body)
    place, name = records.zones(call), str(body.get("name", ""))
    if not _NAME.fullmatch(name):
        raise wrong("entity.managedZone.name", name)
    domain = str(body.get("dnsName", "")).lower()
    if not DOMAIN.fullmatch(domain):
        raise wrong("entity.managedZone.dnsName", domain, "It ends with a dot, as example.com. does.")
    if records.store.get(f"{place}/{name}") is not None:
        raise taken("entity.managedZone", name)
    visibility = str(body.get("visibility") or "public")
    if visibility not in ("private", "public"):
        raise wrong("entity.managedZone.visibility", visibility)
    servers = _PRIVATE if visibility == "private" else _PUBLIC
    record = {
        **{field: body[field] for field in _KEPT if field in body},
        "kind": "dns#managedZone",
        "id": values.new_id(),
        "creationTime": records.now(),
        "dnsName": domain,
        "visibility": visibility,
        "nameServers": servers,
    }
    records.store.put(f"{place}/{name}", record)
    _begin(records, f"{place}/{name}", domain, servers)
    return shown(record)


def _begin(records: Records, key: str, domain: str, servers: list[str]) -> None:
    start = f"{servers[0]} cloud-dns-hostmaster.google.com. 1 21600 3600 259200 300"
    for kind, data in (("NS", servers), ("SOA", [start])):
        one = {"kind": "dns#resourceRecordSet", "name": domain, "type": kind, "ttl": 21600, "rrdatas": data}
        records.store.put(set_key(key, domain, kind), one)


def _checked(body: Record) -> Record:
    for field in _LATER:
        # dnssecConfig whose state is off asks for nothing.
        if body.get(field) and body[field].get("state", "on") != "off":
            raise errors.not_implemented(f"managedZone.{field}", "zones hold record sets, and nothing else")
    checks.labels(body.get("labels") or {})
    return body


def get(records: Records, call: Call) -> Record:
    """Return a zone."""
    return shown(records.zone(call)[1])


def listed(records: Records, call: Call) -> Record:
    """Return a page of the zones, those of one domain where that is asked for."""
    found = (record for _, record in records.store.under(records.zones(call)))
    wanted = call.query.get("dnsName")
    zones = [
        shown(record)
        for record in found
        if record.get("kind") == "dns#managedZone" and wanted in (None, record["dnsName"])
    ]
    return page(call, "managedZones", "dns#managedZonesListResponse", zones)


def patch(records: Records, call: Call) -> Record:
    """Change what may be changed of a zone; the reply is an operation that is done."""
    key, record = records.zone(call)
    body = _checked(call.body)
    for field in ("name", "dnsName", "visibility"):
        if field in body and body[field] != record.get(field):
            raise wrong(f"entity.managedZone.{field}", body[field], "It cannot be changed.")
    before = shown(record)
    record = {**record, **{field: body[field] for field in _CHANGED if field in body}}
    records.store.put(key, record)
    return {
        "kind": "dns#operation",
        "id": values.new_id(),
        "startTime": records.now(),
        "status": "done",
        "type": "update",
        "zoneContext": {"oldValue": before, "newValue": shown(record)},
    }


def delete(records: Records, call: Call) -> Record:
    """Remove a zone that has no record sets but those that each zone has."""
    key, record = records.zone(call)
    # These come with a zone, and go with it.
    own = {set_key(key, record["dnsName"], kind) for kind in ("NS", "SOA")}
    if {place for place, _ in records.sets(key)} - own:
        name = record["name"]
        raise ApiError(
            400,
            "containerNotEmpty",
            f"The resource named '{name}' cannot be deleted because it contains one or more"
            " 'resource records'.",
        )
    for place, _ in [*records.store.under(f"{key}/rrsets"), *records.store.under(f"{key}/changes")]:
        records.store.remove(place)
    records.store.remove(key)
    return {}
