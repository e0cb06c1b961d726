"""What the API refuses and how, what of a resource can be changed, and requests that are repeated."""

from __future__ import annotations

from typing import Any

import pytest

from stoneware.emulator import catalog, errors
from stoneware.emulator.methods import handler
from stoneware.emulator.service import Service
from tests.emulator.conftest import PROJECT, Api

ZONE = "us-central1-a"
REGION = "us-central1"
RULE = {"name": "f", "network": "global/networks/n", "allowed": [{"IPProtocol": "tcp", "ports": ["22"]}]}


def refused(api: Api, status: int, method: str, body: dict[str, Any] | None = None, /, **given: str) -> str:
    with pytest.raises(errors.ApiError) as caught:
        api(method, body, **given)
    assert caught.value.status == status, caught.value.message
    return caught.value.message


@pytest.fixture
def network(api: Api) -> None:
    """Make a network `n` without subnetworks, and the subnetwork `s` in it."""
    api("networks.insert", {"name": "n", "autoCreateSubnetworks": False})
    subnetwork = {"name": "s", "network": "global/networks/n", "ipCidrRange": "10.9.0.0/24"}
    api("subnetworks.insert", subnetwork, region=REGION)


def failure(operation: dict[str, Any]) -> tuple[Any, ...]:
    """Return what each of Google's clients looks at in an operation that failed."""
    (error,) = operation["error"]["errors"]
    return operation["status"], error["code"], operation["httpErrorStatusCode"], operation["httpErrorMessage"]


USED = "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE"


def test_the_operation_of_a_network_in_use_fails(api: Api, network: None) -> None:
    operation = api("networks.delete", network="n")
    assert failure(operation) == ("DONE", USED, 400, "BAD REQUEST")
    assert operation["error"]["errors"][0]["message"] == (
        f"The network resource 'projects/{PROJECT}/global/networks/n' is already being used by "
        f"'projects/{PROJECT}/regions/{REGION}/subnetworks/s'"
    )
    assert api("networks.get", network="n")["name"] == "n"
    api("subnetworks.delete", region=REGION, subnetwork="s")
    api("firewalls.insert", RULE)
    assert failure(api("networks.delete", network="n"))[1] == USED
    api("firewalls.delete", firewall="f")
    assert "error" not in api("networks.delete", network="n")
    refused(api, 404, "networks.get", network="n")


def forget_rules(api: Api) -> None:
    for rule in api("firewalls.list")["items"]:
        api("firewalls.delete", firewall=rule["name"])


def test_an_auto_mode_network_goes_with_its_subnetworks_unless_an_address_is_in_one(api: Api) -> None:
    links = api("networks.get", network="default")["subnetworks"]
    assert len(links) == len(catalog.REGIONS)
    told = refused(api, 400, "subnetworks.delete", region=REGION, subnetwork="default")
    assert "Cannot delete auto subnetwork" in told
    api("addresses.insert", {"name": "a", "addressType": "INTERNAL"}, region=REGION)
    assert failure(api("networks.delete", network="default"))[1] == USED
    api("addresses.delete", region=REGION, address="a")
    assert failure(api("networks.delete", network="default"))[1] == USED  # its firewall rules
    forget_rules(api)
    assert "error" not in api("networks.delete", network="default")
    assert "items" not in api("subnetworks.list", region=REGION)


def test_a_network_in_custom_mode_gives_its_subnetworks_away_one_by_one(api: Api) -> None:
    api("networks.switchToCustomMode", network="default")
    forget_rules(api)
    assert failure(api("networks.delete", network="default"))[1] == USED
    for region in catalog.REGIONS:
        api("subnetworks.delete", region=region, subnetwork="default")
    assert "error" not in api("networks.delete", network="default")


