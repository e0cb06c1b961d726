"""Methods of secrets."""

from __future__ import annotations

import re
from datetime import datetime

from stoneware.emulator import catalog, checks, errors, paging, values
from stoneware.emulator.errors import ApiError
from stoneware.emulator.secret_manager.records import LATEST, Records, check_etag, missing, wrong
from stoneware.emulator.service import Call
from stoneware.emulator.store import Record

_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")
_DURATION = re.compile(r"(\d{1,12})(?:\.\d{1,9})?s")
_POLICY = "x-policy"
_FIELDS = ("annotations", "expireTime", "labels", "rotation", "topics", "ttl", "versionAliases")
_FIXED = ("customerManagedEncryption", "replication", "secretType")
_LATER = "versions are destroyed at once"


def create(records: Records, call: Call) -> Record:
    """Make a secret without versions."""
    name = call.query.get("secretId") or ""
    if not _ID.fullmatch(name):
        raise wrong("Secret IDs have 1 to 255 letters, digits, _ and -.")
    key = f"{records.place(_parent(call.query['parent']))}/secrets/{name}"
    if records.store.get(key) is not None:
        raise ApiError(
            409, "alreadyExists", f"Secret [{call.query['parent']}/secrets/{name}] already exists."
        )
    _replicated(call.body, regional="/locations/" in key)
    record = {field: call.body[field] for field in (*_FIELDS, *_FIXED) if field in call.body}
    _check(records, record, call.body)
    return records.put(key, record | {"createTime": records.now(), LATEST: 0})


def _parent(text: str) -> str:
    found = re.fullmatch(r"projects/[^/]+(?:/locations/([^/]+))?", text)
    if found is None or (found[1] and found[1] not in catalog.REGIONS):
        raise wrong(f"There is no such place for secrets: {text}")
    return text


def _replicated(body: Record, *, regional: bool) -> None:
    replication = body.get("replication", {})
    if regional:
        if replication:
            raise wrong("A regional secret has no replication.")
        return
    if len(replication.keys() & {"automatic", "userManaged"}) != 1:
        raise wrong("secret.replication: automatic or userManaged is required.")
    if "userManaged" in replication:
        places = [one.get("location") for one in replication["userManaged"].get("replicas", [])]
        if not places or len(set(places)) < len(places) or set(places) - catalog.REGIONS.keys():
            raise wrong("secret.replication.userManaged.replicas: regions, each once.")


def _check(records: Records, record: Record, body: Record) -> None:
    if "versionDestroyTtl" in body:
        raise errors.not_implemented("secret.versionDestroyTtl", _LATER)
    checks.labels(record.get("labels", {}))
    for alias, number in record.get("versionAliases", {}).items():
        if not _ALIAS.fullmatch(alias) or alias == "latest":
            raise wrong(f"secret.versionAliases: {alias!r} is no alias.")
        if not 0 < int(number) <= record.get(LATEST, 0):
            raise wrong(f"secret.versionAliases: there is no version {number}.")
    if "ttl" in record:
        # It is for input only: what is kept and told is the moment.
        found = _DURATION.fullmatch(record.pop("ttl"))
        if found is None or not 0 < int(found[1]) <= 100 * 366 * 86400:
            raise wrong("secret.ttl: as 3600s.")
        record["expireTime"] = values.zulu(records.clock() + int(found[1]))
    elif "expireTime" in record:
        record["expireTime"] = _moment(record["expireTime"])


def _moment(text: str) -> str:
    try:
        when = datetime.fromisoformat(text)
        return values.zulu(when.timestamp())
    except (ValueError, OverflowError) as error:
        raise wrong("secret.expireTime: as 2030-01-01T00:00:00Z.") from error


def get(records: Records, call: Call) -> Record:
    """Return a secret."""
    return records.show(*records.secret(call.query["name"]))


def listed(records: Records, call: Call) -> Record:
    """Return a page of secrets, the newest first."""
    place = records.place(_parent(call.query["parent"]))
    found = [key for key, _ in records.store.under(f"{place}/secrets")]
    alive = []
    for key in found:
        try:
            alive.append(records.show(*records.secret(key)))
        except ApiError:  # it has expired
            continue
    return page(call, alive, "secrets")


