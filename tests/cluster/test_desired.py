"""From a file and images to the machines that are wanted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stoneware import process
from stoneware.cluster.desired import desire, secret_name
from stoneware.cluster.tfvars import recreate_on
from stoneware.compose.model import ClusterVolume, VolumeUse
from stoneware.config import Secret, digest
from stoneware.errors import InputError
from stoneware.launch.plan import anonymous_volume
from stoneware.model.resources import PortMapping, SecretMount, VolumeMount
from tests.cluster.support import BASE, VERSIONS, cluster_of, patched, some_images, wanted_of

pytestmark = pytest.mark.pure


def test_a_machine_is_made_of_the_file_and_its_image():
    machine = wanted_of({"services": {"db": {"memory": 5, "labels": {"tier": "data"}}}}).machines["db-1"]
    spec = machine.spec
    assert (spec.name, spec.hostname, spec.names) == ("shop-db-1", "db-1.shop.internal", ("db", "db-1"))
    assert (spec.source, spec.image_ref) == (f"image:sha256:{'d' * 64}", "db:1")
    assert spec.volumes == (
        VolumeMount("shop-db-1-data", "/var/lib/db"),
        VolumeMount(anonymous_volume("shop-db-1", "/var/log/db"), "/var/log/db"),
    )
    assert spec.stop_timeout == 300.0
    assert spec.memory == 5
    assert spec.labels == {
        "tier": "data",
        "stoneware.cluster": "shop",
        "stoneware.service": "db",
        "stoneware.slot": "1",
        "stoneware.machine": "db-1",
    }
    assert (machine.commit, machine.reloads, machine.checked) == ("dddddddddddd", False, False)
    assert machine.config_digest == digest("")


def test_the_attributes_of_a_replica():
    spec = wanted_of().machines["app-2"].spec
    assert spec.metadata == {
        "stoneware-config": "LOG_LEVEL=info\nNODE_ID=2\n",
        "stoneware-mode": "run",
        "stoneware-cluster": "shop",
        "stoneware-service": "app",
        "stoneware-slot": "2",
        "enable-guest-attributes": "TRUE",
    }
    assert spec.ports == (PortMapping("0.0.0.0", 8002, 80),)
    assert spec.secrets == (SecretMount(secret_name("shop", "app-token"), "app-token", "v1"),)


@pytest.mark.parametrize(
    ("check", "service", "checked", "text"),
    [
        (None, "app", True, None),
        ({"disabled": True}, "app", False, "none\n"),
        ({"test": ["/bin/x", "a b"], "retries": 9}, "app", True,
         "interval=7000 timeout=30000 start_period=0 start_interval=5000 retries=9\nset -- /bin/x 'a b'\n"),
        ({"timeout": 1.5}, "app", True,
         "interval=7000 timeout=1500 start_period=0 start_interval=5000 retries=3\n"),
        ({"test": ["x"]}, "web", True,
         "interval=30000 timeout=30000 start_period=0 start_interval=5000 retries=3\nset -- x\n"),
        ({"timeout": 1.5}, "web", False, "none\n"),
    ],
)  # fmt: skip
def test_health_checks(check, service, checked, text):
    machine = wanted_of({"services": {service: {"healthcheck": check}}}).machines[f"{service}-1"]
    assert machine.checked == checked
    assert machine.spec.metadata.get("stoneware-healthcheck") == text


def test_disks_and_networks_carry_the_cluster_and_their_machine():
    desired = wanted_of({"volumes": {"pool": {"external": True}}, "networks": {"n": {"labels": {"a": "1"}}}})
    labels = {
        "stoneware.cluster": "shop",
        "stoneware.service": "db",
        "stoneware.slot": "1",
        "stoneware.machine": "db-1",
    }
    assert desired.volumes["shop-db-1-data"] == ClusterVolume("shop-db-1-data", labels=labels)
    assert desired.volumes[anonymous_volume("shop-db-1", "/var/log/db")].labels == labels
    assert desired.volumes["pool"] == ClusterVolume("pool", external=True)
    assert desired.networks["n"].labels == {"a": "1", "stoneware.cluster": "shop"}
    assert desired.depends_on == {
        "db": {},
        "app": {"db": "service_healthy"},
        "web": {"app": "service_started"},
    }


def test_an_external_disk_in_a_machine_stays_external():
    cluster = cluster_of(BASE)
    web = cluster.services["web"]
    machine = replace(web.machines[0], volumes=(VolumeUse("pool", "/pool", read_only=True),))
    services = {**cluster.services, "web": replace(web, machines=(machine,))}
    volumes = {**cluster.volumes, "pool": ClusterVolume("pool", external=True)}
    desired = desire(replace(cluster, services=services, volumes=volumes), some_images(), {}, {})
    assert desired.machines["web-1"].spec.volumes == (VolumeMount("pool", "/pool", read_only=True),)
    assert desired.volumes["pool"] == ClusterVolume("pool", external=True)


def test_the_order_in_the_file_makes_no_new_machines():
    one = {"networks": ["b", "a"], "aliases": ["y", "x"], "secrets": ["t", "s"], "ports": ["2", "1"]}
    other = {key: sorted(value) for key, value in one.items()}
    specs = [
        wanted_of({"services": {"web": entry}}, versions={"s": "1", "t": "2"}).machines["web-1"]
        for entry in (one, other)
    ]
    assert specs[0] == specs[1]


def test_all_failing_replicas_are_told_at_once():
    changes = {
        "services": {
            "db": {"image": "dbb:1"},
            "app": {"environment": {"LOG_LEVEL": "loud", "HOME_PAGE": ""}},
            "more": {"image": "app:1", "environment": {"LOG_LEVEL": "x\0y"}},
            "bare": {"image": "app:1"},
        }
    }
    with pytest.raises(InputError) as caught:
        wanted_of(changes)
    error = caught.value
    assert error.location == "machines.yaml:3:3"
    assert error.brief == "5 machines and services of the cluster shop cannot start: 7 problems"
    page = "HOME_PAGE='': must not be empty, set the home page; needed by /etc/app.conf:2; "
    page += "write HOME_PAGE: … under environment: of the service app"
    level = "LOG_LEVEL='loud': must be one of info, debug; "
    level += "write LOG_LEVEL: info under environment: of the service app"
    lines = error.details.splitlines()
    assert lines[0].startswith(
        "db: there is no image 'dbb:1', and none is pulled from a registry. Did you mean db:1 or web:1?"
    )
    assert lines[1:] == [
        f"app-1: {page}",
        f"app-1: {level}",
        f"app-2: {page}",
        f"app-2: {level}",
        "more-1: the value of LOG_LEVEL holds a NUL byte; pass it base64-encoded",
        "bare-1: NODE_ID is not set; needed by /etc/app.conf:1; "
        "write NODE_ID: … under environment: of the service bare",
    ]


def test_one_failing_machine_is_named():
    with pytest.raises(InputError, match=r"^more-1 of the cluster shop cannot start: 1 problem$"):
        wanted_of({"services": {"more": {"image": "app:1"}}})


def test_secrets_are_checked_and_never_shown():
    cluster = cluster_of(BASE)
    wrong = {"app-token": Secret("abc")}
    with pytest.raises(InputError) as caught:
        desire(cluster, some_images(), wrong, VERSIONS)
    assert caught.value.details.splitlines() == [
        f"app-{slot}: APP_TOKEN (a secret): must have at least 4 characters; it is the secret app-token"
        for slot in (1, 2)
    ]
    good = desire(cluster, some_images(), {"app-token": Secret("hush-hush\n")}, VERSIONS)
    assert "hush" not in repr(good)


def test_a_secret_that_no_variable_is_for_is_fine_and_one_in_plain_sight_is_told():
    changes = {
        "services": {
            "app": {"secrets": ["app-token", "other.pem"], "environment": {"APP_TOKEN": "open"}},
            "web": None,
        }
    }
    desired = wanted_of(changes, versions={"app-token": "1", "other.pem": "2"})
    assert desired.warnings == (
        "app: APP_TOKEN is given as a value and by the secret app-token; the secret counts",
        "app: APP_TOKEN is a secret of the image, but under environment: all can read it: "
        "declare it in secrets:",
    )
    assert [use.version for use in desired.machines["app-1"].spec.secrets] == ["1", "2"]


def test_a_missing_secret_is_asked_for_as_one():
    schema = {"properties": {"KEY": {"secret": True}}, "required": ["KEY"]}
    images = some_images.__wrapped__()
    base = images.manifests["sha256:" + "1" * 64]
    images.manifests["sha256:" + "1" * 64] = base | {
        "contract": base["contract"]
        | {
            "schema": schema,
            "variables": {"KEY": {"secret": True, "builtin": False}},
            "needs": [],
        }
    }
    with pytest.raises(InputError, match="cannot start") as caught:
        desire(cluster_of(BASE), images, {}, {})
    assert "app-1: KEY is not set; give the service app a secret with the target KEY" in caught.value.details


def test_an_image_to_be_baked_is_not_looked_at():
    desired = wanted_of(
        {"services": {"app": {"image": "not-there", "environment": {"LOG_LEVEL": "?"}}}},
        pending=frozenset({"app"}),
    )
    machine = desired.machines["app-1"]
    assert (machine.image_id, machine.spec.source, machine.commit, machine.image) == ("", "", "", "not-there")


def test_without_checks_nothing_is_refused():
    changes = {
        "services": {"db": {"image": "gone:1"}, "app": {"environment": {"NODE_ID": None, "LOG_LEVEL": "?"}}}
    }
    desired = wanted_of(changes, check=False)
    assert desired.machines["db-1"].image_id == ""
    assert desired.machines["app-1"].image_id == f"sha256:{'1' * 64}"
    assert not [text for text in desired.warnings if text.startswith("app")]


def test_what_makes_a_new_machine():
    plain, changed = wanted_of(), wanted_of({"services": {"app": {"environment": {"LOG_LEVEL": "debug"}}}})
    other = wanted_of(versions={"app-token": "v2"})
    texts = {recreate_on(desired.machines["app-1"]) for desired in (plain, changed, other)}
    assert len(texts) == 3
    assert recreate_on(plain.machines["web-1"]) == ""
    assert recreate_on(plain.machines["db-1"]) == plain.machines["db-1"].config_digest


def test_many_replicas_cost_one_run_of_the_program_and_one_read_of_the_image(monkeypatch):
    images = some_images.__wrapped__()
    runs = []
    real = process.run

    def counted(argv, **options):
        runs.append(argv)
        return real(argv, **options)

    monkeypatch.setattr(process, "run", counted)
    cluster = cluster_of(patched(BASE, {"services": {"app": {"replicas": 300}}}))
    desired = desire(cluster, images, {}, VERSIONS)
    assert len(desired.machines) == 302
    assert images.asked == 3
    assert len(runs) == 1


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"environment": {"LOG_LEVEL": "info", "BIG": "x" * 1_000_000}}, "BIG has 1000004 bytes"),
        ({"environment": {"LOG_LEVEL": "info", "BIG": "x" * (131072 - 4)}}, "BIG has 131072 bytes"),
        (
            {"environment": {"LOG_LEVEL": "info", **{f"B{one}": "x" * 100_000 for one in range(10)}}},
            "all variables together have",
        ),
        ({"healthcheck": {"test": ["/bin/sh", "-c", "x" * 1_000_000]}}, "the test of the health check has"),
    ],
)
def test_what_no_program_can_be_given_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as error:
        wanted_of({"services": {"app": changes}})
    assert f"app-1: {told}" in error.value.details
    assert "xxx" not in error.value.details


def test_the_largest_values_that_a_program_can_be_given() -> None:
    largest = {"LOG_LEVEL": "info", "BIG": "x" * (131072 - 5)}
    assert wanted_of({"services": {"app": {"environment": largest}}}).machines
    many = {"LOG_LEVEL": "info", **{f"B{one}": "x" * 100_000 for one in range(8)}}
    assert wanted_of({"services": {"app": {"environment": many}}}).machines
