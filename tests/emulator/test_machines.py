"""Instances of the emulator that are machines of this computer, with Google's own client."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from googleapiclient.discovery import build_from_document
from googleapiclient.errors import HttpError
from googleapiclient.http import build_http

from stoneware.platforms.local.instances import CONTENTS
from stoneware.platforms.local.platform import LocalPlatform
from stoneware.platforms.local.store import prune
from stoneware.platforms.local.store.images import LocalImageStore
from tests.emulator.serving import tidy
from tests.emulator.test_server import start

pytestmark = pytest.mark.machine
# Workers test at the same time, and no two networks of a computer have the same addresses.
SUBNET = f"10.211.{78 + int(os.environ.get('PYTEST_XDIST_WORKER', 'gw0')[2:])}"
DEBIAN = "projects/debian-cloud/global/images/family/debian-12"
Z = {"project": "proj-1", "zone": "us-central1-a"}
G = {"project": "proj-1"}
SCRIPT = """#!/bin/bash
at=http://metadata.google.internal/computeMetadata/v1/instance
md() { curl -sf -H Metadata-Flavor:Google "$at/$1" "${@:2}"; }
echo "I am $(hostname) in $(md zone), $(cat /root/kept 2>/dev/null || echo new)"
echo again >/root/kept
if [ -d /dev/disk/by-id/google-data ]; then
    echo "disk: $(cat /dev/disk/by-id/google-data/file 2>/dev/null || echo blank)"
    echo written >/dev/disk/by-id/google-data/file
fi
echo "db is $(getent hosts db.shop.example | sed 's/ .*//')"
md guest-attributes/test/state -X PUT --data-binary "$(md attributes/word)"
"""


class Cloud:
    """An emulator in a process of its own, and Google's client for it."""

    def __init__(self, home: Path, state: Path) -> None:
        self.home = home
        self.state = state
        self.opened = contextlib.ExitStack()

    def start(self) -> None:
        words = ["--port", "0", "--project", "proj-1", "--operation-time", "0", "--json"]
        emulator = start(*words, "--state", str(self.state), home=self.home)
        self.process = self.opened.enter_context(emulator)
        assert self.process.stdout is not None
        self.endpoint = json.loads("".join(iter(self.process.stdout.readline, "}\n")) + "}")["endpoint"]
        http = build_http()
        self.opened.callback(http.close)
        package = resources.files("googleapiclient.discovery_cache.documents")
        raw = json.loads((package / "compute.v1.json").read_bytes())
        self.client = build_from_document(raw | {"rootUrl": f"{self.endpoint}/"}, http=http)

    def end(self, number: int) -> None:
        self.process.send_signal(number)
        self.process.wait(300)

    def do(self, request: Any) -> None:
        """Send a request and wait for its operation, which must end well."""
        operation = request.execute()
        scope = next((name for name in ("zone", "region") if name in operation), "global")
        waiting = getattr(self.client, f"{scope}Operations")()
        where = {scope: operation[scope].rsplit("/", 1)[1]} if scope != "global" else {}
        ended = waiting.wait(**G, **where, operation=operation["name"]).execute()
        assert (ended["status"], ended.get("error")) == ("DONE", None)

    def name(self, address: str) -> None:
        """Let the network's private zone say that db.shop.example has this address."""
        sets = {"name": "db.shop.example.", "type": "A", "ttl": 5, "rrdatas": [address]}
        seen = {"networks": [{"networkUrl": "projects/proj-1/global/networks/n"}]}
        zone = {"name": "shop", "dnsName": "shop.example.", "visibility": "private"}
        place = f"{self.endpoint}/dns/v1/projects/proj-1/managedZones"
        self.send("POST", place, {**zone, "privateVisibilityConfig": seen})
        self.send("DELETE", f"{place}/shop/rrsets/db.shop.example./A")
        assert self.send("POST", f"{place}/shop/rrsets", sets) == 200

    def send(self, verb: str, url: str, body: dict[str, Any] | None = None) -> int:
        """Send a request, and return the status of its reply."""
        headers = {"Content-Type": "application/json"}
        reply, _ = self.client._http.request(url, verb, json.dumps(body or {}), headers)
        return int(reply.status)

    def devices(self, name: str) -> list[str]:
        found = self.client.instances().get(**Z, instance=name).execute()
        return [disk["deviceName"] for disk in found["disks"]]

    def run(self, name: str, script: str) -> tuple[int, str]:
        """Run a script as root of an instance's machine, and return its exit code and what it prints."""
        (machine,) = (one.name for one in self.platform.machines() if one.spec.hostname == name)
        return self.platform.run(machine, ["/bin/sh", "-c", script], timeout=300)

    def inside(self, name: str, script: str) -> str:
        """Run a script that must end well, and return what it prints."""
        code, said = self.run(name, script)
        assert code == 0, said
        return said

    def status(self, name: str) -> str:
        return str(self.client.instances().get(**Z, instance=name).execute()["status"])

    @property
    def platform(self) -> LocalPlatform:
        return LocalPlatform(LocalImageStore.open(self.home))

    def serial(self, name: str, word: str, after: str = "") -> str:
        """Return what an instance wrote, once a word is in it, or behind another one."""
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            said = str(self.client.instances().getSerialPortOutput(**Z, instance=name).execute()["contents"])
            if after in said and word in (said.rpartition(after)[2] if after else said):
                return said
            time.sleep(0.05)
        raise AssertionError(said)


