"""Cloud DNS of the emulator: zones, changes that are made whole or not at all, record sets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from stoneware.emulator import discovery, instance_work, validate
from stoneware.emulator.cloud import Cloud
from stoneware.emulator.dns import resolving
from stoneware.emulator.dns.api import CloudDns
from stoneware.emulator.errors import ApiError
from stoneware.emulator.service import Call, Service
from stoneware.emulator.store import Store
from tests.emulator.computers import Computers
from tests.emulator.conftest import PROJECT, Api
from tests.emulator.test_instances import body, did, opened, settle

pytestmark = pytest.mark.pure
Ask = Callable[..., dict[str, Any]]
ZONE = {"name": "shop", "dnsName": "Shop.internal.", "visibility": "private", "labels": {"team": "data"}}
ADDRESS = {"name": "k1.shop.internal.", "type": "A", "ttl": 300, "rrdatas": ["10.0.0.1"]}


@pytest.fixture
def ask(service: Service) -> Ask:
    return asking(service)


def asking(service: Service) -> Ask:
    """Return what asks without HTTP: `ask("managedZones.create", {…})`."""
    (api,) = (one for one in Cloud(service).apis if isinstance(one, CloudDns))

    def call(method: str, body: dict[str, Any] | None = None, /, **given: str) -> dict[str, Any]:
        found = api.document.methods[f"dns.{method}"]
        zone = {"managedZone": "shop"} if "managedZone" in found.parameters else {}
        query = validate.parameters(found, {"project": PROJECT, **zone, **given})
        content = validate.body(api.document, found.request, body or {}) if found.request else {}
        return asyncio.run(api.answer(Call(found, query, content)))

    return call


def refusal(ask: Ask, *words: Any, **given: str) -> tuple[int, str]:
    with pytest.raises(ApiError) as caught:
        ask(*words, **given)
    return caught.value.status, caught.value.reason


def names(ask: Ask, **given: str) -> list[tuple[str, str]]:
    return [(one["name"], one["type"]) for one in ask("resourceRecordSets.list", **given)["rrsets"]]


def test_a_zone_begins_with_its_own_records_and_goes_when_it_has_no_others(ask: Ask) -> None:
    made = ask("managedZones.create", ZONE)
    assert (made["dnsName"], made["kind"], made["labels"]) == (
        "shop.internal.",
        "dns#managedZone",
        {"team": "data"},
    )
    assert ask("managedZones.get") == ask("managedZones.get", managedZone=made["id"]) == made
    assert ask("managedZones.list", dnsName="shop.internal.")["managedZones"] == [made]
    assert ask("managedZones.list", dnsName="other.")["managedZones"] == []
    assert names(ask) == [("shop.internal.", "NS"), ("shop.internal.", "SOA")]
    assert refusal(ask, "managedZones.create", ZONE) == (409, "alreadyExists")
    ask("changes.create", {"additions": [ADDRESS]})
    assert refusal(ask, "managedZones.delete") == (400, "containerNotEmpty")
    ask("changes.create", {"deletions": [ADDRESS]})
    assert ask("managedZones.delete") == {}
    assert refusal(ask, "managedZones.get") == (404, "notFound")
    assert refusal(ask, "managedZones.list", project="none") == (404, "notFound")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"name": "Shop"}, 400),
        ({"dnsName": "shop.internal"}, 400),
        ({"dnsName": ""}, 400),
        ({"visibility": "secret"}, 400),
        ({"labels": {"Team": "x"}}, 400),
        ({"dnssecConfig": {"state": "on"}}, 501),
        ({"forwardingConfig": {"targetNameServers": []}}, 501),
    ],
)
def test_zones_that_are_refused(ask: Ask, changes: dict[str, Any], status: int) -> None:
    assert refusal(ask, "managedZones.create", {**ZONE, **changes})[0] == status


def test_a_zone_is_changed_in_part(ask: Ask) -> None:
    ask("managedZones.create", ZONE)
    done = ask("managedZones.patch", {"description": "names"})
    assert (done["status"], done["zoneContext"]["newValue"]["description"]) == ("done", "names")
    assert ask("managedZones.get")["description"] == "names"
    assert refusal(ask, "managedZones.patch", {"dnsName": "other."}) == (400, "invalid")


def test_a_change_is_made_whole_or_not_at_all(ask: Ask) -> None:
    ask("managedZones.create", ZONE)
    made = ask("changes.create", {"additions": [ADDRESS]})
    assert (made["id"], made["status"]) == ("1", "pending")
    assert ask("changes.get", changeId="1")["status"] == "done"
    assert "deletions" not in made
    assert names(ask, name="k1.shop.internal.", type="A") == [("k1.shop.internal.", "A")]
    other = {**ADDRESS, "name": "k2.shop.internal."}
    assert refusal(ask, "changes.create", {"additions": [other, ADDRESS]}) == (409, "alreadyExists")
    wrong = {**ADDRESS, "rrdatas": ["10.0.0.9"]}
    assert refusal(ask, "changes.create", {"additions": [other], "deletions": [wrong]}) == (
        412,
        "conditionNotMet",
    )
    assert refusal(ask, "changes.create", {"deletions": [other]}) == (404, "notFound")
    assert refusal(ask, "changes.create", {}) == (400, "invalid")
    assert len(names(ask)) == 3
    moved = {**ADDRESS, "rrdatas": ["10.0.0.2"]}
    ask("changes.create", {"deletions": [ADDRESS], "additions": [moved, other]})
    assert ask("resourceRecordSets.get", name="k1.shop.internal.", type="A")["rrdatas"] == ["10.0.0.2"]
    assert [one["id"] for one in ask("changes.list")["changes"]] == ["2", "1"]
    assert [one["id"] for one in ask("changes.list", sortOrder="ascending")["changes"]] == ["1", "2"]
    assert refusal(ask, "changes.get", changeId="x") == (404, "notFound")
    own = ask("resourceRecordSets.get", name="shop.internal.", type="NS")
    assert refusal(ask, "changes.create", {"deletions": [own]}) == (400, "invalid")


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "k1.other."},
        {"name": "k1..shop.internal."},
        {"name": "k1.shop.internal"},
        {"type": "a"},
        {"ttl": -1},
        {"rrdatas": []},
        {"rrdatas": ["10.0.0.1", "10.0.0.1"]},
        {"rrdatas": ["10.0.0.300"]},
        {"type": "AAAA"},
    ],
)
def test_record_sets_that_are_refused(ask: Ask, changes: dict[str, Any]) -> None:
    ask("managedZones.create", ZONE)
    assert refusal(ask, "changes.create", {"additions": [{**ADDRESS, **changes}]}) == (400, "invalid")


def test_record_sets_by_themselves(ask: Ask) -> None:
    ask("managedZones.create", ZONE)
    place = {"name": "k1.shop.internal.", "type": "A"}
    assert ask("resourceRecordSets.create", ADDRESS)["rrdatas"] == ["10.0.0.1"]
    assert ask("resourceRecordSets.patch", {"ttl": 60}, **place)["ttl"] == 60
    alias = {"name": "k1.shop.internal.", "type": "CNAME", "ttl": 60, "rrdatas": ["k2.shop.internal."]}
    assert refusal(ask, "resourceRecordSets.create", alias)[1] == "cnameResourceRecordSetConflict"
    policy = {**ADDRESS, "name": "k3.shop.internal.", "routingPolicy": {"wrr": {"items": []}}}
    assert refusal(ask, "resourceRecordSets.create", policy)[0] == 501
    page = ask("resourceRecordSets.list", maxResults="2")
    assert len(page["rrsets"]) == 2
    assert names(ask, maxResults="2", pageToken=page["nextPageToken"]) == [("shop.internal.", "SOA")]
    assert ask("resourceRecordSets.delete", **place) == {}
    assert refusal(ask, "resourceRecordSets.delete", **place) == (404, "notFound")


N = f"https://www.googleapis.com/compute/v1/projects/{PROJECT}/global/networks/"


def test_what_a_network_resolves(ask: Ask, service: Service) -> None:
    seen = {"networks": [{"networkUrl": f"{N}n"}, {"networkUrl": f"projects/{PROJECT}/global/networks/m"}]}
    own = {"name": "own", "dnsName": "db.shop.internal.", "visibility": "private"}
    ask("managedZones.create", {**ZONE, "privateVisibilityConfig": seen})
    ask("managedZones.create", {"name": "public", "dnsName": "shop.internal."})
    ask("managedZones.create", {"name": "world", "dnsName": "example.com."})
    ask("managedZones.create", {**own, "privateVisibilityConfig": {"networks": [{"networkUrl": f"{N}n"}]}})
    for zone, name, kind, *data in (
        ("shop", "k1.shop.internal.", "A", "10.0.0.1", "10.0.0.2"),
        ("shop", "k1.shop.internal.", "AAAA", "fd00::1"),
        ("shop", "alias.shop.internal.", "CNAME", "www.example.com."),
        ("shop", "lost.shop.internal.", "CNAME", "elsewhere.example.org."),
        ("shop", "loop.shop.internal.", "CNAME", "loop.shop.internal."),
        ("shop", "*.shop.internal.", "A", "10.0.0.9"),
        ("shop", "a.db.shop.internal.", "A", "10.0.0.8"),
        ("public", "k1.shop.internal.", "A", "10.0.0.7"),
        ("world", "www.example.com.", "A", "10.0.0.2"),
        ("own", "db.shop.internal.", "A", "10.0.0.3"),
    ):
        one = {"name": name, "type": kind, "ttl": 60, "rrdatas": list(data)}
        ask("resourceRecordSets.create", one, managedZone=zone)
    assert resolving.names_of(service.store, f"{N}n") == (
        {
            "10.0.0.2": ("alias.shop.internal", "k1.shop.internal", "www.example.com"),
            "10.0.0.3": ("db.shop.internal",),
            "10.0.0.1": ("k1.shop.internal",),
            "fd00::1": ("k1.shop.internal",),
        },
        ("db.shop.internal", "shop.internal"),  # of which there are no other names
    )
    at_m, private = resolving.names_of(service.store, f"{N}m")
    assert (at_m["10.0.0.8"], private) == (("a.db.shop.internal",), ("shop.internal",))
    # Elsewhere the private zones are not there, and the public one of the same domain is.
    assert resolving.names_of(service.store, f"{N}other") == (
        {"10.0.0.7": ("k1.shop.internal",), "10.0.0.2": ("www.example.com",)},
        (),
    )


def test_machines_are_told_when_they_boot_and_when_zones_change(
    document: discovery.Document, store: Store
) -> None:
    computers = Computers()
    service = opened(document, store, computers)
    api, ask = Api(service), asking(service)
    seen = {"networks": [{"networkUrl": f"{N}default"}]}
    ask("managedZones.create", {**ZONE, "privateVisibilityConfig": seen})
    ask("changes.create", {"additions": [ADDRESS]})
    settle(service)
    assert computers.named == {}  # nobody asks
    did(api, "instances.insert", body())
    (name,) = computers.named
    assert name.startswith("default-")
    assert computers.named[name] == ({"10.0.0.1": ["k1.shop.internal"]}, ["shop.internal"])
    ask("resourceRecordSets.patch", {"rrdatas": ["10.0.0.2"]}, name=ADDRESS["name"], type="A")
    settle(service)
    assert computers.named[name][0] == {"10.0.0.2": ["k1.shop.internal"]}
    ask("managedZones.patch", {"privateVisibilityConfig": {"networks": []}})
    settle(service)
    assert computers.named[name] == ({}, [])
    service.jobs.close()

    # A kill may come before they are told: the next emulator tells them.
    computers.named.clear()
    again = opened(document, store, computers)
    instance_work.resume(again)
    settle(again)
    assert computers.named == {name: ({}, [])}
    again.jobs.close()
