"""Records of buckets and objects: their keys, how they are kept, replaced and shown."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote

from stoneware.emulator import errors
from stoneware.emulator.records import DatedRecords
from stoneware.emulator.service import shown
from stoneware.emulator.storage.contents import Contents, Summary
from stoneware.emulator.store import Record, Store

Place = tuple[str, int]
LIVE = 1 << 62  # after the generations of the versions that are not
CONTENT = "x-content"  # of an object: the name of its contents
PROJECT = "x-project"  # of a bucket
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_HEADERS = ("cacheControl", "contentDisposition", "contentEncoding", "contentLanguage", "contentType")
#: What a client may say of an object.
FIELDS = frozenset(
    {*_HEADERS, "contexts", "customTime", "eventBasedHold", "metadata", "storageClass", "temporaryHold"}
)
_METADATA = 8 << 10  # bytes of an object's own keys and values
_unquoted = lru_cache(maxsize=1 << 16)(unquote)  # a list asks for the names of all objects, page by page
_CONTROLS = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_CLASSES = (
    *("STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"),
    *("REGIONAL", "MULTI_REGIONAL", "DURABLE_REDUCED_AVAILABILITY"),
)


class Records(DatedRecords):
    """The buckets and objects of a store. `clock`: seconds since 1970."""

    def __init__(self, store: Store, contents: Contents, clock: Callable[[], float] = time.time) -> None:
        super().__init__(store, clock)
        self.contents = contents
        # Generations grow even where the clock was set back.
        self._latest = max(map(int, store.field("generation", "b/")), default=0)
        uploads = {key.removeprefix("uploads/") for key in store.keys("uploads")}
        contents.sweep(store.field(CONTENT, "b/"), uploads)

    def generation(self) -> str:
        """Return a number that is larger than all before, by the clock in microseconds."""
        self._latest = max(self._latest + 1, int(self.clock() * 1e6))
        return str(self._latest)

    def bucket(self, name: str) -> Record:
        """Return a bucket's record. Raises ApiError (404)."""
        record = self.store.get(bucket_key(name))
        if record is None:
            raise errors.ApiError(404, "notFound", "The specified bucket does not exist.")
        return record

    def live(self, bucket: str, name: str) -> Record | None:
        """Return the record of an object as it is now, None where there is none. Raises ApiError (404)."""
        self.bucket(bucket)
        return self.store.get(object_key(bucket, name))

    def object(self, bucket: str, name: str, generation: str | None = None) -> Record:
        """Return the record of an object, of a generation if one is named. Raises ApiError (404)."""
        record = self.live(bucket, name)
        if generation is not None and (record is None or record["generation"] != generation):
            record = self.store.get(version_key(bucket, name, generation))
        if record is None:
            raise errors.ApiError(404, "notFound", f"No such object: {bucket}/{name}")
        return record

    def places(self, bucket: str, versions: bool) -> dict[Place, str]:
        """Return the keys of a bucket's objects by name and generation, which is LIVE of those that are live.

        With `versions` those as well that are not.
        """
        inside = bucket_key(bucket)
        found = {(_unquoted(key.rpartition("/")[2]), LIVE): key for key in self.store.keys(f"{inside}/o")}
        if versions:
            for key in self.store.keys(f"{inside}/v"):
                name, _, generation = key.rpartition("/")[2].rpartition("@")
                found[_unquoted(name), int(generation)] = key
        return found

    def write(
        self, where: tuple[str, str], fields: Record, content: str, summary: Summary, parts: int = 0
    ) -> Record:
        """Make an object of contents that are kept, in the place of one that is there. Raises ApiError.

        `where`: its bucket and name. `parts`: how many others it is composed of; it then has no MD5.
        """
        bucket, name = where
        self.displace(bucket, name)
        now, generation = self.now(), self.generation()
        record: Record = {
            "contentType": "application/octet-stream" if parts == 0 else None,
            "storageClass": self.bucket(bucket)["storageClass"],
        }
        record |= {field: value for field, value in fields.items() if field in FIELDS}
        check_fields(record)
        record |= {
            "kind": "storage#object",
            "name": name,
            "bucket": bucket,
            "generation": generation,
            "metageneration": "1",
            "timeCreated": now,
            "updated": now,
            "timeStorageClassUpdated": now,
            "timeFinalized": now,
            "size": str(summary.size),
            "crc32c": summary.crc32c,
            CONTENT: content,
        }
        record |= {"componentCount": parts} if parts else {"md5Hash": summary.md5}
        self.store.put(object_key(bucket, name), record)
        return record

    def displace(self, bucket: str, name: str) -> None:
        """Take an object out of its place: away, or among the noncurrent ones if the bucket keeps those."""
        record = self.live(bucket, name)
        if record is None:
            return
        held(record)
        self.store.remove(object_key(bucket, name))
        if self.bucket(bucket).get("versioning", {}).get("enabled"):
            key = version_key(bucket, name, record["generation"])
            self.store.put(key, record | {"timeDeleted": self.now()})
        else:
            self.store.afterwards(lambda: self.contents.forget(record[CONTENT]))

    def update(self, key: str, record: Record) -> None:
        """Keep a changed record, which has a new metageneration."""
        record |= {"metageneration": str(int(record["metageneration"]) + 1), "updated": self.now()}
        self.store.put(key, record)


