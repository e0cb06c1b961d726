"""What a bake makes: networks, a bucket with objects, a secret, a builder, an image; and what goes wrong."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stoneware.emulator.machine_spec import machine_name
from stoneware.terraform.runner import tainted_addresses
from tests.google.applied import Applied, opened, refused, what
from tests.google.cloud import PROJECT, REGION, ZONE, lines

pytestmark = pytest.mark.tool

TEXT = Path(__file__).with_name("bake.tf").read_text()
BUCKET, IN_BUCKET = "proj-1-bakes", "/storage/v1/b/proj-1-bakes"
BUILDER = "google_compute_instance.builder[0]"
LINK = f"https://www.googleapis.com/compute/v1/projects/{PROJECT}"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, google_provider: dict[str, str]) -> Iterator[Applied]:
    with opened(tmp_path_factory.mktemp("bake"), TEXT, google_provider) as applied:
        (applied.terraform.directory / "bundle.tar").write_bytes(b"\x00\xff" * 5000)
        (applied.terraform.directory / "large").write_bytes(b"0123456789abcdef" * ((17 << 20) // 16))
        yield applied


@pytest.fixture
def bake(made: Applied) -> Applied:
    made.reset()
    return made


def gone(bake: Applied) -> None:
    """Destroy everything, and the builder's boot disk, which nobody knows then."""
    bake.terraform.destroy()
    if "builder" in bake.cloud.of("disks"):
        bake.cloud.delete(f"zones/{ZONE}/disks/builder")


def test_all_is_made_and_nothing_is_left_to_do(made: Applied) -> None:
    made.vary()
    applied = made.terraform.apply()
    asked = lines(made.cloud.take())
    assert what(made.terraform.plan()) == {}
    assert applied.outputs["image"] == f"{LINK}/global/images/kafka-abc-1"
    assert (
        applied.outputs["md5"]
        == base64.b64encode(hashlib.md5(b"hello", usedforsecurity=False).digest()).decode()
    )
    query = "name=texts%2Fcontext&uploadType=multipart"
    at = asked.index(f"POST /upload{IN_BUCKET}/o?{query}")
    assert "GET /storage/v1/b/proj-1-bakes/o/texts%2Fcontext" in asked[at:]
    assert f"POST /storage/v1/b?project={PROJECT}" in asked
    assert asked.count(f"GET {IN_BUCKET}") == 2
    assert "POST /v1/projects/proj-1/secrets?secretId=password" in asked
    uploads = [line for line in asked if "name=large" in line]
    assert len(uploads) == 3  # the session, 16 MiB, the rest
    boot = made.cloud.of("disks")["builder"]
    assert boot["type"].endswith("/pd-balanced")
    instance = made.cloud.of("instances")["builder"]
    assert instance["scheduling"]["maxRunDuration"] == {"seconds": "3600"}
    [account] = instance["serviceAccounts"]
    assert {scope.rsplit("/", 1)[1] for scope in account["scopes"]} == {
        "devstorage.read_only",
        "logging.write",
    }


def test_an_object_of_other_bytes_is_another(bake: Applied) -> None:
    plan = bake.change(content="other")
    again = ("delete", "create")
    assert what(plan) == {
        "google_secret_manager_secret_version.v": again,
        "google_storage_bucket_object.text": ("update",),  # uploaded again
    }
    asked = [line for line in lines(bake.apply(plan)) if "/secrets/" in line]
    secret = "/v1/projects/proj-1/secrets/password"
    assert [line for line in asked if not line.startswith("GET ")] == [
        f"POST {secret}/versions/1:destroy",
        f"POST {secret}:addVersion",
        f"POST {secret}/versions/2:enable",
    ]
    bundle = bake.terraform.directory / "bundle.tar"
    before = bundle.read_bytes()
    bundle.write_bytes(b"\x00other")
    try:
        plan = bake.change()
        assert what(plan)["google_storage_bucket_object.file"] == ("update",)
        bake.apply(plan)
    finally:
        bundle.write_bytes(before)


