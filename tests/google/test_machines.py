"""Machines, volumes, networks and secrets of the platform google, against the emulator."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from stoneware.emulator.machine_spec import machine_name
from stoneware.errors import InputError
from stoneware.model.guest_protocol import GUEST_ENDPOINT
from stoneware.model.machine import Health, Phase
from stoneware.model.resources import PortMapping, SecretMount, VolumeMount
from stoneware.platforms.google import errors, instance
from stoneware.platforms.google.api import Api
from stoneware.platforms.google.machines import GoogleMachines
from tests.google.cloud import PROJECT, Cloud, Request
from tests.google.clusters import IMAGES, SETTINGS, spec

pytestmark = pytest.mark.tool
IMAGE = "sha256:" + "1" * 64
ACCOUNT = {"service_account": "shop@proj-1.iam.gserviceaccount.com"}


@pytest.fixture
def platform(cloud: Cloud) -> GoogleMachines:
    api = Api(replace(SETTINGS, endpoint=cloud.endpoint))
    return GoogleMachines(api, lambda _: f"{IMAGES}/debian-12-stoneware")


@pytest.fixture
def made(platform: GoogleMachines) -> GoogleMachines:
    platform.create_network("shop-default", {"stoneware.cluster": "shop"})
    platform.create(spec(1))
    return platform


def report(cloud: Cloud, name: str, zone: str = "us-central1-a", **said: Any) -> None:
    behind = machine_name(f"projects/{PROJECT}/zones/{zone}/instances/{name}")
    reports = {f"stoneware/{key}": json.dumps(value) for key, value in said.items()}
    cloud.computers.attributes.setdefault(behind, {}).update(reports)


def test_a_machine_is_read_back_as_it_was_declared(made: GoogleMachines, cloud: Cloud) -> None:
    machine = made.observe("shop-kafka-1")
    assert machine is not None
    assert machine.spec == spec(1)
    assert (machine.kind, machine.image_id, machine.image, machine.phase) == (
        "machine",
        IMAGE,
        "kafka:4",
        Phase.BOOTING,
    )
    assert machine.ip.startswith("10.128.")
    assert machine.ports == (PortMapping(machine.ip, 9092, 9092),)
    assert machine.created > 1e9
    report(cloud, "shop-kafka-1", status={"phase": "running", "config": f"sha256:{'c' * 64}"})
    report(cloud, "shop-kafka-1", health={"status": "unhealthy", "failing": 2, "exit": 1, "output": "no"})
    (machine,) = made.machines()
    assert (machine.phase, machine.health, machine.config_digest) == (
        Phase.RUNNING,
        Health.UNHEALTHY,
        f"sha256:{'c' * 64}",
    )
    assert machine.trouble == "its health check failed with exit code 1: no"
    assert set(made.guest_attributes("shop-kafka-1")) == {"stoneware/status", "stoneware/health"}


def test_what_a_machine_says_is_bounded(made: GoogleMachines, cloud: Cloud) -> None:
    report(cloud, "shop-kafka-1", status=["x"], health={"status": "fine"})
    machine = made.observe("shop-kafka-1")
    assert machine is not None
    assert machine.phase is Phase.FAILED
    assert "stoneware/status" in machine.error
    report(cloud, "shop-kafka-1", status="x" * 40_000)
    assert "stoneware/status" not in made.guest_attributes("shop-kafka-1")


def test_many_machines_are_one_list_and_their_reports(made: GoogleMachines, cloud: Cloud) -> None:
    for number in (2, 3):
        made.create(spec(number))
    cloud.take()
    assert [machine.name for machine in made.machines()] == [f"shop-kafka-{number}" for number in (1, 2, 3)]
    asked = [each.line.split("?")[0] for each in cloud.take()]
    assert asked.count("GET aggregated/instances") == 1
    assert len(asked) == 4
    made.observe("shop-kafka-1")
    cloud.take()
    made.observe("shop-kafka-1")  # where it was
    assert [each.line.split("?")[0] for each in cloud.take()] == [
        "GET zones/us-central1-a/instances/shop-kafka-1",
        "GET zones/us-central1-a/instances/shop-kafka-1/getGuestAttributes",
    ]


def test_instances_of_others_are_none_of_ours(made: GoogleMachines, cloud: Cloud) -> None:
    body = {
        "name": "other",
        "machineType": "zones/us-central1-a/machineTypes/e2-small",
        "labels": {"stoneware": "machine"},
        "disks": [{"boot": True, "initializeParams": {"sourceImage": f"{IMAGES}/debian-12-stoneware"}}],
        "networkInterfaces": [{}],
    }
    made.api.operate("POST", "zones/us-central1-a/instances", "make it", body)
    assert [machine.name for machine in made.machines()] == ["shop-kafka-1"]
    assert made.observe("other") is None
    with pytest.raises(InputError, match="no machine 'other'"):
        made.stop("other")


def test_damaged_records_are_a_damaged_machine(made: GoogleMachines) -> None:
    made.set_metadata("shop-kafka-1", {instance.SPEC: "{"})
    (machine,) = made.machines()
    assert (machine.phase, "stoneware-spec" in machine.error) == (Phase.DAMAGED, True)
    with pytest.raises(InputError, match="damaged"):
        made.amend("shop-kafka-1", image_ref="x")
    made.destroy("shop-kafka-1")
    assert made.machines() == []


def test_it_is_stopped_started_and_removed(made: GoogleMachines, cloud: Cloud) -> None:
    before = made.observe("shop-kafka-1")
    made.stop("shop-kafka-1")
    made.stop("shop-kafka-1")
    stopped = made.observe("shop-kafka-1")
    assert stopped is not None
    assert (stopped.phase, stopped.exit_code, stopped.ports) == (Phase.STOPPED, 0, ())
    assert made.console("shop-kafka-1", 5) == (b"", 5)  # Google keeps none
    again = made.start("shop-kafka-1")
    assert before is not None
    assert (again.id, again.ip, again.exit_code) == (before.id, before.ip, None)
    cloud.take()
    made.start("shop-kafka-1")
    assert not cloud.changes()
    made.destroy("shop-kafka-1")
    made.destroy("shop-kafka-1")
    assert made.observe("shop-kafka-1") is None
    assert made.volume("shop-kafka-1-data") is not None
    for ask in (made.start, made.stop, made.console, made.guest_attributes):
        with pytest.raises(InputError, match="no machine 'shop-kafka-1'"):
            ask("shop-kafka-1")


def test_its_attributes_are_changed_again_where_somebody_else_did(
    made: GoogleMachines, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.set_metadata("shop-kafka-1", {"a": "1", "stoneware-mode": None})
    tries: list[Any] = []
    operate = made.api.operate

    def disturbed(method: str, path: str, what: str, body: Any = None, **query: Any) -> Any:
        if path.endswith("setMetadata") and len(tries) < 2:
            tries.append(body)
            raise errors.ChangedError("somebody else")
        return operate(method, path, what, body, **query)

    monkeypatch.setattr(made.api, "operate", disturbed)
    made.set_metadata("shop-kafka-1", {"b": "2"})
    assert len(tries) == 2
    machine = made.observe("shop-kafka-1")
    assert machine is not None
    assert dict(machine.spec.metadata) == {"a": "1", "b": "2", "stoneware-config": "NODE_ID=1\n"}
    made.amend("shop-kafka-1", image_ref="kafka:5", labels={"x.y": "Z"}, stop_timeout=3.0)
    machine = made.observe("shop-kafka-1")
    assert machine is not None
    assert (machine.image, dict(machine.spec.labels), machine.spec.stop_timeout) == (
        "kafka:5",
        {"x.y": "Z"},
        3.0,
    )
    assert machine.spec.metadata["b"] == "2"
    with pytest.raises(ValueError, match="memory"):
        made.amend("shop-kafka-1", memory=1)


def test_the_console_is_the_serial_port(made: GoogleMachines, cloud: Cloud) -> None:
    behind = machine_name(f"projects/{PROJECT}/zones/us-central1-a/instances/shop-kafka-1")
    cloud.computers.consoles[behind] = b"one\ntwo\nthree\n"
    assert made.console("shop-kafka-1") == (b"one\ntwo\nthree\n", 14)
    assert made.console("shop-kafka-1", 14) == (b"", 14)
    assert made.console_place("shop-kafka-1") == 0
    assert made.console_place("shop-kafka-1", lines=2) == 4
    assert made.console_place("shop-kafka-1", lines=0) == 14
    assert made.console_place("shop-kafka-1", until=1.0) == 14
    assert made.console_times("shop-kafka-1")(3) is None
    assert made.port_faults({"a": [PortMapping("", 1, 1)]}) == {"a": []}


def test_a_name_is_one_machines_and_what_it_needs_has_to_be_there(made: GoogleMachines) -> None:
    with pytest.raises(InputError, match="name 'shop-kafka-1' is in use"):
        made.create(spec(1))
    with pytest.raises(InputError, match="no network 'none'"):
        made.create(spec(2, networks=("none",)))
    with pytest.raises(InputError, match="no secret 'none'"):
        made.create(spec(2, secrets=(SecretMount("none", "x", "1"),)))
    mounts = (VolumeMount("shop-kafka-1-data", "/x"),)
    with pytest.raises(InputError, match="volume 'shop-kafka-1-data' is in use"):
        made.create(spec(2, volumes=mounts))
    assert [machine.name for machine in made.machines()] == ["shop-kafka-1"]


def test_volumes_are_disks(platform: GoogleMachines) -> None:
    volume = platform.create_volume("My_Data.1", {"team": "A", "stoneware.cluster": "my_shop"}, 2**26)
    assert (volume.name, volume.size, dict(volume.labels)) == (
        "My_Data.1",
        10 << 30,
        {"team": "A", "stoneware.cluster": "my_shop"},
    )
    assert platform.create_volume("My_Data.1", {"b": "2"}) == volume
    for floor in ("2", "10.1", "9"):
        platform.raise_floor("My_Data.1", floor)
    platform.api.settings = replace(platform.api.settings, labels={"team": "data"})
    platform.label_volume("My_Data.1", {"c": "3"})
    labels = next(one for one in platform.disks() if one["description"].endswith("My_Data.1"))["labels"]
    assert labels["team"] == "data"
    (found,) = platform.volumes()
    assert (found.floor, found.labels["c"], found.machines) == ("10.1", "3", ())
    platform.destroy_volume("My_Data.1")
    platform.destroy_volume("My_Data.1")
    assert platform.volume("My_Data.1") is None
    for ask in (lambda: platform.label_volume("x", {}), lambda: platform.raise_floor("x", "1")):
        with pytest.raises(InputError, match="no volume 'x'"):
            ask()


def test_a_volume_in_use_stays(made: GoogleMachines) -> None:
    volume = made.volume("shop-kafka-1-data")
    assert volume is not None
    assert volume.machines == ("shop-kafka-1",)
    with pytest.raises(InputError, match="is in use"):
        made.destroy_volume("shop-kafka-1-data")


def test_networks_are_rules_by_which_machines_meet(made: GoogleMachines, cloud: Cloud) -> None:
    (network,) = made.networks()
    assert (network.name, dict(network.labels), network.machines) == (
        "shop-default",
        {"stoneware.cluster": "shop"},
        ("shop-kafka-1",),
    )
    assert made.create_network("shop-default", {"b": "2"}) == network
    with pytest.raises(InputError, match="has machines"):
        made.destroy_network("shop-default")
    with pytest.raises(InputError, match="cannot be internal"):
        made.create_network("other", {}, internal=True)
    with pytest.raises(InputError, match="ranges of addresses"):
        made.change_network("shop-default", {}, subnets=("10.0.0.0/8",))
    made.change_network("shop-default", {"c": "3"})
    made.destroy("shop-kafka-1")
    changed = made.network("shop-default")
    assert changed is not None
    assert (dict(changed.labels), changed.machines) == ({"c": "3"}, ())
    made.destroy_network("shop-default")
    made.destroy_network("shop-default")
    assert (made.network("shop-default"), made.networks()) == (None, [])
    with pytest.raises(InputError, match="no network"):
        made.change_network("shop-default", {})


def test_a_secrets_version_tells_its_value(platform: GoogleMachines, cloud: Cloud) -> None:
    first, second = platform.put_secret("shop.key", b"one"), platform.put_secret("shop.key", b"two")
    assert (first, second) == ("1", "2")
    assert platform.put_secret("shop.key", b"one") == "1"  # what is there is not put again
    assert platform.secret_version("shop.key", b"two") == "2"
    assert platform.secret_version("shop.key", b"three") is None
    assert platform.secret_version("nothing", b"three") is None
    assert [platform.has_secret("shop.key", version) for version in ("1", "2", "9", "")] == [
        True,
        True,
        False,
        False,
    ]
    for number in range(11):
        platform.put_secret("shop.key", f"{number}".encode())
    assert platform.has_secret("shop.key", "13")
    assert not platform.has_secret("shop.key", "1")  # the last ten are kept
    platform.destroy_secret("shop.key")
    platform.destroy_secret("shop.key")
    assert not platform.has_secret("shop.key", "13")
    with pytest.raises(InputError, match="is not a secret's name"):
        platform.put_secret("a/b", b"")


def _readers(platform: GoogleMachines, name: str) -> list[dict[str, Any]]:
    found = platform.api.get("secretmanager", f"secrets/{name}:getIamPolicy", "look at a policy")
    return list(found.get("bindings") or ())


def test_the_account_of_a_machine_may_read_its_secrets_and_no_other(
    platform: GoogleMachines, cloud: Cloud
) -> None:
    for name in ("key", "other"):
        platform.put_secret(name, b"hush-hush")
    somebody = {"role": "roles/secretmanager.secretAccessor", "members": ["user:a@b.c"]}
    viewer = {"role": "roles/viewer", "members": ["user:v@b.c"]}
    policy = {"policy": {"bindings": [viewer, somebody]}}
    platform.api.request("secretmanager", "POST", "secrets/key:setIamPolicy", "set", body=policy)
    mounts = (SecretMount("key", "token", "1"),)
    machines = [spec(number, secrets=mounts, extras=ACCOUNT) for number in (1, 2)]
    cloud.take()
    platform.let_fetch_secrets([*machines, spec(3, extras=ACCOUNT)])
    assert len(cloud.take()) == 2  # one look and one change, however many machines
    reader = {**somebody, "members": [f"serviceAccount:{ACCOUNT['service_account']}", "user:a@b.c"]}
    assert _readers(platform, "key") == [viewer, reader]
    assert _readers(platform, "other") == []
    cloud.take()
    platform.let_fetch_secrets(machines)
    assert cloud.take() == []  # it is known


def test_a_policy_that_somebody_changes_meanwhile_is_read_again(
    platform: GoogleMachines, cloud: Cloud
) -> None:
    platform.put_secret("key", b"hush-hush")
    theirs = {"role": "roles/viewer", "members": ["user:v@b.c"]}
    reader = "roles/secretmanager.secretAccessor"

    def meddle(asked: Request) -> None:
        if asked.line.endswith("key:setIamPolicy") and "serviceAccount" in str(asked.body):
            cloud.each = None
            [(name, record)] = cloud.service.store.matching("projects/", "secrets")
            cloud.service.store.put(name, record | {"x-policy": {"version": 1, "bindings": [theirs]}})

    cloud.each = meddle
    machine = spec(1, secrets=(SecretMount("key", "token", "1"),), extras=ACCOUNT)
    platform.let_fetch_secrets([machine])
    assert cloud.each is None
    assert [each["role"] for each in _readers(platform, "key")] == [
        theirs["role"],
        reader,
    ]


def test_a_machine_is_told_one_version_of_a_secret_and_no_value(
    platform: GoogleMachines, cloud: Cloud
) -> None:
    version = platform.put_secret("key", b"hush-hush")
    mounts = (SecretMount("key", "token", version, 0o400, 7, 8),)
    platform.create(spec(1, secrets=mounts, networks=(), extras=ACCOUNT))
    items = instance.metadata_of(cloud.of("instances")["shop-kafka-1"])
    address = f"{GUEST_ENDPOINT}/v1/projects/{PROJECT}/secrets/key/versions/1:access"
    assert items["stoneware-secrets"] == f"token\t0400\t{address}\t1\t7:8\n"
    assert not [text for text in items.values() if "hush" in text]
    machine = platform.observe("shop-kafka-1")
    assert machine is not None
    assert machine.spec.secrets == mounts


def test_a_secret_that_others_keep_is_fetched_where_it_is_and_left_alone(
    platform: GoogleMachines, cloud: Cloud
) -> None:
    path = f"projects/{PROJECT}/secrets/theirs"
    mount = SecretMount(path, "token", "3")
    one = spec(1, secrets=(mount,), networks=(), extras=ACCOUNT)
    platform.let_fetch_secrets([one])
    platform.check_secrets([mount])
    assert not [each for each in cloud.take() if "secrets" in each.line]
    platform.create(one)
    items = instance.metadata_of(cloud.of("instances")["shop-kafka-1"])
    assert items["stoneware-secrets"] == f"token\t0400\t{GUEST_ENDPOINT}/v1/{path}/versions/3:access\t3\n"
    machine = platform.observe("shop-kafka-1")
    assert machine is not None
    assert machine.spec.secrets == (mount,)
    assert not platform.has_secret(path, "3")
    platform.put_secret("theirs", b"hush")
    assert platform.has_secret(path, "1")


def test_who_may_not_look_at_a_secret_of_others_takes_it_for_kept(
    platform: GoogleMachines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object, **__: object) -> None:
        raise errors.AccessError("cannot look")

    monkeypatch.setattr(platform.api, "find", denied)
    assert platform.has_secret("projects/other/secrets/theirs", "3")
    with pytest.raises(errors.AccessError):
        platform.has_secret("ours", "3")


def test_secrets_want_a_service_account(platform: GoogleMachines) -> None:
    made = instance.instance_of
    image, settings = f"{IMAGES}/debian-12", platform.api.settings
    wanted = spec(1, secrets=(SecretMount("shop-token", "token", version="1"),))
    with pytest.raises(InputError, match="no service account to fetch them with"):
        made(wanted, settings, zone="us-central1-a", image=image)
    allowed = replace(wanted, extras=ACCOUNT)
    assert made(allowed, settings, zone="us-central1-a", image=image)["service_account"]
