"""The store's objects: what it writes, keeps, refuses and removes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from stoneware.errors import HostError, InputError
from stoneware.files import sha256_hex
from stoneware.model.resources import DIRECTORY, DISK
from stoneware.platforms.local.store.recover import recover
from stoneware.platforms.local.store.store import Store
from stoneware.records import DamagedError
from tests.local.plain_store import plain_store

MIB = 1 << 20


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    return plain_store(tmp_path / "home", monkeypatch)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/hostname").write_text("here\n")
    return tmp_path / "root"


def test_a_store_says_its_version_and_refuses_others(store: Store) -> None:
    assert store._version_is_ours()
    assert sorted(path.name for path in store.data.iterdir()) == sorted(
        ["checkpoints", "images", "machines", "volumes", "networks", "cache", "builds"]
    )
    (store.home / "version").write_text("999\n")
    with pytest.raises(HostError, match="has version '999'"):
        store._version_is_ours()
    (store.home / "version").unlink()
    assert not store._version_is_ours()


def test_a_checkpoint_is_saved_once_and_used_again(store: Store, root: Path) -> None:
    taken: list[str] = []
    store.save_checkpoint("step-1", root, {"n": 1}, taken=lambda: taken.append("first"))
    (root / "etc/hostname").write_text("changed\n")
    os.utime(store.data / "checkpoints/step-1/document.json", (1, 1))
    store.save_checkpoint("step-1", root, {"n": 2}, taken=lambda: taken.append("again"))
    assert taken == ["first", "again"]
    assert store.checkpoint_document("step-1") == {"n": 1}
    assert (store.checkpoint_rootfs("step-1") / "etc/hostname").read_text() == "here\n"
    assert (store.data / "checkpoints/step-1/document.json").stat().st_mtime > 1  # it was used now
    assert (store.checkpoint_keys(), store.has_checkpoint("other")) == (["step-1"], False)
    assert store.source_rootfs("checkpoint:step-1") == store.checkpoint_rootfs("step-1")
    with pytest.raises(InputError, match="nothing to boot from at 'checkpoint:other'"):
        store.source_rootfs("checkpoint:other")
    with pytest.raises(ValueError, match="not a checkpoint key"):
        store.save_checkpoint("../etc", root, {})
    store.remove_checkpoint("step-1")
    store.remove_checkpoint("step-1")
    assert store.checkpoint_keys() == []


def test_an_image_is_what_its_id_is_the_digest_of(store: Store, root: Path) -> None:
    manifest = json.dumps({"name": "web"}).encode()
    image = store.save_image(root, manifest, {"key": "k"})
    assert image == f"sha256:{sha256_hex(manifest)}"
    assert (store.image_ids(), store.has_image(image)) == ([image], True)
    assert (store.manifest(image), store.image_document(image)["key"]) == ({"name": "web"}, "k")
    assert store.source_rootfs(f"image:{image}") == store.image_rootfs(image)
    gone = f"sha256:{'0' * 64}"
    with pytest.raises(InputError, match="there is no image"):
        store.manifest(gone)
    path = store.data / "images" / image.removeprefix("sha256:") / "manifest.json"
    path.write_bytes(manifest + b" ")
    with pytest.raises(DamagedError) as caught:
        store.manifest(image)
    assert caught.value.why == "is not what the image's id is the digest of"


def test_tags_go_with_their_image(store: Store, root: Path) -> None:
    image = store.save_image(root, b'{"name": "web"}', {})
    other = store.save_image(root, b'{"name": "db"}', {})
    for reference in ("web:latest", "team/web:1", "web:1"):
        store.set_tag(reference, image)
    store.set_tag("db:latest", other)
    assert store.tags() == {"db:latest": other, "team/web:1": image, "web:1": image, "web:latest": image}
    assert (store.tagged("team/web:1"), store.tagged("web:2")) == (image, None)
    store.remove_tag("web:1")
    assert (store.home / "tags/web").is_dir()
    store.remove_image(image)
    assert (store.tags(), store.image_ids()) == ({"db:latest": other}, [other])
    assert not (store.home / "tags/web").exists()
    with pytest.raises(InputError, match="there is no image"):
        store.set_tag("web:latest", image)
    for wrong in ("web", "we b:1", ":1", "web:"):
        with pytest.raises(InputError, match="is not a tag"):
            store.tagged(wrong)


def test_a_volume_has_its_labels_and_stays_as_it_is(store: Store) -> None:
    data = store.create_volume("v", {"a": "1"})
    (data / "file").write_text("x")
    assert store.create_volume("v", {"a": "2"}) == data
    found = store.volume("v")
    assert (found.name, dict(found.labels), found.kind, found.machines) == ("v", {"a": "1"}, DIRECTORY, ())
    assert [one.name for one in store.volumes()] == ["v"]
    assert store.find_volume("w") is None
    with pytest.raises(InputError, match="there is no volume 'w'"):
        store.volume("w")
    with pytest.raises(InputError, match="is not a volume name"):
        store.create_volume("a/b")
    store.remove_volume("v")
    store.remove_volume("v", missing_ok=True)
    with pytest.raises(InputError, match="there is no volume 'v'"):
        store.remove_volume("v")
    assert store.volumes() == []


def test_a_disk_is_a_sparse_file_of_its_size(store: Store) -> None:
    store.create_volume("d", {}, 256 * MIB, kind=DISK)
    found = store.volume("d")
    assert (found.kind, found.size, found.blank) == (DISK, 256 * MIB, True)
    assert store.disk_path("d").stat().st_size == 256 * MIB
    with pytest.raises(InputError, match="too small"):
        store.create_volume("e", {}, 1, kind=DISK)


def test_a_volume_gets_back_what_a_snapshot_has(store: Store) -> None:
    data = store.create_volume("v", {"a": "1"})
    (data / "file").write_text("old")
    store.snapshot_volume("v", "one")
    (data / "file").write_text("new")
    with pytest.raises(InputError, match="has a snapshot"):
        store.snapshot_volume("v", "one")
    with pytest.raises(InputError, match="there is no volume 'w'"):
        store.snapshot_volume("w", "one")
    with store.volume_locks(["v"]):
        kept = store.restore_volume_locked("v", "one")
    assert kept is not None
    assert (store.volume_path("v") / "file").read_text() == "old"
    assert {one.name for one in store.snapshots("v")} == {"one", kept.name}
    store.remove_volume("v")
    with store.volume_locks(["v"]):
        assert store.restore_volume_locked("v", kept.name) is None  # made from it
    assert (store.volume_path("v") / "file").read_text() == "new"
    with store.volume_locks(["v"]), pytest.raises(InputError, match="has no snapshot 'two'"):
        store.restore_volume_locked("v", "two")
    for one in store.snapshots():
        store.remove_snapshot(one.volume, one.name)
    assert store.snapshots() == []


def test_what_a_killed_command_has_left_is_removed_and_told(store: Store) -> None:
    for kind in ("checkpoints", "volumes"):
        (store.data / kind / ".staged-0123456789abcdef").mkdir()
    with store.staging(store.data / "images") as living:
        (living / "half").write_text("")
        assert sorted(recover(store)) == [
            "removed an incomplete checkpoint of an interrupted command",
            "removed an incomplete volume of an interrupted command",
        ]
        assert living.is_dir()  # its command lives
    assert not [*store.data.glob("*/.staged-*")]
    assert recover(store) == []
