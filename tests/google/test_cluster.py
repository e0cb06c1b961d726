"""Three instances with disks and addresses of their own, by Terraform against the emulator.

The requests are those of hashicorp/google; with STONEWARE_GOOGLE_PROVIDER=/path/of/its/binary the same tests
run with that provider itself.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from stoneware.terraform.runner import managed_addresses, tainted_addresses
from tests.google.applied import Applied, opened, refused, what
from tests.google.cloud import PROJECT, REGION, ZONE, lines

pytestmark = pytest.mark.tool

CLUSTER = Path(__file__).with_name("cluster.tf").read_text()
NODES = ("k1", "k2", "k3")
IN_ZONE, IN_REGION = f"zones/{ZONE}", f"regions/{REGION}"
K1 = f"{IN_ZONE}/instances/k1"
LOOK = [f"GET {K1}", f"GET {IN_ZONE}/disks/k1"]  # at an instance, and its boot disk
P = f"projects/{PROJECT}"
PUBLIC = "projects/debian-cloud/global/images"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, google_provider: dict[str, str]) -> Iterator[Applied]:
    with opened(tmp_path_factory.mktemp("cluster"), CLUSTER, google_provider) as applied:
        yield applied


@pytest.fixture
def cluster(made: Applied) -> Applied:
    made.reset()
    return made


def test_it_is_made_with_the_requests_of_the_provider(made: Applied) -> None:
    made.vary()
    assert made.terraform.apply().added == 10
    asked = made.cloud.take()
    wanted = Counter(["POST global/firewalls", "GET global/firewalls/kafka"])
    for name in NODES:
        wanted += Counter(
            [
                f"POST {IN_REGION}/addresses",
                f"POST {IN_REGION}/addresses/{name}/setLabels",
                *[f"GET {IN_REGION}/addresses/{name}"] * 2,
                f"POST {IN_ZONE}/disks",
                f"GET {IN_ZONE}/disks/{name}-data",
                f"POST {IN_ZONE}/instances",
                f"GET {IN_ZONE}/disks/{name}",
            ]
        )
    found = Counter(lines(asked))
    looks = [f"GET {IN_ZONE}/instances/{name}" for name in NODES]
    assert all(found.pop(look) >= 2 for look in looks)  # until it runs, and then its state
    assert found == wanted
    assert made.terraform.plan().noop
    again = Counter(lines(made.cloud.take()))
    read = [
        f"GET {IN_ZONE}/{kind}"
        for name in NODES
        for kind in (f"instances/{name}", f"disks/{name}", f"disks/{name}-data")
    ]
    assert again == Counter(
        [*read, *(f"GET {IN_REGION}/addresses/{name}" for name in NODES), "GET global/firewalls/kafka"]
    )


def test_the_bodies_are_those_of_the_provider(cluster: Applied) -> None:
    cluster.terraform.destroy()
    cluster.cloud.take()
    cluster.terraform.apply()
    bodies = {
        (each.line.removeprefix("POST "), each.body["name"]): each.body
        for each in cluster.cloud.changes()
        if each.body and "name" in each.body
    }
    instance = bodies[f"{IN_ZONE}/instances", "k1"]
    assert instance["disks"] == [
        {
            "autoDelete": True,
            "boot": True,
            "initializeParams": {
                "diskSizeGb": "12",
                "labels": {"cluster": "kafka"},
                "sourceImage": f"{PUBLIC}/debian-12-stoneware",
            },
            "mode": "READ_WRITE",
        },
        {"deviceName": "data", "mode": "READ_WRITE", "source": f"{P}/{IN_ZONE}/disks/k1-data"},
    ]
    assert instance["machineType"] == f"{P}/{IN_ZONE}/machineTypes/e2-small"
    assert instance["metadata"] == {
        "items": [{"key": "node", "value": "k1"}, {"key": "role", "value": "broker"}]
    }
    assert instance["networkInterfaces"] == [
        {
            "accessConfigs": [{"type": "ONE_TO_ONE_NAT"}],
            "networkIP": "10.128.0.11",
            "subnetwork": f"{P}/{IN_REGION}/subnetworks/default",
        }
    ]
    assert instance["serviceAccounts"] == [
        {"email": "default", "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}
    ]
    assert (instance["labels"], instance["tags"]) == ({"cluster": "kafka"}, {"items": ["kafka"]})
    disk = bodies[f"{IN_ZONE}/disks", "k1-data"]
    assert (disk["sizeGb"], disk["type"]) == (20, f"{P}/{IN_ZONE}/diskTypes/pd-ssd")
    address = bodies[f"{IN_REGION}/addresses", "k1"]
    assert address["subnetwork"] == f"{P}/{IN_REGION}/subnetworks/default"
    allowed = bodies["global/firewalls", "kafka"]["allowed"]
    assert sorted(allowed, key=len) == [
        {"IPProtocol": "icmp"},
        {"IPProtocol": "tcp", "ports": ["9092", "9093"]},
    ]


def test_metadata_is_changed_in_place(cluster: Applied) -> None:
    before = cluster.cloud.of("instances")["k1"]["metadata"]["fingerprint"]
    plan = cluster.change(metadata={"role": "controller"})
    assert set(what(plan).values()) == {("update",)}
    asked = [each for each in cluster.apply(plan) if "k1" in each.line]
    assert lines(asked) == [f"GET {K1}", f"GET {K1}", f"POST {K1}/setMetadata", *LOOK]
    items = [{"key": "node", "value": "k1"}, {"key": "role", "value": "controller"}]
    assert asked[2].body == {"fingerprint": before, "items": items}


def test_one_image_replaces_one_instance(cluster: Applied) -> None:
    kept = {name: cluster.cloud.of(name) for name in ("addresses", "disks", "instances")}
    plan = cluster.change(image={"k2": f"{PUBLIC}/debian-13-stoneware"})
    assert what(plan) == {'google_compute_instance.node["k2"]': ("delete", "create")}
    k2 = f"{IN_ZONE}/instances/k2"
    asked = lines(cluster.apply(plan))
    assert asked[:2] == [f"DELETE {k2}", f"POST {IN_ZONE}/instances"]
    assert set(asked[2:]) == {f"GET {k2}", f"GET {IN_ZONE}/disks/k2"}
    after = {name: cluster.cloud.of(name) for name in kept}
    assert after["disks"]["k2-data"]["id"] == kept["disks"]["k2-data"]["id"]
    assert after["addresses"]["k2"]["id"] == kept["addresses"]["k2"]["id"]
    same = {name for name in NODES if after["instances"][name]["id"] == kept["instances"][name]["id"]}
    assert same == {"k1", "k3"}


def test_a_machine_type_takes_a_stop_and_a_start(cluster: Applied) -> None:
    plan = cluster.change(machine_type="e2-medium")
    asked = [each for each in cluster.apply(plan) if "k1" in each.line]
    assert lines(asked) == [
        f"GET {K1}",
        f"POST {K1}/stop",
        f"POST {K1}/setMachineType",
        f"POST {K1}/start",
        *LOOK,
    ]
    assert [each.body for each in asked[1:4]] == [
        None,
        {"machineType": f"{P}/{IN_ZONE}/machineTypes/e2-medium"},
        None,
    ]
    assert cluster.cloud.of("instances")["k1"]["status"] == "RUNNING"


def test_labels_and_tags_are_changed_in_place(cluster: Applied) -> None:
    plan = cluster.change(labels={"cluster": "kafka", "env": "test"}, tags=["kafka", "web"])
    asked = cluster.apply(plan)
    assert [line for line in lines(asked) if "instances/k1" in line] == [
        f"GET {K1}",
        f"POST {K1}/setTags",
        f"POST {K1}/setLabels",
        f"GET {K1}",
    ]
    assert f"POST {IN_ZONE}/disks/k1/setLabels" in lines(asked)
    changed = {each.line.removeprefix("POST "): each.body for each in asked if each.verb == "POST"}
    assert changed[f"{K1}/setTags"]["items"] == ["kafka", "web"]
    for place in (K1, f"{IN_ZONE}/disks/k1-data", f"{IN_REGION}/addresses/k1"):
        body = changed[f"{place}/setLabels"]
        assert (body["labels"], bool(body["labelFingerprint"])) == ({"cluster": "kafka", "env": "test"}, True)
    plan = cluster.change(tags=["web", "kafka"], labels={"env": "test", "cluster": "kafka"})
    assert plan.noop  # the order says nothing


def test_all_else_that_changes_in_place(cluster: Applied) -> None:
    plan = cluster.change(boot_size=14, external=False, forward=True, keep_boot=True)
    assert set(what(plan).values()) == {("update",)}
    asked = [line for line in lines(cluster.apply(plan)) if "k1" in line and not line.startswith("GET ")]
    assert asked == [
        f"PUT {K1}",
        f"POST {K1}/deleteAccessConfig?accessConfig=external-nat&networkInterface=nic0",
        f"POST {IN_ZONE}/disks/k1/resize",
        f"POST {K1}/setDiskAutoDelete?autoDelete=false&deviceName=persistent-disk-0",
        f"PUT {K1}",
    ]
    assert cluster.cloud.of("instances")["k1"]["description"] == "forwards"
    plan = cluster.change(boot_size=14, forward=True, account="kafka@proj-1.iam.gserviceaccount.com")
    asked = [line for line in lines(cluster.apply(plan)) if "k1" in line and not line.startswith("GET ")]
    assert asked == [
        f"POST {K1}/addAccessConfig?networkInterface=nic0",
        f"POST {K1}/setDiskAutoDelete?autoDelete=true&deviceName=persistent-disk-0",
        f"POST {K1}/stop",
        f"POST {K1}/setServiceAccount",
        f"POST {K1}/start",
    ]
    plan = cluster.change(forward=True, account="kafka@proj-1.iam.gserviceaccount.com")
    assert set(what(plan).values()) == {("update",)}
    with refused() as said:  # the provider asks for it all the same
        cluster.terraform.apply(plan)
    assert "sizeGb" in said[0]
    assert "the 14 GB it has" in said[0]
    cluster.apply(cluster.change(image=dict.fromkeys(NODES, f"{PUBLIC}/debian-13-stoneware")))


def test_a_stopped_instance_is_started_again(cluster: Applied) -> None:
    service = cluster.cloud.service
    [(key, record)] = [
        each for each in service.store.matching("projects/", "instances") if each[0].endswith("/k1")
    ]
    service.keep("instances", key, record | {"status": "TERMINATED"})
    cluster.cloud.computers.machines.clear()
    plan = cluster.change()
    assert what(plan) == {'google_compute_instance.node["k1"]': ("update",)}
    assert lines(cluster.apply(plan)) == [f"GET {K1}", f"POST {K1}/start", *LOOK]


def test_a_creation_that_fails_is_in_no_state(cluster: Applied) -> None:
    plan = cluster.change(image={"k3": f"{PUBLIC}/debian-13-stoneware"})
    cluster.cloud.fail("stockout")
    with refused() as said:
        cluster.terraform.apply(plan)
    assert "does not have enough resources available" in said[0]
    address = 'google_compute_instance.node["k3"]'
    assert address not in managed_addresses(cluster.terraform.directory)
    assert "k3" not in cluster.cloud.of("instances")
    assert "k3-data" in cluster.cloud.of("disks")
    cluster.cloud.fail()
    assert what(cluster.change()) == {address: ("create",)}


def test_what_exists_is_imported(cluster: Applied) -> None:
    address = 'google_compute_instance.node["k2"]'
    directory = cluster.terraform.directory
    state = json.loads((directory / "terraform.tfstate").read_text())
    for resource in state["resources"]:
        if resource["type"] == "google_compute_instance":
            resource["instances"] = [each for each in resource["instances"] if each["index_key"] != "k2"]
    state["serial"] += 1
    (directory / "terraform.tfstate").write_text(json.dumps(state))
    assert cluster.terraform.adopt({address: f"{P}/{IN_ZONE}/instances/k2"}) == (address,)
    before = cluster.cloud.of("instances")["k2"]["id"]
    plan = cluster.change()
    assert what(plan) == {address: ("update",)}
    cluster.apply(plan)
    assert cluster.cloud.of("instances")["k2"]["id"] == before
    assert tainted_addresses(directory) == frozenset()


def test_nothing_is_left_of_it(cluster: Applied) -> None:
    assert cluster.terraform.destroy().removed == 10
    asked = lines(cluster.cloud.changes())
    assert not [line for line in asked if not line.startswith("DELETE ")]
    for name in NODES:
        first, then = f"DELETE {IN_ZONE}/instances/{name}", f"DELETE {IN_ZONE}/disks/{name}-data"
        assert asked.index(first) < asked.index(then)
    for collection in ("addresses", "disks", "firewalls", "instances"):
        assert cluster.cloud.of(collection) == {}
    assert not cluster.cloud.computers.machines
