"""volume create --size, resize and convert."""

from __future__ import annotations

import json

import pytest

from stoneware.model.capability import Capability
from stoneware.model.machine import MachineSpec
from stoneware.model.resources import VolumeMount
from tests.cli.conftest import Cli
from tests.cli.fakes import FakePlatform


def test_a_size_makes_a_disk(cli: Cli) -> None:
    cli("volume", "create", "--size", "20g", "data")
    cli("volume", "create", "plain")
    shown = json.loads(cli("volume", "inspect", "data").out)
    assert (shown["kind"], shown["size_bytes"]) == ("disk", 20 << 30)
    rows = cli("volume", "ls").out.splitlines()
    assert [row.split()[:2] for row in rows] == [["VOLUME", "KIND"], ["data", "disk"], ["plain", "directory"]]


def test_a_disk_grows(cli: Cli, platform: FakePlatform) -> None:
    cli("volume", "create", "--size", "20g", "data")
    assert cli("volume", "resize", "data", "40g").out == "data\n"
    found = platform.volume("data")
    assert found is not None
    assert found.size == 40 << 30
    assert "only grows" in cli("volume", "resize", "data", "20g").err


def test_a_directory_becomes_a_disk_and_the_other_way(cli: Cli, platform: FakePlatform) -> None:
    cli("volume", "create", "data")
    cli("volume", "convert", "data", "--size", "1g")
    found = platform.volume("data")
    assert found is not None
    assert (found.kind, found.size) == ("disk", 1 << 30)
    cli("volume", "convert", "data", "--to", "directory")
    found = platform.volume("data")
    assert found is not None
    assert found.kind == "directory"
    platform.create(MachineSpec("m", "image:x", volumes=(VolumeMount("data", "/data"),)))
    assert "is in use" in cli("volume", "convert", "data").err


@pytest.mark.parametrize(
    "words",
    [
        ("volume", "resize", "data", "much"),
        ("volume", "convert", "data", "--size", "much"),
        ("volume", "convert", "data", "--to", "tape"),
        ("volume", "convert", "none"),
        ("volume", "resize", "none", "1g"),
    ],
)
def test_what_is_wrong_is_said(cli: Cli, words: tuple[str, ...]) -> None:
    cli("volume", "create", "data")
    refused = cli(*words)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("error: ")


def test_a_platform_with_one_kind_says_what_to_do(
    cli: Cli, platform: FakePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = frozenset(Capability) - {Capability.VOLUME_KINDS}
    monkeypatch.setattr(platform, "capabilities", lacking)
    monkeypatch.setattr(platform, "instead_of", lambda _: "gcloud compute disks resize")
    for words in (("resize", "data", "1g"), ("convert", "data")):
        refused = cli("volume", *words)
        assert (refused.code, "gcloud compute disks resize" in refused.err) == (2, True)