def test_a_subnetwork_with_an_address_is_refused_at_once(api: Api, network: None) -> None:
    api("addresses.insert", {"name": "a", "addressType": "INTERNAL", "subnetwork": "s"}, region=REGION)
    told = refused(api, 400, "subnetworks.delete", region=REGION, subnetwork="s")
    assert told.endswith(f"is already being used by 'projects/{PROJECT}/regions/{REGION}/addresses/a'")


def test_a_disk_that_a_machine_has_is_neither_deleted_nor_imaged(service: Service, api: Api) -> None:
    api("disks.insert", {"name": "d", "sizeGb": 10}, zone=ZONE)
    key = f"projects/{PROJECT}/zones/{ZONE}/disks/d"
    machine = f"projects/{PROJECT}/zones/{ZONE}/instances/m"
    link = f"https://www.googleapis.com/compute/v1/{machine}"
    service.store.put(key, service.existing(key) | {"users": [link]})
    told = f"The disk resource '{key}' is already being used by '{machine}'"
    assert refused(api, 400, "disks.delete", zone=ZONE, disk="d") == told
    image = {"name": "i", "sourceDisk": f"zones/{ZONE}/disks/d"}
    assert refused(api, 400, "images.insert", image) == told
    assert "error" not in api("images.insert", image, forceCreate="True")


def test_a_disk_forgets_the_name_of_an_image_that_is_deleted(api: Api) -> None:
    api("disks.insert", {"name": "d", "sizeGb": 10}, zone=ZONE)
    api("images.insert", {"name": "i", "sourceDisk": f"zones/{ZONE}/disks/d"})
    api("disks.insert", {"name": "of-i", "sourceImage": "global/images/i"}, zone=ZONE)
    assert api("disks.get", zone=ZONE, disk="of-i")["sourceImage"].endswith("/global/images/i")
    number = api("images.get", image="i")["id"]
    api("images.delete", image="i")
    disk = api("disks.get", zone=ZONE, disk="of-i")
    assert ("sourceImage" in disk, disk["sourceImageId"]) == (False, number)


def test_a_firewall_is_patched_and_replaced(api: Api, network: None) -> None:
    api("firewalls.insert", RULE | {"description": "first", "sourceTags": ["web"]})
    before = api("firewalls.get", firewall="f")
    changed = {"name": "f", "network": before["network"], "priority": 7, "sourceTags": None}
    api("firewalls.patch", changed, firewall="f")
    after = api("firewalls.get", firewall="f")
    del before["sourceTags"]
    assert after == before | {"priority": 7, "sourceRanges": ["0.0.0.0/0"]}
    denied = {"denied": [{"IPProtocol": "udp"}]}
    assert "Exactly one" in refused(api, 400, "firewalls.patch", denied, firewall="f")
    api("firewalls.update", denied, firewall="f")
    replaced = api("firewalls.get", firewall="f")
    assert replaced["id"] == before["id"]
    assert replaced["network"] == before["network"]
    assert {"allowed", "description"} & set(replaced) == set()
    assert replaced["denied"] == denied["denied"]


@pytest.mark.parametrize(
    ("method", "body", "given"),
    [
        ("subnetworks.patch", {"privateIpGoogleAccess": True}, {"region": REGION, "subnetwork": "s"}),
        ("disks.setLabels", {"labels": {}}, {"zone": ZONE, "resource": "d"}),
        ("projects.setCommonInstanceMetadata", {"items": []}, {}),
    ],
)
def test_a_change_needs_the_fingerprint_of_what_it_changes(
    api: Api, network: None, method: str, body: dict[str, Any], given: dict[str, str]
) -> None:
    api("disks.insert", {"name": "d", "sizeGb": 10}, zone=ZONE)
    for wrong in ({}, {"fingerprint": "AAAAAAAAAAA="}, {"labelFingerprint": "AAAAAAAAAAA="}):
        assert "fingerprint" in refused(api, 412, method, body | wrong, **given)


