"""Images as disks of a cloud: pushed to an emulated Compute Engine, and booted there."""

from __future__ import annotations

import contextlib
import re
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
        "machineType": f"zones/{REGION}-a/machineTypes/e2-small",
        "disks": [{"boot": True, "initializeParams": {"sourceImage": image}}, *disks],
        "networkInterfaces": [{"subnetwork": f"regions/{REGION}/subnetworks/own"}],
        "metadata": {"items": [{"key": key, "value": value} for key, value in metadata.items()]},
    }
    cloud.api.operate("POST", WHERE, "make an instance", body)
    made = cloud.api.get("compute", f"{WHERE}/web", "look at it")
    return str(made["networkInterfaces"][0]["networkIP"])


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


def test_instances_that_are_virtual_machines_have_the_disk_itself(
    hello: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # That the disk boots to the end another test sees; in software that takes long.
    with emulated(hello, tmp_path, "10.213.10.0/24", "--vm") as cloud:
        name = push(hello, cloud, monkeypatch)
        make_instance(cloud, name)
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


def test_googles_own_agent_runs_a_script_that_uses_a_data_disk(hello: Program, tmp_path: Path) -> None:
    with emulated(hello, tmp_path, "10.213.12.0/24", "--vm", "--bare") as cloud:
        for name in ("data", "late"):
            cloud.api.operate("POST", DISKS, "make a disk", {"name": name, "sizeGb": "1"})
        data, late = ({"source": f"{DISKS}/{name}", "deviceName": name} for name in ("data", "late"))
        image = "projects/debian-cloud/global/images/family/debian-12"
        make_instance(cloud, image, data, **{"startup-script": OF_DEBIAN})
        assert wait_until(lambda: "awaits a disk" in serial_port(cloud), PATIENCE)
        cloud.api.operate("POST", f"{WHERE}/web/attachDisk", "attach a disk", late)
        assert wait_until(lambda: "keeps it mounted" in serial_port(cloud), PATIENCE)
        cloud.api.operate("POST", f"{WHERE}/web/detachDisk", "detach it", deviceName="late")
        disk = cloud.api.get("compute", f"{DISKS}/late", "look at the disk")
        file = LocalImageStore.open(hello.home).disk_path(f"disk-{disk['id']}")
        assert tool("debugfs", "-R", "cat /kept", file) == "late\n"
        assert wait_until(lambda: "startup-script exit status" in serial_port(cloud), PATIENCE)
        said = serial_port(cloud)
        assert "startup-script exit status 0" in said, said[-2000:]
        assert re.search(r"found kernel [0-9.]+-[0-9]+-cloud-amd64, agent [0-9]+\.", said)
        assert said.count("formatted it the") == said.count("formatted it the first time") == 1

        cloud.api.operate("DELETE", f"{WHERE}/web", "delete it")
        disk = cloud.api.get("compute", f"{DISKS}/data", "look at the disk")
        assert (disk["sizeGb"], disk.get("users", [])) == ("1", [])
        file = LocalImageStore.open(hello.home).disk_path(f"disk-{disk['id']}")
        assert tool("debugfs", "-R", "cat /kept", file) == "first\nsecond\n"
