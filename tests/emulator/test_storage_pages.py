"""Pages of buckets, and what is said of an upload before its bytes: without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web

from stoneware.emulator import discovery
from stoneware.emulator.errors import ApiError
from stoneware.emulator.service import Call
from stoneware.emulator.storage import buckets, listing, sessions
from stoneware.emulator.storage.contents import Contents
from stoneware.emulator.storage.records import PROJECT, Records, bucket_key, object_key
from stoneware.emulator.store import Store

pytestmark = pytest.mark.pure

NAMES = ["apple", "banana", "cherry", "date", "elder"]


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    store = Store(tmp_path)
    store.put("projects/proj-1", {"id": "123456789012", "name": "proj-1"})
    for name in [*NAMES, "other"]:
        owner = "another" if name == "other" else "proj-1"
        record = {
            "name": name,
            "kind": "storage#bucket",
            PROJECT: owner,
            "generation": "1",
            "metageneration": "1",
        }
        store.put(bucket_key(name), record)
    yield Records(store, Contents(tmp_path))
    store.close()


def pages(records: Records, **query: Any) -> list[list[str]]:
    found: list[list[str]] = []
    token: dict[str, str] = {}
    while True:
        reply = listing.buckets(records, "proj-1", {**query, **token}, "http://x")
        found.append([item["name"] for item in reply.get("items", [])])
        if "nextPageToken" not in reply:
            return found
        token = {"pageToken": reply["nextPageToken"]}
        assert len(found) < 10


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (1, [[name] for name in NAMES]),
        (2, [NAMES[:2], NAMES[2:4], NAMES[4:]]),
        (5, [NAMES]),
        (5000, [NAMES]),
        (None, [NAMES]),
    ],
)
def test_pages_have_each_bucket_of_the_project_once(
    records: Records, size: int | None, expected: list[list[str]]
) -> None:
    assert pages(records, maxResults=size) == expected


def test_a_prefix_is_asked_for_on_every_page(records: Records) -> None:
    assert pages(records, prefix="b") == [["banana"]]
    assert pages(records, prefix="x") == [[]]


@pytest.mark.parametrize("token", ["%%%", "e30=", "WyJhIl0=", "bm9uc2Vuc2U="])
def test_a_token_that_nobody_gave_is_refused(records: Records, token: str) -> None:
    with pytest.raises(ApiError, match="page token"):
        listing.buckets(records, "proj-1", {"pageToken": token}, "")


def names_of(records: Records, **query: Any) -> tuple[list[str], list[str]]:
    """Return the objects and the prefixes that are listed."""
    reply = listing.objects(records, "apple", query, "http://x")
    return [item["name"] for item in reply.get("items", [])], reply.get("prefixes", [])


@pytest.mark.parametrize(
    ("query", "objects", "prefixes"),
    [
        ({}, ["a", "b", "b/c", "b/d/e", "f"], []),
        ({"startOffset": "b"}, ["b", "b/c", "b/d/e", "f"], []),
        ({"endOffset": "b/c"}, ["a", "b"], []),
        ({"startOffset": "b", "endOffset": "f"}, ["b", "b/c", "b/d/e"], []),
        ({"delimiter": "/"}, ["a", "b", "f"], ["b/"]),
        ({"delimiter": "/", "prefix": "b/"}, ["b/c"], ["b/d/"]),
        ({"prefix": "b/", "endOffset": "b/d"}, ["b/c"], []),
    ],
)
def test_objects_between_offsets_and_below_prefixes(
    records: Records, query: dict[str, str], objects: list[str], prefixes: list[str]
) -> None:
    for name in ("a", "b", "b/c", "b/d/e", "f"):
        record = {
            "name": name,
            "bucket": "apple",
            "kind": "storage#object",
            "generation": "1",
            "metageneration": "1",
        }
        records.store.put(object_key("apple", name), record)
    assert names_of(records, **query) == (objects, prefixes)


def call(method: str, query: dict[str, Any], body: dict[str, Any] | None = None) -> Call:
    return Call(discovery.load("storage.v1").methods[f"storage.buckets.{method}"], query, body or {})


def test_a_bucket_says_what_google_says_of_each(records: Records) -> None:
    made = buckets.insert(records, call("insert", {"project": "proj-1"}, {"name": "new-one"}))
    assert (made["storageClass"], made["location"], made["locationType"]) == (
        "STANDARD",
        "US",
        "multi-region",
    )
    access = made["iamConfiguration"]
    assert access["publicAccessPrevention"] == "inherited"
    assert access["uniformBucketLevelAccess"] == {"enabled": False} == access["bucketPolicyOnly"]
    assert buckets.get(records, call("get", {"bucket": "new-one"})) == made


def test_what_a_bucket_is_given_stays_and_a_change_keeps_the_rest(records: Records) -> None:
    body = {"name": "cold", "storageClass": "NEARLINE", "location": "us-central1", "labels": {"a": "b"}}
    made = buckets.insert(records, call("insert", {"project": "proj-1"}, body))
    assert (made["storageClass"], made["location"], made["locationType"]) == (
        "NEARLINE",
        "US-CENTRAL1",
        "region",
    )
    changed = buckets.patch(records, call("patch", {"bucket": "cold"}, {"labels": {"c": "d"}}))
    assert changed["labels"] == {"a": "b", "c": "d"}
    assert changed["storageClass"] == "NEARLINE"
    gone = Call(call("patch", {}).method, {"bucket": "cold"}, {}, nulls={"storageClass": None})
    assert buckets.patch(records, gone)["storageClass"] == "STANDARD"
    replaced = buckets.update(records, call("update", {"bucket": "cold"}, {}))
    assert "labels" not in replaced
    assert replaced["storageClass"] == "STANDARD"
    with pytest.raises(ApiError, match="cannot be changed"):
        buckets.patch(records, call("patch", {"bucket": "cold"}, {"location": "EU"}))


class Request:
    """The head of an upload, whose document arrives in pieces."""

    def __init__(self, *pieces: bytes, **headers: str) -> None:
        self.content = self
        self.pieces = list(pieces)
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.path = "/upload/storage/v1/b/apple/o"

    async def read(self, _most: int) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""


def begun(records: Records, request: Request, **query: str) -> dict[str, Any]:
    document = discovery.load("storage.v1")
    insert = document.methods["storage.objects.insert"]
    call = Call(insert, {"bucket": "apple", **query}, base="http://x")
    asyncio.run(sessions.Sessions(records, document).begin(call, cast("web.Request", request)))
    (found,) = [record for _, record in records.store.under("uploads")]
    return found


def test_a_description_that_arrives_in_pieces_is_read_to_its_end(records: Records) -> None:
    found = begun(records, Request(b'{"name": "a/', b"long ", b'name"}', X_Upload_Content_Type="text/x"))
    assert found["fields"] == {"name": "a/long name", "contentType": "text/x"}
    assert found["total"] is None


def test_a_description_without_an_end_is_refused(records: Records) -> None:
    with pytest.raises(ApiError, match="Invalid JSON payload"):
        begun(records, Request(b'{"name": "', *[b"x" * 300_000] * 9))
    assert not records.store.keys("uploads")


def test_an_upload_that_could_not_end_well_does_not_begin(records: Records) -> None:
    record = {
        "name": "a",
        "bucket": "apple",
        "kind": "storage#object",
        "generation": "7",
        "metageneration": "1",
    }
    records.store.put(object_key("apple", "a"), record)
    with pytest.raises(ApiError) as refused:
        begun(records, Request(b'{"name": "a"}'), ifGenerationMatch="0")
    assert refused.value.status == 412
    assert begun(records, Request(b'{"name": "a"}'), ifGenerationMatch="7")["fields"]["name"] == "a"