def held(record: Record) -> None:
    """Raise ApiError (403) for an object that a hold keeps as it is."""
    for field, word in (("temporaryHold", "Temporary"), ("eventBasedHold", "Event-Based")):
        if record.get(field):
            raise errors.ApiError(
                403,
                "objectUnderActiveHold",
                f"Object '{record['bucket']}/{record['name']}' is under active {word} hold and cannot be "
                "deleted, overwritten or archived until hold is removed.",
            )


def bucket_key(name: str) -> str:
    """Return the key of a bucket."""
    return f"b/{quote(name, safe='')}"


def object_key(bucket: str, name: str) -> str:
    """Return the key of an object that is live."""
    return f"{bucket_key(bucket)}/o/{quote(name, safe='')}"


def version_key(bucket: str, name: str, generation: str) -> str:
    """Return the key of an object that is no longer live."""
    return f"{bucket_key(bucket)}/v/{quote(name, safe='')}@{generation}"


def key_of(record: Record) -> str:
    """Return the key of an object's record."""
    bucket, name = record["bucket"], record["name"]
    if "timeDeleted" in record:
        return version_key(bucket, name, record["generation"])
    return object_key(bucket, name)


def show(record: Record, base: str) -> Record:
    """Return a bucket or an object as the API shows it to a client that calls the server `base`."""
    # Clients follow `mediaLink`: with another server in it they would ask Google's.
    link = f"{base}/storage/v1/b/{quote(record.get('bucket') or record['name'], safe='')}"
    seen = {"id": record["name"], "selfLink": link, "etag": etag(record)}
    if record["kind"] == "storage#object":
        path = f"/o/{quote(record['name'], safe='')}"
        seen |= {
            "id": f"{record['bucket']}/{record['name']}/{record['generation']}",
            "selfLink": link + path,
            "mediaLink": f"{link.replace('/storage/', '/download/storage/', 1)}{path}"
            f"?generation={record['generation']}&alt=media",
        }
    return shown(record) | seen


def etag(record: Record) -> str:
    """Return what changes with each change of a record."""
    return base64.b64encode(f"{record['generation']}/{record['metageneration']}".encode()).decode()


def check_bucket_name(name: str) -> None:
    """Raise ApiError (400) for what no bucket is called."""
    parts = name.split(".")
    bad = (
        not _BUCKET.fullmatch(name)
        or any(not 0 < len(part) <= 63 for part in parts)
        or _ADDRESS.fullmatch(name)
        or name.startswith("goog")
    )
    if bad:
        raise errors.ApiError(400, "invalid", f"Invalid bucket name: '{name}'")


def check_object_name(name: str | None) -> str:
    """Return the name of an object. Raises ApiError (400) for none, or one that no object has."""
    if not name:
        raise errors.ApiError(400, "required", "Required object name is missing.")
    bad = (
        len(name.encode(errors="replace")) > 1024
        or "\r" in name
        or "\n" in name
        or name in (".", "..")
        or name.startswith(".well-known/acme-challenge/")
    )
    if bad:
        raise errors.ApiError(
            400,
            "invalid",
            "The object's name is longer than 1024 bytes of UTF-8, has a line end, or is reserved.",
        )
    return name


def check_class(record: Record) -> None:
    """Raise ApiError (400) for a storage class that is none."""
    if record.get("storageClass", "STANDARD") not in _CLASSES:
        raise errors.invalid("storageClass", record["storageClass"], f"Must be one of {', '.join(_CLASSES)}.")


def check_fields(record: Record) -> None:
    """Raise ApiError (400) for what a client says of an object and no reply can carry."""
    for field in _HEADERS:
        if _CONTROLS.search(str(record.get(field, ""))):
            raise errors.invalid(field, "…", "It has control characters, or is not UTF-8.")
    check_class(record)
    metadata: dict[str, Any] = record.get("metadata") or {}
    for key, value in metadata.items():
        if not isinstance(value, str):
            raise errors.invalid(f"metadata.{key}", value, "Must be a string.")
    if sum(len(key.encode()) + len(value.encode()) for key, value in metadata.items()) > _METADATA:
        raise errors.invalid("metadata", "…", f"Must be {_METADATA} bytes at most.")
