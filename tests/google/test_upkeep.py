"""What `prune` and `system df` say of a project, and what they leave alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoneware.errors import InputError
from stoneware.platforms.google.cloud_image import CloudImage
from stoneware.platforms.google.images import GoogleImages
from stoneware.platforms.google.resources import GoogleResources
from stoneware.platforms.google.upkeep import GoogleUpkeep, deprecated
from tests.google.cloud import PROJECT, ZONE, Cloud
from tests.google.test_images import DOCUMENT, MANIFEST, images, images_of, save

__all__ = ["images"]

pytestmark = [pytest.mark.tool, pytest.mark.filterwarnings("ignore::DeprecationWarning:google")]
COMMIT = MANIFEST["commit"]
DEBIAN = "projects/debian-cloud/global/images/family/debian-12"


def _upkeep(images: GoogleImages) -> GoogleUpkeep:
    return GoogleUpkeep(images)


def _image(number: int, family: str = "a", *, marked: bool = False) -> CloudImage:
    return CloudImage(f"sha256:{number}", f"n{number}", "", 1, family, f"commit{number}", number, marked)


@pytest.mark.pure
def test_which_images_a_policy_marks() -> None:
    images = [_image(5), _image(4, "b"), _image(3), _image(2, marked=True), _image(1), _image(0)]
    assert deprecated(images, 1, (), {}) == ["sha256:3", "sha256:1", "sha256:0"]
    assert deprecated(images, 2, (), {}) == ["sha256:1", "sha256:0"]
    assert deprecated(images, 1, {"sha256:3"}, {}) == ["sha256:1", "sha256:0"]
    tags = {"a:stable": "sha256:1", "a:commit3": "sha256:3", "a:commit0-dirty": "sha256:0", "a:x": "sha256:9"}
    assert deprecated(images, 1, (), tags) == ["sha256:3", "sha256:0"]


def test_older_images_are_marked_and_stay(images: GoogleImages, cloud: Cloud) -> None:
    old, live, stable, newest = (save(images, created=str(number)) for number in range(4))
    body = {"name": "used", "sourceImage": f"global/images/{images.cloud_image(live).name}"}
    images.api.operate("POST", f"zones/{ZONE}/disks", "make a disk", body)
    for tag, image in ((COMMIT, old), ("2", live), ("stable", stable), ("latest", newest)):
        images.set_tag(f"team/kafka:{tag}", image)
    upkeep = _upkeep(images)
    assert upkeep.unused(everything=False, wanted=()).empty
    assert upkeep.unused(everything=False, wanted=(old,), keep=1).empty
    found = upkeep.unused(everything=False, wanted=(), keep=1)
    assert found.deprecated == (old,)
    assert upkeep.prune(found, everything=False, wanted=(), keep=1) == 0
    assert images.has_image(old)
    name = images.cloud_image(old).name
    marked = cloud.of("images")[name]["deprecated"]
    assert marked["state"] == "DEPRECATED"
    assert marked["replacement"].endswith(f"/global/images/{images.cloud_image(newest).name}")
    images.set_tag("team/kafka:latest", old)  # as a bake of the old commit does
    assert "deprecated" not in cloud.of("images")[name]


def test_what_nothing_uses_goes_but_not_while_a_bake_runs(images: GoogleImages, cloud: Cloud) -> None:
    kept, untagged = save(images), save(images, created="2", steps=[{"key": "cd" * 32}])
    images.set_tag("team/kafka:latest", kept)
    disk = f"projects/{PROJECT}/zones/{ZONE}/disks/boot"
    images.stages.keep("cd" * 32, disk)
    hexadecimal = kept.removeprefix("sha256:")
    names = [f"stages/{'ef' * 32}/1.tar", f"stages/{hexadecimal}/1.tar", "caches/c.tar"]
    for name in names:
        images.bucket.write(name, b"content")
    builder = {
        "name": "bake-1-0",
        "machineType": f"zones/{ZONE}/machineTypes/e2-small",
        "labels": {"stoneware-bake": "bake-1"},
        "disks": [{"boot": True, "autoDelete": True, "initializeParams": {"sourceImage": DEBIAN}}],
        "networkInterfaces": [{"network": "global/networks/default"}],
    }
    images.api.operate("POST", f"zones/{ZONE}/instances", "make a builder", builder)
    upkeep = _upkeep(images)
    assert upkeep.unused(everything=False, wanted=()).empty
    images.api.operate("DELETE", f"zones/{ZONE}/instances/bake-1-0", "remove the builder")
    found = upkeep.unused(everything=False, wanted=())
    assert (found.images, found.caches) == ((untagged,), ("c.tar",))
    assert found.checkpoints == ("cd" * 32, "ef" * 32)
    assert upkeep.prune(found, everything=False, wanted=()) == 14
    assert images.image_ids() == [kept]
    assert images.bucket.names("stages/") == [names[1]]
    assert [name for name in cloud.of("images") if name.startswith("stage-")] == []


def test_what_has_the_room(images: GoogleImages) -> None:
    image = save(images)
    images.bucket.write("stages/x/y.tar", b"12345")
    images.bucket.write("caches/c.tar", b"123")
    resources = GoogleResources(images.api)
    resources.create_volume("data", {}, 20 << 30)
    upkeep = _upkeep(images)
    found = upkeep.usage(())
    assert found.room is None
    assert found.to_document(verbose=False)["room"] is None
    rows = {row.kind: (row.total, row.active, row.size, row.reclaimable) for row in found.rows}
    assert rows["stages"] == (1, 0, 5, 5)
    assert rows["caches"] == (1, 0, 3, 3)
    assert rows["volumes"] == (1, 0, 20 << 30, 20 << 30)
    assert rows["images"][:2] == (1, 0)
    assert found.items["images"][0].name == image


def test_an_image_of_another_project_is_a_base(images: GoogleImages, cloud: Cloud, tmp_path: Path) -> None:
    cloud.service.add_project("other-1")
    theirs = images_of(cloud, tmp_path / "theirs", project="other-1")
    theirs.bucket.name = "theirs"
    body = {"name": "theirs", "location": "us-central1"}
    images.api.request("storage", "POST", "/b", "make it", query={"project": "other-1"}, body=body)
    theirs.api.operate("POST", f"zones/{ZONE}/disks", "make a disk", {"name": "boot", "sizeGb": "10"})
    image = theirs.save(
        f"projects/other-1/zones/{ZONE}/disks/boot",
        b'{"commit":null,"dirty":false,"name":"jdk","schema":1}',
        DOCUMENT,
    )
    name = theirs.cloud_image(image).name
    for reference in (f"projects/other-1/global/images/{name}", "projects/other-1/global/images/family/jdk"):
        found = images.shared_base(reference)
        assert found is not None
        identity, manifest = found
        assert identity.startswith(f"other-1/{name}/")
        assert manifest is not None
        assert manifest["name"] == "jdk"
        assert images.base_identity(reference) == identity
        assert not images.lacks_guest(f"checkpoint:{identity}")
        assert images.source_image(f"checkpoint:{identity}").endswith(
            f"projects/other-1/global/images/{name}"
        )
    public = images.shared_base("projects/debian-cloud/global/images/family/debian-13")
    assert public is not None
    assert public[1] is None
    assert images.lacks_guest(f"checkpoint:{public[0]}")
    assert images.shared_base("jdk:17") is None
    with pytest.raises(InputError, match="there is no image projects/other-1/global/images/no") as missing:
        images.shared_base("projects/other-1/global/images/no")
    assert "compute.imageUser" in missing.value.resolution

    theirs.bucket.write(f"manifests/{image.removeprefix('sha256:')}.json", b'{"name":"forged"}')
    with pytest.raises(Exception, match="is damaged"):
        images_of(cloud, tmp_path / "third").shared_base(f"projects/other-1/global/images/{name}")
