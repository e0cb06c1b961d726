"""How large the parts of a disk are, which layer an image asks for, and what a layer's builder is given."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest

from stoneware.errors import BuildError, InputError
from stoneware.guest.kernel_layer import SETTINGS, kernel_script
from stoneware.model.limits import SMALLEST_DISK
from stoneware.platforms.local.disks import disks, kernel
from stoneware.platforms.local.disks.layout import BLOCK, MIB, Tree, layout, measure
from stoneware.platforms.local.store.store import Store

IMAGE = "sha256:" + "a" * 64


class _Manifests:
    def __init__(self, **manifest: Any) -> None:
        self._manifest = {"created": "2026-01-02T03:04:05Z", **manifest}

    def manifest(self, image_id: str) -> dict[str, Any]:
        return self._manifest


def _store(**manifest: Any) -> Store:
    return cast(Store, _Manifests(**manifest))


def test_a_tree_is_measured_as_ext4_holds_it(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"x")
    (tmp_path / "two-blocks").write_bytes(b"x" * (BLOCK + 1))
    os.link(tmp_path / "two-blocks", tmp_path / "again")
    (tmp_path / "empty").touch()
    (tmp_path / "short").symlink_to("small")
    (tmp_path / "long").symlink_to("x" * 100)
    os.mkfifo(tmp_path / "fifo")
    with (tmp_path / "sparse").open("wb") as stream:
        stream.truncate(1 << 30)
    found = measure(tmp_path)
    assert found.inodes == 8  # the directory itself too, and the file with two names once
    # small, two-blocks, long, the directory; at most one for the hole
    assert 1 + 2 + 1 + 1 <= found.blocks <= 1 + 2 + 1 + 1 + 1


def test_a_link_out_of_the_tree_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/usr").symlink_to("/usr")
    assert measure(tmp_path / "root") == Tree(blocks=1, inodes=2)


@pytest.mark.parametrize("blocks", [0, 1000, 100_000, 5_000_000])
@pytest.mark.parametrize("inodes", [1, 30_000, 2_000_000])
def test_the_parts_follow_each_other_and_hold_what_they_have_to(blocks: int, inodes: int) -> None:
    tree = Tree(blocks, inodes)
    found = layout(tree, 30 * MIB)
    assert found.boot_start == MIB
    assert found.boot_start + found.boot_size <= found.root_start
    assert found.root_size > tree.size + inodes * 256 + 64 * MIB
    assert found.root_start + found.root_size < found.size
    assert found.inodes > inodes
    assert not any(
        number % MIB for number in (found.boot_size, found.root_start, found.root_size, found.size)
    )


def test_a_large_kernel_gets_a_larger_boot_partition() -> None:
    assert layout(Tree(1, 1), 10 * MIB).boot_size == 64 * MIB  # FAT32 begins at 33
    assert layout(Tree(1, 1), 200 * MIB).boot_size >= 220 * MIB


def test_the_label_says_which_kernel_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "architecture", lambda: "amd64")
    assert kernel.wanted_layer(_store(), IMAGE).package == "linux-image-cloud-amd64"
    generic = kernel.wanted_layer(_store(labels={"stoneware.kernel": "generic"}), IMAGE)
    assert generic.package == "linux-image-amd64"
    assert generic.key != kernel.wanted_layer(_store(), IMAGE).key
    assert generic.epoch == 1767323045
    with pytest.raises(InputError) as caught:
        kernel.wanted_layer(_store(labels={"stoneware.kernel": "none"}), IMAGE)
    assert "no kernel" in caught.value.brief
    assert "LABEL stoneware.kernel=cloud" in caught.value.resolution


def test_what_a_bake_skipped_is_left_alone_in_the_layer_too() -> None:
    checks = [{"name": "ssh-host-keys", "result": "skip"}, {"name": "machine-id", "result": "pass"}]
    assert kernel.wanted_layer(_store(checks=checks), IMAGE).skipped == ("ssh-host-keys",)


def test_ids_are_the_images() -> None:
    first = kernel.partition_uuid(IMAGE, "root")
    assert first == kernel.partition_uuid(IMAGE, "root")
    assert (
        len({first, kernel.partition_uuid(IMAGE, "boot"), kernel.partition_uuid(IMAGE[:-1] + "b", "root")})
        == 3
    )


@pytest.mark.parametrize("version", ["", "../../etc/shadow", "6.1\nlinux /evil", "6.1.0 x", "6" * 65])
def test_a_version_that_a_builder_reports_is_one(version: str) -> None:
    assert kernel._checked("6.1.0-57-cloud-amd64") == "6.1.0-57-cloud-amd64"
    with pytest.raises(BuildError, match="a version that is none"):
        kernel._checked(version)


def test_a_layers_script_is_one_for_sh_whatever_the_settings_hold(tmp_path: Path) -> None:
    odd = {name: f"it's $(touch {tmp_path}/no) {name}" for name in SETTINGS}
    text = kernel_script(odd)
    assert subprocess.run(["sh", "-n"], input=text, text=True, check=False).returncode == 0
    told = text.replace("kernel_layer\n\n", "").removesuffix("kernel_layer\n")
    said = subprocess.run(
        ["sh", "-c", f'{told}\nprintf %s "$KERNEL_PACKAGE"'], capture_output=True, text=True, check=True
    )
    assert said.stdout == odd["KERNEL_PACKAGE"]
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("size", [0, SMALLEST_DISK - MIB, SMALLEST_DISK + 1, -MIB])
def test_a_disk_has_whole_mebibytes_and_not_too_few(size: int) -> None:
    with pytest.raises(InputError, match="cannot be"):
        disks.check_possible(size)
    disks.check_possible(SMALLEST_DISK)
    disks.check_possible(None)


@pytest.mark.parametrize(
    ("size", "fine"), [(None, True), (700 * MIB, True), (701 * MIB, True), (699 * MIB, False)]
)
def test_a_size_has_to_hold_the_image(size: int | None, fine: bool) -> None:
    found = disks.StoredDisk("k", IMAGE, "6.1", 700 * MIB, Path("/nowhere"))
    if fine:
        disks.check_size(found, size)
        return
    with pytest.raises(InputError) as caught:
        disks.check_size(found, size)
    assert caught.value.resolution.startswith("--size 700m")
