"""The Kafka example: messages outlive the machine, and a disk is never formatted twice or used by another.

One disk serves all tests, in the order they are written in.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.kafka_cluster import QUICK

from . import virtual_life
from .conftest import EXAMPLES, Program

pytestmark = [
    pytest.mark.machine,
    pytest.mark.timeout(1800),
    # kafka-python reads its schemas by functions that Python 3.11 deprecates and 3.13 took back.
    pytest.mark.filterwarnings("ignore:(read|open)_(text|binary) is deprecated:DeprecationWarning"),
]

KAFKA = EXAMPLES / "kafka"
CLUSTER = "4L6g3nShT-eMCtK--X86sw"
OTHER_CLUSTER = "AAAAAAAAAAAAAAAAAAAAAA"
TOPIC = "events"
OPTIONS = ("-e", "KAFKA_HEAP=256m", *(f"-e{name}={value}" for name, value in QUICK.items()))
VM = "kafka-vm"
MOUNT = ("-v", "kafka-test:/var/lib/kafka")


@pytest.fixture(scope="module")
def kafka(machine_home: Path) -> Iterator[Program]:
    made = Program(machine_home)
    made.bake("kafka", KAFKA)
    made.volumes.append("kafka-test")
    yield made
    made.remove()


def produce(address: str, values: list[bytes]) -> list[int]:
    """Send values to the topic's one partition and return their offsets, each acknowledged."""
    from kafka import KafkaProducer

    producer = KafkaProducer(bootstrap_servers=address, acks="all")
    try:
        sent = [producer.send(TOPIC, value, partition=0) for value in values]
        return [future.get(timeout=120).offset for future in sent]
    finally:
        producer.close()


def consume(address: str, count: int) -> list[bytes]:
    """Read that many messages from the topic's beginning, or what is there after two minutes."""
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(bootstrap_servers=address, group_id=None, enable_auto_commit=False)
    try:
        partition = TopicPartition(TOPIC, 0)
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        values: list[bytes] = []
        deadline = time.monotonic() + 300
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


def boot(program: Program, name: str, *words: str) -> dict[str, Any]:
    return program.boot(name, *MOUNT, "-e", f"CLUSTER_ID={CLUSTER}", *OPTIONS, *words, "kafka")


def test_messages_outlive_the_machine(kafka: Program) -> None:
    """Clients elsewhere connect to what the second advertises: this computer's own address and port."""
    old = [b"message %d" % number for number in range(500)]
    first = boot(kafka, "kafka-first")
    assert produce(f"{first['ip']}:9092", old) == list(range(500))
    disk = identity(kafka, "kafka-first")
    kafka.run("stop", "kafka-first")
    kafka.run("rm", "kafka-first")

    port = free_port()
    advertised = ("-e", "ADVERTISED_HOST=127.0.0.1", "-e", f"ADVERTISED_PORT={port}")
    boot(kafka, "kafka-second", "-p", f"127.0.0.1:{port}:9092", *advertised)

    assert identity(kafka, "kafka-second") == disk
    assert disk["cluster.id"] == CLUSTER
    address = f"127.0.0.1:{port}"
    assert consume(address, 500) == old
    assert produce(address, [b"new"]) == [500]
    log = kafka.run("exec", "kafka-second", "journalctl", "--no-pager", "-o", "cat", "-u", "kafka").stdout
    assert "formatting" not in log
    assert re.search(r"Skipping recovery of 1 logs .* since clean shutdown file was found", log)


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def test_nothing_of_the_first_stages_is_in_the_image(kafka: Program) -> None:
    found = kafka.run(
        "exec", "kafka-second", "sh", "-c", "ls -d /usr/bin/mvn /usr/bin/javac /src /root/.m2 || :"
    )
    assert found.stdout == ""
    owner = kafka.run("exec", "kafka-second", "stat", "-c", "%U:%G", "/var/lib/kafka")
    assert owner.stdout.strip() == "kafka:kafka"


