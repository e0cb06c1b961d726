"""The module for clusters, by Terraform against the emulator, with the provider or its stand-in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from stoneware.errors import InputError
from stoneware.platforms.google import infrastructure
from stoneware.platforms.google.api import Api
from stoneware.platforms.google.hardware import hardware_of
from stoneware.platforms.google.infrastructure import BUILDER_MODULE, CLUSTER_MODULE, GoogleInfrastructure
from stoneware.platforms.google.instance import read_spec
from stoneware.platforms.google.inventory import GoogleInventory
from stoneware.platforms.infrastructure import Kind, Subject
from stoneware.terraform.configuration import LIFT_VOLUMES, write_configuration
from stoneware.terraform.guard import PlanRefused, check_plan
from stoneware.terraform.results import Plan, TerraformError
from stoneware.terraform.runner import Terraform, managed_addresses
from tests.google.cloud import PROJECT, Cloud, served
from tests.google.clusters import IMAGES, SETTINGS, declared, spec
from tests.google.provider.schema import Block, schemas

MACHINES = tuple(f"kafka-{number}" for number in (1, 2, 3))


def _link(source: str) -> str:
    return f"{IMAGES}/debian-1{'2' if source.endswith('1') else '3'}-stoneware"


@dataclass
class Site:
    """A cluster's directory, and the cloud that it is for."""

    cloud: Cloud
    terraform: Terraform
    infrastructure: GoogleInfrastructure

    def plan(self, wanted: Mapping[str, Any], *, lift: bool = False) -> Plan:
        write_configuration(
            self.terraform.directory,
            CLUSTER_MODULE,
            self.infrastructure.variables(wanted),
            variables_file="machines.auto.tfvars.json",
            root=self.infrastructure.root(),
            overrides=[LIFT_VOLUMES] if lift else [],
        )
        return self.terraform.plan()

    def apply(self, wanted: Mapping[str, Any], *, lift: bool = False) -> None:
        self.terraform.apply(self.plan(wanted, lift=lift))
        self.cloud.take()

    def what(self, plan: Plan) -> dict[str, tuple[str, ...]]:
        return {it.address: it.actions for it in plan.changes if not it.noop}

    def instances(self) -> dict[str, Any]:
        return self.cloud.of("instances")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, google_provider: dict[str, str]) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("module")
    directory = home / "terraform"
    directory.mkdir()
    with served(home / "emulator") as cloud:
        settings = replace(SETTINGS, endpoint=cloud.endpoint)
        inventory = GoogleInventory(Api(settings), _link, home)
        infrastructure = GoogleInfrastructure(lambda: inventory)
        environment = {**infrastructure.environment(), **google_provider}
        with Terraform(directory, environment=environment) as terraform:
            yield Site(cloud, terraform, infrastructure)


@pytest.fixture
def site(made: Site) -> Site:
    made.apply(declared(*map(spec, (1, 2, 3))))
    return made


pytest_tool = pytest.mark.tool


def _data(site: Site) -> dict[str, str]:
    """Return the ids of the data disks."""
    disks = site.cloud.of("disks")
    return {name: each["id"] for name, each in disks.items() if name.endswith("-data")}


@pytest_tool
def test_a_cluster_is_made_and_its_second_plan_is_empty(site: Site) -> None:
    there = site.instances()
    assert set(there) == {f"shop-{name}" for name in MACHINES}
    zones = {name: one["zone"].rsplit("/", 1)[1] for name, one in there.items()}
    assert [zones[f"shop-{name}"][-1] for name in MACHINES] == ["a", "b", "a"]
    one = there["shop-kafka-1"]
    found = read_spec(one)
    assert found == replace(spec(1), metadata={**spec(1).metadata, "enable-guest-attributes": "TRUE"})
    items = {item["key"]: item["value"] for item in one["metadata"]["items"]}
    assert items["stoneware-volumes"] == ("/dev/disk/by-id/google-shop-kafka-1-data\t/var/lib/kafka\trw\n")
    addresses = {name: each["address"] for name, each in site.cloud.of("addresses").items()}
    assert items["stoneware-hosts"] == "".join(
        f"{addresses[f'shop-{name}']}\t{name}.shop.internal {name} kafka shop-{name}\n" for name in MACHINES
    )
    assert one["networkInterfaces"][0]["networkIP"] == addresses["shop-kafka-1"]
    assert one["labels"] == {
        "stoneware": "machine",
        "stoneware-cluster": "shop",
        "stoneware-machine": "kafka-1",
        "stoneware-service": "kafka",
        "stoneware-slot": "1",
        "goog-terraform-provisioned": "true",
    }
    assert one["tags"]["items"] == ["shop-default", "shop-kafka-1-ports"]
    rules = [name for name in site.cloud.of("firewalls") if name.startswith("shop")]
    assert rules == ["shop-default"]  # nobody outside was let in
    assert site.terraform.plan().noop
    subjects = {
        site.infrastructure.subject(address) for address in managed_addresses(site.terraform.directory)
    }
    kinds = (Kind.MACHINE, Kind.ADDRESS)
    own = {Subject(kind, name) for kind in kinds for name in MACHINES}
    assert {it for it in subjects if it.kind in kinds} == own
    assert not [it for it in subjects if it.kind is Kind.OTHER]