def test_a_subnetwork_is_changed_with_its_fingerprint_and_grows(api: Api, network: None) -> None:
    where = {"region": REGION, "subnetwork": "s"}
    first = api("subnetworks.get", **where)["fingerprint"]
    api("subnetworks.patch", {"fingerprint": first, "privateIpGoogleAccess": True}, **where)
    changed = api("subnetworks.get", **where)
    assert (changed["privateIpGoogleAccess"], changed["fingerprint"] == first) == (True, False)
    refused(api, 400, "subnetworks.expandIpCidrRange", {"ipCidrRange": "10.8.0.0/24"}, **where)
    refused(api, 400, "subnetworks.expandIpCidrRange", {"ipCidrRange": "10.9.0.0/25"}, **where)
    api("subnetworks.expandIpCidrRange", {"ipCidrRange": "10.9.0.0/16"}, **where)
    assert api("subnetworks.get", **where)["gatewayAddress"] == "10.9.0.1"


def test_what_cannot_be_changed_is_named(api: Api) -> None:
    told = refused(api, 400, "networks.patch", {"autoCreateSubnetworks": False}, network="default")
    assert "resource.autoCreateSubnetworks" in told


@pytest.mark.parametrize(
    ("labels", "status"),
    [
        ({"commit": "0f3a-b_9", "größe": "ä"}, 200),
        ({"a": ""}, 200),
        ({"Commit": "x"}, 400),
        ({"1a": "x"}, 400),
        ({"": "x"}, 400),
        ({"a.b": "x"}, 400),
        ({"a": "v1.2"}, 400),
        ({"a": "x" * 64}, 400),
        ({f"k{at}": "" for at in range(65)}, 400),
    ],
)
def test_labels_are_those_of_the_api(api: Api, labels: dict[str, str], status: int) -> None:
    body = {"name": "d", "sizeGb": 10, "labels": labels}
    if status == 200:
        assert api("disks.insert", body, zone=ZONE)["status"] == "DONE"
    else:
        assert "label" in refused(api, status, "disks.insert", body, zone=ZONE)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"allowed": [{}]}, "IPProtocol"),
        ({"allowed": [{"IPProtocol": "tpc"}]}, "IPProtocol"),
        ({"allowed": [{"IPProtocol": "256"}]}, "IPProtocol"),
        ({"allowed": [{"IPProtocol": "icmp", "ports": ["1"]}]}, "has no ports"),
        ({"allowed": [{"IPProtocol": "tcp", "ports": ["http"]}]}, "ports"),
        ({"allowed": [{"IPProtocol": "tcp", "ports": ["90-80"]}]}, "ports"),
        ({"allowed": [{"IPProtocol": "tcp", "ports": ["65536"]}]}, "ports"),
        ({"sourceRanges": ["10.0.0.0/33"]}, "sourceRanges"),
        ({"destinationRanges": ["all"]}, "destinationRanges"),
        ({"priority": 65536}, "priority"),
        ({"denied": [{"IPProtocol": "tcp"}]}, "Exactly one"),
    ],
)
def test_a_wrong_firewall_rule_is_refused_when_it_is_made_and_when_it_is_changed(
    api: Api, network: None, changed: dict[str, Any], said: str
) -> None:
    assert said in refused(api, 400, "firewalls.insert", RULE | changed)
    api("firewalls.insert", RULE)
    assert said in refused(api, 400, "firewalls.patch", changed, firewall="f")
    assert said in refused(api, 400, "firewalls.update", RULE | changed, firewall="f")


def test_rules_on_what_leaves_an_instance_are_refused(api: Api, network: None) -> None:
    changed = {"direction": "EGRESS", "destinationRanges": ["10.0.0.0/8"]}
    assert "EGRESS" in refused(api, 501, "firewalls.insert", RULE | changed)
    api("firewalls.insert", RULE)
    assert "EGRESS" in refused(api, 501, "firewalls.patch", changed, firewall="f")