def uses_archive(program: Program, name: str) -> bool:
    """Whether the broker has the archive of classes in its memory."""
    users = "grep -ls /opt/kafka/classes.jsa /proc/[0-9]*/maps"
    return program.run("exec", name, "sh", "-c", users).stdout.startswith("/proc/")


def test_a_broker_takes_its_classes_from_the_archive(kafka: Program) -> None:
    assert uses_archive(kafka, "kafka-second")


def test_the_disk_of_another_cluster_is_refused_and_stays_as_it_is(kafka: Program) -> None:
    disk = identity(kafka, "kafka-second")
    kafka.run("stop", "kafka-second")
    kafka.run("rm", "kafka-second")
    kafka.machines.append("kafka-other")

    words = ["run", "-d", "--wait", "--name", "kafka-other", *MOUNT, "-e", f"CLUSTER_ID={OTHER_CLUSTER}"]
    done = kafka.run(*words, "kafka", check=False)

    assert done.returncode == 1
    assert f"belongs to cluster '{CLUSTER}', and CLUSTER_ID says '{OTHER_CLUSTER}'" in done.stderr
    assert f"belongs to cluster '{CLUSTER}'" in kafka.machine("kafka-other")["error"]
    kafka.run("rm", "-f", "kafka-other")
    boot(kafka, "kafka-again")
    assert identity(kafka, "kafka-again") == disk


@pytest.mark.timeout(2400)
def test_its_disk_boots_in_qemu_and_goes_on_with_the_messages(kafka: Program) -> None:
    """Java is slow without KVM: so the broker's disk is formatted already, and has what containers wrote.

    It is the one virtual machine of `run --vm` whose life is seen to its end.
    """
    if lacking := virtual_life.lacking():
        pytest.skip(f"virtual machines need {lacking}")
    kafka.run("stop", "kafka-again")
    kafka.run("rm", "kafka-again")
    kafka.run("volume", "convert", "kafka-test", "--size", "1g")
    port = free_port()
    advertised = ("-e", "ADVERTISED_HOST=127.0.0.1", "-e", f"ADVERTISED_PORT={port}")
    boot(kafka, VM, "--vm", "--timeout", "1500", "-p", f"127.0.0.1:{port}:9092", *advertised)
    address = f"127.0.0.1:{port}"
    found = consume(address, 501)
    assert (len(found), found[-1]) == (501, b"new")
    assert produce(address, [b"newest"]) == [501]
    assert uses_archive(kafka, VM)
    script = "echo kept >/var/lib/kafka/kept && chown www-data: /var/lib/kafka/kept && hostname -I"
    assert virtual_life.inside(kafka, VM, script).split() == [kafka.machine(VM)["ip"]]

    kafka.run("stop", "-t", "600", VM)
    stopped = kafka.machine(VM)
    assert (stopped["phase"], stopped["exit_code"]) == ("stopped", 0)
    kafka.run("start", VM)
    os.kill(virtual_life.leader(kafka, VM), signal.SIGKILL)
    assert re.search("is (stopped|not running)", kafka.run("exec", VM, "true", check=False).stderr)
    assert exit_code(kafka) == 137
    kafka.run("rm", VM)
    assert not (kafka.home / "data/machines" / VM).exists()
    a_container_has_what_was_on_its_disk(kafka)


def exit_code(kafka: Program) -> int:
    deadline = time.monotonic() + 300
    while (code := kafka.machine(VM)["exit_code"]) is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return int(code)


def a_container_has_what_was_on_its_disk(kafka: Program) -> None:
    words = ["run", "--rm", *MOUNT, "-e", f"CLUSTER_ID={CLUSTER}", "--entrypoint", "sh", "kafka"]
    words += ["-c", "cat /var/lib/kafka/kept && stat -c %U /var/lib/kafka/kept"]
    done = kafka.run(*words)
    assert done.stdout == "kept\nwww-data\n"
    assert "converting the volume kafka-test" in done.stderr