@pytest_tool
def test_another_image_replaces_that_machine_alone_and_keeps_its_disk_and_address(site: Site) -> None:
    before = site.instances()
    disks = _data(site)
    wanted = declared(spec(1), spec(2, "2"), spec(3))
    plan = site.plan(wanted)
    own = {address for address in site.what(plan) if site.infrastructure.subject(address).name == "kafka-2"}
    assert site.what(plan) == {
        'google_compute_instance.machine["kafka-2"]': ("delete", "create"),
        'terraform_data.release["kafka-2"]': ("update",),
    }
    check_plan(plan, allowed=own, disk_types=site.infrastructure.disk_types)
    with pytest.raises(PlanRefused, match="more than was asked"):
        check_plan(plan, allowed=own - {'google_compute_instance.machine["kafka-2"]'}, disk_types=frozenset())
    site.terraform.apply(plan)
    after = site.instances()
    assert {name for name in after if after[name]["id"] != before[name]["id"]} == {"shop-kafka-2"}
    assert disks == _data(site)
    address = [one["shop-kafka-2"]["networkInterfaces"][0]["networkIP"] for one in (before, after)]
    assert address[0] == address[1]
    assert site.terraform.plan().noop


@pytest_tool
def test_config_labels_and_protection_change_in_place(site: Site) -> None:
    before = {name: each["id"] for name, each in site.instances().items()}
    changed = spec(
        1,
        metadata={**spec(1).metadata, "stoneware-config": "NODE_ID=9\n"},
        labels={**spec(1).labels, "team": "data"},
        live_extras={"source_ranges": "10.0.0.0/8", "exposed": "53/udp,8080", "tags": "more"},
    )
    plan = site.plan(declared(changed, spec(2), spec(3)))
    assert site.what(plan) == {
        'google_compute_instance.machine["kafka-1"]': ("update",),
        'google_compute_firewall.ports["kafka-1"]': ("create",),
        'google_compute_disk.volume["shop-kafka-1-data"]': ("update",),
    }
    site.terraform.apply(plan)
    assert {name: each["id"] for name, each in site.instances().items()} == before
    rule = site.cloud.of("firewalls")["shop-kafka-1-ports"]
    allowed = {each["IPProtocol"]: each["ports"] for each in rule["allowed"]}
    assert allowed == {"tcp": ["8080", "9092"], "udp": ["53"]}
    assert (rule["sourceRanges"], rule["targetTags"]) == (["10.0.0.0/8"], ["shop-kafka-1-ports"])
    assert site.terraform.plan().noop


@pytest_tool
def test_machines_have_names_in_zones_that_are_made_or_are_there(site: Site) -> None:
    api = Api(replace(SETTINGS, endpoint=site.cloud.endpoint))
    there = f"/projects/{PROJECT}/managedZones"
    body = {"name": "there", "dnsName": "example.com.", "visibility": "private", "description": "ours"}
    api.request("dns", "POST", there, "make a zone", body=body)
    own = {"dns_zone": "shop", "dns_name": "shop.internal"}
    wanted = declared(spec(1, live_extras=own), spec(2, live_extras={"dns_zone": "there"}), spec(3))
    plan = site.plan(wanted)
    names = {address: actions for address, actions in site.what(plan).items() if "_dns_" in address}
    zone, *records = (
        'google_dns_managed_zone.zone["shop"]',
        'google_dns_record_set.machine["kafka-1"]',
        'google_dns_record_set.machine["kafka-2"]',
    )
    assert names == dict.fromkeys((zone, *records), ("create",))
    assert [site.infrastructure.subject(place) for place in (zone, records[0])] == [
        Subject(Kind.ZONE, "shop"),
        Subject(Kind.MACHINE, "kafka-1"),
    ]
    site.terraform.apply(plan)
    assert site.terraform.plan().noop
    addresses = {name: each["address"] for name, each in site.cloud.of("addresses").items()}
    for place, domain, short in (("shop", "shop.internal.", "kafka-1"), ("there", "example.com.", "kafka-2")):
        (found,) = api.get("dns", f"{there}/{place}/rrsets", "list records", type="A")["rrsets"]
        assert (found["name"], found["rrdatas"]) == (f"{short}.{domain}", [addresses[f"shop-{short}"]])
    made = api.get("dns", f"{there}/shop", "look at the zone")
    assert (made["visibility"], made["dnsName"]) == ("private", "shop.internal.")
    zones = {Subject(Kind.ZONE, name): name for name in ("shop", "there", "no-such")}
    assert site.infrastructure.imports(zones) == {zone: f"projects/{PROJECT}/managedZones/shop"}
    site.apply(declared(*map(spec, (1, 2, 3))))
    assert [one["name"] for one in api.get("dns", there, "list zones")["managedZones"]] == ["there"]
    assert "rrsets" in api.get("dns", f"{there}/there/rrsets", "list records")


