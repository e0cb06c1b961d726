"""What `export` asks of the platform, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stoneware.cli.commands import export as command
from stoneware.platforms.disks import DiskFormat, Export
from tests.cli.conftest import Cli


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, store: object) -> list[Export]:
    found: list[Export] = []

    class Disks:
        def export(self, wanted: Export, progress: Callable[[str], None]) -> None:
            progress("half of it")
            found.append(wanted)

    monkeypatch.setattr(command, "open_store", lambda **_: store)
    monkeypatch.setattr(command, "open_disks", lambda _: Disks())
    return found


def test_a_disk_by_its_name(cli: Cli, asked: list[Export], hello: str, tmp_path: Path) -> None:
    done = cli("export", "hello", "-o", str(tmp_path / "x.qcow2"), "--size", "2g", "--force")
    assert (done.code, done.out) == (0, "")
    assert "half of it" in done.err
    assert "exported hello to" in done.err
    assert asked == [Export(hello, DiskFormat.QCOW2, tmp_path / "x.qcow2", 2 << 30, force=True)]


def test_the_form_may_be_said(cli: Cli, asked: list[Export], hello: str, tmp_path: Path) -> None:
    assert cli("export", "hello", "-o", str(tmp_path / "x"), "-f", "gce").code == 0
    assert cli("export", "hello", "-o", "-").code == 0
    assert cli("export", "hello", "-o", "-", "--format", "tar.zst").code == 0
    assert [(each.format, each.target is None) for each in asked] == [
        (DiskFormat.GCE, False),
        (DiskFormat.TAR, True),
        (DiskFormat.TAR_ZST, True),
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "it is not said where to"),
        (["-o", "x.iso"], "no form of export"),
        (["-o", "x", "-f", "iso"], "iso"),
        (["-o", "-", "-f", "qcow2"], "cannot be written to a pipe"),
        (["-o", "x.tar", "--size", "2g"], "tar has no size"),
        (["-o", "x.raw", "--size", "big"], "invalid size"),
    ],
)
def test_what_cannot_be(cli: Cli, asked: list[Export], hello: str, words: list[str], said: str) -> None:
    done = cli("export", "hello", *words)
    assert done.code == 2
    assert said in done.err
    assert asked == []


def test_an_image_that_there_is_not(cli: Cli, asked: list[Export]) -> None:
    done = cli("export", "nothing", "-o", "x.raw")
    assert done.code == 2
    assert "there is no image 'nothing'" in done.err
