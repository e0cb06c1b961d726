"""Builders of the platform google: Terraform and the emulator are real, the machines are in memory."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from stoneware.emulator.machine_spec import machine_name
from stoneware.errors import InputError, MachineError
from stoneware.files import canonical_json
from stoneware.model import guest_protocol
from stoneware.model.machine import Phase
from stoneware.platforms.google import doctor, envelope
from stoneware.platforms.google.api import Api
from stoneware.platforms.google.bucket import Bucket
from stoneware.platforms.google.builder import left_instances
from stoneware.platforms.google.images import GoogleImages
from stoneware.platforms.google.platform import GooglePlatform
from stoneware.terraform.results import TerraformError
from tests.google.cloud import PROJECT, Cloud, once
from tests.google.clusters import SETTINGS
from tests.google.provider.install import program_of

pytestmark = [pytest.mark.tool, pytest.mark.filterwarnings("ignore::DeprecationWarning:google")]
NAME = "bake-1234abcd-0"
METADATA = {
    "startup-script": "#!/bin/sh\n",
    guest_protocol.TOKEN: "t",
    guest_protocol.GO: "0",
    guest_protocol.ACCEPT: "FALSE",
}
# All that a bake with one builder changes on Google Cloud but for its tags. Operations are not in it.
_INSTANCE = f"zones/us-central1-a/instances/{NAME}"
_UPLOAD = "POST /upload/storage/v1/b/things/o"
_DELETE = f"DELETE /storage/v1/b/things/o/bakes%2Fbake-1234abcd%2F{NAME}%2F"
CHANGED = [
    _UPLOAD,  # the bundle
    _UPLOAD,  # the base that all computers take
    "POST zones/us-central1-a/instances",
    f"POST {_INSTANCE}/setMetadata",
    _UPLOAD,  # the result, here by the test
    f"POST {_INSTANCE}/stop",
    _UPLOAD,  # the manifest
    "POST global/images",
    f"DELETE {_INSTANCE}",
    f"{_DELETE}bundle.tar",
    f"{_DELETE}r",
]
MOST = 40  # requests of all kinds
DOCUMENT = {"key": "ab" * 32, "size_bytes": 7}


@pytest.fixture
def platform(
    cloud: Cloud, tmp_path: Path, google_provider: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> GooglePlatform:
    monkeypatch.setenv("STONEWARE_GOOGLE_PROVIDER", str(program_of(google_provider)))
    api = Api(replace(SETTINGS, endpoint=cloud.endpoint, bucket="things", labels={"team": "data"}))
    body = {"name": "things", "location": "us-central1"}
    api.request("storage", "POST", "/b", "make the bucket", query={"project": PROJECT}, body=body)
    return GooglePlatform(GoogleImages(api, Bucket(api), tmp_path / "home"))


@pytest.fixture
def bake(platform: GooglePlatform) -> Iterator[Path]:
    made = platform.images.build_path("bake-1234abcd")
    (made / "stage-0").mkdir(parents=True)
    (made / "bundle.tar").write_bytes(b"bundle")
    yield made
    platform.remove_builders(made)


def _source(platform: GooglePlatform) -> str:
    return f"checkpoint:{platform.images.ensure_base('debian:12', refresh=False, progress=lambda _: None)}"


def _behind(zone: str = "us-central1-a") -> str:
    return machine_name(f"projects/{PROJECT}/zones/{zone}/instances/{NAME}")


def test_a_builder_from_its_bundle_to_its_image(platform: GooglePlatform, bake: Path, cloud: Cloud) -> None:
    bucket = platform.images.bucket
    cloud.take()
    with platform.prepare_builder(NAME, bake / "stage-0") as builder:
        assert (
            builder.publish(bake / "bundle.tar", {}) == f"gs://things/bakes/bake-1234abcd/{NAME}/bundle.tar"
        )
        assert builder.results_address("r") == f"gs://things/bakes/bake-1234abcd/{NAME}/r"
        source = _source(platform)
        assert builder.lacks_guest(source)
        assert not builder.lacks_guest("image:sha256:x")
        builder.boot(source, METADATA)
        assert platform.has_builders(bake)
        seen = builder.observe()
        assert seen is not None
        assert (seen.kind, seen.phase) == ("builder", Phase.RUNNING)
        record = cloud.of("instances")[NAME]
        assert record["labels"] == {
            "goog-terraform-provisioned": "true",
            "stoneware": "builder",
            "stoneware-bake": "bake-1234abcd",
            "team": "data",
        }
        assert record["scheduling"]["maxRunDuration"]["seconds"] == "28800"
        assert record["scheduling"]["instanceTerminationAction"] == "DELETE"
        assert "accessConfigs" not in record["networkInterfaces"][0]

        assert builder.reports() == {}
        cloud.computers.attributes[_behind()] = {"stoneware/build": "x", "other/y": "z"}
        cloud.computers.consoles[_behind()] = b"first\n"
        assert builder.console(0) == (b"first\n", 6)
        builder.tell({guest_protocol.MANIFEST: "m", guest_protocol.ACCEPT: "TRUE"})
        told = cloud.computers.machines[_behind()].metadata
        assert told[guest_protocol.MANIFEST] == "m"
        assert guest_protocol.ACCEPT not in told
        assert told[guest_protocol.GO] == "0"  # the agent looks for it while it fetches the bundle
        assert told[guest_protocol.STORAGE] == guest_protocol.GUEST_ENDPOINT

        with pytest.raises(MachineError, match="has not uploaded r"):
            builder.result("r")
        bucket.write(f"bakes/bake-1234abcd/{NAME}/r", b"result")
        assert builder.result("r") == b"result"

        builder.stop()
        image = builder.capture(canonical_json({"name": "words", "commit": None}), DOCUMENT)
        assert platform.images.image_ids() == [image]
        made = cloud.of("images")["words-abababab"]
        features = {each["type"] for each in made["guestOsFeatures"]}
        assert {"UEFI_COMPATIBLE", "GVNIC", "VIRTIO_SCSI_MULTIQUEUE"} <= features
        assert [each.rsplit("/", 1)[1] for each in made["licenses"]] == ["debian-12"]
        builder.release()
    asked = cloud.take()
    changed = [re.sub(r"\?.*", "", each.line) for each in asked if each.verb != "GET"]
    assert changed == CHANGED
    assert len(once(asked)) <= MOST, [each.line for each in asked]
    assert not platform.has_builders(bake)
    assert cloud.of("instances") == {}
    assert cloud.of("disks") == {}
    assert bucket.names("bakes/") == []


def test_the_next_zone_is_tried_where_one_has_no_room(
    platform: GooglePlatform, bake: Path, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.fail("stockout")
    with platform.prepare_builder(NAME, bake / "stage-0") as builder:
        with pytest.raises(TerraformError) as caught:
            builder.boot(_source(platform), METADATA)
        assert "us-central1-a, us-central1-b" in caught.value.details
        cloud.fail()
        builder.boot(_source(platform), METADATA)
        builder.release()
    assert cloud.of("instances") == {}


def test_what_a_killed_bake_left_is_removed(platform: GooglePlatform, bake: Path, cloud: Cloud) -> None:
    with platform.prepare_builder(NAME, bake / "stage-0") as builder:
        builder.publish(bake / "bundle.tar", {})
        builder.boot(_source(platform), METADATA)
    assert [each.name for each in left_instances(platform.images)] == [NAME]
    assert any(NAME in finding.version for finding in doctor.findings(platform.images.api))
    assert platform.remove_builders(bake)
    assert cloud.of("instances") == {}
    assert platform.images.bucket.names("bakes/") == []


def test_a_builder_that_terraform_forgot_is_removed(
    platform: GooglePlatform, bake: Path, cloud: Cloud
) -> None:
    with platform.prepare_builder(NAME, bake / "stage-0") as builder:
        builder.boot(_source(platform), METADATA)
    (bake / "stage-0/terraform/terraform.tfstate").unlink()
    assert not platform.has_builders(bake)
    assert platform.remove_builders(bake)
    assert cloud.of("instances") == {}


def test_a_builder_that_is_gone_is_told(platform: GooglePlatform, bake: Path) -> None:
    with platform.prepare_builder(NAME, bake / "stage-0") as builder:
        assert builder.observe() is None
        assert builder.reports() == {}
        for asked in (builder.console, builder.stop, lambda: builder.tell({"a": "b"})):
            with pytest.raises(InputError, match=f"there is no instance {NAME}"):
                asked()
        builder.release(failed=True)


def test_secrets_are_for_the_agents_key_only(platform: GooglePlatform, bake: Path, cloud: Cloud) -> None:
    pair = rsa.generate_private_key(65537, 2048)
    der = pair.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    key = base64.b64encode(der).decode()
    (bake / "secret").write_bytes(b"hunter2")
    with platform.prepare_builder(NAME, bake / "stage-0") as builder:
        builder.publish(bake / "bundle.tar", {"secret-x": bake / "secret"})
        builder.boot(_source(platform), METADATA, ["one", "two"])
        told = cloud.computers.machines[_behind()].metadata
        caches = told[guest_protocol.CACHES].split()
        assert [re.sub(r"/[0-9a-f]{32}\.tar", "", each) for each in caches] == ["gs://things/caches"] * 2
        for report in (key, "another"):  # what a step reports later is no key
            cloud.computers.attributes[_behind()] = {envelope.KEY_REPORT: report}
            time.sleep(0.2)
            builder.reports()
        told = cloud.computers.machines[_behind()].metadata
        assert told[guest_protocol.SERVING] == f"key {envelope.digest(key)}"
        builder.tell({guest_protocol.SERVING: "1 secret-x"})
        told = cloud.computers.machines[_behind()].metadata
        assert told[guest_protocol.SERVING] == "1 secret-x"
        held = platform.images.bucket.read(f"bakes/bake-1234abcd/{NAME}/secret-x")
        assert held is not None
        assert b"hunter2" not in held.data
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        assert len(pair.decrypt(held.data[:256], oaep)) == 64
        builder.release()
    assert platform.images.bucket.names("bakes/") == []


def test_a_key_that_is_none_ends_the_bake() -> None:
    for key in ("", "!", base64.b64encode(b"no key").decode()):
        with pytest.raises(MachineError, match="a key that is none"):
            envelope.sealed(key, b"hunter2")


def test_a_stage_is_kept_as_an_image_and_its_files_in_the_bucket(
    platform: GooglePlatform, bake: Path, cloud: Cloud
) -> None:
    images, key = platform.images, "cd" * 32
    assert not images.has_checkpoint(key)
    with platform.prepare_builder(NAME, bake / "stage-0") as builder:
        builder.boot(_source(platform), METADATA)
        builder.stop()
        builder.save_step(key, {})
        builder.save_step(key, {})  # another computer may have kept it meanwhile
        builder.release()
    assert images.has_checkpoint(key)
    assert images.image_ids() == []
    (name,) = [name for name in cloud.of("images") if name.startswith("stage-")]
    assert images.source_image(f"checkpoint:{key}").endswith(f"/images/{name}")
    with pytest.raises(InputError, match="is not kept any more"):
        images.source_image(f"checkpoint:{'00' * 32}")

    source, paths = f"checkpoint:{key}", ("/opt", "/usr")
    address = images.files_address(source, paths)
    assert not images.has_files(source, paths)
    images.bucket.write(address.removeprefix("gs://things/"), b"archive")
    assert images.has_files(source, paths)
    assert not images.has_files(source, ("/opt",))
    assert images.stage_files(source, paths, bake).read_bytes() == b"archive"
    with pytest.raises(InputError, match="are gone"):
        images.stage_files(source, ("/opt",), bake)


def test_what_it_cannot_do_is_refused(platform: GooglePlatform, bake: Path) -> None:
    with platform.prepare_builder(NAME, bake / "stage-0") as builder:
        for asked in (lambda: builder.capture(b"{}", {}, files={"a": b""}),):
            with pytest.raises(InputError, match="the platform google"):
                asked()
        with pytest.raises(MachineError, match="larger than"):
            builder.tell({guest_protocol.MANIFEST: "m" * 300_000})
    for refused in (
        lambda: platform.execute("m", ["true"]),
        lambda: platform.run("m", ["true"], timeout=1),
        lambda: platform.copy_out("m", "/a", bake),
        lambda: platform.copy_in(bake, "m", "/a"),
    ):
        with pytest.raises(InputError, match="the platform google") as caught:
            refused()
        assert "tunnel-through-iap" in caught.value.resolution
