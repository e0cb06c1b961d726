"""What only one platform has: it reaches machines of that platform, and makes no difference on others."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from stoneware.cluster.desired import desire
from stoneware.cluster.plan import make_plan
from stoneware.cluster.tfvars import from_tfvars, to_tfvars
from stoneware.compose.extensions import flags_of, is_virtual
from stoneware.compose.extras import extras_of, live_extras_of, opened_of, zones_of
from stoneware.compose.model import Cluster
from stoneware.platforms.google.infrastructure import EXTENSION
from stoneware.provider.infrastructure import EXTENSION as LOCAL
from stoneware.rollout.cluster_fleet import _declared
from stoneware.terraform.variables import host_of, read_machine
from tests.cluster.support import BASE, VERSIONS, cluster_of, observation_of, some_images, wanted_of

pytestmark = pytest.mark.pure
GOOGLE = "x-google"
AT_TOP = {
    GOOGLE: {"zones": ["us-central1-a", "us-central1-b"], "machine_type": "e2-small", "external_ip": False}
}
OF_DB = {GOOGLE: {"machine_type": "n2-standard-2", "tags": ["db", "x"], "spot": True, "zone": None, "x-a": 1}}


def _cluster(**volume: object) -> Cluster:
    cluster = cluster_of(BASE)
    services = {**cluster.services, "db": replace(cluster.services["db"], extensions=OF_DB)}
    volumes = {name: replace(it, extensions={GOOGLE: volume}) for name, it in cluster.volumes.items()}
    return replace(cluster, services=services, extensions=AT_TOP, volumes=volumes)


def test_a_service_says_it_before_the_cluster() -> None:
    extensions = (AT_TOP, OF_DB)
    assert extras_of(EXTENSION, *extensions) == {
        "machine_type": "n2-standard-2",
        "external_ip": "false",
        "spot": "true",
    }
    assert live_extras_of(EXTENSION, *extensions) == {"tags": "db,x"}
    assert zones_of(EXTENSION, *extensions) == ("us-central1-a", "us-central1-b")
    assert zones_of(EXTENSION, AT_TOP, {GOOGLE: {"zone": "us-central1-f"}}) == ("us-central1-f",)
    assert (extras_of(None, *extensions), extras_of(LOCAL, *extensions), zones_of(LOCAL, AT_TOP)) == (
        {},
        {},
        (),
    )


def test_what_is_true_or_false_is_that_in_every_spelling_of_composes() -> None:
    said = {
        GOOGLE: {"spot": "yes", "external_ip": "Off", "deletion_protection": "True", "machine_type": "on"}
    }
    assert extras_of(EXTENSION, said) == {"spot": "true", "external_ip": "false", "machine_type": "on"}
    assert live_extras_of(EXTENSION, said) == {"deletion_protection": "true"}
    assert flags_of(GOOGLE) == {"spot", "external_ip", "deletion_protection"}
    assert flags_of("x-local") == {"vm"}
    assert not flags_of("x-mine")


@pytest.mark.parametrize(
    ("said", "virtual"),
    [("true", True), (True, True), ("no", False), (False, False), ("vm", False), (1, False)],
)
def test_machines_are_virtual_by_the_same_words(said: object, virtual: bool) -> None:
    assert is_virtual({"x-local": {"vm": said}}) == virtual


def test_they_are_of_machines_of_that_platform_only() -> None:
    here = desire(_cluster(), some_images(), {}, VERSIONS, extension=LOCAL)
    assert here == wanted_of()  # so nobody's machines on this computer are made again
    there = desire(_cluster(disk_size="20g"), some_images(), {}, VERSIONS, extension=EXTENSION)
    machine = there.machines["db-1"]
    assert machine.spec.extras["machine_type"] == "n2-standard-2"
    assert machine.zones == ("us-central1-a", "us-central1-b")
    volume = there.volumes["shop-db-1-data"]
    assert (volume.extras, volume.size, volume.size_key) == ({"disk_size": "20g"}, 20 << 30, "disk_size")
    steps = {step.name: step for step in make_plan(there, observation_of(here)).steps}
    assert (str(steps["db-1"].action), steps["app-1"].reasons) == (
        "replace",
        ("platform's external_ip (false) added", "platform's machine_type (e2-small) added"),
    )
    moved = replace(_cluster(), extensions={GOOGLE: {**AT_TOP[GOOGLE], "zones": ["us-central1-f"]}})
    again = desire(moved, some_images(), {}, VERSIONS, extension=EXTENSION)
    assert make_plan(again, observation_of(there)).changes == ()  # a machine does not move


def test_all_of_it_is_in_the_variables_and_is_read_back() -> None:
    desired = desire(_cluster(disk_size="20g"), some_images(), {}, VERSIONS, extension=EXTENSION)
    variables = json.loads(json.dumps(to_tfvars(desired, None, desired.machines)))
    again = from_tfvars("shop", variables)
    assert again.machines == dict(desired.machines)
    assert again.volumes["shop-db-1-data"].extras == {"disk_size": "20g"}
    assert again.volumes["shop-db-1-data"].size == 20 << 30
    assert variables["hosts"]["db-1"] == {
        "name": "shop-db-1",
        "hostname": "db-1.shop.internal",
        "names": ["db", "db-1"],
        "networks": ["shop-default"],
        "slot": 1,
        "zones": ["us-central1-a", "us-central1-b"],
    }


def test_hosts_are_all_machines_also_in_an_early_wave() -> None:
    desired = wanted_of()
    observed = replace(observation_of(desired), machines={})
    variables = to_tfvars(desired, observed, {"db-1"})
    assert (set(variables["machines"]), set(variables["hosts"])) == ({"db-1"}, set(desired.machines))
    assert host_of(variables["machines"]["db-1"]) == variables["hosts"]["db-1"]


def test_a_rollout_declares_the_names_of_what_it_changes() -> None:
    desired = wanted_of()
    before = to_tfvars(desired, None, desired.machines)
    entry = {**before["machines"]["db-1"], "hostname": "other.shop.internal"}
    declared = _declared(before, {"db-1": entry})
    assert declared["hosts"]["db-1"]["hostname"] == "other.shop.internal"
    assert declared["hosts"]["app-1"] == before["hosts"]["app-1"]
    assert read_machine(declared["machines"]["db-1"]).hostname == "other.shop.internal"
    old = {key: value for key, value in before.items() if key != "hosts"}  # of an earlier version
    assert set(_declared(old, {"db-1": entry})["hosts"]) == {"db-1"}


def test_what_an_image_exposes_is_opened_where_nothing_is_published() -> None:
    opening = replace(EXTENSION, opens="ranges")
    live = {"ranges": "10.0.0.0/8"}
    ports = ("80/tcp", "53/udp")
    assert opened_of(opening, live, (), ports) == {**live, "exposed": "80/tcp,53/udp"}
    assert opened_of(opening, live, (), ()) == live
    assert opened_of(opening, live, ("9092",), ports) == live, "what is published says it"
    assert opened_of(opening, {}, (), ports) == {}, "nobody is let in"
    assert opened_of(LOCAL, live, (), ports) == live
    assert opened_of(None, {}, (), ports) == {}