def page(call: Call, items: list[Record], field: str) -> Record:
    """Return a page of secrets or versions, the newest first. Raises ApiError (400)."""
    if call.query.get("filter"):
        items = paging.kept(items, call.query["filter"])
    keyed = sorted(((_place(item), item) for item in items), reverse=True, key=lambda pair: pair[0])
    if call.query.get("pageToken"):
        after = call.query["pageToken"]
        keyed = [pair for pair in keyed if pair[0] < after]
    size = call.query.get("pageSize") or len(keyed)
    if size < 0:
        raise wrong("pageSize is 0 at least.")
    reply: Record = {"totalSize": len(items)}
    if size < len(keyed):
        reply["nextPageToken"] = keyed[size - 1][0]
    return reply | ({field: [item for _, item in keyed[:size]]} if keyed else {})


def _place(item: Record) -> str:
    """Return what orders secrets and versions by their age; it is what a page's token says."""
    parent, _, name = item["name"].rpartition("/")
    # Filled up, so that version 10 is newer than 9.
    return f"{item['createTime']} {name.zfill(12) if parent.endswith('versions') else name}"


def patch(records: Records, call: Call) -> Record:
    """Change the fields of a secret that the mask names."""
    key, record = records.secret(call.query["name"])
    check_etag(record, call.body.get("etag"))
    # A mask has the names of protobuf (version_aliases), or those of JSON.
    mask = [_camel(path.strip()) for path in call.query.get("updateMask", "").split(",") if path.strip()]
    if not mask:
        raise wrong("The update mask is required.")
    for path in mask:
        if path == "versionDestroyTtl":
            raise errors.not_implemented("secret.versionDestroyTtl", _LATER)
        if path not in (*_FIELDS, "etag"):
            raise wrong(f"The field {path} cannot be changed.")
        record.pop("expireTime" if path == "ttl" else path, None)
        if path != "etag" and path in call.body:
            record[path] = call.body[path]
    _check(records, record, {})
    return records.put(key, record)


def _camel(path: str) -> str:
    head, *rest = path.split("_")
    return head + "".join(word.capitalize() for word in rest)


def delete(records: Records, call: Call) -> Record:
    """Remove a secret and all its versions."""
    key, record = records.secret(call.query["name"])
    check_etag(record, call.query.get("etag"))
    records.forget(key)
    return {}


def policy(records: Records, call: Call) -> Record:
    """Return who may do what; nobody is refused anything, whatever it says."""
    _, record = records.secret(call.query["resource"])
    return _policy(record)


def _policy(record: Record) -> Record:
    kept: Record = record.get(_POLICY, {"version": 1})
    return kept | {"etag": values.fingerprint([kept])}


def set_policy(records: Records, call: Call) -> Record:
    """Replace who may do what; with an etag, only if it is the current one's."""
    key, record = records.secret(call.query["resource"])
    given = call.body.get("policy", {})
    # Who has read an older one would take away what was added since.
    if given.get("etag") and given["etag"] != _policy(record)["etag"]:
        raise ApiError(
            409, "aborted", "There were concurrent policy changes. Please retry the whole request."
        )
    record[_POLICY] = {"version": given.get("version", 1), "bindings": given.get("bindings", [])}
    records.store.put(key, record)
    return _policy(record)


def permissions(records: Records, call: Call) -> Record:
    """Return all permissions that are asked about: the emulator refuses nobody anything."""
    records.secret(call.query["resource"])
    return {"permissions": call.body.get("permissions", [])}


def location(records: Records, call: Call) -> Record:
    """Return a region that secrets may be in."""
    parent, _, name = call.query["name"].rpartition("/locations/")
    records.place(parent)
    if name not in catalog.REGIONS:
        raise missing(f"Location [{name}]")
    return {"name": f"{parent}/locations/{name}", "locationId": name}


def locations(records: Records, call: Call) -> Record:
    """Return the regions that secrets may be in."""
    parent = call.query["name"]
    records.place(parent)
    return {
        "locations": [{"name": f"{parent}/locations/{name}", "locationId": name} for name in catalog.REGIONS]
    }
