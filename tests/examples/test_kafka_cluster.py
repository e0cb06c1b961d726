"""The Kafka cluster of the examples: three brokers with their disks, through crashes, edits and a `down`.

One cluster serves all tests, in the order they are written in; each leaves it healthy and as declared.
tests/rollout/test_kafka_rollout.py rolls it out afterwards, and removes it.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from typing import Any

import pytest
from bench.kafka_cluster import NAME, KafkaCluster

from .clusters import ClusterProgram, wait_for
from .conftest import Program

pytestmark = [
    pytest.mark.machine,
    pytest.mark.timeout(1800),
    # kafka-python reads its schemas by functions that Python 3.11 deprecates and 3.13 took back.
    pytest.mark.filterwarnings("ignore:(read|open)_(text|binary) is deprecated:DeprecationWarning"),
    # It forgets to close the socket where a broker that is down refuses it.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

BROKERS = ["127.0.0.1:9091", "127.0.0.1:9092", "127.0.0.1:9093"]
NAMES = ["kafka-1", "kafka-2", "kafka-3"]
VOLUMES = [f"kafka-cluster-{name}-data" for name in NAMES]
TOPIC = "orders"
FIRST = [b"first %d" % number for number in range(300)]
SECOND = [b"second %d" % number for number in range(30)]
IDENTITY = ("sed", "-n", "/\\.id=/p", "/var/lib/kafka/data/meta.properties")


@pytest.fixture(autouse=True)
def no_forgotten_sockets() -> Iterator[None]:
    """Collect them while the filter above holds."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def cluster(kafka_cluster: KafkaCluster) -> Iterator[ClusterProgram]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in kafka_cluster.environment.items():
            patch.setenv(name, value)
        yield ClusterProgram(Program(kafka_cluster.home), kafka_cluster.directory, NAME)


@pytest.fixture(scope="module")
def identities(cluster: ClusterProgram) -> dict[str, tuple[str, str]]:
    """Return each machine's address and what its disk says whose it is, as they were at first."""
    return observe_identities(cluster)


def observe_identities(cluster: ClusterProgram) -> dict[str, tuple[str, str]]:
    return {
        name: (machine["ip"], cluster.execute(name, *IDENTITY))
        for name, machine in cluster.status().items()
        if machine["phase"] == "running"
    }


def admin() -> Any:
    from kafka import KafkaAdminClient

    return KafkaAdminClient(bootstrap_servers=BROKERS)


def replicas_in_sync() -> list[int]:
    """Return how many replicas are in sync, for each partition of the topic."""
    client = admin()
    try:
        (topic,) = client.describe_topics([TOPIC])
        return [len(partition["isr_nodes"]) for partition in topic["partitions"]]
    finally:
        client.close()


def produce(values: list[bytes]) -> None:
    """Send values to the topic's three partitions; each has been acknowledged by two brokers at least."""
    from kafka import KafkaProducer

    producer = KafkaProducer(bootstrap_servers=BROKERS, acks="all")
    try:
        sent = [producer.send(TOPIC, value, partition=number % 3) for number, value in enumerate(values)]
        for future in sent:
            future.get(timeout=120)
    finally:
        producer.close()


def consume(count: int) -> list[bytes]:
    """Return that many messages from the topic's beginning, sorted, or what is there after two minutes."""
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(bootstrap_servers=BROKERS, group_id=None, enable_auto_commit=False)
    try:
        partitions = [TopicPartition(TOPIC, number) for number in range(3)]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        values: list[bytes] = []
        deadline = time.monotonic() + 300
        while len(values) < count and time.monotonic() < deadline:
            for records in consumer.poll(timeout_ms=500).values():
                values += [record.value for record in records]
        return sorted(values)
    finally:
        consumer.close()


def test_all_brokers_are_unfenced_and_the_quorum_has_a_leader(cluster: ClusterProgram) -> None:
    client = admin()
    try:
        brokers = client.describe_cluster()["brokers"]
        (topic,) = client.describe_metadata_quorum()["topics"]
    finally:
        client.close()

    assert {broker["broker_id"]: broker["is_fenced"] for broker in brokers} == dict.fromkeys((1, 2, 3), False)
    assert sorted((broker["host"], broker["port"]) for broker in brokers) == [
        ("127.0.0.1", 9091),
        ("127.0.0.1", 9092),
        ("127.0.0.1", 9093),
    ]
    (quorum,) = topic["partitions"]
    assert quorum["leader_id"] in (1, 2, 3)
    assert sorted(voter["replica_id"] for voter in quorum["current_voters"]) == [1, 2, 3]


def test_the_cluster_is_as_declared_and_a_second_up_does_nothing(cluster: ClusterProgram) -> None:
    before = cluster.status()
    assert list(before) == NAMES
    assert {machine["health"] for machine in before.values()} == {"healthy"}
    assert cluster.drift() == (0, [])

    plan = cluster.json("plan", "--detailed-exitcode")
    cluster.run("up", "--yes")

    assert plan["changes"] == 0
    after = cluster.status()
    assert all(after[name]["age"] >= before[name]["age"] for name in NAMES)


def test_messages_are_written_to_three_brokers_and_read_back(
    cluster: ClusterProgram, identities: dict[str, tuple[str, str]]
) -> None:
    client = admin()
    try:
        client.create_topics({TOPIC: {"num_partitions": 3, "replication_factor": 3}})
    finally:
        client.close()

    produce(FIRST)

    assert consume(len(FIRST)) == sorted(FIRST)
    assert replicas_in_sync() == [3, 3, 3]
    assert len({disk for _, disk in identities.values()}) == 3


def test_a_file_that_was_edited_by_hand_is_found(cluster: ClusterProgram) -> None:
    cluster.execute("kafka-2", "sed", "-i", "$a num.io.threads=1", "/etc/kafka/server.properties")

    code, items = cluster.drift()
    shown = cluster.run("drift", check=False).stdout
    cluster.execute("kafka-2", "sed", "-i", "$d", "/etc/kafka/server.properties")

    assert code == 5
    assert [(item["source"], item["machine"], item["what"]) for item in items] == [
        ("file", "kafka-2", "/etc/kafka/server.properties")
    ]
    assert "/etc/kafka/server.properties" in shown
    assert cluster.drift() == (0, [])


def test_a_killed_machine_comes_back_with_its_disk_and_address(
    cluster: ClusterProgram, identities: dict[str, tuple[str, str]]
) -> None:
    cluster.kill("kafka-3")

    code, items = cluster.drift()
    produce(SECOND)
    cluster.run("up", "--yes")

    assert code == 5
    assert {item["machine"] for item in items} == {"kafka-3"}
    assert cluster.drift() == (0, [])
    assert observe_identities(cluster) == identities
    wait_for(lambda: replicas_in_sync() == [3, 3, 3], "all replicas are in sync")
    assert consume(len(FIRST) + len(SECOND)) == sorted(FIRST + SECOND)


def test_the_disks_outlive_the_cluster(
    cluster: ClusterProgram, identities: dict[str, tuple[str, str]]
) -> None:
    cluster.run("down")
    left = cluster.leftovers()
    assert (left["machines"], left["networks"], left["volumes"]) == ([], [], VOLUMES)

    cluster.run("up", "--yes")
    again = observe_identities(cluster)
    assert {name: disk for name, (_, disk) in again.items()} == {
        name: disk for name, (_, disk) in identities.items()
    }
    assert consume(len(FIRST) + len(SECOND)) == sorted(FIRST + SECOND)
