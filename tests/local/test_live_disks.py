"""Disks of machines that run: in which order they come and go, and what is left where that fails."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from stoneware.errors import InputError, MachineError
from stoneware.model.machine import MachineSpec
from stoneware.model.resources import DIRECTORY, DISK, DISKS, Volume, VolumeMount
from stoneware.platforms.local import live_disks
from stoneware.platforms.local.machines import mounts
from stoneware.platforms.local.machines.nspawn import nspawn_argv
from stoneware.platforms.local.machines.qemu import plugging
from stoneware.platforms.local.machines.qemu.runner import Qemu
from stoneware.platforms.local.machines.record import Paths, read_spec, spec_document

OLD = VolumeMount("old", f"{DISKS}old")
NEW = VolumeMount("new", f"{DISKS}new")


@dataclass
class Lab:
    """A store, a platform and a runner that note what is asked of them; `stubborn`: what fails."""

    data: Path
    volume_kind: str = DIRECTORY
    runs: bool = True
    said: list[str] = field(default_factory=list)
    stubborn: set[str] = field(default_factory=set)
    others: list[str] = field(default_factory=list)  # machines that have each volume, too
    ends: bool = False  # the machine does, where something fails

    @property
    def store(self) -> Lab:
        return self

    @property
    def paths(self) -> Paths:
        return Paths(self.data / "machines" / "m")

    @property
    def volumes(self) -> list[str]:
        spec = read_spec(self.paths)
        assert spec is not None
        return [mount.volume for mount in spec.volumes]

    def note(self, word: str, volume: str = "") -> None:
        self.said.append(f"{word} {volume}".strip() + f" / {' '.join(self.volumes)}")
        if word in self.stubborn:
            self.runs = self.runs and not self.ends
            raise MachineError(f"no {word}")

    @contextlib.contextmanager
    def lock(self, *_: str) -> Iterator[None]:
        yield

    @contextlib.contextmanager
    def volume_locks(self, _: list[str]) -> Iterator[None]:
        yield

    @contextlib.contextmanager
    def volumes_of(self, spec: MachineSpec) -> Iterator[None]:
        self.note("take", spec.volumes[0].volume)
        yield

    def volume_users(self, _: str) -> list[str]:
        return ["m", *self.others]

    def limit_volume(self, name: str) -> None:
        self.note("limit", name)

    def check_whole(self, name: str) -> None:
        self.note("check", name)

    def renew_volume_locked(self, name: str) -> None:
        self.note("renew", name)

    def plug(self, _store: object, _paths: Paths, spec: MachineSpec, mount: VolumeMount) -> None:
        assert mount in spec.volumes
        self.note("plug", mount.volume)

    def unplug(self, _store: object, _paths: Paths, spec: MachineSpec, mount: VolumeMount) -> None:
        assert mount not in spec.volumes
        self.note("unplug", mount.volume)

    def write_runner(self, _store: object, _paths: Paths, spec: MachineSpec) -> None:
        self.note(f"boot with {'+'.join(mount.volume for mount in spec.volumes)}")

    def attach(self, mount: VolumeMount = NEW) -> None:
        live_disks.attach(cast("Any", self), "m", mount)

    def detach(self, mount: VolumeMount = OLD) -> None:
        live_disks.detach(cast("Any", self), "m", mount)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    made = Lab(tmp_path)
    made.paths.run.mkdir(parents=True)
    (made.paths.run / "command").touch()
    spec = MachineSpec("m", "checkpoint:x", volumes=(OLD,))
    (made.paths.root / "spec.json").write_text(json.dumps(spec_document(spec)))
    monkeypatch.setattr(live_disks, "runner_of", lambda _: made)
    monkeypatch.setattr(live_disks, "write_runner", made.write_runner)
    monkeypatch.setattr(live_disks, "_runs", lambda _: made.runs)
    return made


def test_a_disk_is_recorded_before_the_machine_has_it(lab: Lab) -> None:
    os.utime(lab.data / "machines", (0, 0))
    lab.attach()
    assert lab.said == [
        "take new / old",
        "limit new / old new",
        "boot with old+new / old new",
        "plug new / old new",
    ]
    # Who remembers which machine has which volume looks again.
    assert (lab.data / "machines").stat().st_mtime > 0


def test_one_that_a_killed_command_has_recorded_is_plugged_in(lab: Lab) -> None:
    lab.attach(OLD)
    assert lab.said == ["limit old / old", "boot with old / old", "plug old / old"]


def test_a_machine_that_is_off_has_it_at_its_start(lab: Lab) -> None:
    lab.runs = False
    lab.attach()
    lab.detach()
    assert lab.said == ["take new / old", "limit new / old new"]
    assert lab.volumes == ["new"]


def test_what_a_machine_does_not_take_is_not_its_own(lab: Lab) -> None:
    lab.stubborn = {"plug"}
    with pytest.raises(MachineError, match="no plug"):
        lab.attach()
    assert lab.said[-4:] == [
        "check new / old new",
        "boot with old / old new",
        "unplug new / old new",
        "renew new / old new",
    ]
    assert lab.volumes == ["old"]


@pytest.mark.parametrize("word", ["plug", "unplug", "renew"])
def test_a_machine_that_ends_meanwhile_is_no_failure(lab: Lab, word: str) -> None:
    lab.stubborn, lab.ends = {word}, True
    lab.attach()
    lab.detach()
    assert lab.volumes == ["new"]


def test_a_disk_is_released_after_the_machine_has_let_it_go(lab: Lab) -> None:
    lab.detach()
    assert lab.said == ["check old / old", "boot with / old", "unplug old / old", "renew old / old"]
    assert lab.volumes == []
    lab.said.clear()
    lab.detach()
    assert lab.said == []


def test_a_disk_that_others_read_as_well_stays_what_they_have(lab: Lab) -> None:
    lab.others = ["other"]
    lab.detach()
    assert lab.said == ["check old / old", "boot with / old", "unplug old / old"]


def test_a_disk_of_qemus_is_the_same_file_afterwards(lab: Lab) -> None:
    lab.volume_kind = DISK
    lab.detach()
    assert lab.said == ["boot with / old", "unplug old / old"]


@pytest.mark.parametrize("word", ["check", "unplug", "renew"])
def test_a_disk_that_a_machine_keeps_is_there_as_before(lab: Lab, word: str) -> None:
    lab.stubborn = {word}
    with pytest.raises(MachineError, match=f"no {word}"):
        lab.detach()
    assert lab.volumes == ["old"]
    if word != "check":  # before anything was done
        assert lab.said[-2:] == ["boot with old / old", "plug old / old"]


def test_no_machine_is_no_error(lab: Lab) -> None:
    (lab.paths.root / "spec.json").unlink()
    lab.attach()
    lab.detach()
    assert lab.said == []


def test_what_cannot_change_while_a_machine_runs(lab: Lab) -> None:
    with pytest.raises(InputError):
        lab.attach(replace(NEW, path="/data"))
    (lab.paths.run / "command").unlink()
    with pytest.raises(MachineError, match="earlier Stoneware"):
        lab.attach()
    assert lab.volumes == ["old"]


def test_who_uses_a_directory_is_known_by_what_the_kernel_says(tmp_path: Path) -> None:
    place = tmp_path / "a place"
    place.mkdir()
    known = mounts.shown(place)
    assert known.root.endswith(b"/a place")
    (tmp_path / "link").symlink_to(tmp_path)
    assert mounts.shown(tmp_path / "link/a place") == known
    assert mounts.uses(os.getpid(), known, str(place)) == (False, [])
    code = "import sys; print(); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=place, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        there, others = mounts.uses(os.getpid(), known, str(place))
        assert (there, len(others)) == (False, 1)
        assert others[0].endswith(f"uses {place}")
        process.kill()
    assert mounts.uses(os.getpid(), known, str(place)) == (False, [])


def test_mounts_are_known_by_device_and_root(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(r"36 35 0:42 /volumes/d/data/a\040b /mnt/x\134y rw - btrfs /dev/x rw" + "\n")
    ((device, root, place),) = mounts._mounts(str(table))
    assert (device, root, place) == (b"0:42", b"/volumes/d/data/a b", b"/mnt/x\\y")
    known = mounts.Shown(b"0:42", b"/volumes/d/data")
    assert known.is_below(device, root)
    assert known.is_below(b"0:42", b"/volumes/d/data")
    assert not known.is_below(b"0:42", b"/volumes/d/data2")
    assert not known.is_below(b"0:43", root)


class Volumes:
    """A store with two volumes, of which one is blank."""

    def __init__(self, data: Path) -> None:
        self.data = self.home = data

    def find_volume(self, name: str) -> Volume:
        return Volume(name, 0, {}, (), blank=name == "blank")

    def volume_path(self, name: str) -> Path:
        return self.data / name

    disk_path = volume_path


@pytest.mark.parametrize(
    ("volume", "path", "bound"),
    [
        ("full", f"{DISKS}x", "--bind-ro"),
        ("blank", f"{DISKS}x", "--bind"),  # its first use fills it
        ("full", "/data", "--bind"),  # the boot agent mounts it for reading
    ],
)
def test_a_disk_for_reading_is_bound_so_at_the_next_boot(
    tmp_path: Path, volume: str, path: str, bound: str
) -> None:
    paths = Paths(tmp_path)
    spec = MachineSpec("m", "image:x", volumes=(VolumeMount(volume, path, read_only=True),))
    argv = nspawn_argv(cast("Any", Volumes(tmp_path)), paths, spec, "m1")
    (option,) = [word.partition("=")[0] for word in argv if f"/{volume}:" in word]
    assert option == bound


def test_a_virtual_machine_that_starts_again_has_the_disks_of_that_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = Paths(tmp_path)
    paths.run.mkdir()
    (tmp_path / "state.json").write_text('{"id": "m1"}')
    said: list[tuple[str, Path, bool]] = []
    monkeypatch.setattr(plugging, "plug", lambda _, name, file, fixed: said.append((name, file, fixed)))
    monkeypatch.setattr(plugging, "unplug", lambda *_: None)
    store, new = cast("Any", Volumes(tmp_path)), replace(NEW, read_only=True)
    spec = MachineSpec("m", "image:x", vm=True, volumes=(OLD, new), identity={"instance/name": '"m"'})
    Qemu().plug(store, paths, spec, new)
    assert said == [("new", tmp_path / "new", True)]
    settings = (paths.run / "qemu.settings").read_text()
    assert re.search(f"^volume [0-9]+ {tmp_path}/old$", settings, re.MULTILINE)
    assert re.search(f"^fixed [0-9]+ {tmp_path}/new$", settings, re.MULTILINE)
    Qemu().unplug(store, paths, replace(spec, volumes=()), new)
    settings = (paths.run / "qemu.settings").read_text()
    assert f"{tmp_path}/new" not in settings
    assert "virtio-scsi-pci" in settings  # for those that come