def test_labels_ranges_and_rules_are_changed_in_place(bake: Applied) -> None:
    labels = {"commit": "def", "dirty": "true"}
    plan = bake.change(labels=labels, ports=["22", "80"], private=True, range="10.9.0.0/20")
    assert set(what(plan).values()) == {("update",)}
    asked = {each.line: each.body for each in bake.apply(plan) if each.verb != "GET"}
    gone(bake)  # a range does not get smaller
    assert asked["POST global/images/kafka-abc-1/setLabels"]["labels"] == labels
    assert asked["PATCH /v1/projects/proj-1/secrets/password?updateMask=labels"] == {
        "labels": labels,
        "replication": {"automatic": {}},
    }
    assert asked[f"PATCH {IN_BUCKET}"]["labels"] == labels
    subnet = f"POST regions/{REGION}/subnetworks/bakes"
    assert asked[f"{subnet}/expandIpCidrRange"] == {"ipCidrRange": "10.9.0.0/20"}
    assert asked[f"{subnet}/setPrivateIpGoogleAccess"] == {"privateIpGoogleAccess": True}
    assert asked["PATCH global/firewalls/bakes"]["allowed"] == [{"IPProtocol": "tcp", "ports": ["22", "80"]}]


def test_guest_attributes_are_read(bake: Applied) -> None:
    name = machine_name(f"projects/{PROJECT}/zones/{ZONE}/instances/builder")
    bake.cloud.computers.attributes[name] = {"stoneware/status": "done"}
    try:
        assert bake.terraform.apply().outputs["said"] == ["done"]
    finally:
        bake.cloud.computers.attributes.clear()


def test_a_builder_goes_and_leaves_its_boot_disk(bake: Applied) -> None:
    plan = bake.change(builder=False)
    assert what(plan) == {BUILDER: ("delete",)}
    assert [line for line in lines(bake.apply(plan)) if not line.startswith("GET ")] == [
        f"DELETE zones/{ZONE}/instances/builder"
    ]
    assert "builder" in bake.cloud.of("disks")
    try:
        with refused() as said:
            bake.terraform.apply(bake.change())
    finally:
        bake.cloud.delete(f"zones/{ZONE}/disks/builder")
    assert "alreadyExists" in said[0]


@contextmanager
def ending_at_once(bake: Applied) -> Iterator[None]:
    """Let instances that are made be over before anybody looks."""
    service = bake.cloud.service
    keep = service.keep

    def kept(collection: str, key: str, record: dict[str, Any]) -> None:
        over = {"status": "TERMINATED"} if record.get("status") == "RUNNING" else {}
        keep(collection, key, record | over)

    service.keep = kept  # type: ignore[method-assign]
    yield
    service.keep = keep  # type: ignore[method-assign]


def test_a_builder_that_never_runs_is_tainted(bake: Applied) -> None:
    bake.vary(builder=False)
    bake.terraform.apply()
    bake.cloud.delete(f"zones/{ZONE}/disks/builder")
    main = bake.terraform.directory / "main.tf"
    text = main.read_text()
    block = 'desired_status = "RUNNING"\n  timeouts {\n    update = "200ms"\n  }\n'
    main.write_text(text.replace('desired_status = "RUNNING"\n', block))
    bake.vary()
    reaching = "Error waiting for instance to reach desired status RUNNING"
    try:
        with ending_at_once(bake), refused() as said:
            bake.terraform.apply()
        assert said[0].startswith(
            f"Error waiting for status: {reaching}: timeout while waiting for state to become 'RUNNING'"
        )
        assert tainted_addresses(bake.terraform.directory) == {BUILDER}
    finally:
        main.write_text(text)
        gone(bake)


def test_a_busy_server_is_asked_again(bake: Applied) -> None:
    bake.cloud.fail("503:0.2")
    assert what(bake.terraform.plan()) == {}


def test_a_refusal_is_told_as_the_provider_tells_it(bake: Applied) -> None:
    place = bake.terraform.directory / "more.tf"
    place.write_text('resource "google_compute_disk" "again" {\n  name = "root"\n}\n')
    try:
        with refused() as said:
            bake.terraform.apply()
    finally:
        place.unlink()
    [text] = said
    assert text.startswith("Error creating Disk: googleapi: Error 409: The resource 'projects/")
    assert text.endswith("already exists, alreadyExists")


def test_nothing_is_left(bake: Applied) -> None:
    gone(bake)
    # Terraform destroys several resources at the same time.
    asked = [each for each in lines(bake.cloud.take()) if IN_BUCKET in each]
    at = asked.index(f"GET {IN_BUCKET}/anywhereCaches/")
    assert asked[at + 1] == f"GET {IN_BUCKET}/o?versions=true"
    assert f"DELETE {IN_BUCKET}" in asked[at:]
    for collection in ("disks", "firewalls", "images", "instances", "networks"):
        assert bake.cloud.of(collection) == {}
