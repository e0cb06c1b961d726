"""What goes wrong in Google's cloud while an image is baked: what is said, and that nothing is left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stoneware.bake.driver import Driver
from stoneware.bake.pace import Pace
from stoneware.errors import StonewareError
from stoneware.model import guest_protocol
from stoneware.platforms.google import errors
from stoneware.platforms.google.builder import GoogleBuilder
from stoneware.platforms.google.images import GoogleImages
from stoneware.platforms.google.platform import GooglePlatform
from stoneware.terraform.results import TerraformError
from tests.bake.scripted import Told, planned
from tests.google.cloud import PROJECT, Cloud
from tests.google.test_builder import METADATA, NAME, _behind, _source, bake, platform

__all__ = ["bake", "platform"]
pytestmark = [pytest.mark.tool, pytest.mark.filterwarnings("ignore::DeprecationWarning:google")]
TOKEN = METADATA[guest_protocol.TOKEN]


def _driver(builder: GoogleBuilder, **limits: Any) -> Driver:
    pace = replace(Pace(poll=0.05, look=0.2, removal=0.5, drain_limit=0.1), **limits)
    steps = {1: planned(1)}
    return Driver(builder, Told(), token=TOKEN, stage="0", steps=steps, last=1, checkpoints=False, pace=pace)


def _report(cloud: Cloud, **fields: Any) -> None:
    value = {"token": TOKEN, "boot": "b", "step": 1, "state": "running", "exit": 0, "message": "", **fields}
    cloud.computers.attributes[_behind()] = {"stoneware/build": json.dumps(value)}


@contextmanager
def _running(platform: GooglePlatform, bake: Path) -> Iterator[GoogleBuilder]:
    """Give a builder that has booted; nothing of it may be left behind the block."""
    with platform.prepare_builder(NAME, bake / "stage-0") as builder:
        builder.boot(_source(platform), METADATA)
        try:
            yield builder
        finally:
            builder.release(failed=True)


def _nothing_is_left(cloud: Cloud) -> None:
    assert cloud.of("instances") == {}
    assert cloud.of("disks") == {}


def test_a_quota_that_is_used_up_is_told(platform: GooglePlatform, bake: Path, cloud: Cloud) -> None:
    cloud.fail("quota")
    with platform.prepare_builder(NAME, bake / "stage-0") as builder:
        with pytest.raises(TerraformError) as caught:
            builder.boot(_source(platform), METADATA)
        builder.release(failed=True)
    said = f"{caught.value.brief}\n{caught.value.details}"
    assert "Quota '" in said
    assert "zones that were tried: us-central1-a" in said
    assert "us-central1-b" not in said  # a quota is of the region
    assert "project-info describe" in caught.value.resolution
    _nothing_is_left(cloud)


def test_a_builder_whose_reply_was_lost_is_found_and_removed(
    platform: GooglePlatform, bake: Path, cloud: Cloud
) -> None:
    with platform.prepare_builder(NAME, bake / "stage-0") as builder:
        source = _source(platform)
        cloud.fail("lost-reply")
        with pytest.raises(TerraformError):
            builder.boot(source, METADATA)
        cloud.fail()
        assert NAME in cloud.of("instances")  # Terraform does not know of it
        builder.release(failed=True)
    assert platform.remove_builders(bake) in (True, False)
    _nothing_is_left(cloud)


def test_servers_that_are_busy_now_and_then_cost_time_only(
    platform: GooglePlatform, bake: Path, cloud: Cloud
) -> None:
    cloud.fail("503:0.15", "429:0.1")
    with _running(platform, bake) as builder:
        builder.tell({guest_protocol.MANIFEST: "m"})
        assert cloud.computers.machines[_behind()].metadata[guest_protocol.MANIFEST] == "m"
        builder.stop()
    cloud.fail()
    _nothing_is_left(cloud)


def _fails(builder: GoogleBuilder, **limits: Any) -> StonewareError:
    with pytest.raises(StonewareError) as caught:
        _driver(builder, **limits).run_steps(lambda _: None)
    assert caught.value.resolution
    return caught.value


def test_a_builder_that_does_not_go_on(
    platform: GooglePlatform, bake: Path, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> dict[str, Any]:
        raise errors.of_response("look", 401, {"error": {"message": "Invalid Credentials"}}, PROJECT)

    cloud.computers.consoles[_behind()] = b"GRUB: no such disk\n"
    with _running(platform, bake) as builder:
        (listed,) = platform.machines()
        assert (listed.name, listed.kind, listed.phase) == (NAME, "builder", "running")

        never_booted = _fails(builder, boot_limit=0.5)
        assert "did not report within 0.5 s of its start" in never_booted.brief
        assert "GRUB: no such disk" in never_booted.details

        _report(cloud)
        killed = _fails(builder, silence=1.0)
        assert "the builder sends no reports during step 1" in killed.brief

        with monkeypatch.context() as patch:
            patch.setattr(platform.images.api, "request", refused)
            expired = _fails(builder)
            assert (expired.exit_code, expired.resolution) == (3, "gcloud auth application-default login")

        builder.stop()
        assert "the builder ended before its work was done" in _fails(builder).brief
        # As Google does it where its time is over, or where its host is taken away.
        cloud.delete(f"zones/us-central1-a/instances/{NAME}")
        assert "was removed before its work was done" in _fails(builder).brief
    _nothing_is_left(cloud)


def test_a_bucket_that_is_not_there_is_told_before_anything_is_made(
    platform: GooglePlatform, cloud: Cloud
) -> None:
    assert isinstance(platform.images, GoogleImages)
    platform.images.bucket.name = "other"
    with pytest.raises(errors.MissingError, match="gs://other"):
        platform.images.ensure_base("debian:12", refresh=False, progress=lambda _: None)
    _nothing_is_left(cloud)
