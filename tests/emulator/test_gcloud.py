"""gcloud's commands for instances and images against the emulator, whose machines are in memory here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import programs
from tests.google.cloud import PROJECT, REGION, ZONE, served

pytestmark = [pytest.mark.tool, programs.needs_gcloud]


# Five commands: gcloud itself takes seconds for each.
def test_instances_become_images_by_gcloud(tmp_path: Path) -> None:
    with served(tmp_path / "emulator") as cloud:
        compute = f"{cloud.endpoint}/compute/v1/"
        environment = programs.gcloud_environment(tmp_path, PROJECT, compute=compute)
        environment |= {"CLOUDSDK_COMPUTE_ZONE": ZONE, "CLOUDSDK_COMPUTE_REGION": REGION}

        def gcloud(*words: str) -> str:
            done = programs.run("gcloud", "compute", *words, environment=environment)
            return done.stdout + done.stderr

        image = ("--image-family=debian-12", "--image-project=debian-cloud")
        given = ("--machine-type=e2-small", "--metadata=a=b", "--labels=c=d", "--tags=web")
        # More than one: it sends a batch, and waits for both operations in one.
        said = gcloud("instances", "create", "k1", "k2", *image, *given)
        assert said.count("RUNNING") == 2
        made = cloud.of("instances")["k1"]
        assert made["metadata"]["items"] == [{"key": "a", "value": "b"}]
        assert (made["labels"], made["tags"]["items"]) == ({"c": "d"}, ["web"])
        (behind,) = [name for name in cloud.computers.machines if name.startswith("k1-")]
        cloud.computers.attributes[behind] = {"ns/key": "hello"}
        told = gcloud("instances", "get-guest-attributes", "k1", "--query-path=ns/", "--format=value(value)")
        assert told == "hello\n"
        gcloud("instances", "stop", "k1")
        assert cloud.of("instances")["k1"]["status"] == "TERMINATED"
        assert behind not in cloud.computers.machines
        gcloud("images", "create", "first", "--source-disk=k1", "--family=app", "--labels=e=f")
        found = cloud.of("images")["first"]
        assert (found["family"], found["labels"], found["status"]) == ("app", {"e": "f"}, "READY")
        gcloud("instances", "delete", "k1", "k2", "--quiet")
        assert (cloud.of("instances"), cloud.of("disks"), cloud.computers.machines) == ({}, {}, {})
