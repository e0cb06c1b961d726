"""Methods of objects whose contents are there already."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stoneware.emulator import errors
from stoneware.emulator.service import Call
from stoneware.emulator.storage import conditions, contents, listing
from stoneware.emulator.storage.contents import Summary
from stoneware.emulator.storage.merging import merged
from stoneware.emulator.storage.records import (
    CONTENT,
    FIELDS,
    Records,
    check_fields,
    check_object_name,
    held,
    key_of,
    show,
)
from stoneware.emulator.store import Record

_MOST_PARTS = 32  # of a composition, as Google's


def found(records: Records, query: Mapping[str, Any], *, reads: bool = False) -> Record:
    """Return the object that a request names, if its conditions hold. Raises ApiError (404, 412, 304)."""
    record = records.object(query["bucket"], query["object"], query.get("generation"))
    conditions.check(query, record, reads=reads)
    return record


def insert(_: Records, __: Call) -> Record:
    """Refuse an object without contents, as the API does."""
    raise errors.ApiError(
        400, "wrongUrlForUpload", "Upload requests must be uploaded to /upload/storage/v1/…"
    )


def get(records: Records, call: Call) -> Record:
    """Return what is known of an object."""
    return show(found(records, call.query, reads=True), call.base)


def listed(records: Records, call: Call) -> Record:
    """Return a page of the objects of a bucket."""
    bucket = call.query["bucket"]
    records.bucket(bucket)
    return listing.objects(records, bucket, call.query, call.base)


def patch(records: Records, call: Call) -> Record:
    """Change what the body has of an object."""
    nulls = {field: gone for field, gone in call.nulls.items() if field in FIELDS}
    return _changed(records, call, lambda record: merged(record, _given(call), nulls))


def update(records: Records, call: Call) -> Record:
    """Replace what the body can say of an object."""
    return _changed(
        records,
        call,
        lambda record: (
            {field: value for field, value in record.items() if field not in FIELDS - {"storageClass"}}
            | _given(call)
        ),
    )


def _given(call: Call) -> Record:
    return {field: value for field, value in call.body.items() if field in FIELDS}


def _changed(records: Records, call: Call, change: Callable[[Record], Record]) -> Record:
    before = found(records, call.query)
    record = change(before)
    record.setdefault("storageClass", before["storageClass"])
    check_fields(record)
    records.update(key_of(before), record)
    return show(record, call.base)


def delete(records: Records, call: Call) -> Record:
    """Remove an object; where the bucket keeps versions, only one whose generation is named is gone."""
    record = found(records, call.query)
    if "generation" not in call.query:
        records.displace(record["bucket"], record["name"])
        return {}
    held(record)
    records.store.remove(key_of(record))
    # Only once the record is gone for good; a kill before leaves the file to the sweep of the next start.
    records.store.afterwards(lambda: records.contents.forget(record[CONTENT]))
    return {}


def copy(records: Records, call: Call) -> Record:
    """Make an object of another's contents."""
    return show(_copied(records, call), call.base)


def rewrite(records: Records, call: Call) -> Record:
    """Make an object of another's contents, all at once."""
    record = _copied(records, call)
    size = record["size"]
    return {
        "kind": "storage#rewriteResponse",
        "totalBytesRewritten": size,
        "objectSize": size,
        "done": True,
        "resource": show(record, call.base),
    }


def _copied(records: Records, call: Call) -> Record:
    query = call.query
    source = records.object(query["sourceBucket"], query["sourceObject"], query.get("sourceGeneration"))
    conditions.check(query, source, source=True)
    bucket, name = query["destinationBucket"], check_object_name(query["destinationObject"])
    conditions.check(query, records.live(bucket, name))
    given = _given(call)
    # As Google does it: fields of the request replace all that the source had, but its type.
    same = (
        {"contentType": source.get("contentType")}
        if given
        else {field: source.get(field) for field in FIELDS}
    )
    return _written(records, (bucket, name), same | given, source)


def _written(records: Records, where: tuple[str, str], fields: Record, source: Record) -> Record:
    # Under a name of its own: source and copy are deleted independently.
    content = records.contents.keep(records.contents.path(source[CONTENT]))
    summary = Summary(int(source["size"]), source.get("md5Hash", ""), source["crc32c"])
    kept = {field: value for field, value in fields.items() if value is not None}
    return records.write(where, kept, content, summary, source.get("componentCount", 0))


def move(records: Records, call: Call) -> Record:
    """Give an object another name."""
    query, bucket = call.query, call.query["bucket"]
    source = records.object(bucket, query["sourceObject"])
    conditions.check(query, source, source=True)
    name = check_object_name(query["destinationObject"])
    conditions.check(query, records.live(bucket, name))
    if name == source["name"]:
        raise errors.ApiError(400, "invalid", "The object has that name already.")
    record = _written(records, (bucket, name), {field: source.get(field) for field in FIELDS}, source)
    records.displace(bucket, source["name"])
    return show(record, call.base)


def compose(records: Records, call: Call) -> Record:
    """Make an object of the contents of several others."""
    query = call.query
    bucket, name = query["destinationBucket"], check_object_name(query["destinationObject"])
    conditions.check(query, records.live(bucket, name))
    parts = call.body.get("sourceObjects", [])
    if not 0 < len(parts) <= _MOST_PARTS:
        raise errors.ApiError(
            400, "invalid", f"The number of source components provided must be from 1 to {_MOST_PARTS}."
        )
    sources = [_part(records, bucket, part) for part in parts]
    with records.contents.gathered() as joined:
        records.contents.joined([source[CONTENT] for source in sources], joined)
        summary = contents.summary(joined)
        content = records.contents.keep(joined)
    count = sum(source.get("componentCount", 1) for source in sources)
    fields = call.body.get("destination", {})
    return show(records.write((bucket, name), fields, content, summary, count), call.base)


def _part(records: Records, bucket: str, part: Mapping[str, Any]) -> Record:
    source = records.object(bucket, part.get("name", ""), part.get("generation"))
    conditions.check(part.get("objectPreconditions", {}), source)
    return source
