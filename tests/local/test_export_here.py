"""What export writes: archives of a tree and forms of a disk, without an image or a machine."""

from __future__ import annotations

import gzip
import os
import signal
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stoneware.errors import HostError, InputError
from stoneware.platforms.disks import DiskFormat, Export
from stoneware.platforms.local.disks import export
from stoneware.platforms.local.disks.export import LocalDisks
from stoneware.process import ProcessError, which

DISK = b"disk" * (1 << 18)  # a MiB
EPOCH = 1767323045


class Store:
    """What an export asks of a store: one image."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.data = home / "data"
        self.root = home / "root"
        for directory in (self.data / "disks", self.root / "etc", home / "locks"):
            directory.mkdir(parents=True)
        (self.root / "etc/motd").write_text("hello\n")
        (self.root / "link").symlink_to("etc/motd")

    def build_lock_path(self, name: str) -> Path:
        return self.home / "locks" / name

    def image_rootfs(self, _image: str) -> Path:
        return self.root

    def manifest(self, _image: str) -> dict[str, Any]:
        return {"created": "2026-01-02T03:04:05Z"}

    @contextmanager
    def staging(self, parent: Path) -> Iterator[Path]:
        staged = parent / ".staged"
        staged.mkdir()
        yield staged
        (staged / "disk.raw").unlink()
        staged.rmdir()


@pytest.fixture
def disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalDisks:
    sizes: list[int | None] = []

    def copy_disk(
        _store: Any, _machines: Any, _image: str, target: Path, _progress: Any, *, size: Any
    ) -> None:
        target.write_bytes(DISK)
        sizes.append(size)

    monkeypatch.setattr(
        "stoneware.platforms.local.disks.disks.ensure_disk", lambda *_: SimpleNamespace(size=len(DISK))
    )
    monkeypatch.setattr("stoneware.platforms.local.disks.disks.copy_disk", copy_disk)
    found = LocalDisks(Store(tmp_path / "store"), None)  # type: ignore[arg-type]
    found.sizes = sizes  # type: ignore[attr-defined]
    return found


def write(disks: LocalDisks, form: DiskFormat, target: Path, size: int | None = None) -> list[str]:
    told: list[str] = []
    disks.export(Export("sha256:" + "a" * 64, form, target, size), told.append)
    return told


def test_a_tree_is_written_with_its_links(disks: LocalDisks, tmp_path: Path) -> None:
    target = tmp_path / "root.tar"
    assert write(disks, DiskFormat.TAR, target) == ["writing the root file system"]
    with tarfile.open(target) as archive:
        names = {each.name.removeprefix("./"): each for each in archive}
    assert names["etc/motd"].size == 6
    assert names["link"].linkname == "etc/motd"
    assert target.stat().st_mode & 0o777 == 0o600
    first = target.read_bytes()
    target.unlink()
    write(disks, DiskFormat.TAR, target)
    assert target.read_bytes() == first, "the same tree gives the same bytes"


@pytest.mark.tool
@pytest.mark.skipif(which("zstd") is None, reason="needs zstd")
def test_a_tree_is_compressed(disks: LocalDisks, tmp_path: Path) -> None:
    write(disks, DiskFormat.TAR_ZST, tmp_path / "root.tar.zst")
    assert (tmp_path / "root.tar.zst").read_bytes().startswith(b"\x28\xb5\x2f\xfd")


def test_a_raw_disk_is_the_disk(disks: LocalDisks, tmp_path: Path) -> None:
    assert write(disks, DiskFormat.RAW, tmp_path / "disk.raw") == ["writing raw: a disk of 1 MiB"]
    assert (tmp_path / "disk.raw").read_bytes() == DISK
    assert disks.sizes == [None]  # type: ignore[attr-defined]


def test_compute_engines_form_is_a_whole_number_of_gib_in_an_archive(
    disks: LocalDisks, tmp_path: Path
) -> None:
    target = tmp_path / "disk.tar.gz"
    write(disks, DiskFormat.GCE, target)
    assert disks.sizes == [1 << 30]  # type: ignore[attr-defined]
    with tarfile.open(target) as archive:
        [disk] = archive
        assert (disk.name, disk.uid, disk.mode, disk.mtime) == ("disk.raw", 0, 0o644, EPOCH)
        assert disk.get_info()["type"] in (tarfile.REGTYPE, tarfile.GNUTYPE_SPARSE)
    assert gzip.decompress(target.read_bytes())[257:265] == b"ustar  \0", "oldgnu"


@pytest.mark.tool
@pytest.mark.skipif(which("qemu-img") is None, reason="needs qemu-img")
@pytest.mark.parametrize(
    ("form", "magic"), [(DiskFormat.QCOW2, b"QFI\xfb"), (DiskFormat.VMDK, b"KDMV")], ids=["qcow2", "vmdk"]
)
def test_qemu_img_converts(disks: LocalDisks, tmp_path: Path, form: DiskFormat, magic: bytes) -> None:
    write(disks, form, tmp_path / "disk")
    assert (tmp_path / "disk").read_bytes().startswith(magic)


@pytest.mark.parametrize(
    ("error", "left"),
    [
        pytest.param(ProcessError(["cp"], 1, "cp: No space left on device"), 1 << 40, id="a tool's words"),
        pytest.param(ProcessError(["cp"], -signal.SIGXFSZ, ""), 1 << 40, id="larger than files may be"),
        pytest.param(ProcessError(["qemu-img"], 1, "Invalid argument"), 4096, id="a VMDK"),
    ],
)
def test_a_full_disk_is_told_and_nothing_appears(
    disks: LocalDisks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: ProcessError, left: int
) -> None:
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(export, "_run", full)
    monkeypatch.setattr(os, "fstatvfs", lambda _: SimpleNamespace(f_bavail=left // 4096, f_frsize=4096))
    with pytest.raises(HostError, match="there is no room for") as caught:
        write(disks, DiskFormat.RAW, tmp_path / "disk.raw")
    assert "df -h" in caught.value.resolution
    assert not (tmp_path / "disk.raw").exists()


def test_standard_output_may_be_full(
    disks: LocalDisks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "out").open("w") as out, Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(HostError, match="no room for what is written to standard output"):
            disks.export(Export("sha256:" + "a" * 64, DiskFormat.TAR, None), lambda _: None)
        monkeypatch.setattr(sys, "stdout", out)
        disks.export(Export("sha256:" + "a" * 64, DiskFormat.TAR, None), lambda _: None)
    assert tarfile.is_tarfile(tmp_path / "out")


def test_another_fault_of_a_tool_is_none_of_room(
    disks: LocalDisks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ProcessError(["qemu-img"], 1, "qemu-img: Invalid argument")

    monkeypatch.setattr(export, "_run", fail)
    monkeypatch.setattr(os, "fstatvfs", lambda _: SimpleNamespace(f_bavail=1 << 30, f_frsize=4096))
    with pytest.raises(ProcessError):
        write(disks, DiskFormat.RAW, tmp_path / "disk.raw")


@pytest.mark.parametrize("size", [0, 10, 10 << 20, (100 << 20) + 1])
def test_a_size_that_no_disk_has_is_refused_before_one_is_assembled(
    disks: LocalDisks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.delattr("stoneware.platforms.local.disks.disks.ensure_disk")  # it would take a minute
    for form in (DiskFormat.RAW, DiskFormat.GCE):
        with pytest.raises(InputError, match=f"the disk cannot be {size} bytes large"):
            write(disks, form, tmp_path / "disk", size)
    assert not list(tmp_path.glob("*disk*"))
