"""The life of instances, over machines in memory: what a client sees, and what is left of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from stoneware.emulator import discovery, faults, instance_work
from stoneware.emulator.errors import ApiError
from stoneware.emulator.machine_spec import machine_name
from stoneware.emulator.service import Service
from stoneware.emulator.store import Store
from tests.emulator.computers import Computers
from tests.emulator.conftest import PROJECT, Api

ZONE = "us-central1-a"
REGION = "us-central1"
LINK = f"https://www.googleapis.com/compute/v1/projects/{PROJECT}"
DEBIAN = "projects/debian-cloud/global/images/family/debian-12"
KEY = f"projects/{PROJECT}/zones/{ZONE}/instances/k1"
MACHINE = machine_name(KEY)


@pytest.fixture
def computers() -> Computers:
    return Computers()


@pytest.fixture
def service(document: discovery.Document, store: Store, computers: Computers) -> Iterator[Service]:
    made = opened(document, store, computers)
    yield made
    computers.gate.set()
    made.jobs.close()  # before the store is closed


def opened(document: discovery.Document, store: Store, computers: Computers) -> Service:
    made = Service(document, store, delay=0, open_computers=lambda: computers)
    made.add_project(PROJECT)
    made.add_public_images()
    return made


def body(name: str = "k1", **more: Any) -> dict[str, Any]:
    boot = {"boot": True, "autoDelete": True, "initializeParams": {"sourceImage": DEBIAN}}
    found: dict[str, Any] = {
        "name": name,
        "machineType": f"zones/{ZONE}/machineTypes/e2-small",
        "disks": [boot],
        "networkInterfaces": [{"network": "global/networks/default"}],
    }
    return found | more


def did(api: Api, method: str, given: dict[str, Any] | None = None, /, **query: str) -> dict[str, Any]:
    """Make a call and wait for its operation, which must end well."""
    ended = finished(api, method, given, **query)
    assert "error" not in ended, ended
    return ended


def finished(api: Api, method: str, given: dict[str, Any] | None = None, /, **query: str) -> dict[str, Any]:
    if "zone" not in query and "global" not in query:
        query["zone"] = ZONE
    query.pop("global", None)
    operation = api(method, given, **query)
    scope = next((name for name in ("zone", "region") if name in operation), "global")
    where = {scope: operation[scope].rsplit("/", 1)[1]} if scope != "global" else {}
    ended = api(f"{scope}Operations.wait", operation=operation["name"], **where)
    assert ended["status"] == "DONE"
    settle(api.service)  # what is forgotten after the operation's end
    return ended


def settle(service: Service) -> None:
    while not service.jobs.idle():
        time.sleep(0.001)


def instance(api: Api, name: str = "k1") -> dict[str, Any]:
    return api("instances.get", zone=ZONE, instance=name)


def refusal(api: Api, method: str, given: dict[str, Any] | None = None, /, **query: str) -> ApiError:
    with pytest.raises(ApiError) as caught:
        api(method, given, **{"zone": ZONE, **query})
    return caught.value


def test_an_instance_is_a_machine_that_knows_what_it_is(
    api: Api, computers: Computers, service: Service
) -> None:
    did(
        api,
        "instances.insert",
        body(
            metadata={"items": [{"key": "startup-script", "value": "echo hi"}]},
            tags={"items": ["kafka"]},
            serviceAccounts=[
                {"email": "default", "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}
            ],
        ),
    )
    shown = instance(api)
    assert shown["status"] == "RUNNING"
    assert shown["disks"][0]["source"] == f"{LINK}/zones/{ZONE}/disks/k1"
    assert not [name for name in json.dumps(shown).split('"') if name.startswith("x-")]
    spec = computers.machines[MACHINE]
    (network,) = spec.networks
    assert spec.addresses == {network: "10.128.0.2"}
    assert computers.networks == {network: ["10.128.0.0/20"]}
    assert (spec.source, spec.hostname, spec.memory, spec.disk) == (
        "checkpoint:base-debian:12",
        "k1",
        2 << 30,
        10 << 30,
    )
    assert spec.metadata == {"startup-script": "echo hi"}
    said = {path: json.loads(text) for path, text in spec.identity.items()}
    assert said["instance/hostname"] == f"k1.{ZONE}.c.{PROJECT}.internal"
    assert said["instance/id"] == int(shown["id"])
    assert said["instance/tags"] == ["kafka"]
    assert shown["networkInterfaces"][0]["networkIP"] == "10.128.0.2"
    account = said["instance/service-accounts"]["default"]
    assert account["email"] == shown["serviceAccounts"][0]["email"]
    token = service.tokens.known(account["token"]["access_token"])
    assert token is not None
    assert (token["email"], token["instance"]) == (account["email"], KEY)
    assert token["expires"] == account["token"]["expires"] > time.time() + 3000


def test_a_stopped_instance_boots_from_what_it_left(api: Api, computers: Computers) -> None:
    did(api, "instances.insert", body())
    did(api, "instances.stop", instance="k1")
    assert instance(api)["status"] == "TERMINATED"
    assert not computers.machines
    (left,) = computers.contents
    did(api, "instances.stop", instance="k1")  # again: nothing is done
    did(api, "instances.start", instance="k1")
    assert computers.machines[MACHINE].source == f"checkpoint:{left}"
    did(api, "instances.reset", instance="k1")
    (after,) = computers.contents  # what was there before is forgotten
    assert after != left
    assert computers.machines[MACHINE].source == f"checkpoint:{after}"


def test_a_stop_is_not_done_before_the_machine_has_stopped(api: Api, computers: Computers) -> None:
    did(api, "instances.insert", body())
    computers.gate.clear()
    operation = api("instances.stop", zone=ZONE, instance="k1")
    now = api("zoneOperations.get", zone=ZONE, operation=operation["name"])
    assert (now["status"], instance(api)["status"]) == ("RUNNING", "STOPPING")
    for method in ("start", "stop", "reset", "setMachineType", "attachDisk"):
        assert refusal(api, f"instances.{method}", {}, instance="k1").reason == "resourceNotReady"
    computers.gate.set()
    assert api("zoneOperations.wait", zone=ZONE, operation=operation["name"])["status"] == "DONE"
    assert instance(api)["status"] == "TERMINATED"


def test_a_deleted_instance_frees_its_disk_name_and_address(api: Api, computers: Computers) -> None:
    address = {"name": "a", "addressType": "INTERNAL", "address": "10.128.0.9"}
    did(api, "addresses.insert", address, region=REGION, **{"global": ""})
    did(api, "disks.insert", {"name": "data", "sizeGb": "3"})
    data = {"source": f"zones/{ZONE}/disks/data", "deviceName": "data"}
    wanted = body(networkInterfaces=[{"network": "global/networks/default", "networkIP": "10.128.0.9"}])
    wanted["disks"].append(data)
    for _ in range(2):
        did(api, "instances.insert", wanted)
        (mount,) = computers.machines[MACHINE].volumes
        assert mount.path == "/dev/disk/by-id/google-data"
        assert computers.disks == {mount.volume: 3 << 30}
        assert api("addresses.get", region=REGION, address="a")["users"] == [instance(api)["selfLink"]]
        assert refusal(api, "disks.delete", disk="data").reason == "resourceInUseByAnotherResource"
        did(api, "instances.delete", instance="k1")
        assert api("addresses.get", region=REGION, address="a")["status"] == "RESERVED"
        assert [disk["name"] for disk in api("disks.list", zone=ZONE)["items"]] == ["data"]
    assert not computers.machines
    assert not computers.contents
    did(api, "disks.delete", disk="data")
    assert not computers.disks


def test_a_boot_disk_that_stays_can_be_booted_again(api: Api, computers: Computers) -> None:
    wanted = body()
    wanted["disks"][0]["autoDelete"] = False
    did(api, "instances.insert", wanted)
    did(api, "instances.delete", instance="k1")
    (left,) = computers.contents
    wanted["disks"] = [{"boot": True, "source": f"zones/{ZONE}/disks/k1"}]
    did(api, "instances.insert", wanted)
    assert computers.machines[MACHINE].source == f"checkpoint:{left}"


def test_an_image_has_what_was_on_the_disk(api: Api, computers: Computers) -> None:
    did(api, "instances.insert", body())
    image = {"name": "i", "family": "kafka", "sourceDisk": f"zones/{ZONE}/disks/k1"}
    assert refusal(api, "images.insert", image).reason == "resourceInUseByAnotherResource"
    did(api, "images.insert", image | {"name": "live"}, forceCreate="true", **{"global": ""})
    did(api, "instances.stop", instance="k1")
    did(api, "images.insert", image, **{"global": ""})
    live, stopped = (api("images.get", image=name)["status"] for name in ("live", "i"))
    assert (live, stopped, len(computers.contents)) == ("READY", "READY", 2)
    did(api, "instances.delete", instance="k1")
    two = body("k2")
    two["disks"][0]["initializeParams"]["sourceImage"] = "global/images/family/kafka"
    did(api, "instances.insert", two)
    source = computers.machines[machine_name(KEY.replace("k1", "k2"))].source
    assert source.removeprefix("checkpoint:") in computers.contents
    did(api, "images.delete", image="i", **{"global": ""})
    assert source.removeprefix("checkpoint:") in computers.contents  # the disk of k2 has it
    did(api, "instances.delete", instance="k2")
    did(api, "images.delete", image="live", **{"global": ""})
    assert not computers.contents


def test_a_machine_that_does_not_start_leaves_nothing(api: Api, computers: Computers) -> None:
    computers.broken.add("k1")
    ended = finished(api, "instances.insert", body())
    assert "no room" in ended["error"]["errors"][0]["message"]
    assert ended["httpErrorStatusCode"] == 500
    assert refusal(api, "instances.get", instance="k1").status == 404
    assert refusal(api, "disks.get", disk="k1").status == 404


def test_a_running_machine_is_told_of_new_metadata_and_tags(api: Api, computers: Computers) -> None:
    did(
        api,
        "instances.insert",
        body(metadata={"items": [{"key": "a", "value": "1"}, {"key": "b", "value": "2"}]}),
    )
    new = {"fingerprint": instance(api)["metadata"]["fingerprint"], "items": [{"key": "a", "value": "3"}]}
    did(api, "instances.setMetadata", new, instance="k1")
    assert computers.machines[MACHINE].metadata == {"a": "3"}
    assert refusal(api, "instances.setMetadata", new, instance="k1").status == 412
    common = {"fingerprint": "42WmSpB8rSM=", "items": [{"key": "c", "value": "4"}]}
    did(api, "projects.setCommonInstanceMetadata", common, **{"global": ""})
    tags = {"fingerprint": instance(api)["tags"]["fingerprint"], "items": ["web"]}
    did(api, "instances.setTags", tags, instance="k1")
    assert json.loads(computers.machines[MACHINE].identity["instance/tags"]) == ["web"]
    assert json.loads(computers.machines[MACHINE].identity["project/attributes"]) == {"c": "4"}


def test_what_needs_a_stop_is_refused_while_it_runs(api: Api, computers: Computers) -> None:
    did(api, "instances.insert", body())
    did(api, "disks.insert", {"name": "data", "sizeGb": "1"})
    kind = {"machineType": f"zones/{ZONE}/machineTypes/custom-1-3072"}
    disk = {"source": f"zones/{ZONE}/disks/data", "deviceName": "data"}
    assert refusal(api, "instances.setMachineType", kind, instance="k1").reason == "unsupportedOperation"
    did(api, "instances.stop", instance="k1")
    did(api, "instances.setMachineType", kind, instance="k1")
    did(api, "instances.attachDisk", disk, instance="k1")
    did(api, "instances.setServiceAccount", {"email": "a@b.example", "scopes": []}, instance="k1")
    did(api, "instances.start", instance="k1")
    assert computers.machines[MACHINE].memory == 3072 << 20
    assert [mount.path for mount in computers.machines[MACHINE].volumes] == ["/dev/disk/by-id/google-data"]
    did(api, "instances.stop", instance="k1")
    did(api, "instances.detachDisk", instance="k1", deviceName="data")
    did(api, "disks.delete", disk="data")


def test_a_machine_that_ends_by_itself_stops_its_instance(
    api: Api, service: Service, computers: Computers
) -> None:
    did(api, "instances.insert", body())
    instance_work.look(service)
    assert instance(api)["status"] == "RUNNING"
    computers.machines.clear()
    instance_work.look(service)
    settle(service)
    assert instance(api)["status"] == "TERMINATED"


@pytest.mark.parametrize("action", ["STOP", "DELETE"])
def test_an_instance_ends_when_its_time_is_over(
    api: Api, service: Service, computers: Computers, action: str
) -> None:
    limits = {"maxRunDuration": {"seconds": "60"}, "instanceTerminationAction": action}
    did(api, "instances.insert", body(scheduling=limits))
    now = service.clock()
    service.clock = lambda: now + 59
    instance_work.look(service)
    assert instance(api)["status"] == "RUNNING"
    service.clock = lambda: now + 120
    instance_work.look(service)
    settle(service)
    left = api("instances.list", zone=ZONE).get("items", [])
    assert [one["status"] for one in left] == (["TERMINATED"] if action == "STOP" else [])
    assert not computers.machines


def test_only_instances_that_may_be_are_preempted(
    document: discovery.Document, store: Store, computers: Computers
) -> None:
    wanted = faults.Faults([faults.parse("preempt")])
    service = Service(document, store, delay=0, faults=wanted, open_computers=lambda: computers)
    service.add_project(PROJECT)
    service.add_public_images()
    api = Api(service)
    did(api, "instances.insert", body())
    did(api, "instances.insert", body("spot", scheduling={"provisioningModel": "SPOT"}))
    instance_work.look(service)
    settle(service)
    assert (instance(api)["status"], instance(api, "spot")["status"]) == ("RUNNING", "TERMINATED")


def test_an_emulator_goes_on_with_what_the_last_one_began(
    document: discovery.Document, store: Store, api: Api, computers: Computers
) -> None:
    did(api, "instances.insert", body())
    did(api, "instances.insert", body("k2"))
    computers.gate.clear()
    stop = api("instances.stop", zone=ZONE, instance="k1")
    delete = api("instances.delete", zone=ZONE, instance="k2")
    computers.contents["disk-1"] = "what a kill has left"
    after = Computers(machines=dict(computers.machines), contents=dict(computers.contents))
    again = opened(document, store, after)
    instance_work.resume(again)
    later = Api(again)
    for operation in (stop, delete):
        ended = later("zoneOperations.wait", zone=ZONE, operation=operation["name"])
        assert (ended["status"], ended.get("error")) == ("DONE", None)
    assert [one["name"] for one in later("instances.list", zone=ZONE)["items"]] == ["k1"]
    assert instance(later)["status"] == "TERMINATED"
    assert not after.machines
    assert len(after.contents) == 1
    assert "disk-1" not in after.contents
    computers.gate.set()


def test_the_serial_port_shows_what_the_machine_wrote(api: Api, computers: Computers) -> None:
    did(api, "instances.insert", body())
    computers.consoles[MACHINE] = b"one\ntwo \x1b]0;title\x07\xff\n"
    first = api("instances.getSerialPortOutput", zone=ZONE, instance="k1")
    assert first["contents"].splitlines()[0] == "one"
    assert "\x1b" not in first["contents"]
    assert "\x07" not in first["contents"]
    rest = api("instances.getSerialPortOutput", zone=ZONE, instance="k1", start="4")
    assert rest["contents"].startswith("two ")
    assert (rest["start"], rest["next"]) == ("4", first["next"])
    silent = api("instances.getSerialPortOutput", zone=ZONE, instance="k1", port="2")
    assert silent["contents"] == ""
    did(api, "instances.stop", instance="k1")
    assert refusal(api, "instances.getSerialPortOutput", instance="k1").reason == "resourceNotReady"


def test_guest_attributes_are_found_by_namespace_and_key(api: Api, computers: Computers) -> None:
    did(api, "instances.insert", body())
    assert refusal(api, "instances.getGuestAttributes", instance="k1").status == 404
    computers.attributes[MACHINE] = {"ns/status": "ok", "ns/other": "1", "nsx/status": "2"}
    every = api("instances.getGuestAttributes", zone=ZONE, instance="k1")
    assert len(every["queryValue"]["items"]) == 3
    some = api("instances.getGuestAttributes", zone=ZONE, instance="k1", queryPath="ns/")
    assert {one["key"] for one in some["queryValue"]["items"]} == {"status", "other"}
    one = api("instances.getGuestAttributes", zone=ZONE, instance="k1", variableKey="ns/status")
    assert one["variableValue"] == "ok"
    assert refusal(api, "instances.getGuestAttributes", instance="k1", queryPath="none/").status == 404


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"machineType": "zones/us-central1-a/machineTypes/n9-huge"}, "machineType"),
        ({"disks": []}, "disks"),
        ({"disks": [{"initializeParams": {"sourceImage": DEBIAN}}]}, "disks"),
        ({"disks": [{"boot": True, "initializeParams": {"diskSizeGb": "10"}}]}, "disks[0]"),
        ({"networkInterfaces": []}, "networkInterfaces"),
        ({"networkInterfaces": [{"networkIP": "192.0.2.1"}]}, "address"),
        ({"networkInterfaces": [{"accessConfigs": [{"natIP": "203.0.113.77"}]}]}, "natIP"),
        ({"tags": {"items": ["Not A Tag"]}}, "tags"),
        ({"metadata": {"items": [{"key": "a", "value": "x" * 262_145}]}}, "metadata"),
        ({"serviceAccounts": [{"email": "a\nb"}]}, "email"),
        ({"name": "Upper"}, "name"),
    ],
)
def test_bad_requests_are_refused_and_leave_nothing(
    api: Api, computers: Computers, change: dict[str, Any], field: str
) -> None:
    refused = refusal(api, "instances.insert", body(**change))
    assert (refused.status, field in refused.message) == (400, True), refused.message
    assert not api("disks.list", zone=ZONE).get("items")
    assert not computers.machines


def test_a_repeated_request_makes_one_instance(api: Api, computers: Computers) -> None:
    request = "6a3b5c1e-0000-4000-8000-00000000000a"
    first = api("instances.insert", body(), zone=ZONE, requestId=request)
    again = api("instances.insert", body(), zone=ZONE, requestId=request)
    assert first["name"] == again["name"]
    assert api("zoneOperations.wait", zone=ZONE, operation=first["name"])["status"] == "DONE"
    assert list(computers.machines) == [MACHINE]


def test_a_protected_instance_and_a_used_network_stay(api: Api, computers: Computers) -> None:
    did(api, "instances.insert", body(deletionProtection=True))
    assert refusal(api, "instances.delete", instance="k1").status == 400
    did(api, "instances.setDeletionProtection", resource="k1", deletionProtection="false")
    assert "error" in finished(api, "networks.delete", network="default", **{"global": ""})
    did(api, "instances.delete", instance="k1")
    assert "error" in finished(api, "networks.delete", network="default", **{"global": ""})
    for rule in api("firewalls.list")["items"]:
        did(api, "firewalls.delete", firewall=rule["name"], **{"global": ""})
    did(api, "networks.delete", network="default", **{"global": ""})
    assert not computers.networks


def test_instances_of_one_network_have_addresses_in_its_subnetworks(api: Api, computers: Computers) -> None:
    did(api, "networks.insert", {"name": "vpc", "autoCreateSubnetworks": False}, **{"global": ""})
    for name, region, within in (("a", REGION, "10.9.0.0/24"), ("b", "us-east1", "10.9.1.0/24")):
        subnet = {"name": name, "network": "global/networks/vpc", "ipCidrRange": within}
        did(api, "subnetworks.insert", subnet, region=region, **{"global": ""})
    did(api, "instances.insert", body(networkInterfaces=[{"subnetwork": f"regions/{REGION}/subnetworks/a"}]))
    zone = "us-east1-b"
    other = body("k2", machineType=f"zones/{zone}/machineTypes/e2-small")
    other["networkInterfaces"] = [{"subnetwork": "regions/us-east1/subnetworks/b"}]
    operation = api("instances.insert", other, zone=zone)
    assert api("zoneOperations.wait", zone=zone, operation=operation["name"])["status"] == "DONE"
    addresses = {next(iter(spec.addresses.values())) for spec in computers.machines.values()}
    assert addresses == {"10.9.0.2", "10.9.1.2"}
    assert list(computers.networks.values()) == [["10.9.0.0/24", "10.9.1.0/24"]]


def test_a_public_image_cannot_be_changed(api: Api) -> None:
    with pytest.raises(ApiError) as caught:
        api("images.delete", project="debian-cloud", image="debian-12-stoneware")
    assert caught.value.status == 403


def test_other_public_projects_have_no_images(api: Api) -> None:
    # `gcloud compute images list` asks each of them, and warns of those that are not there.
    for project in ("ubuntu-os-cloud", "rhel-cloud", "windows-cloud"):
        assert "items" not in api("images.list", project=project)
    for verb, known, status in (("getFromFamily", {"family": "x"}, 404), ("insert", {}, 403)):
        with pytest.raises(ApiError) as caught:
            api(
                f"images.{verb}",
                {"name": "x"} if verb == "insert" else None,
                project="ubuntu-os-cloud",
                **known,
            )
        assert caught.value.status == status
    with pytest.raises(ApiError, match="projects/nobodys' was not found"):
        api("images.list", project="nobodys")


def test_what_a_machine_left_outlives_a_kill_between_its_end_and_its_record(
    document: discovery.Document, store: Store, api: Api, computers: Computers
) -> None:
    did(api, "instances.insert", body())
    computers.gate.clear()
    computers.machines.clear()
    instance_work.look(api.service)  # ended by itself; its contents are about to be kept
    key = store.get(KEY)
    assert key is not None
    after = Computers(contents={key["x-save"]: MACHINE})  # they are; then the emulator was killed
    after.gate.clear()  # the work that is done again comes late
    again = opened(document, store, after)
    instance_work.resume(again)
    assert key["x-save"] in after.contents
    after.gate.set()
    settle(again)
    did(Api(again), "instances.start", instance="k1")
    assert after.machines[MACHINE].source == f"checkpoint:{key['x-save']}"
    computers.gate.set()
