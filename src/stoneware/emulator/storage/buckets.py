"""Methods of buckets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stoneware.emulator import catalog, errors, values
from stoneware.emulator.service import Call
from stoneware.emulator.storage import conditions, listing
from stoneware.emulator.storage.merging import merged
from stoneware.emulator.storage.records import (
    PROJECT,
    Records,
    bucket_key,
    check_bucket_name,
    check_class,
    show,
)
from stoneware.emulator.store import Record

_POLICY = "x-policy"
#: What Google alone says of a bucket, and what is not kept of one.
_NOT_GIVEN = frozenset(
    {
        *("acl", "defaultObjectAcl", "etag", "generation", "id", "kind", "locationType", "metageneration"),
        *("name", "owner", "projectNumber", "selfLink", "softDeletePolicy", "timeCreated", "updated"),
    }
)
_MULTI = ("US", "EU", "ASIA")


def insert(records: Records, call: Call) -> Record:
    """Make a bucket in a project that is there."""
    project, name = call.query["project"], call.body.get("name", "")
    owner = records.store.get(f"projects/{project}")
    if owner is None:
        raise errors.ApiError(400, "invalid", f"Unknown project id: {project}")
    check_bucket_name(name)
    if records.store.get(bucket_key(name)) is not None:
        raise errors.ApiError(
            409,
            "conflict",
            "Your previous request to create the named bucket succeeded and you already own it.",
        )
    now = records.now()
    record: Record = {"storageClass": "STANDARD", "location": "US", "rpo": "DEFAULT"} | _given(call.body)
    record["location"] = record["location"].upper()
    record |= {
        "kind": "storage#bucket",
        "name": name,
        "projectNumber": owner["id"],
        "generation": records.generation(),
        "metageneration": "1",
        "timeCreated": now,
        "updated": now,
        "locationType": _location_type(record["location"]),
        "softDeletePolicy": {"retentionDurationSeconds": "0"},
        PROJECT: project,
    }
    _complete(record)
    records.store.put(bucket_key(name), record)
    return show(record, call.base)


def _given(body: Mapping[str, Any]) -> Record:
    return {field: value for field, value in body.items() if field not in _NOT_GIVEN}


def _location_type(location: str) -> str:
    if location.lower() in catalog.REGIONS:
        return "region"
    if location in _MULTI:
        return "multi-region"
    raise errors.ApiError(400, "invalid", f"The specified location constraint is not valid: {location}")


def _complete(record: Record) -> None:
    """Say of a bucket what the API says of each: its class, and who has access."""
    record.setdefault("storageClass", "STANDARD")
    check_class(record)
    access = {"publicAccessPrevention": "inherited"} | record.get("iamConfiguration", {})
    uniform = {"enabled": False} | access.get("uniformBucketLevelAccess", {})
    # bucketPolicyOnly is the old name of the same.
    record["iamConfiguration"] = access | {"uniformBucketLevelAccess": uniform, "bucketPolicyOnly": uniform}


def get(records: Records, call: Call) -> Record:
    """Return a bucket."""
    record = records.bucket(call.query["bucket"])
    conditions.check(call.query, record, reads=True)
    return show(record, call.base)


def listed(records: Records, call: Call) -> Record:
    """Return a page of a project's buckets."""
    return listing.buckets(records, call.query["project"], call.query, call.base)


def patch(records: Records, call: Call) -> Record:
    """Change what the body has of a bucket."""
    nulls = {field: gone for field, gone in call.nulls.items() if field not in _NOT_GIVEN}
    return _changed(records, call, lambda record: merged(record, _given(call.body), nulls))


def update(records: Records, call: Call) -> Record:
    """Replace what the body can say of a bucket."""
    # A bucket always has these: where the body lacks them they stay.
    keep = {*_NOT_GIVEN, "location", "storageClass", "rpo", PROJECT, _POLICY}
    return _changed(
        records,
        call,
        lambda record: {field: value for field, value in record.items() if field in keep} | _given(call.body),
    )


def _changed(records: Records, call: Call, change: Any) -> Record:
    before = records.bucket(call.query["bucket"])
    conditions.check(call.query, before)
    record: Record = change(before)
    # Clients write it in either case.
    record["location"] = str(record.get("location", before["location"])).upper()
    if record["location"] != before["location"]:
        raise errors.invalid("location", record["location"], "The location of a bucket cannot be changed.")
    _complete(record)
    records.update(bucket_key(record["name"]), record)
    return show(record, call.base)


def delete(records: Records, call: Call) -> Record:
    """Remove a bucket that is empty."""
    record = records.bucket(call.query["bucket"])
    conditions.check(call.query, record)
    # Versions that are kept are objects too.
    if records.places(record["name"], versions=True):
        raise errors.ApiError(409, "conflict", "The bucket you tried to delete is not empty.")
    records.store.remove(bucket_key(record["name"]))
    return {}


def layout(records: Records, call: Call) -> Record:
    """Return where a bucket is, and that its names are flat."""
    record = records.bucket(call.query["bucket"])
    return {
        "kind": "storage#storageLayout",
        "bucket": record["name"],
        "location": record["location"],
        "locationType": record["locationType"],
        "hierarchicalNamespace": {"enabled": False},
    }


def managed_folders(records: Records, call: Call) -> Record:
    """Return the managed folders of a bucket: none, for none can be made."""
    records.bucket(call.query["bucket"])
    return {"kind": "storage#managedFolders", "items": []}


def policy(records: Records, call: Call) -> Record:
    """Return who may do what; nobody is refused anything, whatever it says."""
    return _policy(records.bucket(call.query["bucket"]))


def _policy(record: Record) -> Record:
    owners = f"projectOwner:{record[PROJECT]}"
    kept = record.get(_POLICY) or {
        "version": 1,
        "bindings": [{"role": "roles/storage.legacyBucketOwner", "members": [owners]}],
    }
    head = {"kind": "storage#policy", "resourceId": f"projects/_/buckets/{record['name']}"}
    return head | kept | {"etag": values.fingerprint(kept)}


def set_policy(records: Records, call: Call) -> Record:
    """Replace who may do what; with an etag, only if it is the current one's."""
    record = records.bucket(call.query["bucket"])
    wanted = call.body.get("etag")
    if wanted and wanted != _policy(record)["etag"]:
        raise conditions.failed()
    record[_POLICY] = {
        "version": call.body.get("version", 1),
        "bindings": call.body.get("bindings", []),
    }
    records.update(bucket_key(record["name"]), record)
    return _policy(record)


def permissions(records: Records, call: Call) -> Record:
    """Return all permissions that are asked about: the emulator refuses nobody anything."""
    records.bucket(call.query["bucket"])
    return {"kind": "storage#testIamPermissionsResponse", "permissions": call.query["permissions"]}
