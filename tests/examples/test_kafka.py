"""The Kafka example: messages outlive the machine, and a disk is never formatted twice or used by another."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from .conftest import EXAMPLES, Program

pytestmark = [
    pytest.mark.machine,
    # kafka-python reads its schemas by functions that Python 3.11 deprecates and 3.13 took back.
    pytest.mark.filterwarnings("ignore:(read|open)_(text|binary) is deprecated:DeprecationWarning"),
]

KAFKA = EXAMPLES / "kafka"
CLUSTER = "4L6g3nShT-eMCtK--X86sw"
OTHER_CLUSTER = "AAAAAAAAAAAAAAAAAAAAAA"
TOPIC = "events"
MOUNT = ("-v", "kafka-test:/var/lib/kafka")


@pytest.fixture
def kafka(program: Program) -> Program:
    program.bake("kafka", KAFKA)
    program.volumes.append("kafka-test")
    return program


def produce(address: str, values: list[bytes]) -> list[int]:
    """Send values to the topic's one partition and return their offsets, each acknowledged."""
    from kafka import KafkaProducer

    producer = KafkaProducer(bootstrap_servers=address, acks="all")
    try:
        sent = [producer.send(TOPIC, value, partition=0) for value in values]
        return [future.get(timeout=30).offset for future in sent]
    finally:
        producer.close()


def consume(address: str, count: int) -> list[bytes]:
    """Read that many messages from the topic's beginning, or what is there after half a minute."""
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(bootstrap_servers=address, group_id=None, enable_auto_commit=False)
    try:
        partition = TopicPartition(TOPIC, 0)
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        values: list[bytes] = []
        deadline = time.monotonic() + 30
        while len(values) < count and time.monotonic() < deadline:
            for records in consumer.poll(timeout_ms=500).values():
                values += [record.value for record in records]
        return values
    finally:
        consumer.close()


def identity(program: Program, name: str) -> dict[str, str]:
    """Return what the broker's disk says whose it is."""
    text = program.run("exec", name, "cat", "/var/lib/kafka/data/meta.properties").stdout
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def boot(program: Program, name: str) -> dict[str, Any]:
    return program.boot(name, *MOUNT, "-e", f"CLUSTER_ID={CLUSTER}", "-e", "KAFKA_HEAP=256m", "kafka")


def test_messages_outlive_the_machine(kafka: Program) -> None:
    old = [b"message %d" % number for number in range(500)]
    first = boot(kafka, "kafka-first")
    assert produce(f"{first['ip']}:9092", old) == list(range(500))
    disk = identity(kafka, "kafka-first")
    kafka.run("stop", "kafka-first")
    kafka.run("rm", "kafka-first")

    second = boot(kafka, "kafka-second")

    assert identity(kafka, "kafka-second") == disk
    assert disk["cluster.id"] == CLUSTER
    address = f"{second['ip']}:9092"
    assert consume(address, 500) == old
    assert produce(address, [b"new"]) == [500]
    log = kafka.run("exec", "kafka-second", "journalctl", "--no-pager", "-o", "cat", "-u", "kafka").stdout
    assert "formatting" not in log
    assert re.search(r"Skipping recovery of 1 logs .* since clean shutdown file was found", log)


def test_the_disk_of_another_cluster_is_refused_and_stays_as_it_is(kafka: Program) -> None:
    boot(kafka, "kafka-ours")
    disk = identity(kafka, "kafka-ours")
    kafka.run("stop", "kafka-ours")
    kafka.run("rm", "kafka-ours")
    kafka.machines.append("kafka-other")

    words = ["run", "-d", "--wait", "--name", "kafka-other", *MOUNT, "-e", f"CLUSTER_ID={OTHER_CLUSTER}"]
    done = kafka.run(*words, "kafka", check=False)

    assert done.returncode == 1
    assert f"belongs to cluster '{CLUSTER}', and CLUSTER_ID says '{OTHER_CLUSTER}'" in done.stderr
    assert f"belongs to cluster '{CLUSTER}'" in kafka.machine("kafka-other")["error"]
    kafka.run("rm", "-f", "kafka-other")
    boot(kafka, "kafka-again")
    assert identity(kafka, "kafka-again") == disk


def test_the_broker_is_reached_through_a_published_port(kafka: Program) -> None:
    """Clients elsewhere connect to what the broker advertises: here this computer's own address and port."""
    port = free_port()
    kafka.boot(
        "kafka-published",
        *["-p", f"127.0.0.1:{port}:9092", "-e", f"CLUSTER_ID={CLUSTER}", "-e", "KAFKA_HEAP=256m"],
        *["-e", "ADVERTISED_HOST=127.0.0.1", "-e", f"ADVERTISED_PORT={port}", "kafka"],
    )

    assert produce(f"127.0.0.1:{port}", [b"one", b"two"]) == [0, 1]
    assert consume(f"127.0.0.1:{port}", 2) == [b"one", b"two"]


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def test_nothing_of_the_first_stages_is_in_the_image(kafka: Program) -> None:
    boot(kafka, "kafka-content")

    found = kafka.run(
        "exec", "kafka-content", "sh", "-c", "ls -d /usr/bin/mvn /usr/bin/javac /src /root/.m2 || :"
    )
    assert found.stdout == ""
    owner = kafka.run("exec", "kafka-content", "stat", "-c", "%U:%G", "/var/lib/kafka")
    assert owner.stdout.strip() == "kafka:kafka"
