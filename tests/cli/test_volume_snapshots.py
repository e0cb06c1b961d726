"""volume snapshot, its commands, and volume restore."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from stoneware.model.capability import Capability
from stoneware.model.resources import VolumeMount
from tests.cli.conftest import Cli
from tests.cli.fakes import FakePlatform


@pytest.fixture(autouse=True)
def disk(platform: FakePlatform) -> None:
    platform.create_volume("disk", {})


def test_snapshots_are_made_listed_and_removed(cli: Cli) -> None:
    assert cli("volume", "snapshot", "disk", "--name", "one").out == "one\n"
    assert cli("volume", "snapshot", "create", "--name", "two", "disk").out == "two\n"
    named = cli("volume", "snapshot", "disk").out.strip()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-\d{6}", named)
    assert cli("volume", "snapshot", "ls", "-q").out.splitlines() == ["disk one", "disk two", f"disk {named}"]
    assert cli("volume", "snapshot", "ls", "disk", "-q").out.splitlines() == ["one", "two", named]
    header, first, *_ = cli("volume", "snapshot", "ls").out.splitlines()
    assert header.split() == ["VOLUME", "SNAPSHOT", "CREATED", "SIZE"]
    assert first.split()[:2] == ["disk", "one"]
    assert json.loads(cli("volume", "snapshot", "ls", "--json").out)[0]["automatic"] is False
    refused = cli("volume", "snapshot", "rm", "disk", "one", "three")
    assert (refused.code, refused.out) == (2, "")
    assert "has no snapshot 'three'" in refused.err
    assert cli("volume", "snapshot", "rm", "-f", "disk", "one", "three").out == "one\n"


@pytest.mark.parametrize(
    "words", [("snapshot", "none"), ("snapshot", "ls", "none"), ("restore", "none", "x")]
)
def test_what_is_not_there(cli: Cli, words: tuple[str, ...]) -> None:
    refused = cli("volume", *words)
    assert (refused.code, refused.out) == (2, "")
    assert "'none'" in refused.err


def test_a_restore_tells_what_it_keeps(cli: Cli, platform: FakePlatform) -> None:
    cli("volume", "snapshot", "disk", "--name", "one")
    platform.add("db")
    used = replace(platform.found["db"].spec, volumes=(VolumeMount("disk", "/x"),))
    platform.found["db"] = replace(platform.found["db"], spec=used)
    refused = cli("volume", "restore", "disk", "one")
    assert refused.code == 2
    assert "stoneware stop db" in refused.err
    platform.stop("db")
    done = cli("volume", "restore", "disk", "one")
    assert (done.code, done.out) == (0, "disk\n")
    kept = platform.snapshots("disk")[-1]
    assert kept.automatic
    assert f"stoneware volume restore disk {kept.name} brings it back" in done.err


def test_snapshots_outlive_their_volume_unless_asked(cli: Cli, platform: FakePlatform) -> None:
    cli("volume", "snapshot", "disk", "--name", "one")
    removed = cli("volume", "rm", "disk")
    assert removed.out == "disk\n"
    assert "stoneware volume restore disk one brings it back" in removed.err
    assert cli("volume", "snapshot", "ls", "disk", "-q").out == "one\n"
    assert cli("volume", "restore", "disk", "one").err == ""
    assert "snapshots of disk stay" in cli("volume", "prune", "-f").err
    cli("volume", "restore", "disk", "one")
    assert cli("volume", "rm", "--snapshots", "disk").err == ""
    assert platform.snapshots() == []


def test_a_platform_without_them_says_what_to_type(
    cli: Cli, platform: FakePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = frozenset(Capability) - {Capability.SNAPSHOTS}
    monkeypatch.setattr(platform, "capabilities", lacking)
    monkeypatch.setattr(platform, "instead_of", lambda _: "gcloud compute disks snapshot")
    for words in (
        ("snapshot", "disk"),
        ("snapshot", "ls"),
        ("snapshot", "rm", "disk", "x"),
        ("restore", "disk", "x"),
    ):
        refused = cli("volume", *words)
        assert (refused.code, refused.out) == (2, "")
        assert "cannot do this: snapshots of volumes" in refused.err
        assert "gcloud compute disks snapshot" in refused.err
    assert cli("volume", "rm", "disk").out == "disk\n"
