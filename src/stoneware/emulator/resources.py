"""Methods that every resource type has: get, list, insert, delete, patch, update, labels."""

from __future__ import annotations

from typing import Any

from stoneware.emulator import (
    catalog,
    checks,
    contents,
    errors,
    firewalls,
    paging,
    prepare,
    raw_images,
    values,
)
from stoneware.emulator.kinds import KINDS
from stoneware.emulator.service import Call, Service, shown
from stoneware.emulator.store import Record

_IDENTITY = ("kind", "id", "creationTimestamp", "selfLink", "name")
_EMPTY = {"code": "NO_RESULTS_ON_PAGE", "message": "There are no results for this scope on this page."}


def get(service: Service, call: Call) -> Record:
    """Return a resource."""
    return _seen(service, service.existing(call.key(call.method.collection)))


def _seen(service: Service, record: Record) -> Record:
    """Return a record as the API shows it; a network names its subnetworks."""
    if record["kind"] != "compute#network":
        return shown(record)
    key = record["selfLink"].removeprefix(values.LINK)
    links = [values.LINK + one for one, _ in subnetworks(service, key)]
    return shown(record) | ({"subnetworks": links} if links else {})


def subnetworks(service: Service, network: str) -> list[tuple[str, Record]]:
    """Return the subnetworks of a network, given by its key, with their keys."""
    found = service.store.everywhere(network.split("/")[1], "subnetworks")
    return [(key, record) for key, record in found if record["network"] == values.LINK + network]


def insert(service: Service, call: Call) -> Record:
    """Make a resource of the body."""
    if not call.body.get("name"):
        raise errors.required("resource.name")
    collection = call.method.collection
    key = f"{call.parent}/{collection}/{call.body['name']}"
    if (failure := service.faults.of_insert(call.parent, collection)) is not None:
        # A name that is taken is told even where a fault is asked for.
        service.absent(key)
        return service.started(call, "insert", key, values.new_id(), failure)
    place = prepare.Place(service.store, call.project, call.scope)
    record = service.create(place, collection, key, dict(call.body), call.query)
    _tell_firewalls(service, collection, record)
    if collection == "images" and record["status"] == "PENDING":
        return raw_images.insert(service, call, key, record)
    if collection in ("images", "snapshots"):
        return contents.capture(service, call, "insert", key, (key, record["id"]))
    return service.started(call, "insert", key, record["id"])


def delete(service: Service, call: Call) -> Record:
    """Remove a resource that no other one holds."""
    collection = call.method.collection
    key = call.key(collection)
    record = service.existing(key)
    if (refusal := _refusal(service, collection, key, record)) is not None:
        if KINDS[collection].fails_late:
            return service.started(call, "delete", key, record["id"], refusal)
        raise refusal
    if collection == "networks":
        for subnetwork, _ in subnetworks(service, key):
            service.store.remove(subnetwork)
    if collection == "images":
        _forget_image(service, key)
    service.store.remove(key)
    _tell_firewalls(service, collection, record)
    contents.release(service, key, record)
    return service.started(call, "delete", key, record["id"])


def _refusal(service: Service, collection: str, key: str, record: Record) -> errors.ApiError | None:
    """Return why a resource cannot be deleted."""
    if record.get("users"):
        return errors.in_use(key, record["users"][0].removeprefix(values.LINK))
    if record.get(prepare.AUTOMATIC):
        return errors.unusable("Cannot delete auto subnetwork from an auto subnet mode network.")
    held = [(key, field, other) for other, field in KINDS[collection].holds]
    # The subnetworks that the network brought go with it, unless they are held themselves.
    brought = [one for one, subnetwork in subnetworks(service, key) if subnetwork.get(prepare.AUTOMATIC)]
    held += [(one, field, other) for one in brought for other, field in KINDS["subnetworks"].holds]
    for one, field, other in held:
        for user, holder in service.store.everywhere(key.split("/")[1], other):
            if holder.get(field) == values.LINK + one and user not in brought:
                return errors.in_use(key, user)
    return None


def _forget_image(service: Service, key: str) -> None:
    """Take an image's name from the disks that were made of it, as the API does."""
    for disk, record in service.store.matching("projects/", "disks"):
        # Terraform then replaces the machine that has the disk: who deletes images has to find that out.
        if record.get("sourceImage") == values.LINK + key:
            del record["sourceImage"]
            service.store.put(disk, record)