def test_what_is_said_of_zones_has_to_be_whole() -> None:
    domain = {"dns_name": "a.internal"}
    with pytest.raises(InputError, match=r"dns_name a\.internal, and no dns_zone"):
        hardware_of(domain, SETTINGS)
    others = [{"dns_zone": "shop", "dns_name": name} for name in ("a.internal", "b.internal.")]
    machines = declared(*(spec(number, live_extras=each) for number, each in enumerate(others, 1)))[
        "machines"
    ]
    with pytest.raises(InputError, match=r"two domains: a.internal. and b.internal."):
        infrastructure._dns_zones(machines, SETTINGS)


@pytest_tool
def test_what_a_machine_does_not_take_on_makes_it_again(site: Site) -> None:
    config = {"kafka-3": "sha256:other"}
    for wanted in (
        declared(spec(1), spec(2), spec(3), recreate_on=config),
        declared(spec(1), spec(2), spec(3, extras={"machine_type": "e2-medium"})),
    ):
        assert site.what(site.plan(wanted)) == {
            'google_compute_instance.machine["kafka-3"]': ("delete", "create"),
            'terraform_data.release["kafka-3"]': ("update",),
        }


@pytest_tool
def test_a_machine_does_not_move_when_the_zones_change(site: Site) -> None:
    wanted = declared(*map(spec, (1, 2, 3)))
    for host in wanted["hosts"].values():
        host["zones"] = ["us-central1-f"]
    assert site.plan(wanted).noop
    made = site.infrastructure.variables(declared(*map(spec, (1, 2, 3, 4))))
    assert made["machines"]["kafka-4"]["instance"]["zone"] == "us-central1-b"


@pytest_tool
def test_a_machine_that_is_gone_keeps_its_address_while_others_change(site: Site) -> None:
    site.infrastructure.variables(declared(spec(1)))
    wanted = declared(*map(spec, (1, 2)))
    wanted["hosts"] = declared(*map(spec, (1, 2, 3)))["hosts"]
    wanted["volumes"] = declared(*map(spec, (1, 2, 3)))["volumes"]
    assert site.what(site.plan(wanted)) == {
        'google_compute_instance.machine["kafka-3"]': ("delete",),
        'terraform_data.release["kafka-3"]': ("delete",),
    }


@pytest_tool
def test_a_machine_that_somebody_stopped_is_started(site: Site) -> None:
    api = Api(replace(SETTINGS, endpoint=site.cloud.endpoint))
    api.operate("POST", "zones/us-central1-a/instances/shop-kafka-1/stop", "stop it")
    plan = site.plan(declared(*map(spec, (1, 2, 3))))
    assert site.what(plan) == {'google_compute_instance.machine["kafka-1"]': ("update",)}
    assert "desired_status" in next(it for it in plan.changes if not it.noop).changed
    site.terraform.apply(plan)
    assert site.instances()["shop-kafka-1"]["status"] == "RUNNING"
    down = declared(*map(spec, (1, 2, 3)))
    down["machines"]["kafka-1"]["running"] = False
    site.apply(down)
    assert site.instances()["shop-kafka-1"]["status"] == "TERMINATED"


