"""Instances of the emulator that are machines of this computer, with Google's own client."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
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

pytestmark = pytest.mark.machine
MAIN = "from stoneware.cli.main import main; main()"
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
md guest-attributes/test/state -X PUT --data-binary "$(md attributes/word)"
"""


class Cloud:
    """An emulator in a process of its own, and Google's client for it."""

    def __init__(self, home: Path, state: Path) -> None:
        self.home = home
        self.state = state
        self.start()

    def start(self) -> None:
        words = ["--port", "0", "--project", "proj-1", "--operation-time", "0", "--json"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", MAIN, "emulate", "google", *words, "--state", str(self.state)],
            env={**os.environ, "STONEWARE_HOME": str(self.home)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        endpoint = json.loads("".join(iter(self.process.stdout.readline, "}\n")) + "}")["endpoint"]
        self.http = build_http()
        package = resources.files("googleapiclient.discovery_cache.documents")
        raw = json.loads((package / "compute.v1.json").read_bytes())
        self.client = build_from_document(raw | {"rootUrl": f"{endpoint}/"}, http=self.http)

    def end(self, number: int) -> None:
        self.process.send_signal(number)
        self.process.wait(60)
        self.http.close()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def do(self, request: Any) -> None:
        """Send a request and wait for its operation, which must end well."""
        operation = request.execute()
        zonal = "zone" in operation
        waiting = self.client.zoneOperations() if zonal else self.client.globalOperations()
        ended = waiting.wait(**(Z if zonal else G), operation=operation["name"]).execute()
        assert (ended["status"], ended.get("error")) == ("DONE", None)

    def status(self, name: str) -> str:
        return str(self.client.instances().get(**Z, instance=name).execute()["status"])

    def serial(self, name: str, word: str) -> str:
        """Return what an instance wrote, once a word is in it."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            said = str(self.client.instances().getSerialPortOutput(**Z, instance=name).execute()["contents"])
            if word in said:
                return said
            time.sleep(0.05)
        raise AssertionError(said)


@pytest.fixture
def cloud(machine_home: Path, tmp_path: Path) -> Iterator[Cloud]:
    store = LocalImageStore.open(machine_home)
    platform = LocalPlatform(store)
    state = tmp_path / "state"
    made = Cloud(machine_home, state)
    try:
        yield made
    finally:
        made.end(signal.SIGKILL)
        for machine in platform.machines():
            if machine.spec.labels.get("stoneware.emulator"):
                platform.destroy(machine.name)
        for volume in store.volumes():
            if volume.labels.get("state") == str(state):
                store.remove_volume(volume.name)
        for network in platform.networks():
            if network.labels.get("state") == str(state):
                platform.destroy_network(network.name)
        for key in store.checkpoint_keys():
            if key.startswith(CONTENTS):
                store.remove_checkpoint(key)


def body(name: str, image: str, *disks: dict[str, Any]) -> dict[str, Any]:
    items = {"startup-script": SCRIPT, "word": name, "enable-guest-attributes": "TRUE"}
    return {
        "name": name,
        "machineType": f"zones/{Z['zone']}/machineTypes/e2-small",
        "disks": [{"boot": True, "autoDelete": True, "initializeParams": {"sourceImage": image}}, *disks],
        "networkInterfaces": [{"network": "global/networks/default"}],
        "metadata": {"items": [{"key": key, "value": value} for key, value in items.items()]},
    }


def test_instances_run_stop_become_images_and_outlive_the_emulator(cloud: Cloud) -> None:
    api = cloud.client
    instances = api.instances()
    data = {"source": f"zones/{Z['zone']}/disks/data", "deviceName": "data"}
    cloud.do(api.disks().insert(**Z, body={"name": "data", "sizeGb": "1"}))
    cloud.do(instances.insert(**Z, body=body("k1", DEBIAN, data)))
    said = cloud.serial("k1", "exit status 0")
    assert "startup-script: I am k1 in projects/" in said
    assert "/zones/us-central1-a, new" in said
    assert "startup-script: disk: blank" in said
    asked = instances.getGuestAttributes(**Z, instance="k1", variableKey="test/state").execute()
    assert asked["variableValue"] == "k1"
    platform = LocalPlatform(LocalImageStore.open(cloud.home))
    (address,) = {machine.ip for machine in platform.machines() if machine.spec.hostname == "k1"}
    shown = instances.get(**Z, instance="k1").execute()["networkInterfaces"][0]
    assert shown["networkIP"] == address == "10.128.0.2"

    cloud.do(instances.stop(**Z, instance="k1"))
    assert cloud.status("k1") == "TERMINATED"
    with pytest.raises(HttpError, match="is not ready"):
        instances.getSerialPortOutput(**Z, instance="k1").execute()
    image = {"name": "i", "family": "kafka", "sourceDisk": f"zones/{Z['zone']}/disks/k1"}
    cloud.do(api.images().insert(**G, body=image))

    cloud.do(instances.start(**Z, instance="k1"))
    said = cloud.serial("k1", "exit status 0")
    assert "again" in said
    assert "disk: written" in said

    # The emulator is killed; the machine runs on, and what was asked for is done by the next one.
    instances.stop(**Z, instance="k1").execute()
    cloud.end(signal.SIGKILL)
    cloud.start()
    instances = cloud.client.instances()
    deadline = time.monotonic() + 60
    while cloud.status("k1") != "TERMINATED":
        assert time.monotonic() < deadline
        time.sleep(0.05)

    unused = prune.unused(platform, everything=True)
    assert not [key for key in unused.checkpoints if key.startswith(CONTENTS)]  # disks and images are in use

    cloud.do(instances.insert(**Z, body=body("k2", "global/images/family/kafka")))
    assert "I am k2" in cloud.serial("k2", "again")
    names = {machine.name for machine in platform.machines()}
    assert any(name.startswith("k2-") for name in names)
    for name in ("k1", "k2"):
        cloud.do(instances.delete(**Z, instance=name))
    cloud.do(cloud.client.images().delete(**G, image="i"))
    cloud.do(cloud.client.disks().delete(**Z, disk="data"))
    cloud.do(cloud.client.networks().delete(**G, network="default"))
    cloud.end(signal.SIGTERM)
    assert cloud.process.returncode == 0
    assert not [machine for machine in platform.machines() if machine.spec.labels.get("stoneware.emulator")]
    assert not [key for key in platform.store.checkpoint_keys() if key.startswith(CONTENTS)]
    assert not [volume for volume in platform.volumes() if volume.name.startswith("disk-")]
    assert not [network for network in platform.networks() if network.labels.get("state")]
