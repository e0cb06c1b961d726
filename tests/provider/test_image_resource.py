"""The resource and the data source `stoneware_image`, driven by real Terraform."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stoneware.errors import BuildError
from stoneware.model.machine import MachineSpec
from stoneware.provider.server import ProviderServer
from stoneware.terraform.results import TerraformError
from stoneware.terraform.runner import Terraform
from tests.platforms.memory import MemoryPlatform

from .conftest import Configure
from .memory_images import MemoryBaker, MemoryImages

pytestmark = pytest.mark.tool

ADDRESS = "stoneware_image.web"
LATEST = {"web:latest", "web:ccccccc"}


@pytest.fixture
def images() -> MemoryImages:
    return MemoryImages()


@pytest.fixture
def baker(images: MemoryImages) -> MemoryBaker:
    return MemoryBaker(images)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    path = tmp_path / "web"
    path.mkdir()
    (path / "Machinefile").write_text("FROM debian:12\n")
    return path


@pytest.fixture
def provider(platform: MemoryPlatform, images: MemoryImages, baker: MemoryBaker) -> ProviderServer:
    return ProviderServer(platform, images=images, baker=baker)


@pytest.fixture
def terraform(
    tmp_path: Path, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Terraform]:
    monkeypatch.delenv("STONEWARE_TERRAFORM", raising=False)
    with Terraform(tmp_path, provider=provider) as running:
        yield running


@pytest.fixture
def image(configure: Configure, context: Path) -> Callable[..., None]:
    """Write a configuration with one image; `rest` follows it."""

    def write(rest: str = "", **attributes: str) -> None:
        given = {"name": '"web"', "context": f'"{context}"', **attributes}
        lines = "".join(f"  {name} = {value}\n" for name, value in given.items())
        configure(f'resource "stoneware_image" "web" {{\n{lines}}}\n{rest}')

    return write


def values(terraform: Terraform) -> dict[str, object]:
    resource = terraform.state().get(ADDRESS)
    assert resource is not None
    return dict(resource.values)


def test_baked_tagged_and_nothing_to_do_afterwards(
    terraform: Terraform, image: Callable[..., None], images: MemoryImages, baker: MemoryBaker
) -> None:
    image(extra_tags='["web:1.0", "mirror/web"]')
    plan = terraform.plan()
    assert set(plan.changes[0].unknown) == {"image_id", "tags", "commit", "dirty"}
    assert (plan.changes[0].after or {})["id"] == "web:latest"
    assert "bake" not in baker.calls  # a plan bakes nothing
    terraform.apply(plan)
    found = values(terraform)
    assert found["image_id"] in images.image_ids()
    assert (found["commit"], found["dirty"]) == ("c" * 40, False)
    assert set(images.tags()) == LATEST | {"web:1.0", "mirror/web:latest", "mirror/web:ccccccc"}
    assert baker.calls.count("bake") == 1
    assert terraform.plan().noop


def test_what_is_baked_already_is_known_at_the_plan(
    terraform: Terraform, image: Callable[..., None], images: MemoryImages
) -> None:
    image()
    terraform.apply()
    first = values(terraform)["image_id"]
    terraform.destroy()
    assert images.image_ids() == []
    terraform.apply()
    (terraform.directory / "terraform.tfstate").unlink()
    plan = terraform.plan()
    assert plan.changes[0].unknown == ()
    assert (plan.changes[0].after or {})["image_id"] != first
    terraform.apply(plan)
    assert terraform.plan().noop


def test_a_changed_context_bakes_in_place_and_replaces_what_boots_from_it(
    terraform: Terraform,
    image: Callable[..., None],
    context: Path,
    images: MemoryImages,
    platform: MemoryPlatform,
) -> None:
    boot = """
    resource "stoneware_machine" "m" {
      name   = "m1"
      source = "image:${stoneware_image.web.image_id}"
    }
    """
    image(boot)
    terraform.apply()
    first = values(terraform)["image_id"]
    assert terraform.plan().noop
    (context / "Machinefile").write_text("FROM debian:13\n")
    plan = terraform.plan()
    by_address = {change.address: change for change in plan.changes}
    assert by_address[ADDRESS].actions == ("update",)
    assert by_address["stoneware_machine.m"].replace_for == ("source",)
    terraform.apply(plan)
    second = values(terraform)["image_id"]
    assert second != first
    assert platform.machines()[0].image_id == second
    assert set(images.image_ids()) == {first, second}  # for a rollback
    assert terraform.plan().noop
    (context / "Machinefile").write_text("FROM debian:12\n")  # and back: the image is still there
    plan = terraform.plan()
    assert {change.address: change.unknown for change in plan.changes}[ADDRESS] == ()
    terraform.apply(plan)
    assert values(terraform)["image_id"] == first
    assert terraform.plan().noop


def test_a_new_commit_of_the_same_content_adds_a_tag(
    terraform: Terraform, image: Callable[..., None], images: MemoryImages, baker: MemoryBaker
) -> None:
    image()
    terraform.apply()
    first = values(terraform)["image_id"]
    baker.commit, baker.dirty = "d" * 40, True
    plan = terraform.plan()
    assert plan.changes[0].unknown == ()
    assert (plan.changes[0].after or {})["tags"] == ["web:latest", "web:ddddddd-dirty", "web:ccccccc"]
    terraform.apply(plan)
    assert values(terraform)["image_id"] == first
    assert images.tags()["web:ddddddd-dirty"] == first
    assert terraform.plan().noop
    baker.commit, baker.dirty = None, False  # no longer in Git
    terraform.apply()
    assert values(terraform)["commit"] is None
    assert terraform.plan().noop
    terraform.destroy()
    assert (images.tags(), images.image_ids()) == ({}, [])


@pytest.mark.parametrize(
    "changed",
    [{"build_args": '{ VERSION = "2" }'}, {"target": '"slim"'}, {"labels": '{ team = "web" }'}],
    ids=["build_args", "target", "labels"],
)
def test_inputs_are_part_of_the_image(
    terraform: Terraform, image: Callable[..., None], changed: dict[str, str]
) -> None:
    image()
    terraform.apply()
    first = values(terraform)["image_id"]
    image(**changed)
    assert terraform.apply().changed == 1
    assert values(terraform)["image_id"] != first
    assert terraform.plan().noop


def test_triggers_bake_anew(terraform: Terraform, image: Callable[..., None], baker: MemoryBaker) -> None:
    image(triggers='{ week = "1" }')
    terraform.apply()
    first = values(terraform)["image_id"]
    image(triggers='{ week = "2" }')
    plan = terraform.plan()
    assert "image_id" in plan.changes[0].unknown
    terraform.apply(plan)
    assert baker.calls.count("bake again") == 1
    assert values(terraform)["image_id"] != first
    assert terraform.plan().noop


def test_another_name_takes_the_old_ones_place(
    terraform: Terraform, image: Callable[..., None], images: MemoryImages
) -> None:
    image(extra_tags='["web:1.0"]')
    terraform.apply()
    image(name='"web:2.0"')
    assert terraform.apply().changed == 1
    assert set(images.tags()) == {*LATEST, "web:2.0"}
    assert terraform.plan().noop
    image(name='"site"')
    assert terraform.apply().changed == 1
    assert set(images.tags()) == {"site:latest", "site:ccccccc"}
    assert terraform.plan().noop


def test_a_removed_image_or_tag_is_noticed(
    terraform: Terraform, image: Callable[..., None], images: MemoryImages
) -> None:
    image()
    terraform.apply()
    first = values(terraform)["image_id"]
    images.remove_tag("web:latest")
    images.references["web:ccccccc"] = images.add("web", serial=99)
    plan = terraform.plan()
    assert plan.changes[0].actions == ("update",)
    terraform.apply(plan)
    assert {tag: images.tags()[tag] for tag in LATEST} == dict.fromkeys(LATEST, first)
    images.remove_image(str(first))
    plan = terraform.plan()
    assert plan.changes[0].actions == ("create",)
    terraform.apply(plan)
    assert terraform.plan().noop


def test_destroying_leaves_what_others_use(
    terraform: Terraform, image: Callable[..., None], images: MemoryImages, platform: MemoryPlatform
) -> None:
    image()
    terraform.apply()
    first = str(values(terraform)["image_id"])
    images.references["kept:1"] = first
    terraform.destroy()
    assert images.tags() == {"kept:1": first}
    images.remove_tag("kept:1")
    terraform.apply()
    platform.create(MachineSpec("m1", f"image:{first}"))
    terraform.destroy()
    assert (images.tags(), images.image_ids()) == ({}, [first])
    platform.destroy("m1")
    terraform.apply()
    terraform.destroy()
    assert images.image_ids() == []


def test_a_bake_that_fails_leaves_nothing_in_the_state(
    terraform: Terraform, image: Callable[..., None], context: Path
) -> None:
    (context / "Machinefile").write_text("FROM debian:12\nRUN false\n")
    image()
    with pytest.raises(BuildError, match="the step RUN false failed") as caught:
        terraform.apply()
    assert caught.value.location == "Machinefile:2"
    assert terraform.state().resources == ()


def test_a_failed_bake_of_a_change_keeps_the_state(
    terraform: Terraform, image: Callable[..., None], context: Path
) -> None:
    image()
    terraform.apply()
    before = values(terraform)
    (context / "Machinefile").write_text("FROM debian:12\nRUN false\n")
    with pytest.raises(BuildError, match="the step RUN false failed"):
        terraform.apply()
    assert values(terraform) == before


def test_a_context_that_cannot_be_planned(
    terraform: Terraform, image: Callable[..., None], context: Path
) -> None:
    (context / "Machinefile").unlink()
    image()
    with pytest.raises(TerraformError, match="there is no Machinefile"):
        terraform.plan()


def test_a_context_that_changes_between_plan_and_apply(
    terraform: Terraform, image: Callable[..., None], context: Path, baker: MemoryBaker
) -> None:
    image()
    terraform.apply()
    before = values(terraform)
    baker.commit = "d" * 40
    plan = terraform.plan()
    (context / "Machinefile").write_text("FROM debian:13\n")
    baker.calls.clear()
    # Terraform plans once more before it applies, and finds the difference by itself.
    with pytest.raises(TerraformError, match="could not apply the changes"):
        terraform.apply(plan)
    assert "bake" not in baker.calls
    assert values(terraform) == before
    terraform.apply()
    assert terraform.plan().noop


def test_inputs_that_are_known_after_apply_only(terraform: Terraform, image: Callable[..., None]) -> None:
    later = 'resource "terraform_data" "later" { input = "2" }'
    image(
        later, build_args="{ VERSION = terraform_data.later.output }", name='"${terraform_data.later.id}-web"'
    )
    plan = terraform.plan()
    change = next(change for change in plan.changes if change.address == ADDRESS)
    assert {"id", "name", "build_args", "image_id", "tags"} <= set(change.unknown)
    terraform.apply(plan)
    assert terraform.plan().noop


def test_warnings_of_a_bake_are_shown(
    terraform: Terraform, image: Callable[..., None], baker: MemoryBaker
) -> None:
    baker.warnings = ("--build-arg X: the Machinefile declares no such ARG",)
    image()
    [warning] = terraform.apply().warnings
    assert warning.summary == baker.warnings[0]


@pytest.mark.parametrize(
    ("attributes", "attribute", "summary"),
    [
        ({"name": '"Web Server"'}, "name", "invalid image name 'Web Server'"),
        ({"extra_tags": '["web:ok", "web:a b"]'}, "extra_tags", "invalid tag 'a b' in 'web:a b'"),
    ],
    ids=["name", "extra_tags"],
)
def test_bad_names_are_refused(
    terraform: Terraform, image: Callable[..., None], attributes: dict[str, str], attribute: str, summary: str
) -> None:
    image(**attributes)
    with pytest.raises(TerraformError) as caught:
        terraform.plan()
    [diagnostic] = caught.value.diagnostics
    assert (diagnostic.attribute, diagnostic.summary) == (attribute, summary)


@pytest.fixture
def history(images: MemoryImages) -> dict[str, str]:
    add = images.add
    return {
        "old": add("web", "1.0", commit="a" * 40, created="2026-01-01T00:00:00Z"),
        "latest": add("web", "latest", commit="ab" * 20, created="2026-01-02T00:00:00Z"),
        "dirty": add("web", commit="a" * 40, dirty=True, created="2026-01-03T00:00:00Z"),
        "other": add("db", "latest", "9", commit="a" * 40, created="2026-01-04T00:00:00Z"),
    }


FINDS = [
    ("", "latest"),
    ('tag = "1.0"', "old"),
    (f'commit = "{"a" * 40}"', "old"),
    ('commit = "aba"', "latest"),
    ('commit = "a"', "latest"),
    ("newest = true", "dirty"),
    ("newest = false", "latest"),
]


@pytest.mark.parametrize(("criterion", "expected"), FINDS, ids=[text or "none" for text, _ in FINDS])
def test_finding_images(
    terraform: Terraform, configure: Configure, history: dict[str, str], criterion: str, expected: str
) -> None:
    configure(
        f"""
        data "stoneware_image" "web" {{
          name = "web"
          {criterion}
        }}
        output "id" {{ value = data.stoneware_image.web.image_id }}
        """
    )
    assert terraform.apply().outputs["id"] == history[expected]
    assert terraform.plan().noop


def test_what_is_told_of_an_image(terraform: Terraform, configure: Configure, images: MemoryImages) -> None:
    image_id = images.add(
        "web", "latest", "2", commit="a" * 40, base="debian:12", volumes=("/data",), labels=(("team", "web"),)
    )
    configure(
        """
        data "stoneware_image" "web" {
          name = "web"
        }
        output "web" { value = data.stoneware_image.web }
        output "base" { value = jsondecode(data.stoneware_image.web.manifest).base }
        """
    )
    outputs = terraform.apply().outputs
    manifest = outputs["web"].pop("manifest")
    assert '"name":"web"' in manifest
    assert outputs == {
        "base": "debian:12",
        "web": {
            "name": "web",
            "tag": None,
            "commit": "a" * 40,
            "newest": None,
            "id": image_id,
            "image_id": image_id,
            "tags": ["web:2", "web:latest"],
            "dirty": False,
            "created": "2026-01-01T00:00:00Z",
            "architecture": "amd64",
            "ports": ["80/tcp"],
            "volumes": ["/data"],
            "labels": {"team": "web"},
        },
    }


MISSES = [
    ('tag = "3"', "name", "there is no image 'web:3'"),
    ('commit = "ffff"', "name", "there is no image 'web' of the commit ffff"),
    ('tag = "1"\ncommit = "a"', "commit", "Too many criteria"),
    ('tag = "1"\nnewest = true', "newest", "Too many criteria"),
]


@pytest.mark.parametrize("case", MISSES, ids=[case[0] for case in MISSES])
def test_images_that_are_not_found(
    terraform: Terraform, configure: Configure, history: dict[str, str], case: tuple[str, str, str]
) -> None:
    criterion, attribute, summary = case
    configure(f'data "stoneware_image" "web" {{\nname = "web"\n{criterion}\n}}')
    with pytest.raises(TerraformError) as caught:
        terraform.plan()
    [diagnostic] = caught.value.diagnostics
    assert (diagnostic.attribute, diagnostic.summary) == (attribute, summary)


def test_a_provider_without_images_says_so(
    tmp_path: Path, platform: MemoryPlatform, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STONEWARE_TERRAFORM", raising=False)
    configure('resource "stoneware_image" "web" {\n  name    = "web"\n  context = "."\n}')
    with (
        Terraform(tmp_path, provider=ProviderServer(platform)) as running,
        pytest.raises(TerraformError, match="this provider has no images"),
    ):
        running.plan()
