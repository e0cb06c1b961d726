"""The example's Kafka cluster on Compute Engine, by its commands, on the emulator's machines.

From a bake to nothing left: two images, the second on the first, a cluster under load, its rollout from 4.2.1
to 4.3.1 whose driver is killed, the way back, and `down`. What was acknowledged is there in the end.
"""

from __future__ import annotations

import gc
import json
import os
import random
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from bench.kafka_cluster import NEW, OLD, QUICK, Driver, KafkaCluster, load, wait_until
from bench.topic_google import LIMITS

from stoneware.platforms.local.store.images import LocalImageStore
from stoneware.rollout.journal import Event
from tests import commands
from tests.google.provider.install import program_of
from tests.google.real import REPEATED, Cloud, served
from tests.rollout.test_kafka_rollout import check_load

pytestmark = [pytest.mark.machine, pytest.mark.timeout(1800)]

NAMES = ["kafka-1", "kafka-2", "kafka-3"]
RATE = 50.0


# The new version's Kafka on the image of the old one, whose bake has shown stages already.
NEWER = f"""\
FROM kafka:{OLD}
USER root
RUN rm -r /opt/kafka
COPY kafka /opt/kafka
USER kafka
ARG KAFKA_VERSION
LABEL org.opencontainers.image.version=$KAFKA_VERSION stoneware.version=$KAFKA_VERSION \\
      stoneware.rollback-floor=${{KAFKA_VERSION%.*}}
"""
BUILD = """\
services:
  kafka:
    build:
      context: ${KAFKA_CONTEXT}
"""


@dataclass(frozen=True)
class CloudCluster(KafkaCluster):
    """The same commands for the emulated project. `contexts`: what each version is baked from."""

    cloud: Cloud = field(kw_only=True)
    contexts: dict[str, Path] = field(kw_only=True)

    def _environment(self, version: str) -> dict[str, str]:
        own = {"KAFKA_VERSION": version, "KAFKA_CONTEXT": str(self.contexts[version])}
        return {**self.cloud.environment, **self.environment, **own}

    def events(self) -> list[Event]:
        """Return nothing: the journal is in the bucket, and a driver is killed by what it says."""
        return []


@pytest.fixture
def cluster(machine_home: Path, tmp_path: Path, google_provider: dict[str, str]) -> Iterator[CloudCluster]:
    program = program_of(google_provider)
    example = KafkaCluster(machine_home).directory
    contexts = {OLD: example.parent / "kafka", NEW: newer(machine_home, tmp_path / "newer")}
    # The variable counts in a directory without a machines.yaml.
    place = tmp_path / "site"
    place.mkdir()
    (place / "build.yaml").write_text(BUILD)
    files = f"{example / 'machines.yaml'}:{example / 'google.yaml'}:{place / 'build.yaml'}"
    variables = {"COMPOSE_FILE": files, "MONITOR": "1s", "MACHINE_TYPE": "e2-small", **QUICK}
    with served(machine_home, tmp_path, program, "10.213.8.0/24") as cloud:
        made = CloudCluster(
            machine_home, variables, place, program=commands.run_in, cloud=cloud, contexts=contexts
        )
        for version, context in contexts.items():
            argument = f"KAFKA_VERSION={version}"
            words = ("bake", "-q", "-t", f"kafka:{version}", "--build-arg", argument)
            made.run(*words, context, version=version)
        yield made
    gc.collect()


def newer(machine_home: Path, context: Path) -> Path:
    """Lay out the context of the new version: its files come from the image that rollouts here go to."""
    here = KafkaCluster(machine_home, program=commands.run_in)
    here.bake(NEW)
    store = LocalImageStore.open(machine_home)
    shutil.copytree(store.image_rootfs(store.tags()[f"kafka:{NEW}"]) / "opt/kafka", context / "kafka")
    (context / "Machinefile").write_text(NEWER)
    return context


