"""Requests in the forms that Terraform's google provider sends, and the fields that it reads of the replies.

A field that is missing makes the provider fail, or plan a replacement of what has not changed.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulator.conftest import PROJECT, Api

P = f"projects/{PROJECT}"
REGION = "us-central1"
ZONE = f"{REGION}-a"
LINK = f"https://www.googleapis.com/compute/v1/{P}"
LABELS = {"goog-terraform-provisioned": "true", "role": "kafka"}

# As the provider sends them: references without a host, a zone and a region that are no real paths, sizes as
# numbers, nulls for what is not set.
NETWORK = {
    "autoCreateSubnetworks": False,
    "name": "n",
    "routingConfig": {"routingMode": "REGIONAL"},
    "mtu": None,
}
SUBNETWORK = {
    "ipCidrRange": "10.9.0.0/24",
    "name": "s",
    "network": f"{P}/global/networks/n",
    "privateIpGoogleAccess": False,
    "region": f"{P}/global/regions/{REGION}",
    "secondaryIpRanges": None,
}
FIREWALL = {
    "allowed": [{"IPProtocol": "tcp", "ports": ["9092"]}],
    "direction": "INGRESS",
    "disabled": False,
    "logConfig": {"enable": False},
    "name": "f",
    "network": f"{P}/global/networks/n",
    "priority": 1000,
    "sourceTags": ["client"],
    "targetTags": ["kafka"],
}
ADDRESS = {
    "address": "10.9.0.11",
    "addressType": "INTERNAL",
    "labels": LABELS,
    "name": "a",
    "region": f"{P}/global/regions/{REGION}",
    "subnetwork": f"{P}/regions/{REGION}/subnetworks/s",
}
DISK = {
    "labels": LABELS,
    "name": "d",
    "sizeGb": 50,
    "type": f"{P}/zones/{ZONE}/diskTypes/pd-ssd",
    "zone": f"{P}/global/zones/{ZONE}",
}
IMAGE = {
    "description": "a bake",
    "family": "kafka",
    "labels": LABELS,
    "name": "kafka-1",
    "sourceDisk": f"{P}/zones/{ZONE}/disks/d",
}
COPY = {"name": "boot", "sourceImage": f"{P}/global/images/kafka-1", "zone": f"{P}/global/zones/{ZONE}"}


@pytest.fixture
def made(api: Api) -> None:
    in_region, in_zone = {"region": REGION}, {"zone": ZONE}
    for method, body, place in (
        ("networks", NETWORK, {}),
        ("subnetworks", SUBNETWORK, in_region),
        ("firewalls", FIREWALL, {}),
        ("addresses", ADDRESS, in_region),
        ("disks", DISK, in_zone),
        ("images", IMAGE, {}),
        ("disks", COPY, in_zone),
    ):
        operation = api(f"{method}.insert", body, **place)
        # The next poll of the operation goes to the place that it names.
        named = {name: operation[name] for name in ("zone", "region") if name in operation}
        assert named == {name: f"{LINK}/{name}s/{value}" for name, value in place.items()}


READ: list[tuple[str, dict[str, str], dict[str, Any]]] = [
    (
        "networks.get",
        {"network": "n"},
        {
            "name": "n",
            "autoCreateSubnetworks": False,
            "networkFirewallPolicyEnforcementOrder": "AFTER_CLASSIC_FIREWALL",
            "routingConfig": {"routingMode": "REGIONAL"},
            "selfLink": f"{LINK}/global/networks/n",
            "subnetworks": [f"{LINK}/regions/{REGION}/subnetworks/s"],
        },
    ),
    (
        "subnetworks.get",
        {"region": REGION, "subnetwork": "s"},
        {
            "name": "s",
            "network": f"{LINK}/global/networks/n",
            "ipCidrRange": "10.9.0.0/24",
            "privateIpGoogleAccess": False,
            "region": f"{LINK}/regions/{REGION}",
        },
    ),
    (
        "firewalls.get",
        {"firewall": "f"},
        {name: value for name, value in FIREWALL.items() if name != "network"}
        | {"network": f"{LINK}/global/networks/n"},
    ),
    (
        "addresses.get",
        {"region": REGION, "address": "a"},
        {
            "name": "a",
            "address": "10.9.0.11",
            "addressType": "INTERNAL",
            "subnetwork": f"{LINK}/regions/{REGION}/subnetworks/s",
            "labels": LABELS,
        },
    ),
    (
        "disks.get",
        {"zone": ZONE, "disk": "d"},
        {"name": "d", "sizeGb": "50", "type": f"{LINK}/zones/{ZONE}/diskTypes/pd-ssd", "labels": LABELS},
    ),
    (
        "disks.get",
        {"zone": ZONE, "disk": "boot"},
        {"name": "boot", "sizeGb": "50", "sourceImage": f"{LINK}/global/images/kafka-1"},
    ),
    (
        "images.get",
        {"image": "kafka-1"},
        {
            "name": "kafka-1",
            "family": "kafka",
            "description": "a bake",
            "sourceDisk": f"{LINK}/zones/{ZONE}/disks/d",
            "labels": LABELS,
        },
    ),
]


@pytest.mark.parametrize(("method", "given", "fields"), READ)
def test_what_the_provider_reads_is_there_as_it_was_declared(
    api: Api, made: None, method: str, given: dict[str, str], fields: dict[str, Any]
) -> None:
    reply = api(method, **given)
    assert {name: reply.get(name) for name in fields} == fields
    assert reply["selfLink"].startswith(LINK)
    assert isinstance(reply["id"], str)


def test_an_address_gets_its_labels_again_after_its_insert(api: Api, made: None) -> None:
    where = {"region": REGION}
    before = api("addresses.get", **where, address="a")
    body = {"labels": LABELS, "labelFingerprint": before["labelFingerprint"]}
    api("addresses.setLabels", body, **where, resource="a")
    assert api("addresses.get", **where, address="a") == before


def test_all_is_destroyed_in_the_order_of_the_provider(api: Api, made: None) -> None:
    for method, given in (
        ("firewalls", {"firewall": "f"}),
        ("addresses", {"region": REGION, "address": "a"}),
        ("disks", {"zone": ZONE, "disk": "boot"}),
        ("images", {"image": "kafka-1"}),
        ("disks", {"zone": ZONE, "disk": "d"}),
        ("subnetworks", {"region": REGION, "subnetwork": "s"}),
        ("networks", {"network": "n"}),
    ):
        assert "error" not in api(f"{method}.delete", **given)
    left = [key for key, _ in api.service.store.matching(f"{P}/", "networks")]
    assert left == [f"{P}/global/networks/default"]
