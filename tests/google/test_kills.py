"""Commands that are killed at random points: the next one goes on, and nothing is left running or lost.

The kill comes with a random one of the requests that the command, or Terraform for it, sends: so it hits
each of its steps on a slow computer as on a fast one. `STONEWARE_TEST_SEED` says which.
"""

from __future__ import annotations

import json
import os
import queue
import random
import secrets
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from stoneware.config import digest
from stoneware.files import canonical_json
from stoneware.machinefile import recipe
from stoneware.model import guest_protocol
from stoneware.model.machine import MachineSpec
from stoneware.platforms.google.api import Api
from stoneware.platforms.google.bucket import Bucket
from stoneware.platforms.google.images import GoogleImages
from tests import commands
from tests.cluster.support import FakeImages
from tests.google.cloud import PROJECT, ZONE, Cloud, Request, served
from tests.google.clusters import SETTINGS
from tests.google.provider.install import program_of

pytestmark = [pytest.mark.tool, pytest.mark.filterwarnings("ignore::DeprecationWarning:google")]
KILLS = {"bake": 12, "up": 10, "rollout": 8}
KILLED = -9  # the exit code
MOST = {"bake": 30, "up": 70, "rollout": 90}  # requests of a command, about
FILE = """\
name: shop
services:
  app:
    image: app:${RELEASE:-1}
    volumes: ["data:/data"]
    deploy: {replicas: 2, update_config: {monitor: 0s}}
volumes: {data: }
"""
TOML = f"""\
platform = "google"

[google]
project = "{PROJECT}"
region = "us-central1"
zones = ["{ZONE}"]
bucket = "things"
"""


class Agents:
    """What machines in memory report: those of a cluster that they are well, builders that they failed."""

    def __init__(self, cloud: Cloud) -> None:
        self._computers = cloud.computers
        self._boot = cloud.computers.boot
        self.building = False  # whether builders go on without an end
        cloud.computers.boot = self.boot  # type: ignore[method-assign]

    def boot(self, spec: MachineSpec) -> None:
        self._boot(spec)
        metadata = spec.metadata
        if token := metadata.get(guest_protocol.TOKEN):
            failed = {"token": token, "step": 1, "state": "failed", "exit": 7, "message": "", "boot": "b"}
            said = {} if self.building else {"build": failed}
        else:
            image = json.loads(metadata["stoneware-spec"])["source"].removeprefix("image:")
            config = digest(metadata.get(guest_protocol.CONFIG, ""))
            status = {"phase": "running", "image": image, "config": config}
            said = {"status": status, "health": {"status": "healthy"}}
        self._computers.attributes[spec.name] = {
            f"stoneware/{name}": json.dumps(report) for name, report in said.items()
        }


@dataclass
class Project:
    """A directory with a Machinefile and a machines.yaml, and who kills commands in it."""

    cloud: Cloud
    directory: Path
    environment: dict[str, str]
    bucket: Bucket
    agents: Agents
    chance: random.Random
    said: list[str] = field(default_factory=list)

    def run(self, *words: str, at: int = 0, release: int = 1) -> int:
        """Run a command, which is killed with request number `at`, and return its exit code."""
        pids: queue.SimpleQueue[int] = queue.SimpleQueue()
        left = [at]

        def count(_: Request) -> None:
            left[0] -= 1
            if left[0] == 0:
                os.kill(pids.get(), signal.SIGKILL)

        self.cloud.each = count
        env = {**self.environment, "RELEASE": str(release)}
        try:
            done = commands.run(words, cwd=self.directory, env=env, timeout=300, started=pids.put)
        finally:
            self.cloud.each = None
        self.said.append(
            f"$ {' '.join(words)}  # killed at {at}, release {release}: {done.returncode}\n"
            f"{done.stdout}{done.stderr}"
        )
        return done.returncode

    def kill(self, *words: str, release: int = 1) -> int:
        """Run a command, kill it at a random point unless it ends before, and return its exit code."""
        return self.run(*words, at=self.chance.randint(1, MOST[words[0]]), release=release)

    def last(self) -> str:
        """Return what the last commands said."""
        return "\n".join(self.said[-3:])

    def well(self, *words: str, release: int = 1) -> None:
        """Run a command that has to succeed."""
        assert self.run(*words, release=release) == 0, self.last()

    def disks(self) -> dict[str, str]:
        """Return the ids of the data disks by name."""
        return {
            name: disk["id"]
            for name, disk in self.cloud.of("disks").items()
            if disk.get("labels", {}).get("stoneware") == "volume"
        }

    def check_cluster(self, release: int) -> None:
        """Both machines run that release, each with its disk, and nothing else is there."""
        names = {"shop-app-1", "shop-app-2"}
        found = self.cloud.of("instances")
        assert set(found) == names, self.said[-1]
        for name, one in found.items():
            assert one["status"] == "RUNNING"
            assert [disk["source"].rsplit("/", 1)[1] for disk in one["disks"]] == [name, f"{name}-data"]
            spec = next(item for item in one["metadata"]["items"] if item["key"] == "stoneware-spec")
            assert json.loads(spec["value"])["image_ref"] == f"app:{release}", self.said[-1]
        assert set(self.cloud.of("addresses")) == names
        assert set(self.cloud.of("disks")) == {*names, *(f"{name}-data" for name in names)}


