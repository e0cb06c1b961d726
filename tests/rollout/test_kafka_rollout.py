"""The example's Kafka cluster, rolled out under load: what was acknowledged is there in the end, always.

One cluster serves all tests, in the order they are written in, and those of test_kafka_cluster.py
before: it goes from 4.2.1 to 4.3.1, fails to go to an image whose broker cannot start, goes to another
configuration by two drivers, the first of which is killed, is finalized, and removed with its disks.
"""

from __future__ import annotations

import gc
import json
import os
import random
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bench.kafka_cluster import BOOTSTRAP, NAME, NEW, OLD, Driver, KafkaCluster, Load, load

from stoneware.rollout.gates.kafka_client import connect
from stoneware.rollout.journal import Event
from tests.examples.clusters import ClusterProgram
from tests.examples.conftest import Program

pytestmark = [
    pytest.mark.machine,
    pytest.mark.timeout(1800),
    # kafka-python reads its schemas by functions that Python 3.11 deprecates and 3.13 took back.
    pytest.mark.filterwarnings("ignore:(read|open)_(text|binary) is deprecated:DeprecationWarning"),
    # It forgets to close the socket where a broker that is down refuses it.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

NAMES = ["kafka-1", "kafka-2", "kafka-3"]
RATE = 100.0  # records per second; bench/ has ten times as many
LINES = 16  # of the journal of a rollout of three machines, at least: begin, and five for each
IDENTITY = ("sed", "-n", "/\\.id=/p", "/var/lib/kafka/data/meta.properties")
CORE = ("sh", "-c", "ls /opt/kafka/libs | sed -n 's/^kafka_2.13-\\(.*\\)\\.jar$/\\1/p'")
BROKEN = """\
ARG KAFKA_VERSION
FROM kafka:${KAFKA_VERSION}
USER root
RUN echo '-XX:+NoSuchOption' >>/etc/stoneware/templates/etc/kafka/jvm.options
USER kafka
"""


@pytest.fixture(autouse=True)
def no_forgotten_sockets() -> Iterator[None]:
    """Collect them while the filter above holds."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def cluster(kafka_cluster: KafkaCluster) -> KafkaCluster:
    kafka_cluster.bake(NEW)
    return kafka_cluster


@pytest.fixture(scope="module")
def disks(cluster: KafkaCluster) -> dict[str, str]:
    """Return what each machine's disk says whose it is, as it was at first."""
    return ask(cluster, *IDENTITY)


def ask(cluster: KafkaCluster, *command: str) -> dict[str, str]:
    return {name: cluster.run("exec", f"kafka-cluster-{name}", *command) for name in NAMES}


def check_load(report: dict[str, Any]) -> None:
    """Nothing that was acknowledged is lost, and everything was acknowledged."""
    assert report["lost"] == 0, report
    assert report["failed"] == 0, report
    assert report["offsets_went_back"] == [], report
    assert sum(report["end_offsets"].values()) >= report["acked"], report
    assert report["acked"] == report["sent"], report


def check_cluster(cluster: KafkaCluster, version: str, disks: dict[str, str]) -> None:
    """Every machine runs that version, on its own disk, and is well."""
    machines = cluster.machines(version)
    assert {name: machine["well"] for name, machine in machines.items()} == dict.fromkeys(NAMES, True)
    assert {name: machine["in_sync"] for name, machine in machines.items()} == dict.fromkeys(NAMES, True)
    assert ask(cluster, *CORE) == dict.fromkeys(NAMES, f"{version}\n")
    assert ask(cluster, *IDENTITY) == disks


def last_rollout(cluster: KafkaCluster) -> dict[str, Any]:
    rollouts: list[dict[str, Any]] = json.loads(cluster.run("rollout", "history", "--json"))["rollouts"]
    return rollouts[-1]


def watch_leaders(driver: Driver) -> list[tuple[float, int]]:
    """Return who led the quorum of the controllers, and when, until the driver has ended."""
    seen = []
    while driver.running:
        try:
            with connect(BOOTSTRAP) as client:
                seen.append((time.time(), client.view().leader))
            time.sleep(0.3)  # to leave the processors to the brokers
        except Exception:  # noqa: S112 -- a broker is being replaced; the next look tells
            continue
    return seen


def leader_at(seen: Sequence[tuple[float, int]], moment: float) -> int:
    return [leader for when, leader in seen if when <= moment and leader > 0][-1]


def of(events: Sequence[Event], name: str) -> list[Event]:
    return [event for event in events if event.name == name]


def test_three_brokers_go_to_a_new_version_under_load(
    cluster: KafkaCluster, disks: dict[str, str], tmp_path: Path, artifacts: Path
) -> None:
    plan = json.loads(cluster.run("rollout", "--plan", "--json", version=NEW))
    assert [change["machine"] for change in plan["changes"]] == NAMES
    assert all(change["gates"] == ["machine", "kafka"] for change in plan["changes"])

    with load("forward", RATE, tmp_path) as running:
        driver = cluster.drive("rollout", "--progress", "plain")
        leaders = watch_leaders(driver)
        code, said = driver.finish()
        running.pass_more()
        report = running.stop()

    assert code == 0, said
    check_load(report)
    check_cluster(cluster, NEW, disks)
    check_leader_last(driver.journal()[driver.known :], leaders)
    check_report(cluster, running, artifacts)
    again = cluster.run("rollout", "--plan", "--detailed-exitcode", "--json", version=NEW)
    assert json.loads(again)["changes"] == []


def check_leader_last(events: Sequence[Event], leaders: Sequence[tuple[float, int]]) -> None:
    """No broker was taken down while it led the quorum, but the last."""
    stopped = of(events, "stopping")
    assert sorted(name for event in stopped for name in event.fields["machines"]) == NAMES
    for event in stopped[:-1]:
        assert event.fields["machines"] != [f"kafka-{leader_at(leaders, event.time)}"], leaders


def check_report(cluster: KafkaCluster, running: Load, artifacts: Path) -> None:
    """The history has the rollout, and its page the load's curve."""
    row = last_rollout(cluster)
    assert (row["outcome"], row["kind"], row["finalized"]) == ("completed", "rollout", False)
    assert {machine["machine"]: machine["result"] for machine in row["machines"]} == dict.fromkeys(
        NAMES, "done"
    )
    assert all(
        set(machine["seconds"]) == {"stopping", "applying", "waiting", "monitoring"}
        for machine in row["machines"]
    )
    page = artifacts / "kafka-rollout.html"
    cluster.run("rollout", "report", row["id"], "-o", page, "--probe", running.curve)
    text = page.read_text()
    assert all(word in text for word in [*NAMES, "<polyline", "completed"])


def test_an_image_whose_broker_cannot_start_is_taken_back_under_load(
    cluster: KafkaCluster, disks: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "Machinefile").write_text(BROKEN)
    (tmp_path / "broken.yaml").write_text(
        f"services:\n  kafka:\n    image: kafka:broken\n    build:\n      context: {tmp_path}\n"
    )

    with load("failing", RATE, tmp_path) as running:
        driver = cluster.drive("rollout", "-f", "machines.yaml", "-f", tmp_path / "broken.yaml")
        code, said = driver.finish()
        running.pass_more()
        report = running.stop()

    assert code == 4, said
    check_load(report)
    check_cluster(cluster, NEW, disks)
    row = last_rollout(cluster)
    results = sorted(machine["result"] for machine in row["machines"])
    assert (row["outcome"], results) == ("rolled back", ["pending", "pending", "returned"])
    (failed,) = (machine for machine in row["machines"] if machine["failure"])
    assert failed["result"] == "returned"
    assert failed["machine"] in row["reason"]


def test_a_driver_that_is_killed_is_taken_over_under_load(
    cluster: KafkaCluster, disks: dict[str, str], tmp_path: Path
) -> None:
    seed = os.environ.get("STONEWARE_TEST_SEED") or secrets.token_hex(4)
    line = random.Random(seed).randint(1, LINES)  # noqa: S311
    where = f"STONEWARE_TEST_SEED={seed}: killed at line {line} of the journal"
    print(where)
    changed = replace(cluster, environment={**cluster.environment, "KAFKA_HEAP": "288m"})

    with load("killed", RATE, tmp_path) as running:
        event = changed.drive("rollout").kill_at(line)
        assert event is not None, f"{where}: it ended before"
        refused = changed.drive("rollout").finish()
        code, said = cluster.drive("rollout", "resume").finish()
        running.pass_more()
        report = running.stop()

    assert refused[0] == 2, refused
    assert "stoneware rollout resume" in refused[1]
    assert code == 0, f"{where}, {event}\n{said}"
    check_load(report)
    check_cluster(changed, NEW, disks)
    assert ask(cluster, "grep", "-h", "Xmx", "/etc/kafka/jvm.options") == dict.fromkeys(NAMES, "-Xmx288m\n")
    assert last_rollout(cluster)["outcome"] == "completed"


def features(cluster: KafkaCluster) -> dict[str, str]:
    """Return the finalized level of each feature."""
    words = ("kafka-tool", "FeatureCommand", "--bootstrap-server", "localhost:9092", "describe")
    said = cluster.run("exec", "kafka-cluster-kafka-2", *words)
    return dict(re.findall(r"^Feature: (\S+)\s.*FinalizedVersionLevel: (\S+)", said, re.MULTILINE))


def test_what_is_finalized_does_not_go_back(cluster: KafkaCluster) -> None:
    before = features(cluster)
    early = cluster.drive("rollout", "finalize").finish()
    assert (early[0], "too early" in early[1]) == (2, True)

    cluster.run("rollout", "finalize", "--now", "--yes")

    assert before["metadata.version"].startswith("4.2-")
    after = features(cluster)
    assert after["metadata.version"].startswith("4.3-")
    assert after["kraft.version"] == "0"
    refused, said = cluster.drive("rollout", "--plan", version=OLD).finish()
    assert (refused, "4.3 is the lowest now" in said) == (2, True), said
    assert set(after) == set(before)
    cluster.run("exec", "kafka-cluster-kafka-3", "kafka-finalize")
    assert features(cluster) == after


def test_nothing_is_left_when_the_disks_are_given_up(cluster: KafkaCluster) -> None:
    cluster.run("down", "--volumes", "--yes", version=NEW)
    program = ClusterProgram(Program(cluster.home), cluster.directory, NAME)
    assert not any(program.leftovers().values())
