"""Pages of buckets and objects: prefixes, delimiters, tokens."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from typing import Any

from stoneware.emulator import errors
from stoneware.emulator.storage.records import show
from stoneware.emulator.store import Record

LARGEST = 1000  # entries of a page
_LAST = 1 << 63  # comes after the generations of one name
Place = tuple[str, int]
Entry = tuple[Place, Record | None]  # None: the place's name is a prefix


def objects(records: Iterable[Record], query: Mapping[str, Any], base: str) -> Record:
    """Return a page of a bucket's objects as the API shows it. Raises ApiError (400, 501)."""
    for name in ("matchGlob", "softDeleted", "filter"):
        if query.get(name):
            raise errors.not_implemented(
                f"The parameter {name} of storage.objects.list", "lists are by prefix and delimiter"
            )
    entries = _collapsed(_wanted(records, query), query)
    page, token = _page(entries, query)
    reply: Record = {"kind": "storage#objects"}
    if prefixes := [place[0] for place, record in page if record is None]:
        reply["prefixes"] = prefixes
    if items := [show(record, base) for _, record in page if record is not None]:
        reply["items"] = items
    return reply | token


def buckets(records: Iterable[Record], query: Mapping[str, Any], base: str) -> Record:
    """Return a page of buckets as the API shows it. Raises ApiError (400)."""
    prefix = query.get("prefix", "")
    named = [record for record in records if record["name"].startswith(prefix)]
    entries: list[Entry] = [((record["name"], 0), record) for record in named]
    page, token = _page(sorted(entries, key=_place), query)
    items = [show(record, base) for _, record in page if record is not None]
    return {"kind": "storage#buckets"} | ({"items": items} if items else {}) | token


def _place(entry: Entry) -> Place:
    return entry[0]


def _wanted(records: Iterable[Record], query: Mapping[str, Any]) -> list[Entry]:
    prefix, start, end = (query.get(name, "") for name in ("prefix", "startOffset", "endOffset"))
    found: list[Entry] = [
        ((record["name"], int(record["generation"])), record)
        for record in records
        if record["name"].startswith(prefix) and record["name"] >= start and (not end or record["name"] < end)
    ]
    return sorted(found, key=_place)


def _collapsed(entries: Iterable[Entry], query: Mapping[str, Any]) -> list[Entry]:
    """Put one prefix in the place of all names that have the delimiter after the prefix asked for."""
    delimiter, skip = query.get("delimiter", ""), len(query.get("prefix", ""))
    if not delimiter:
        return list(entries)
    trailing = query.get("includeTrailingDelimiter", False)
    kept: dict[Place, Record | None] = {}
    for (name, generation), record in entries:
        at = name.find(delimiter, skip)
        if at < 0:
            kept[name, generation] = record
            continue
        prefix = name[: at + len(delimiter)]
        if trailing and name == prefix:
            kept[name, generation] = record
        kept[prefix, _LAST] = None
    return sorted(kept.items(), key=_place)


def _page(entries: list[Entry], query: Mapping[str, Any]) -> tuple[list[Entry], Record]:
    if query.get("pageToken"):
        after = _read(query["pageToken"])
        entries = [entry for entry in entries if entry[0] > after]
    size = min(int(query.get("maxResults") or LARGEST), LARGEST)
    page = entries[:size]
    if len(entries) <= size:
        return page, {}
    return page, {"nextPageToken": base64.urlsafe_b64encode(json.dumps(page[-1][0]).encode()).decode()}


def _read(token: str) -> Place:
    try:
        name, generation = json.loads(base64.urlsafe_b64decode(token.encode()))
        return str(name), int(generation)
    except (binascii.Error, ValueError, TypeError, RecursionError) as error:
        raise errors.invalid("pageToken", token, "The page token is invalid.") from error