def test_the_network_default_has_googles_rules(api: Api) -> None:
    rules = {rule["name"]: rule for rule in api("firewalls.list")["items"]}
    assert sorted(rules) == [f"default-allow-{name}" for name in ("icmp", "internal", "rdp", "ssh")]
    assert {rule["priority"] for rule in rules.values()} == {65534}
    assert rules["default-allow-internal"]["sourceRanges"] == ["10.128.0.0/9"]
    assert rules["default-allow-ssh"]["allowed"] == [{"IPProtocol": "tcp", "ports": ["22"]}]


def test_rules_as_google_takes_them(api: Api, network: None) -> None:
    allowed = [{"IPProtocol": "TCP", "ports": ["22", "80-90"]}, {"IPProtocol": "50"}, {"IPProtocol": "icmp"}]
    ranges = ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]
    api("firewalls.insert", RULE | {"allowed": allowed, "sourceRanges": ranges})
    assert api("firewalls.get", firewall="f")["allowed"] == allowed


@pytest.mark.parametrize(
    "items",
    [
        [{"value": "x"}],
        [{"key": "a"}, {"key": "a"}],
        [{"key": "a", "value": "x" * 262_145}],
        [{"key": f"k{at}", "value": "x" * 262_000} for at in range(3)],
    ],
)
def test_metadata_beyond_the_limits_is_refused(api: Api, items: list[dict[str, str]]) -> None:
    fingerprint = api("projects.get")["commonInstanceMetadata"]["fingerprint"]
    body = {"items": items, "fingerprint": fingerprint}
    assert "metadata" in refused(api, 400, "projects.setCommonInstanceMetadata", body).lower()


REQUEST = "6f2a1c1e-0000-4000-8000-00000000000a"
#: Each method that takes a request id: its body, its parameters. A `setup` comes first where it needs one.
REPEATED: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "addresses.delete": ({}, {"region": REGION, "address": "a"}),
    "addresses.insert": ({"name": "b"}, {"region": REGION}),
    "addresses.setLabels": ({"labels": {"a": "b"}}, {"region": REGION, "resource": "a"}),
    "disks.createSnapshot": ({"name": "snap"}, {"zone": ZONE, "disk": "d"}),
    "disks.delete": ({}, {"zone": ZONE, "disk": "d"}),
    "disks.insert": ({"name": "e"}, {"zone": ZONE}),
    "disks.resize": ({"sizeGb": 20}, {"zone": ZONE, "disk": "d"}),
    "disks.setLabels": ({"labels": {"a": "b"}}, {"zone": ZONE, "resource": "d"}),
    "firewalls.delete": ({}, {"firewall": "f"}),
    "firewalls.insert": (RULE | {"name": "g"}, {}),
    "firewalls.patch": ({"priority": 3}, {"firewall": "f"}),
    "firewalls.update": (RULE, {"firewall": "f"}),
    "images.delete": ({}, {"image": "i"}),
    "images.deprecate": ({"state": "OBSOLETE"}, {"image": "i"}),
    "images.insert": ({"name": "j", "sourceDisk": f"zones/{ZONE}/disks/d"}, {}),
    "images.patch": ({"family": "g"}, {"image": "i"}),
    "networks.delete": ({}, {"network": "default"}),
    "networks.insert": ({"name": "m"}, {}),
    "networks.patch": ({"mtu": 1500}, {"network": "default"}),
    "networks.switchToCustomMode": ({}, {"network": "default"}),
    "projects.setCommonInstanceMetadata": ({"items": [{"key": "a", "value": "b"}]}, {}),
    "snapshots.delete": ({}, {"snapshot": "t"}),
    "snapshots.insert": ({"name": "u", "sourceDisk": f"zones/{ZONE}/disks/d"}, {}),
    "subnetworks.delete": ({}, {"region": REGION, "subnetwork": "s"}),
    "subnetworks.expandIpCidrRange": ({"ipCidrRange": "10.9.0.0/20"}, {"region": REGION, "subnetwork": "s"}),
    "subnetworks.insert": (
        {"name": "o", "network": "global/networks/n", "ipCidrRange": "10.7.0.0/24"},
        {"region": REGION},
    ),
    "subnetworks.patch": ({"privateIpGoogleAccess": True}, {"region": REGION, "subnetwork": "s"}),
    "subnetworks.setPrivateIpGoogleAccess": (
        {"privateIpGoogleAccess": True},
        {"region": REGION, "subnetwork": "s"},
    ),
}


