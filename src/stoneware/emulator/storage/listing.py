"""Pages of buckets and objects: prefixes, delimiters, tokens."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from typing import Any

from stoneware.emulator import errors
from stoneware.emulator.storage.records import PROJECT, Place, Records, show
from stoneware.emulator.store import Record

LARGEST = 1000  # entries of a page
_PREFIX = 1 << 63  # comes after the generations of one name
Entry = tuple[Place, str | None]  # a place and the key of its record; none: the place's name is a prefix


def objects(records: Records, bucket: str, query: Mapping[str, Any], base: str) -> Record:
    """Return a page of a bucket's objects as the API shows it. Raises ApiError (400, 501)."""
    for name in ("matchGlob", "softDeleted", "filter"):
        if query.get(name):
            raise errors.not_implemented(
                f"The parameter {name} of storage.objects.list", "lists are by prefix and delimiter"
            )
    places = records.places(bucket, query.get("versions", False))
    page, token = _page(_collapsed(_wanted(places, query), query), query)
    reply: Record = {"kind": "storage#objects"}
    if prefixes := [place[0] for place, key in page if key is None]:
        reply["prefixes"] = prefixes
    if items := _shown(records, page, base):
        reply["items"] = items
    return reply | token


def buckets(records: Records, project: str, query: Mapping[str, Any], base: str) -> Record:
    """Return a page of a project's buckets as the API shows it. Raises ApiError (400)."""
    entries: list[Entry] = [
        ((record["name"], 0), key)
        for key, record in records.store.under("b")
        if record[PROJECT] == project and record["name"].startswith(query.get("prefix", ""))
    ]
    page, token = _page(sorted(entries), query)
    items = _shown(records, page, base)
    return {"kind": "storage#buckets"} | ({"items": items} if items else {}) | token


def _shown(records: Records, page: Iterable[Entry], base: str) -> list[Record]:
    found = [records.store.get(key) for _, key in page if key is not None]
    return [show(record, base) for record in found if record is not None]


def _place(entry: Entry) -> Place:
    return entry[0]


def _wanted(places: Mapping[Place, str], query: Mapping[str, Any]) -> list[Entry]:
    prefix, start, end = (query.get(name, "") for name in ("prefix", "startOffset", "endOffset"))
    found = [
        (place, key)
        for place, key in places.items()
        if place[0].startswith(prefix) and place[0] >= start and (not end or place[0] < end)
    ]
    return sorted(found)


def _collapsed(entries: list[Entry], query: Mapping[str, Any]) -> list[Entry]:
    """Put one prefix in the place of all names that have the delimiter after the prefix asked for."""
    delimiter, skip = query.get("delimiter", ""), len(query.get("prefix", ""))
    if not delimiter:
        return entries
    trailing = query.get("includeTrailingDelimiter", False)
    kept: dict[Place, str | None] = {}
    for place, key in entries:
        name = place[0]
        at = name.find(delimiter, skip)
        if at < 0:
            kept[place] = key
            continue
        prefix = name[: at + len(delimiter)]
        if trailing and name == prefix:
            kept[place] = key
        # Behind all versions of an object whose name is the prefix itself.
        kept[prefix, _PREFIX] = None
    return sorted(kept.items(), key=_place)


def _page(entries: list[Entry], query: Mapping[str, Any]) -> tuple[list[Entry], Record]:
    if query.get("pageToken"):
        after = _read(query["pageToken"])
        entries = [entry for entry in entries if entry[0] > after]
    size = min(int(query.get("maxResults") or LARGEST), LARGEST)
    page = entries[:size]
    if len(entries) <= size:
        return page, {}
    # By the place of the last one: what comes or goes before it moves no page.
    return page, {"nextPageToken": base64.urlsafe_b64encode(json.dumps(page[-1][0]).encode()).decode()}


def _read(token: str) -> Place:
    try:
        name, generation = json.loads(base64.urlsafe_b64decode(token.encode()))
        return str(name), int(generation)
    except (binascii.Error, ValueError, TypeError, RecursionError) as error:
        raise errors.invalid("pageToken", token, "The page token is invalid.") from error