@pytest.fixture
def project(tmp_path: Path, google_provider: dict[str, str]) -> Iterator[Project]:
    seed = os.environ.get("STONEWARE_TEST_SEED") or secrets.token_hex(4)
    print(f"STONEWARE_TEST_SEED={seed}")
    with served(tmp_path / "emulator", delay=0.01) as cloud:
        directory = tmp_path / "project"
        directory.mkdir()
        (directory / "stoneware.toml").write_text(TOML)
        (directory / "machines.yaml").write_text(FILE)
        (directory / "Machinefile").write_text("FROM debian:12\nRUN true\n")
        program = program_of(google_provider)
        environment = {name: text for name, text in os.environ.items() if not name.startswith("STONEWARE_")}
        environment |= {
            "STONEWARE_HOME": str(tmp_path / "home"),
            "STONEWARE_GOOGLE_ENDPOINT": cloud.endpoint,
            "STONEWARE_GOOGLE_PROVIDER": str(program),
        }
        api = Api(replace(SETTINGS, endpoint=cloud.endpoint, bucket="things"))
        body = {"name": "things", "location": "us-central1"}
        api.request("storage", "POST", "/b", "make the bucket", query={"project": PROJECT}, body=body)
        _have_images(GoogleImages(api, Bucket(api), tmp_path / "home"))
        agents = Agents(cloud)
        yield Project(cloud, directory, environment, Bucket(api), agents, random.Random(seed))  # noqa: S311


def _have_images(images: GoogleImages) -> None:
    """Have two releases of the image `app`."""
    made = {"name": "made", "sourceImage": "projects/debian-cloud/global/images/family/debian-12"}
    images.api.operate("POST", f"zones/{ZONE}/disks", "make a disk", made)
    disk = f"projects/{PROJECT}/zones/{ZONE}/disks/made"
    config = recipe.ImageConfig(healthcheck=recipe.HealthCheck(("check",), interval=7), volumes=("/data",))
    fake = FakeImages()
    fake.add("app:1", "1", config, commit="1" * 40)
    fake.add("app:2", "2", config, commit="2" * 40)
    for number, reference in enumerate(("app:1", "app:2"), 1):
        manifest: dict[str, Any] = {**fake.manifest(fake.references[reference]), "dirty": False, "schema": 1}
        key = f"{number}" * 64
        image = images.save(disk, canonical_json(manifest), {"key": key, "size_bytes": 7})
        images.set_tag(reference, image)
    images.api.operate("DELETE", f"zones/{ZONE}/disks/made", "remove the disk")


# A hundred commands, each with a Terraform of its own: on a computer that others keep busy, ten minutes.
@pytest.mark.timeout(2400)
def test_the_next_command_goes_on_where_a_kill_ended_one(project: Project) -> None:
    _bakes(project)
    disks = _ups(project)
    _rollouts(project)
    assert project.disks() == disks
    project.well("down", "--volumes", "--yes")
    cloud = project.cloud
    left = {kind: sorted(cloud.of(kind)) for kind in ("instances", "disks", "addresses", "firewalls")}
    assert left == {"instances": [], "disks": [], "addresses": [], "firewalls": []}
    assert len(cloud.of("images")) == 2


def _bakes(project: Project) -> None:
    project.agents.building = True
    for _ in range(KILLS["bake"]):
        assert project.kill("bake", "-t", "words", ".") == KILLED, project.last()
    project.agents.building = False
    assert project.run("bake", "-t", "words", ".") == 1, project.said[-1]
    assert dict(project.cloud.of("instances")) == {}, project.said[-1]
    assert dict(project.cloud.of("disks")) == {}
    assert project.bucket.names("bakes/") == []


def _ups(project: Project) -> dict[str, str]:
    """Kill `up` again and again, in what earlier ones left, until it has been killed often enough."""
    disks: dict[str, str] = {}
    kills = 0
    while kills < KILLS["up"]:
        code = project.kill("up", "--yes")
        assert code in (KILLED, 0), project.last()
        kills += code == KILLED
        if code == 0:
            project.check_cluster(1)
            project.well("down", "--yes")
        now = project.disks()
        assert disks.items() <= now.items(), project.said[-1]
        disks = now
    project.well("up", "--yes")
    project.check_cluster(1)
    return project.disks()


def _rollouts(project: Project) -> None:
    """Kill rollouts from one release to the other and back; each is resumed, and that is killed as well."""
    kills, release = 0, 2
    words: tuple[str, ...] = ("rollout",)
    while kills < KILLS["rollout"]:
        code = project.kill(*words, release=release)
        if code == KILLED:
            kills += 1
            words = ("rollout", "resume")
        elif code == 2 and words[1:]:  # it was killed before it had begun, or after its end
            words = ("rollout",)
        else:
            assert code == 0, project.last()
            project.check_cluster(release)
            words, release = ("rollout",), 3 - release
    if words[1:]:
        assert project.run(*words, release=release) in (0, 2), project.last()
    project.well("rollout", release=release)
    project.check_cluster(release)
