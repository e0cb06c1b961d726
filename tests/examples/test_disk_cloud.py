"""Images as disks of a cloud: pushed to an emulated Compute Engine, and booted there."""

from __future__ import annotations

import contextlib
import gzip
import re
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stoneware.platforms.local.store.images import LocalImageStore

from .conftest import Program
from .disks import PATIENCE, in_disk, tool, wait_until

if TYPE_CHECKING:
    from tests.google.real import Cloud

# Boots in software, on a computer that has other work: each wait has ten minutes.
pytestmark = [pytest.mark.machine, pytest.mark.timeout(1800)]


def page(address: str) -> str:
    try:
        with urllib.request.urlopen(f"http://{address}/", timeout=5) as reply:
            return str(reply.read().decode())
    except OSError:
        return ""


REGION = "us-central1"
WHERE = f"zones/{REGION}-a/instances"
DISKS = f"zones/{REGION}-a/disks"


@contextlib.contextmanager
def emulated(hello: Program, tmp_path: Path, subnet: str, *words: str) -> Iterator[Cloud]:
    """Serve an emulator on the store that has the image."""
    from tests.google import real  # Google's clients are not among the oldest libraries

    with real.served(hello.home, tmp_path, tmp_path / "no-provider", subnet, *words) as cloud:
        yield cloud


