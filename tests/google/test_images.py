"""Images of the platform google: in Compute Engine and in the bucket, against the emulator."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stoneware.errors import InputError, StonewareError
from stoneware.files import canonical_json, sha256_hex
from stoneware.platforms.google import errors
from stoneware.platforms.google.api import Api
from stoneware.platforms.google.bucket import Bucket
from stoneware.platforms.google.images import GoogleImages
from tests.google.cloud import PROJECT, ZONE, Cloud
from tests.google.clusters import SETTINGS

pytestmark = [pytest.mark.tool, pytest.mark.filterwarnings("ignore::DeprecationWarning:google")]
KEY = "ab" * 32
MANIFEST: dict[str, Any] = {"name": "team/kafka", "commit": "0123456789" * 4, "dirty": False, "schema": 1}
DOCUMENT = {"key": KEY, "size_bytes": 1234}


def images_of(cloud: Cloud, home: Path, **changes: Any) -> GoogleImages:
    """Return the images as one more computer sees them."""
    api = Api(replace(SETTINGS, endpoint=cloud.endpoint, bucket="things", **changes), patience=1)
    return GoogleImages(api, Bucket(api), home)


@pytest.fixture
def images(cloud: Cloud, tmp_path: Path) -> GoogleImages:
    made = images_of(cloud, tmp_path / "one")
    body = {"name": "things", "location": "us-central1"}
    made.api.request("storage", "POST", "/b", "make the bucket", query={"project": PROJECT}, body=body)
    made.api.operate("POST", f"zones/{ZONE}/disks", "make a disk", {"name": "boot", "sizeGb": "10"})
    return made


def save(images: GoogleImages, **changes: Any) -> str:
    disk = f"projects/{PROJECT}/zones/{ZONE}/disks/boot"
    return images.save(disk, canonical_json(MANIFEST | changes), DOCUMENT)


def test_an_image_is_known_to_every_computer(images: GoogleImages, cloud: Cloud, tmp_path: Path) -> None:
    image = save(images)
    assert image == f"sha256:{sha256_hex(canonical_json(MANIFEST))}"
    other = images_of(cloud, tmp_path / "two")
    assert other.image_ids() == [image]
    assert other.has_image(image)
    assert other.manifest(image) == MANIFEST
    found = other.image_document(image)
    assert (found["key"], found["size_bytes"]) == (KEY, 1234)
    record = cloud.of("images")["team-kafka-0123456-abababab"]
    assert record["family"] == "team-kafka"
    told = record["labels"]
    assert (told["stoneware-commit"], told["stoneware-dirty"]) == ("0123456789" * 4, "false")
    assert other.source_image(f"image:{image}").endswith("/global/images/team-kafka-0123456-abababab")


def test_one_list_answers_for_all_images(images: GoogleImages, cloud: Cloud) -> None:
    ids = {save(images, created=str(number)) for number in range(3)}
    assert len(ids) == 3
    assert sorted(cloud.of("images"))[1:] == [
        "team-kafka-0123456-abababab-2",
        "team-kafka-0123456-abababab-3",
    ]
    images.forget_list()
    cloud.take()
    assert {image for image in images.image_ids() if images.image_document(image)["key"] == KEY} == ids
    assert [each.verb for each in cloud.take()] == ["GET"]


def test_labels_of_the_settings_and_the_key_are_on_images(
    images: GoogleImages, cloud: Cloud, tmp_path: Path
) -> None:
    kms = "projects/p/locations/l/keyRings/r/cryptoKeys/k"
    save(images_of(cloud, tmp_path, labels={"team": "data"}, kms_key=kms))
    (record,) = cloud.of("images").values()
    assert record["labels"]["team"] == "data"
    assert record["imageEncryptionKey"]["kmsKeyName"] == kms


def test_tags_move_and_go(images: GoogleImages, cloud: Cloud, tmp_path: Path) -> None:
    first, second = save(images), save(images, created="later")
    images.set_tag("team/kafka:latest", first)
    images.set_tag("team/kafka:4.2", first)
    images.set_tag("team/kafka:latest", second)
    other = images_of(cloud, tmp_path / "two")
    assert other.tags() == {"team/kafka:latest": second, "team/kafka:4.2": first}
    other.remove_tag("team/kafka:4.2")
    other.remove_tag("team/kafka:4.2")
    assert images.tags() == {"team/kafka:latest": second}


def test_a_removed_image_leaves_nothing(images: GoogleImages, cloud: Cloud) -> None:
    image = save(images)
    images.set_tag("team/kafka:latest", image)
    images.remove_image(image)
    images.remove_image(image)
    assert cloud.of("images") == {}
    assert images.bucket.names("") == []
    assert not images.has_image(image)
    with pytest.raises(InputError, match="there is no image"):
        images.image_document(image)
    with pytest.raises(InputError, match="no manifest"):
        images.manifest(image)


def test_an_image_that_a_disk_is_made_of_stays(images: GoogleImages, cloud: Cloud) -> None:
    image = save(images)
    (name,) = cloud.of("images")
    body = {"name": "k1", "sizeGb": "10", "sourceImage": f"global/images/{name}"}
    images.api.operate("POST", f"zones/{ZONE}/disks", "make a disk", body)
    with pytest.raises(InputError, match="is in use") as caught:
        images.remove_image(image)
    assert "k1" in caught.value.details
    assert images.has_image(image)
    assert images.manifest(image) == MANIFEST


def test_what_others_have_put_there_is_no_image_of_ours(images: GoogleImages, cloud: Cloud) -> None:
    image = save(images)
    for number, told in enumerate(({}, {"stoneware-image": "x"}, {"stoneware-image": "a" * 60})):
        body = {"name": f"other-{number}", "sourceDisk": f"zones/{ZONE}/disks/boot", "labels": told}
        images.api.operate("POST", "global/images", "make another image", body)
    images.bucket.write("tags/strange", b"", metadata={"image": image})
    images.bucket.write("tags/a:b", b"", metadata={"image": "no id"})
    images.forget_list()
    assert images.image_ids() == [image]
    assert images.tags() == {}


def test_a_manifest_that_is_not_the_images_is_told(
    images: GoogleImages, cloud: Cloud, tmp_path: Path
) -> None:
    image = save(images)
    (name,) = images.bucket.names("manifests/")
    images.bucket.write(name, canonical_json(MANIFEST | {"name": "evil"}))
    with pytest.raises(StonewareError, match="is damaged"):
        images_of(cloud, tmp_path / "two").manifest(image)


def test_all_take_the_same_base_until_it_is_refreshed(
    images: GoogleImages, cloud: Cloud, tmp_path: Path
) -> None:
    said: list[str] = []
    assert images.base_identity("debian:12") is None
    first = images.ensure_base("debian:12", refresh=False, progress=said.append)
    project, name, number = first.split("/")
    assert (project, name) == ("debian-cloud", "debian-12-stoneware")
    assert number.isdigit()
    assert len(said) == 1
    document, _ = images.bucket.document("bases/debian-12.json")
    assert document == {"image": first}
    other = images_of(cloud, tmp_path / "two")
    other.bucket.put_document("bases/debian-12.json", {"image": "debian-cloud/older/7"})
    assert other.base_identity("debian:12") == "debian-cloud/older/7"
    assert other.ensure_base("debian:12", refresh=False, progress=said.append) == "debian-cloud/older/7"
    assert other.ensure_base("debian:12", refresh=True, progress=said.append) == first
    assert other.source_image(f"checkpoint:{first}").endswith(
        "/compute/v1/projects/debian-cloud/global/images/debian-12-stoneware"
    )


@pytest.mark.parametrize("text", ['{"image": 3}', '{"image": "a/b"}', "{}"])
def test_a_base_that_is_none_is_taken_again(images: GoogleImages, text: str) -> None:
    images.bucket.put_document("bases/debian-12.json", json.loads(text))
    assert images.base_identity("debian:12") is None
    assert images.ensure_base("debian:12", refresh=False, progress=lambda _: None).startswith("debian-cloud/")


def test_what_there_is_not_is_refused(images: GoogleImages) -> None:
    with pytest.raises(InputError, match="there is no base"):
        images.ensure_base("debian:7", refresh=False, progress=lambda _: None)
    with pytest.raises(InputError, match="on this computer"):
        images.stage_source("checkpoint:x")
    assert not images.has_checkpoint(KEY)
    assert images.checkpoint_document(KEY) is None


def test_the_architecture_is_the_machine_types(cloud: Cloud, tmp_path: Path) -> None:
    assert images_of(cloud, tmp_path).architecture == "amd64"
    assert images_of(cloud, tmp_path, machine_type="t2a-standard-1").architecture == "arm64"


def test_a_project_without_the_bucket_is_told(cloud: Cloud, tmp_path: Path) -> None:
    with pytest.raises(errors.MissingError, match="gs://things"):
        images_of(cloud, tmp_path).tags()