def test_the_table_has_all_methods_that_take_a_request_id(service: Service) -> None:
    taking = {
        method.id.removeprefix("compute.")
        for method in service.document.methods.values()
        if "requestId" in method.parameters and handler(method) and method.collection != "instances"
    }
    assert taking == set(REPEATED)


@pytest.mark.parametrize("method", REPEATED)
def test_a_repeated_request_gets_the_first_ones_operation(api: Api, network: None, method: str) -> None:
    api("addresses.insert", {"name": "a"}, region=REGION)
    api("disks.insert", {"name": "d", "sizeGb": 10}, zone=ZONE)
    api("firewalls.insert", RULE)
    for kind, name in (("images", "i"), ("snapshots", "t")):
        api(f"{kind}.insert", {"name": name, "sourceDisk": f"zones/{ZONE}/disks/d"})
    body, given = REPEATED[method]
    current = {
        "addresses.setLabels": {"labelFingerprint": "42WmSpB8rSM="},
        "disks.setLabels": {"labelFingerprint": "42WmSpB8rSM="},
        "projects.setCommonInstanceMetadata": {"fingerprint": "42WmSpB8rSM="},
    }
    if method == "subnetworks.patch":
        body = body | {"fingerprint": api("subnetworks.get", **given)["fingerprint"]}
    body = body | current.get(method, {})
    first = api(method, body, **given, requestId=REQUEST)
    assert first["clientOperationId"] == REQUEST
    everything = dict(api.service.store._records)
    assert api(method, body, **given, requestId=REQUEST.upper()) == first
    assert api.service.store._records == everything


@pytest.mark.parametrize("text", ["x", "00000000-0000-0000-0000-000000000000"])
def test_a_request_id_is_a_uuid(api: Api, text: str) -> None:
    assert "requestId" in refused(api, 400, "networks.insert", {"name": "m"}, requestId=text)


def test_aggregated_lists_name_each_place(api: Api) -> None:
    api("disks.insert", {"name": "d", "sizeGb": 10}, zone=ZONE)
    operations = api("globalOperations.aggregatedList")["items"]
    assert [one["operationType"] for one in operations[f"zones/{ZONE}"]["operations"]] == ["insert"]
    types = api("machineTypes.aggregatedList", filter="name = e2-medium")["items"]
    assert {len(found["machineTypes"]) for found in types.values()} == {1}
    assert len(types) == len(catalog.ZONES)


def test_families_are_seen_from_zones_and_unknown_places_are_refused(api: Api) -> None:
    api("disks.insert", {"name": "d", "sizeGb": 10}, zone=ZONE)
    api("images.insert", {"name": "i", "family": "fam", "sourceDisk": f"zones/{ZONE}/disks/d"})
    assert api("imageFamilyViews.get", zone=ZONE, family="fam")["image"]["name"] == "i"
    for method, given in (
        ("machineTypes.list", {"zone": "mars-a"}),
        ("disks.list", {"zone": "mars-a"}),
        ("addresses.list", {"region": "mars"}),
    ):
        refused(api, 400, method, **given)
    refused(api, 404, "zones.get", zone="mars-a")
    refused(api, 404, "disks.insert", {"name": "x", "type": "zones/us-central1-a/diskTypes/fast"}, zone=ZONE)