def push(hello: Program, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> str:
    """Push the image, and return its name there."""
    for variable, text in cloud.environment.items():
        if variable.startswith("STONEWARE_GOOGLE_"):
            monkeypatch.setenv(variable, text)
    return hello.run("push", "hello", "google").stdout.strip()


def make_instance(cloud: Cloud, image: str, *disks: dict[str, str], **metadata: str) -> str:
    """Make the instance `web` of an image of this project or a public one, and return its address."""
    image = image if image.startswith("projects/") else f"global/images/{image}"
    metadata = {"stoneware-config": "GREETING=Hello from the cloud\n", **metadata}
    body = {
        "name": "web",
        "machineType": f"zones/{REGION}-a/machineTypes/f1-micro",  # one processor: in software two take more
        "disks": [{"boot": True, "autoDelete": True, "initializeParams": {"sourceImage": image}}, *disks],
        "networkInterfaces": [{"subnetwork": f"regions/{REGION}/subnetworks/own"}],
        "metadata": {"items": [{"key": key, "value": value} for key, value in metadata.items()]},
    }
    cloud.api.operate("POST", WHERE, "make an instance", body)
    made = cloud.api.get("compute", f"{WHERE}/web", "look at it")
    return str(made["networkInterfaces"][0]["networkIP"])


@pytest.fixture(scope="module")
def archive(hello: Program, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk as Compute Engine takes it."""
    made = tmp_path_factory.mktemp("archive") / "hello.tar.gz"
    hello.run("export", "hello", "-o", made)
    return made


def test_compute_engine_gets_a_sparse_disk_of_whole_gibibytes(archive: Path) -> None:
    with gzip.open(archive) as stream:
        assert stream.read(512)[257:265] == b"ustar  \0"  # oldgnu
    with tarfile.open(archive) as opened:
        member = opened.next()
    assert member is not None
    assert member.name == "disk.raw"
    assert member.sparse
    assert (member.size, member.size % (1 << 30)) == (1 << 30, 0)


def test_compute_engine_boots_what_is_pushed(
    hello: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with emulated(hello, tmp_path, "10.213.9.0/24") as cloud:
        name = push(hello, cloud, monkeypatch)
        assert "already" in hello.run("push", "hello:latest", "google").stderr
        there = hello.json("inspect", "hello", "--platform", "google")
        assert there["id"] == hello.json("inspect", "hello")["id"]
        image = cloud.api.get("compute", f"global/images/{name}", "look at the image")
        assert (image["status"], image["diskSizeGb"], image["family"]) == ("READY", "1", "hello")
        rule = {"name": "web", "network": "global/networks/own", "allowed": [{"IPProtocol": "tcp"}]}
        cloud.api.operate("POST", "global/firewalls", "let all in", rule)
        address = make_instance(cloud, name)
        assert wait_until(lambda: "<h1>Hello from the cloud</h1>" in page(address), PATIENCE)


def serial_port(cloud: Cloud) -> str:
    return str(cloud.api.get("compute", f"{WHERE}/web/serialPort", "read it", port=1)["contents"])


# For a Debian without Stoneware's programs. As Google's documentation has it, the disk is formatted where it
# is blank, and is not the next time.
OF_DEBIAN = """#!/bin/sh
set -eu
test ! -e /usr/lib/stoneware
echo "found kernel $(uname -r), agent $(pidof google_guest_agent)."
disk=/dev/disk/by-id/google-data
for time in first second; do
    blkid "$disk" || { mkfs.ext4 -q "$disk" && echo "formatted it the $time time"; }
    mount "$disk" /mnt
    echo "$time" >>/mnt/kept
    umount /mnt
done
late=/dev/disk/by-id/google-late
echo "awaits a disk"
until [ -b "$late" ]; do sleep 1; done
mkfs.ext4 -q "$late" && mount "$late" /mnt && echo late >/mnt/kept && sync -f /mnt
echo "has the disk, and keeps it mounted"
while [ -e "$late" ]; do sleep 1; done
"""


def test_instances_that_are_virtual_machines(hello: Program, archive: Path, tmp_path: Path) -> None:
    with emulated(hello, tmp_path, "10.213.10.0/24", "--vm", "--bare") as cloud:
        _an_instance_has_the_disk_that_was_uploaded(hello, cloud, archive)
        _googles_own_agent_runs_a_script_that_uses_a_data_disk(hello, cloud)


def _googles_own_agent_runs_a_script_that_uses_a_data_disk(hello: Program, cloud: Cloud) -> None:
    for name in ("data", "late"):
        cloud.api.operate("POST", DISKS, "make a disk", {"name": name, "sizeGb": "1"})
    data, late = ({"source": f"{DISKS}/{name}", "deviceName": name} for name in ("data", "late"))
    image = "projects/debian-cloud/global/images/family/debian-12"
    make_instance(cloud, image, data, **{"startup-script": OF_DEBIAN})
    assert wait_until(lambda: "awaits a disk" in serial_port(cloud), PATIENCE)
    cloud.api.operate("POST", f"{WHERE}/web/attachDisk", "attach a disk", late)
    assert wait_until(lambda: "keeps it mounted" in serial_port(cloud), PATIENCE)
    cloud.api.operate("POST", f"{WHERE}/web/detachDisk", "detach it", deviceName="late")
    assert tool("debugfs", "-R", "cat /kept", data_disk(hello, cloud, "late")) == "late\n"
    assert wait_until(lambda: "startup-script exit status" in serial_port(cloud), PATIENCE)
    said = serial_port(cloud)
    assert "startup-script exit status 0" in said, said[-2000:]
    assert re.search(r"found kernel [0-9.]+-[0-9]+-cloud-amd64, agent [0-9]+\.", said)
    assert said.count("formatted it the") == said.count("formatted it the first time") == 1

    cloud.api.operate("DELETE", f"{WHERE}/web", "delete it")
    disk = cloud.api.get("compute", f"{DISKS}/data", "look at the disk")
    assert (disk["sizeGb"], disk.get("users", [])) == ("1", [])
    assert tool("debugfs", "-R", "cat /kept", data_disk(hello, cloud, "data")) == "first\nsecond\n"


def data_disk(hello: Program, cloud: Cloud, name: str) -> Path:
    """Return the file of a disk of the project."""
    disk = cloud.api.get("compute", f"{DISKS}/{name}", "look at the disk")
    return LocalImageStore.open(hello.home).disk_path(f"disk-{disk['id']}")


def _an_instance_has_the_disk_that_was_uploaded(hello: Program, cloud: Cloud, archive: Path) -> None:
    """It has it as it is, and leaves it as it has become; that it boots to the end others see."""
    from stoneware.platforms.google.bucket import Bucket

    bucket = Bucket(cloud.api)
    bucket.upload(archive.name, archive)
    source = {"source": f"https://storage.googleapis.com/{bucket.name}/{archive.name}"}
    cloud.api.operate("POST", "global/images", "make an image", {"name": "uploaded", "rawDisk": source})
    make_instance(cloud, "uploaded")
    assert wait_until(lambda: "Loaded initrd" in serial_port(cloud), PATIENCE)
    cloud.api.operate("POST", f"{WHERE}/web/stop", "stop it", noGracefulShutdown=True)
    copied = {"name": "copied", "sourceDisk": f"{DISKS}/web"}
    cloud.api.operate("POST", "global/images", "make an image of its disk", copied)
    store = LocalImageStore.open(hello.home)
    kept = [store.checkpoint_rootfs(key) for key in store.checkpoint_keys() if key.startswith("disk-")]
    sizes = sorted((root / "root.raw").stat().st_size >> 30 for root in kept)
    assert sizes == [1, 1]  # the image's, and what the instance has left
    boots = [in_disk(root / "root.raw", "ls -p /boot") for root in kept]
    assert all("vmlinuz-" in listed for listed in boots)
    cloud.api.operate("DELETE", f"{WHERE}/web", "delete it")
