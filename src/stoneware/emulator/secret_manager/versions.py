"""Methods of versions, which have the payloads."""

from __future__ import annotations

import base64
import binascii

import google_crc32c

from stoneware.emulator.secret_manager.records import LATEST, Records, check_etag, failed, wrong
from stoneware.emulator.secret_manager.secrets import page
from stoneware.emulator.service import Call
from stoneware.emulator.store import Record

_DATA = "x-data"  # the payload in base64
LARGEST = 64 << 10  # bytes of a payload
_MANAGED = "replicationStatus"


def add(records: Records, call: Call) -> Record:
    """Make a version of a payload."""
    key, secret = records.secret(call.query["parent"])
    payload = call.body.get("payload", {})
    data = _decoded(payload.get("data", ""))
    claimed = payload.get("dataCrc32c")
    if claimed is not None and int(claimed) != google_crc32c.value(data):
        raise wrong("The received checksum does not match the payload's.")
    # Never given twice, for clients pin a version by its number.
    number = secret[LATEST] + 1
    records.store.put(key, secret | {LATEST: number})
    record: Record = {
        "createTime": records.now(),
        "state": "ENABLED",
        _MANAGED: _replicas(secret),
        "clientSpecifiedPayloadChecksum": claimed is not None or None,  # None is left out
        _DATA: base64.b64encode(data).decode(),
    }
    return records.put(f"{key}/versions/{number}", record)


def _replicas(secret: Record) -> Record:
    managed = secret.get("replication", {}).get("userManaged")
    if managed is None:
        return {"automatic": {}}
    return {"userManaged": {"replicas": [{"location": one["location"]} for one in managed["replicas"]]}}


def _decoded(text: str) -> bytes:
    try:
        # JSON of protobuf may have either alphabet of base64.
        data = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise wrong("payload.data is base64.") from error
    if not 0 < len(data) <= LARGEST:
        raise wrong(f"A payload has 1 to {LARGEST} bytes.")
    return data


def get(records: Records, call: Call) -> Record:
    """Return what is known of a version."""
    return records.show(*records.version(call.query["name"]))


def listed(records: Records, call: Call) -> Record:
    """Return a page of the versions of a secret, the newest first."""
    key, _ = records.secret(call.query["parent"])
    found = [records.show(*pair) for pair in records.store.under(f"{key}/versions")]
    return page(call, found, "versions")


def access(records: Records, call: Call) -> Record:
    """Return the payload of a version that is enabled."""
    key, record = records.version(call.query["name"])
    name = records.show(key, record)["name"]
    if record["state"] != "ENABLED":
        raise failed(f"Secret Version [{name}] is in {record['state']} state.")
    crc = google_crc32c.value(base64.b64decode(record[_DATA]))
    return {"name": name, "payload": {"data": record[_DATA], "dataCrc32c": str(crc)}}


def enable(records: Records, call: Call) -> Record:
    """Let a version be accessed."""
    return _turned(records, call, "ENABLED")


def disable(records: Records, call: Call) -> Record:
    """Let a version no longer be accessed."""
    return _turned(records, call, "DISABLED")


def destroy(records: Records, call: Call) -> Record:
    """Take a version's payload away for good."""
    return _turned(records, call, "DESTROYED")


def _turned(records: Records, call: Call, state: str) -> Record:
    key, record = records.version(call.query["name"])
    check_etag(record, call.body.get("etag"))
    if record["state"] == "DESTROYED":
        raise failed(f"Secret Version [{call.query['name']}] is in DESTROYED state.")
    record["state"] = state
    if state == "DESTROYED":
        record.pop(_DATA)
        record["destroyTime"] = records.now()
    return records.put(key, record)