@pytest.fixture
def cloud(machine_home: Path, tmp_path: Path) -> Iterator[Cloud]:
    state = tmp_path / "state"
    made = Cloud(machine_home, state)
    try:
        made.start()
        yield made
    finally:
        made.opened.close()
        tidy(machine_home, state)


def body(name: str, image: str, *disks: dict[str, Any]) -> dict[str, Any]:
    items = {"startup-script": SCRIPT, "word": name, "enable-guest-attributes": "TRUE"}
    return {
        "name": name,
        "machineType": f"zones/{Z['zone']}/machineTypes/e2-small",
        "disks": [{"boot": True, "autoDelete": True, "initializeParams": {"sourceImage": image}}, *disks],
        "networkInterfaces": [{"subnetwork": "regions/us-central1/subnetworks/s"}],
        "metadata": {"items": [{"key": key, "value": value} for key, value in items.items()]},
    }


def test_instances_run_stop_become_images_and_outlive_the_emulator(cloud: Cloud) -> None:
    api = cloud.client
    instances = api.instances()
    data = {"source": f"zones/{Z['zone']}/disks/data", "deviceName": "data"}
    make_network(cloud)
    cloud.do(api.disks().insert(**Z, body={"name": "data", "sizeGb": "1"}))
    cloud.name("10.9.0.1")
    cloud.do(instances.insert(**Z, body=body("k1", DEBIAN, data)))
    said = cloud.serial("k1", "exit status 0")
    assert "startup-script: db is 10.9.0.1" in said
    assert "startup-script: I am k1 in projects/" in said
    assert "/zones/us-central1-a, new" in said
    assert "startup-script: disk: blank" in said
    asked = instances.getGuestAttributes(**Z, instance="k1", variableKey="test/state").execute()
    assert asked["variableValue"] == "k1"
    platform = LocalPlatform(LocalImageStore.open(cloud.home))
    (address,) = {machine.ip for machine in platform.machines() if machine.spec.hostname == "k1"}
    shown = instances.get(**Z, instance="k1").execute()["networkInterfaces"][0]
    assert shown["networkIP"] == address == f"{SUBNET}.2"

    cloud.do(instances.stop(**Z, instance="k1"))
    assert cloud.status("k1") == "TERMINATED"
    with pytest.raises(HttpError, match="is not ready"):
        instances.getSerialPortOutput(**Z, instance="k1").execute()
    image = {"name": "i", "family": "kafka", "sourceDisk": f"zones/{Z['zone']}/disks/k1"}
    cloud.do(api.images().insert(**G, body=image))

    cloud.name("10.9.0.2")
    cloud.do(instances.start(**Z, instance="k1"))
    said = cloud.serial("k1", "exit status 0")
    assert "db is 10.9.0.2" in said
    assert "again" in said
    assert "disk: written" in said

    change_disks(cloud, data)

    # The emulator is killed; the machine runs on, and what was asked for is done by the next one.
    instances.detachDisk(**Z, instance="k1", deviceName="data").execute()
    instances.stop(**Z, instance="k1").execute()
    cloud.end(signal.SIGKILL)
    cloud.start()
    instances = cloud.client.instances()
    deadline = time.monotonic() + 300
    while cloud.status("k1") != "TERMINATED":
        assert time.monotonic() < deadline
        time.sleep(0.05)

    assert cloud.devices("k1") == ["persistent-disk-0"]
    unused = prune.unused(platform, everything=True)
    assert not [key for key in unused.checkpoints if key.startswith(CONTENTS)]  # disks and images are in use

    cloud.do(instances.insert(**Z, body=body("k2", "global/images/family/kafka")))
    assert "I am k2" in cloud.serial("k2", "again")
    assert any(machine.name.startswith("k2-") for machine in platform.machines())
    remove_all(cloud)
    cloud.end(signal.SIGTERM)
    assert cloud.process.returncode == 0
    assert_nothing_is_left(platform)


