"""A damaged record stops the command about its own thing only, and says what to type."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from stoneware.cluster.directory import ClusterDirectory
from stoneware.cluster.kept_state import scratch_copy
from stoneware.errors import HostError, InputError, MachineError
from stoneware.files import locked, sha256_hex, write_json
from stoneware.model.labels import DAMAGED_LABEL
from stoneware.model.machine import MachineSpec, Phase
from stoneware.model.resources import VolumeMount
from stoneware.platforms.cluster_files import JOURNAL_FILE, FileLog, FileRecords
from stoneware.platforms.local.machines import console
from stoneware.platforms.local.machines import record as machine_record
from stoneware.platforms.local.machines.record import Paths, spec_document
from stoneware.platforms.local.platform import LocalPlatform
from stoneware.platforms.local.store import prune
from stoneware.platforms.local.store.recover import recover
from stoneware.platforms.local.store.store import Store
from stoneware.process_identity import boot_id
from stoneware.records import DamagedError, read_record
from stoneware.rollout.journal import Journal
from stoneware.terraform.statefile import has_state

GARBAGE: dict[str, bytes] = {
    "empty": b"",
    "torn": b'{"id": "m1", "cre',
    "binary": bytes(range(256)),
    "nul": b"\0" * 4096,
    "list": b"[]",
    "text": b'"x"',
    "null": b"null",
    "deep": b"[" * 100_000,
    "deep object": b'{"labels":' * 5_000,
    "wrong fields": b'{"id": 5, "created": "x", "labels": [1], "attributes": 1, "ip": 3, "secrets": 1}',
    "nan": b'{"created": NaN}',
    "large": b'{"created": 1e999, "id": "x"}',
    "surrogate": b'{"id": "\\ud800", "created": 1, "labels": {"a": 1}, "attributes": 1, "ip": "\\udfff"}',
}
Damage = Callable[[Path], object]


def damages() -> dict[str, Damage]:
    def written(data: bytes) -> Damage:
        return lambda path: path.write_bytes(data)

    def replaced(make: Callable[[Path], object]) -> Damage:
        def damage(path: Path) -> None:
            path.unlink(missing_ok=True)
            make(path)

        return damage

    found = {name: written(data) for name, data in GARBAGE.items()}
    found["directory"] = replaced(Path.mkdir)
    found["fifo"] = replaced(os.mkfifo)
    found["loop"] = replaced(lambda path: path.symlink_to(path))
    found["device"] = replaced(lambda path: path.symlink_to("/dev/zero"))
    return found


DAMAGES = damages()
each_damage = pytest.mark.parametrize("damage", DAMAGES)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path)
    for kind in ("checkpoints", "images", "machines", "volumes", "networks", "cache", "builds"):
        (made.data / kind).mkdir(parents=True)
    for kind in ("bases", "tags/web", "run", "locks/staged"):
        (made.home / kind).mkdir(parents=True)
    for name in ("good", "bad"):
        machine(made, name)
        for kind in ("volumes", "networks"):
            (made.data / kind / name).mkdir()
            write_json(made.data / kind / name / "document.json", {"created": 1.0, "labels": {"a": "b"}})
    return made


def machine(store: Store, name: str) -> Paths:
    paths = Paths(store.data / "machines" / name)
    paths.run.mkdir(parents=True)
    spec = MachineSpec(name, f"image:sha256:{'0' * 64}", volumes=(VolumeMount(name, "/data"),))
    write_json(paths.root / "spec.json", spec_document(spec))
    write_json(paths.root / "state.json", {"id": f"m-{name}", "created": 1.0, "started": 2.0, "boot": "x"})
    write_json(paths.root / "metadata.json", {"attributes": {"a": "b"}})
    write_json(paths.root / "network.json", {"ip": "10.0.0.2", "mac": "02:00:00:00:00:02", "id": f"m-{name}"})
    return paths


@each_damage
@pytest.mark.parametrize("record", ["state.json", "spec.json", "metadata.json", "network.json"])
def test_a_machine(store: Store, record: str, damage: str) -> None:
    platform = LocalPlatform(store)
    paths = Paths(store.data / "machines" / "bad")
    DAMAGES[damage](paths.root / record)
    shown = {found.name: found for found in platform.machines()}
    assert shown["good"].phase is Phase.STOPPED
    assert shown["bad"].phase is Phase.DAMAGED
    assert record in shown["bad"].error
    assert "stoneware rm -f bad" in shown["bad"].error
    assert recover(store) == []
    assert not machine_record.shown_processes(paths).alive
    with pytest.raises(DamagedError) as raised:
        read_record(paths.root / record)
    assert raised.value.resolution.startswith("stoneware rm -f bad")


def test_start_of_a_damaged_machine_that_runs(store: Store) -> None:
    platform = LocalPlatform(store)
    paths = Paths(store.data / "machines" / "bad")
    began = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    (paths.run / "leader").write_text(f"{os.getpid()} {began}\n")
    (paths.root / "state.json").write_text("{")
    assert machine_record.shown_processes(paths).alive
    with pytest.raises(DamagedError, match=r"state\.json"):
        platform.start("bad")


@pytest.mark.parametrize("damage", ["torn", "directory", "fifo"])
@pytest.mark.parametrize("record", ["state.json", "spec.json", "metadata.json"])
def test_a_damaged_machine_that_runs_is_stopped(store: Store, record: str, damage: str) -> None:
    paths = Paths(store.data / "machines" / "bad")
    child = subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL)
    ended = threading.Thread(target=child.wait, daemon=True)  # or it would stay as a zombie
    try:
        began = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
        (paths.run / "leader").write_text(f"{child.pid} {began}\n")
        state = {"id": "m-bad", "created": 1.0, "started": 2.0, "boot": boot_id()}
        write_json(paths.root / "state.json", state)
        ended.start()
        DAMAGES[damage](paths.root / record)
        with pytest.raises(MachineError, match="has stopped, but its record") as raised:
            LocalPlatform(store).stop("bad", timeout=0.1)
        assert raised.value.resolution.startswith("stoneware rm -f bad")
        ended.join(300)
        assert child.returncode in (-signal.SIGRTMIN - 4, -signal.SIGKILL)
    finally:
        child.kill()


@pytest.mark.parametrize("record", ["state.json", "spec.json"])
def test_a_machine_that_lacks_a_record(store: Store, record: str) -> None:
    (store.data / "machines" / "bad" / record).unlink()
    found = LocalPlatform(store).observe("bad")
    assert found is not None
    assert found.phase is Phase.DAMAGED


def test_a_damaged_machine_keeps_what_it_may_use(store: Store) -> None:
    path = store.data / "machines" / "bad" / "spec.json"
    path.write_bytes(path.read_bytes()[20:])
    with pytest.raises(InputError, match="in use"):
        store.remove_volume("bad")


@each_damage
@pytest.mark.parametrize("kind", ["volumes", "networks"])
def test_volumes_and_networks(store: Store, kind: str, damage: str) -> None:
    DAMAGES[damage](store.data / kind / "bad" / "document.json")
    found = {item.name: item for item in (store.volumes() if kind == "volumes" else store.networks())}
    assert found["good"].labels == {"a": "b"}
    assert "rm " in found["bad"].labels[DAMAGED_LABEL]
    find = store.find_volume if kind == "volumes" else store.find_network
    assert find("good") is not None
    with pytest.raises(DamagedError, match="damaged"):
        find("bad")


@each_damage
def test_tags(store: Store, damage: str) -> None:
    image = f"sha256:{'1' * 64}"
    for tag in ("good", "bad"):
        write_json(store.home / "tags" / "web" / f"{tag}.json", {"image": image, "updated": 1.0})
    DAMAGES[damage](store.home / "tags" / "web" / "bad.json")
    assert store.tags() == {"web:good": image}
    with pytest.raises(DamagedError):
        store.tagged("web:bad")
    with pytest.raises(DamagedError):  # prune would take its image for untagged
        store.check_tags()
    assert prune.unused_images(LocalPlatform(store)) == 0


@each_damage
def test_manifests(store: Store, damage: str) -> None:
    manifest = b'{"name": "x"}'
    directory = store.data / "images" / sha256_hex(manifest)
    directory.mkdir()
    image = f"sha256:{directory.name}"
    (directory / "manifest.json").write_bytes(manifest)
    assert store.manifest(image) == {"name": "x"}
    (store.data / "images" / "no-id").mkdir()
    assert store.image_ids() == [image]
    DAMAGES[damage](directory / "manifest.json")
    with pytest.raises(DamagedError) as raised:
        store.manifest(image)
    assert f"stoneware rmi -f {directory.name[:12]}" in raised.value.resolution


@each_damage
def test_what_is_only_good_to_know(store: Store, damage: str) -> None:
    (store.data / "checkpoints" / "key").mkdir()
    DAMAGES[damage](store.data / "checkpoints" / "key" / "document.json")
    store.checkpoint_document("key")
    DAMAGES[damage](store.home / "terraform.tfstate")
    assert not has_state(store.home)


@each_damage
@pytest.mark.parametrize("record", ["machines.auto.tfvars.json", "cluster.json"])
def test_clusters(tmp_path: Path, record: str, damage: str) -> None:
    from stoneware.cluster.directory import ClusterDirectory

    path = tmp_path / "clusters" / "bad"
    path.mkdir(parents=True)
    DAMAGES[damage](path / record)
    directory = ClusterDirectory(FileRecords(path))
    if damage in ("surrogate",) and record == "cluster.json":
        return  # it holds what is not looked at
    read = directory.variables if record.startswith("machines") else directory.origin
    if (path / record).exists() or damage == "loop":
        with pytest.raises(DamagedError) as raised:
            read()
        assert raised.value.resolution.startswith("stoneware up")
    assert directory.known_origin() == {}


def test_a_lock_that_is_a_directory(tmp_path: Path) -> None:
    (tmp_path / "x.lock").mkdir()
    with pytest.raises(DamagedError, match="damaged") as raised, locked(tmp_path / "x.lock"):
        pass
    assert raised.value.resolution.startswith("rmdir ")


@pytest.mark.parametrize("data", [b"\xff\xfe", b"", b"2\n", b"x" * 10_000, b"1\n" + b"\0" * 8000])
def test_the_version_of_a_store(store: Store, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    from stoneware.errors import HostError

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (store.home / "version").write_bytes(data)
    with pytest.raises(HostError, match="version"):
        Store.open(store.home)


@pytest.mark.parametrize("name", [console.FILE, console.TIMES])
@pytest.mark.parametrize("damage", ["directory", "fifo", "loop", "device", "binary"])
def test_a_console_that_is_no_file_is_not_waited_for(name: str, damage: str, tmp_path: Path) -> None:
    (tmp_path / console.FILE).write_bytes(b"one\ntwo\n")
    DAMAGES[damage](tmp_path / name)
    assert console.last_lines(tmp_path, 1) <= console.span(tmp_path)[1]
    assert console.since(tmp_path, 0.0) <= console.span(tmp_path)[1]
    assert name == console.FILE or console.read(tmp_path, 0)[0] == b"one\ntwo\n"


@pytest.mark.parametrize("damage", ["directory", "fifo", "device"])
@pytest.mark.parametrize("name", ["main.tf", "machines.auto.tfvars.json", "terraform.tfstate"])
def test_files_of_a_cluster_that_are_none(name: str, damage: str, tmp_path: Path) -> None:
    DAMAGES[damage](tmp_path / name)
    with pytest.raises(DamagedError, match=name), scratch_copy(ClusterDirectory(FileRecords(tmp_path))):
        pass


@pytest.mark.parametrize("damage", ["directory", "fifo", "device"])
def test_a_journal_that_is_no_file(damage: str, tmp_path: Path) -> None:
    journal = Journal(FileLog(tmp_path / JOURNAL_FILE))
    DAMAGES[damage](tmp_path / JOURNAL_FILE)
    with pytest.raises(HostError, match="not a regular file") as raised:
        journal.read()
    assert raised.value.resolution.startswith("mv ")