def data_disks(cloud: Cloud) -> dict[str, str]:
    """Return the ids of the data disks, by name."""
    found = cloud.api.items("compute", "aggregated/disks", "list the disks")
    return {str(each["name"]): str(each["id"]) for each in found if str(each["name"]).endswith("-data")}


def check_cluster(cluster: CloudCluster, version: str) -> dict[str, str]:
    """Every machine runs that version and is well; return their addresses by name."""
    machines = cluster.machines(version)
    assert {name: machine["well"] for name, machine in machines.items()} == dict.fromkeys(NAMES, True)
    assert {name: machine["in_sync"] for name, machine in machines.items()} == dict.fromkeys(NAMES, True)
    return {name: machine["ip"] for name, machine in machines.items()}


def said_by(driver: Driver) -> str:
    """Return what a driver that runs has said so far."""
    return os.pread(driver.output.fileno(), 1 << 20, 0).decode(errors="replace")


def kill(driver: Driver, word: str) -> None:
    """Kill a driver once it has said a word."""
    wait_until(lambda: word in said_by(driver) or not driver.running, f"it says {word}")
    assert driver.running, said_by(driver)
    driver.process.kill()
    driver.process.wait()
    driver.output.close()


def roll_with_a_kill(cluster: CloudCluster) -> None:
    """Roll to the new version; the driver is killed as it replaces a machine, and another goes on."""
    seed = os.environ.get("STONEWARE_TEST_SEED") or secrets.token_hex(4)
    chance = random.Random(seed)  # noqa: S311
    word = chance.choice(["stopping", "replacing", "waiting until", "healthy, watched", "done"])
    where = f"STONEWARE_TEST_SEED={seed}: killed as a machine is {word}"
    print(where)
    kill(cluster.drive("rollout", "--progress", "plain"), word)
    refused = cluster.drive("rollout").finish()
    assert refused[0] == 2, refused
    assert "stoneware rollout resume" in refused[1]
    code, said = cluster.drive("rollout", "resume").finish()
    assert code == 0, f"{where}\n{said}"


def live(cluster: CloudCluster, directory: Path) -> dict[str, int]:
    """Go through the life of the cluster, and return how many requests some of its commands sent."""
    cloud = cluster.cloud
    cluster.run("up", "--yes")
    addresses = check_cluster(cluster, OLD)
    disks = data_disks(cloud)
    counted = {"up again": requests(cloud, lambda: cluster.run("up", "--yes"))}
    assert json.loads(cluster.run("drift", "--json"))["in_sync"]

    bootstrap = ",".join(f"{address}:9092" for address in addresses.values())
    with load("google", RATE, directory, bootstrap) as running:
        roll_with_a_kill(cluster)
        assert check_cluster(cluster, NEW) == addresses
        running.pass_more()
        counted["rollback"] = requests(cloud, lambda: cluster.run("rollback", version=OLD))
        running.pass_more()
        report = running.stop()

    check_load(report)
    assert check_cluster(cluster, OLD) == addresses
    assert data_disks(cloud) == disks
    cluster.run("down", "--volumes", "--yes")
    left = {kind: cloud.names(kind) for kind in ("instances", "disks", "addresses")}
    assert left == {"instances": [], "disks": [], "addresses": []}
    return counted


def requests(cloud: Cloud, command: Callable[[], object]) -> int:
    """Return how many requests a command sent: a question counts once, however often it was repeated."""
    before = len(cloud.asked())
    command()
    asked = [line for line in cloud.asked()[before:] if not any(word in line for word in REPEATED)]
    questions = {line for line in asked if line.startswith("GET ")}
    return len(questions) + sum(not line.startswith("GET ") for line in asked)


def test_the_example_lives_on_compute_engine(cluster: CloudCluster, tmp_path: Path) -> None:
    images = cluster.cloud.api.items("compute", "global/images", "list")
    assert [image["family"] for image in images if "family" in image] == ["kafka", "kafka"]
    counted = live(cluster, tmp_path)
    assert counted["rollback"] <= LIMITS["rollout, for each machine"] * len(NAMES), counted
    assert counted["up again"] <= LIMITS["up, nothing changed"], counted
