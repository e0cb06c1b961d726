"""Where a machine's disks are mounted: links of the image followed inside it, and never those of a disk."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from stoneware.model.mount_places import own_place
from tests.guest.support import GUEST, SHELLS, FakeMetadata, Root

machines = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")


def mount(root: Root, metadata: FakeMetadata, *volumes: tuple[str, str], then: str = ":") -> tuple[int, str]:
    """Boot with disks, (name, path) each, in a mount namespace of its own; `then` is run in it afterwards."""
    lines = []
    for name, path in volumes:
        (root.path / "run/stoneware/volumes" / name).mkdir(parents=True, exist_ok=True)
        lines.append(f"/run/stoneware/volumes/{name}\t{path}\trw\n")
    metadata.set(stoneware_volumes="".join(lines))
    boot = f"{' '.join(root.shell)} {root.path}/usr/lib/stoneware/stoneware-boot"
    script = f"{boot} && {boot} && cd $SW_ROOT && {then}"  # a second time nothing is mounted twice
    done = root.run_unshared(script)
    return done.returncode, done.stdout + done.stderr


def data(root: Root, name: str) -> Path:
    return root.path / "run/stoneware/volumes" / name / "data"


@pytest.mark.tool
@machines
def test_a_volume_on_a_link_is_mounted_where_that_leads_inside_the_machine(
    root: Root, metadata: FakeMetadata
) -> None:
    root.put("data/db/seed", "image\n")
    for place, target in {
        "srv/absolute": "/data/db",
        "srv/out": "../../../../../../../out/of/root",
        "srv/parent": "/data",
        "srv/chain": "absolute/../../data/more",
    }.items():
        root.put(place + ".near", "")
        (root.path / place).symlink_to(target)
    # Formerly a link was copied in place of what it leads to.
    (root.path / "run/stoneware/volumes/a").mkdir(parents=True)
    data(root, "a").symlink_to("/data/db")
    volumes = (
        *(("a", "/srv/absolute"), ("b", "/srv/out"), ("c", "/srv/parent/in"), ("d", "/srv/chain")),
        ("e", "/srv/plain"),
    )
    then = " && ".join(
        [
            "cat srv/absolute.near data/db/seed && echo a >data/db/new && echo b >out/of/root/new",
            "echo c >data/in/new && echo d >data/more/new && echo e >srv/plain/new",
        ]
    )
    code, said = mount(root, metadata, *volumes, then=then)
    assert (code, said) == (0, "image\n"), said
    for name, _ in volumes:
        assert not data(root, name).is_symlink()
        assert (data(root, name) / "new").read_text() == f"{name}\n"
    assert (data(root, "a") / "seed").read_text() == "image\n"
    assert not (root.path / "data/db/new").exists()


@pytest.mark.tool
@machines
def test_a_volume_inside_another_comes_after_it_in_any_order(root: Root, metadata: FakeMetadata) -> None:
    (root.path / "srv").mkdir()
    (root.path / "srv/link").symlink_to("/outer")
    volumes = (("inner", "/outer/inner"), ("outer", "/srv/link"))
    then = "echo o >outer/file && echo i >outer/inner/file"
    assert mount(root, metadata, *volumes, then=then) == (0, "")
    assert (data(root, "outer") / "file").read_text() == "o\n"
    assert (data(root, "inner") / "file").read_text() == "i\n"


@pytest.mark.tool
@machines
@pytest.mark.parametrize(
    ("volumes", "error"),
    [
        ((("a", "/one"), ("b", "/two")), "the volumes for /one and /two are both at /place"),
        ((("a", "/own"),), "the volume for /own would be at /run/stoneware/x, which is the machine's own"),
        ((("a", "/loop"),), "the volume for /loop cannot be mounted"),
        ((("a", "/outer"), ("b", "/outer/l/x")), "/outer/l/x cannot be mounted through a link"),
    ],
)
def test_what_cannot_be_mounted_is_said(
    root: Root, metadata: FakeMetadata, volumes: tuple[tuple[str, str], ...], error: str
) -> None:
    for place, target in {"one": "place", "two": "/place", "own": "/run/stoneware/x", "loop": "loop"}.items():
        (root.path / place).symlink_to(target)
    (root.path / "run/stoneware/volumes/a/data").mkdir(parents=True)
    (data(root, "a") / "l").symlink_to("/etc")  # by whoever owns what is on that disk
    code, said = mount(root, metadata, *volumes)
    assert code == 1
    assert error in metadata.reported("stoneware/status")[-1]["error"], said


@pytest.mark.tool
@machines
def test_a_directory_at_the_place_of_a_disk_stands_for_it(root: Root, metadata: FakeMetadata) -> None:
    disk = root.path / "dev/disk/by-id/google-data"
    disk.mkdir(parents=True)
    root.put("srv/seed", "image\n")
    metadata.set(stoneware_volumes="/dev/disk/by-id/google-data\t/srv\trw\n")
    shell = " ".join(root.shell)
    done = root.run_unshared(
        f"{shell} {root.path}/usr/lib/stoneware/stoneware-boot && cat {root.path}/srv/seed"
    )
    assert (done.returncode, done.stdout) == (0, "image\n"), done.stderr
    assert (disk / "data/seed").read_text() == "image\n"


@pytest.mark.tool
@machines
def test_a_volume_over_a_file_system_of_the_machines_own_is_empty(root: Root, metadata: FakeMetadata) -> None:
    (root.path / "tmp").chmod(0o1777)
    (root.path / "run/stoneware/volumes/a").mkdir(parents=True)
    metadata.set(stoneware_volumes="/run/stoneware/volumes/a\t/tmp\trw\n")
    script = (
        "mount -t tmpfs -o mode=1777 tmpfs $SW_ROOT/tmp && touch $SW_ROOT/tmp/before"
        f" && {' '.join(root.shell)} {root.path}/usr/lib/stoneware/stoneware-boot && touch $SW_ROOT/tmp/new"
    )
    done = root.run_unshared(script)
    assert done.returncode == 0
    assert [path.name for path in data(root, "a").iterdir()] == ["new"]
    assert data(root, "a").stat().st_mode & 0o7777 == 0o1777


PLACES = [
    *("/", "/proc", "/proc/sys/x", "/process", "/sys", "/sys/fs/cgroup", "/dev", "/dev/shm", "/device"),
    *("/run", "/running", "/run/app", "/run/lock", "/run/lock/x", "/run/locker", "/run/user/1"),
    *("/run/systemd/x", "/run/secrets", "/run/secrets/x", "/run/dbus", "/run/host/x", "/run/udev/x"),
    *("/run/credentials", "/run/stoneware", "/srv", "/tmp", "/var/tmp"),
]


@pytest.mark.parametrize("shell", sorted(SHELLS))
def test_the_machine_and_this_computer_agree_about_the_machines_own_places(shell: str) -> None:
    if shell == "busybox" and not Path("/usr/bin/busybox").exists():
        pytest.skip("no busybox here")
    script = f'. {GUEST}/volumes.sh; for place; do if own_place "$place"; then echo "$place"; fi; done'
    done = subprocess.run(
        [*SHELLS[shell], "-c", script, "sh", *PLACES], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [place for place in PLACES if place == "/" or own_place(place)]