def patch(service: Service, call: Call) -> Record:
    """Change the fields that the body has; null takes one away."""
    key, record = _changeable(service, call)
    kind = KINDS[call.method.collection]
    for field, value in call.body.items():
        # A client that has read the whole sends it back: what is as before is no change.
        if field not in kind.patchable | {"fingerprint"} and not _same(value, record.get(field)):
            raise errors.invalid(f"resource.{field}", value, "The field cannot be changed.")
    given = {field: value for field, value in call.body.items() if field in kind.patchable}
    gone = call.cleared & kind.patchable
    changed = {field: value for field, value in record.items() if field not in gone} | given
    return _changed(service, call, key, changed)


def update(service: Service, call: Call) -> Record:
    """Replace all that the body can say of a resource."""
    key, record = _changeable(service, call)
    # A body without a network means the one that it is in, not `default`.
    changed = {"network": record["network"]} | call.body | {field: record[field] for field in _IDENTITY}
    return _changed(service, call, key, changed)


def _changeable(service: Service, call: Call) -> tuple[str, Record]:
    key = call.key(call.method.collection)
    record = service.existing(key)
    # Who changes it has to have read what is there now.
    if "fingerprint" in record and call.body.get("fingerprint") != record["fingerprint"]:
        raise errors.stale("Resource")
    return key, record


def _changed(service: Service, call: Call, key: str, record: Record) -> Record:
    collection = call.method.collection
    if check := KINDS[collection].checked:
        check(prepare.Place(service.store, call.project, call.scope), record, call.query)
    service.keep(collection, key, record)
    _tell_firewalls(service, collection, record)
    return service.started(call, call.method.verb, key, record["id"])


def _tell_firewalls(service: Service, collection: str, record: Record) -> None:
    if collection == "firewalls":
        firewalls.tell(service, record["network"])


def _same(given: Any, have: Any) -> bool:
    """Say whether a given value is the one that is there; a reference may be spelt in many ways."""
    if isinstance(given, str) and isinstance(have, str):
        return given.rsplit("/", 1)[-1] == have.rsplit("/", 1)[-1]
    return bool(given == have)


def set_labels(service: Service, call: Call) -> Record:
    """Replace the labels of a resource."""
    key = call.key(call.method.collection)
    record = service.existing(key)
    if call.body.get("labelFingerprint") != record["labelFingerprint"]:
        raise errors.stale("Labels")
    labels = call.body.get("labels", {})
    checks.labels(labels)
    record |= {"labels": labels, "labelFingerprint": values.fingerprint(labels)}
    service.store.put(key, record)
    return service.started(call, "setLabels", key, record["id"])


def test_permissions(service: Service, call: Call) -> Record:
    """Return all permissions that are asked about: the emulator refuses nobody anything."""
    service.existing(call.key(call.method.collection))
    return {"permissions": call.body.get("permissions", [])}


def listed(service: Service, call: Call) -> Record:
    """Return a page of the resources of one place."""
    place = f"{call.parent}/{call.method.collection}"
    return page(call, [_seen(service, record) for _, record in service.store.under(place)], place)


def page(call: Call, items: list[Record], path: str) -> Record:
    """Return a page of a list whose path is `path`."""
    some, token = paging.page(items, call.query)
    schema = str(call.method.response)
    reply: Record = {
        "kind": f"compute#{schema[0].lower()}{schema[1:]}",
        "id": path,
        "selfLink": values.LINK + path,
    }
    return reply | ({"items": some} if some else {}) | ({"nextPageToken": token} if token else {})


def aggregated(service: Service, call: Call) -> Record:
    """Return the resources of all zones, regions and globally, by place."""
    found = service.store.everywhere(call.project, call.method.collection)
    return by_place(call, call.method.collection, [shown(record) for _, record in found])


def by_place(call: Call, collection: str, items: list[Record]) -> Record:
    """Return a page of resources as an aggregated list. Places without any of the kind's have a warning."""
    reply = page(call, items, f"projects/{call.project}/aggregated/{collection}")
    regional = collection in ("addresses", "subnetworks")
    places = (
        [f"regions/{one}" for one in catalog.REGIONS]
        if regional
        else [f"zones/{one}" for one in catalog.ZONES]
    )
    found: dict[str, list[Record]] = {place: [] for place in places}
    for item in reply.get("items", []):
        inside = item["selfLink"].removeprefix(f"{values.LINK}projects/{call.project}/")
        found.setdefault(inside.rsplit("/", 2)[0], []).append(item)
    reply["items"] = {
        place: {collection: some} if some else {"warning": dict(_EMPTY)} for place, some in found.items()
    }
    return reply