PLACE = "/dev/disk/by-id/google-data"
# A mount in a namespace without a process, which no look at processes finds.
# `unshare --mount=` (util-linux 2.38) fails where its child comes before there is a namespace to hold.
HIDE = f"""mkdir -p /run/pins && mount --bind /run/pins /run/pins && mount --make-private /run/pins
touch /run/pins/space
until unshare --mount=/run/pins/space true; do sleep 0.01; done
nsenter --mount=/run/pins/space mount --bind {PLACE} /mnt"""


def change_disks(cloud: Cloud, data: dict[str, Any]) -> None:
    """Take the disk that an instance had from its start, and give it to the instance again, which runs."""
    instances = cloud.client.instances()
    out = {**Z, "instance": "k1", "deviceName": "data"}
    cloud.do(instances.detachDisk(**out))
    assert cloud.devices("k1") == ["persistent-disk-0"]
    cloud.inside("k1", f"! test -e {PLACE}; ! grep -q google-data /proc/self/mounts")

    cloud.do(instances.attachDisk(**Z, instance="k1", body=data))
    assert cloud.inside("k1", f"cat {PLACE}/file; stat -c %u:%g {PLACE}/file") == "written\n0:0\n"
    # What a disk may not be in a machine, its root cannot let it be.
    cloud.inside(
        "k1", f"mount -o remount,bind,dev {PLACE}; grep ' {PLACE} ' /proc/self/mounts | grep -q nodev"
    )
    # It is there after a reboot, too, which is the machine's own affair.
    cloud.run("k1", "echo going down >/dev/console; systemctl reboot")  # which may end this command too
    assert "disk: written" in cloud.serial("k1", "exit status 0", after="going down")

    cloud.inside("k1", f"mkdir -p /data && mount --bind {PLACE} /data")
    asked = instances.detachDisk(**out).execute()
    ended = cloud.client.zoneOperations().wait(**Z, operation=asked["name"]).execute()
    assert "it is mounted at /data" in ended["error"]["errors"][0]["message"]
    assert cloud.devices("k1") == ["persistent-disk-0", "data"]
    cloud.inside("k1", f"echo kept >/data/more && umount /data && {HIDE}")
    cloud.do(instances.detachDisk(**out))
    cloud.inside("k1", "nsenter --mount=/run/pins/space sh -c 'echo other >/mnt/more'; umount -R /run/pins")

    cloud.do(instances.attachDisk(**Z, instance="k1", body={**data, "mode": "READ_ONLY"}))
    assert cloud.inside("k1", f"cat {PLACE}/more") == "kept\n"
    cloud.inside("k1", f"mount -o remount,bind,rw {PLACE}; ! touch {PLACE}/more")


def remove_all(cloud: Cloud) -> None:
    for name in ("k1", "k2"):
        cloud.do(cloud.client.instances().delete(**Z, instance=name))
    cloud.do(cloud.client.images().delete(**G, image="i"))
    cloud.do(cloud.client.disks().delete(**Z, disk="data"))
    cloud.do(cloud.client.subnetworks().delete(**G, region="us-central1", subnetwork="s"))
    cloud.do(cloud.client.networks().delete(**G, network="n"))


def make_network(cloud: Cloud) -> None:
    # No range of an auto mode network: an emulator of the user's may have that on this computer.
    cloud.do(cloud.client.networks().insert(**G, body={"name": "n", "autoCreateSubnetworks": False}))
    subnet = {"name": "s", "network": "global/networks/n", "ipCidrRange": f"{SUBNET}.0/29"}
    cloud.do(cloud.client.subnetworks().insert(**G, region="us-central1", body=subnet))


def assert_nothing_is_left(platform: LocalPlatform) -> None:
    assert not [machine for machine in platform.machines() if machine.spec.labels.get("stoneware.emulator")]
    assert not [key for key in platform.store.checkpoint_keys() if key.startswith(CONTENTS)]
    assert not [volume for volume in platform.volumes() if volume.name.startswith("disk-")]
    assert not [network for network in platform.networks() if network.labels.get("state")]
