"""The emulator as Google's own Python client sees it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from googleapiclient.errors import HttpError

from stoneware.emulator.service import Service

pytestmark = pytest.mark.tool

Z = {"project": "proj-1", "zone": "us-central1-a"}
G = {"project": "proj-1"}


def _refused(request: Any) -> int:
    with pytest.raises(HttpError) as caught:
        request.execute()
    return int(caught.value.resp.status)


def test_a_disk_becomes_an_image_whose_family_moves_back_when_it_is_deprecated(
    client: Any, service: Service
) -> None:
    service.operations = dataclasses.replace(service.operations, delay=0.05)
    running = client.disks().insert(**Z, body={"name": "d", "sizeGb": 10}).execute()
    assert running["status"] == "RUNNING"
    assert client.zoneOperations().wait(**Z, operation=running["name"]).execute()["status"] == "DONE"
    assert client.disks().get(**Z, disk="d").execute()["sizeGb"] == "10"
    assert _refused(client.disks().insert(**Z, body={"name": "d"})) == 409
    for name in ("fam-1", "fam-2"):
        body = {"name": name, "family": "fam", "sourceDisk": "zones/us-central1-a/disks/d"}
        client.images().insert(**G, body=body).execute()
    assert client.images().getFromFamily(**G, family="fam").execute()["name"] == "fam-2"
    client.images().deprecate(**G, image="fam-2", body={"state": "DEPRECATED"}).execute()
    assert client.images().getFromFamily(**G, family="fam").execute()["name"] == "fam-1"
    client.images().deprecate(**G, image="fam-2", body={}).execute()
    assert client.images().getFromFamily(**G, family="fam").execute()["name"] == "fam-2"
    found = client.images().list(**G, filter='family eq ".*\\bfam\\b.*"', maxResults=1).execute()
    assert [image["name"] for image in found["items"]] == ["fam-1"]
    rest = client.images().list(**G, maxResults=1, pageToken=found["nextPageToken"]).execute()
    assert [image["name"] for image in rest["items"]] == ["fam-2"]


def test_labels_and_metadata_are_changed_only_with_the_current_fingerprint(client: Any) -> None:
    client.disks().insert(**Z, body={"name": "d", "sizeGb": 10}).execute()
    before = client.disks().get(**Z, disk="d").execute()["labelFingerprint"]
    assert before == "42WmSpB8rSM="
    body = {"labels": {"a": "b"}, "labelFingerprint": before}
    client.disks().setLabels(**Z, resource="d", body=body).execute()
    assert _refused(client.disks().setLabels(**Z, resource="d", body=body)) == 412
    assert client.disks().get(**Z, disk="d").execute()["labels"] == {"a": "b"}
    metadata = client.projects().get(**G).execute()["commonInstanceMetadata"]
    new = {"items": [{"key": "k", "value": "v"}], "fingerprint": metadata["fingerprint"]}
    client.projects().setCommonInstanceMetadata(**G, body=new).execute()
    assert _refused(client.projects().setCommonInstanceMetadata(**G, body=new)) == 412


def test_what_is_missing_wrong_held_or_not_served_is_refused_as_the_api_does(client: Any) -> None:
    assert _refused(client.disks().get(**Z, disk="d")) == 404
    assert _refused(client.disks().insert(**Z, body={"name": "Not_A_Name"})) == 400
    assert _refused(client.disks().list(project="proj-1", zone="nowhere")) == 400
    assert _refused(client.projects().get(project="other")) == 404
    assert _refused(client.networks().delete(**G, network="none")) == 404
    assert _refused(client.instances().suspend(**Z, instance="none")) == 501
    rule = {
        "name": "f",
        "network": "global/networks/default",
        "allowed": [{"IPProtocol": "tcp", "ports": ["22"]}],
    }
    client.firewalls().insert(**G, body=rule).execute()
    assert client.firewalls().get(**G, firewall="f").execute()["priority"] == 1000
    operation = client.networks().delete(**G, network="default").execute()
    assert operation["error"]["errors"][0]["code"] == "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE"
    assert operation["httpErrorStatusCode"] == 400


def test_addresses_are_free_again_at_once_and_lists_are_by_place(client: Any) -> None:
    where = {"project": "proj-1", "region": "us-central1"}
    body = {"name": "a", "addressType": "INTERNAL", "address": "10.128.0.9"}
    client.addresses().insert(**where, body=body).execute()
    assert _refused(client.addresses().insert(**where, body=body | {"name": "b"})) == 400
    client.addresses().delete(**where, address="a").execute()
    client.addresses().insert(**where, body=body | {"name": "b"}).execute()
    items = client.addresses().aggregatedList(**G).execute()["items"]
    assert [one["address"] for one in items["regions/us-central1"]["addresses"]] == ["10.128.0.9"]
    assert items["regions/us-east1"]["warning"]["code"] == "NO_RESULTS_ON_PAGE"
    names = [one["name"] for one in client.zones().list(**G).execute()["items"]]
    assert "us-central1-f" in names
    assert client.machineTypes().get(**Z, machineType="e2-medium").execute()["memoryMb"] == 4096