@pytest_tool
def test_a_machine_that_the_state_lost_is_taken_back_as_it_is(site: Site) -> None:
    place = site.infrastructure.address(Subject(Kind.MACHINE, "kafka-1"))
    before = site.instances()["shop-kafka-1"]["id"]
    state = site.terraform.directory / "terraform.tfstate"
    document = json.loads(state.read_text())
    lost = {"google_compute_instance", "google_compute_address"}
    for resource in document["resources"]:
        if resource["type"] in lost:
            resource["instances"] = [it for it in resource["instances"] if it["index_key"] != "kafka-1"]
    state.write_text(json.dumps({**document, "serial": document["serial"] + 1}))
    assert place not in managed_addresses(site.terraform.directory)
    kinds = (Kind.MACHINE, Kind.ADDRESS, Kind.PORTS)  # and it has no rule of its own
    wanted = {Subject(kind, "kafka-1"): "shop-kafka-1" for kind in kinds}
    site.cloud.take()
    assert site.infrastructure.imports(wanted, [*map(site.infrastructure.address, wanted)]) == {}
    assert site.cloud.take() == []
    imports = site.infrastructure.imports(wanted)
    assert len(site.cloud.take()) == 4  # a list of each kind
    assert set(site.terraform.adopt(imports)) == {place, 'google_compute_address.machine["kafka-1"]'}
    plan = site.plan(declared(*map(spec, (1, 2, 3))))
    assert all(actions == ("update",) for actions in site.what(plan).values())
    site.terraform.apply(plan)
    assert site.instances()["shop-kafka-1"]["id"] == before
    assert site.terraform.plan().noop


@pytest_tool
def test_a_disk_is_taken_back_while_nothing_is_known_of_the_rest(site: Site) -> None:
    """An apply that was cut off keeps what it was making without a value for what only Google knows."""
    wanted = {Subject(Kind.VOLUME, "shop-kafka-1-data"): "shop-kafka-1-data"}
    (place,) = map(site.infrastructure.address, wanted)
    zone = {"dns_zone": "shop", "dns_name": "shop.internal"}
    site.apply(declared(spec(1, live_extras=zone), spec(2), spec(3)))
    state = site.terraform.directory / "terraform.tfstate"
    before = state.read_text()
    document = json.loads(before)
    for resource in document["resources"]:
        for each in resource["instances"]:
            each["attributes"] = dict.fromkeys(each["attributes"])
        if resource["type"] == "google_compute_disk":
            resource["instances"] = []
    state.write_text(json.dumps({**document, "serial": document["serial"] + 1}))
    assert site.terraform.adopt(site.infrastructure.imports(wanted)) == (place,)
    assert place in managed_addresses(site.terraform.directory)
    state.write_text(before)


@pytest_tool
def test_disks_go_only_with_the_override(site: Site) -> None:
    nothing: dict[str, Any] = {"machines": {}, "networks": {}, "volumes": {}, "hosts": {}}
    with pytest.raises(TerraformError) as refused:
        site.plan(nothing)
    assert "prevent_destroy" in refused.value.details
    kept = {**nothing, "volumes": declared(*map(spec, (1, 2, 3)))["volumes"]}
    site.apply(kept)
    assert not site.instances()
    assert set(site.cloud.of("disks")) == {f"shop-{name}-data" for name in MACHINES}
    assert not site.cloud.of("addresses")
    site.apply(nothing, lift=True)
    assert not site.cloud.of("disks")
    assert not [name for name in site.cloud.of("firewalls") if name.startswith("shop")]
    assert not managed_addresses(site.terraform.directory)


# --- the files --------------------------------------------------------------------------------------------

_OPEN = re.compile(r'^\s*(?:(dynamic) "(\w+)"|(resource) "(\w+)" "\w+"|(\w+)(?: "\w+")*) \{')


def _names(text: str) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Yield resource type, the blocks around, and the name of each attribute of a file's resources."""
    stack: list[str] = []
    for line in text.splitlines():
        found = _OPEN.match(line)
        if found and not line.rstrip().endswith("}"):
            stack.append(found[2] or found[4] or found[5])
        elif re.match(r"^\s*\}\s*$", line) and stack:
            stack.pop()
        elif stack and stack[0].startswith("google_") and (name := re.match(r"^\s*(\w+)\s+= ", line)):
            yield stack[0], tuple(it for it in stack[1:] if it != "content"), name[1]


@pytest.mark.pure
@pytest.mark.parametrize(
    "file",
    sorted((*CLUSTER_MODULE.glob("*.tf"), *BUILDER_MODULE.glob("*.tf"))),
    ids=lambda file: f"{file.parent.name}-{file.name}",
)
def test_attributes_and_blocks_are_those_of_the_provider(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 150
    for kind, blocks, name in _names(file.read_text()):
        block: Block = schemas("resource_schemas")[kind].block
        if blocks[:1] == ("lifecycle",):
            continue
        for each in blocks:
            block = block.blocks[each].block
        assert name in block.attributes or name == "for_each", (kind, blocks, name)


@pytest.mark.pure
def test_the_attributes_of_a_module_are_found() -> None:
    found = set(_names((CLUSTER_MODULE / "machines.tf").read_text()))
    assert ("google_compute_instance", ("boot_disk", "initialize_params"), "image") in found
    assert ("google_compute_instance", ("attached_disk",), "device_name") in found
    assert len(found) > 30
