"""A load on a Kafka cluster that proves what got lost: numbered records in, the same numbers out.

    python -m bench.kafka_probe --bootstrap 127.0.0.1:9091,127.0.0.1:9092 --rate 300 --seconds 60

Produces records with acks=all at a steady rate until the time is over or it is interrupted, then consumes the
topic from its start. It prints one JSON object: sent, acked, consumed, lost (acked and never consumed, which
must be none), duplicates, the longest time without any acknowledgement, latencies, and whether an end offset
ever went back. `--curve FILE` gets a JSON line per second, which `stoneware rollout report --probe` draws.
Exit code 0: nothing lost; 1: something was.
"""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

_DELIVERY_MS = 120_000  # a record is given up after this
_CONSUME_LIMIT = 120.0  # seconds to read everything back
_TICK = 0.01


@dataclass
class Tally:
    """What has been sent and acknowledged; shared with the producer's thread."""

    sent: int = 0
    acked: dict[int, float] = field(default_factory=dict)  # number to latency in seconds
    failed: dict[int, str] = field(default_factory=dict)
    last_ack: float = 0.0
    longest_gap: float = 0.0
    second: list[float] = field(default_factory=list)  # latencies since the last line of the curve
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ack(self, number: int, due: float) -> None:
        now = time.monotonic()
        with self.lock:
            self.acked[number] = now - due
            self.second.append(now - due)
            if self.last_ack:
                self.longest_gap = max(self.longest_gap, now - self.last_ack)
            self.last_ack = now

    def fail(self, number: int, error: BaseException) -> None:
        with self.lock:
            self.failed[number] = f"{type(error).__name__}: {error}"

    def take_second(self) -> list[float]:
        with self.lock:
            taken, self.second = self.second, []
        return taken


@dataclass
class Offsets:
    """The end offsets of all partitions: they may only grow."""

    latest: dict[int, int] = field(default_factory=dict)
    went_back: list[str] = field(default_factory=list)

    def look(self, consumer: Any, partitions: list[Any]) -> None:
        try:
            found = consumer.end_offsets(partitions)
        except Exception:  # while brokers move it may fail; the next look counts
            return
        for partition, offset in found.items():
            before = self.latest.get(partition.partition, 0)
            if offset < before:
                self.went_back.append(f"{partition.partition}: {before} to {offset}")
            self.latest[partition.partition] = max(before, offset)


@dataclass(frozen=True)
class Probe:
    """One run. `rate` in records per second; `seconds` None: until interrupted."""

    bootstrap: list[str]
    topic: str
    rate: float
    seconds: float | None
    partitions: int
    replication: int
    size: int
    run: str = field(default_factory=lambda: secrets.token_hex(4))

    def value(self, number: int) -> bytes:
        return f"{self.run}:{number}:".encode().ljust(self.size, b".")

    def number(self, value: bytes) -> int | None:
        run, _, rest = value.partition(b":")
        return int(rest.partition(b":")[0]) if run == self.run.encode() else None


def make_topic(probe: Probe) -> None:
    from kafka.admin import KafkaAdminClient, NewTopic
    from kafka.errors import TopicAlreadyExistsError

    admin = KafkaAdminClient(bootstrap_servers=probe.bootstrap)
    try:
        least = str(max(1, probe.replication - 1))
        topic = NewTopic(
            probe.topic, probe.partitions, probe.replication, topic_configs={"min.insync.replicas": least}
        )
        admin.create_topics([topic])
        admin.wait_for_topics([probe.topic])
    except TopicAlreadyExistsError:
        pass
    finally:
        admin.close()


def produce(
    probe: Probe, tally: Tally, offsets: Offsets, over: Callable[[], bool], curve: TextIO | None
) -> None:
    from kafka import KafkaConsumer, KafkaProducer

    producer = KafkaProducer(
        bootstrap_servers=probe.bootstrap,
        acks="all",
        linger_ms=2,
        delivery_timeout_ms=_DELIVERY_MS,
        max_block_ms=_DELIVERY_MS,
    )
    consumer = KafkaConsumer(bootstrap_servers=probe.bootstrap, group_id=None)
    sent = threading.Event()
    watcher = threading.Thread(target=_watch, args=(probe, consumer, offsets, sent), daemon=True)
    watcher.start()
    began = shown = time.monotonic()
    while not over():
        due = int((time.monotonic() - began) * probe.rate)
        while tally.sent < due:
            _send(probe, producer, tally, began + tally.sent / probe.rate)
        if time.monotonic() - shown >= 1:
            shown = time.monotonic()
            _write_second(tally, curve)
        time.sleep(_TICK)
    producer.flush(timeout=_DELIVERY_MS / 1000)
    producer.close()
    _write_second(tally, curve)
    sent.set()
    watcher.join()


def _watch(probe: Probe, consumer: Any, offsets: Offsets, sent: threading.Event) -> None:
    """Look at the end offsets every second, and once when all is sent; apart, since it may have to wait."""
    from kafka import TopicPartition

    partitions = [TopicPartition(probe.topic, number) for number in range(probe.partitions)]
    while not sent.wait(1):
        offsets.look(consumer, partitions)
    offsets.look(consumer, partitions)
    consumer.close()


def _send(probe: Probe, producer: Any, tally: Tally, due: float) -> None:
    """Send the next record; its latency counts from when it was due, however late it is."""
    number = tally.sent
    tally.sent += 1
    try:
        future = producer.send(probe.topic, probe.value(number))
    except Exception as error:  # it could not even be queued
        tally.fail(number, error)
        return
    future.add_callback(lambda _: tally.ack(number, due))
    future.add_errback(lambda error: tally.fail(number, error))


def _write_second(tally: Tally, curve: TextIO | None) -> None:
    latencies = tally.take_second()
    if curve is not None:
        worst = max(latencies, default=0.0) * 1000
        row = {"time": round(time.time(), 3), "acked": len(latencies), "latency_ms": round(worst, 1)}
        curve.write(json.dumps(row) + "\n")
        curve.flush()


def consume(probe: Probe) -> dict[int, int]:
    """Read the topic from its start and return how often each number of this run came."""
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(
        bootstrap_servers=probe.bootstrap,
        group_id=None,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    partitions = [TopicPartition(probe.topic, number) for number in range(probe.partitions)]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    ends = consumer.end_offsets(partitions)
    found: dict[int, int] = {}
    deadline = time.monotonic() + _CONSUME_LIMIT
    while time.monotonic() < deadline:
        for records in consumer.poll(timeout_ms=500).values():
            for record in records:
                number = probe.number(record.value)
                if number is not None:
                    found[number] = found.get(number, 0) + 1
        if all(consumer.position(partition) >= ends[partition] for partition in partitions):
            break
    consumer.close()
    return found


def report(
    probe: Probe, tally: Tally, offsets: Offsets, found: dict[int, int], seconds: float
) -> dict[str, Any]:
    latencies = sorted(tally.acked.values())
    lost = sorted(set(tally.acked) - set(found))

    def percentile(share: float) -> float:
        return (
            round(latencies[min(int(len(latencies) * share), len(latencies) - 1)] * 1000, 1)
            if latencies
            else 0.0
        )

    return {
        "topic": probe.topic,
        "run": probe.run,
        "seconds": round(seconds, 1),
        "rate": round(len(tally.acked) / seconds, 1) if seconds else 0.0,
        "sent": tally.sent,
        "acked": len(tally.acked),
        "failed": len(tally.failed),
        "failures": sorted(set(tally.failed.values()))[:5],
        "consumed": len(found),
        "lost": len(lost),
        "lost_numbers": lost[:20],
        "duplicates": sum(count - 1 for count in found.values()),
        "longest_gap_s": round(tally.longest_gap, 3),
        "latency_ms": {"p50": percentile(0.5), "p99": percentile(0.99), "max": percentile(1.0)},
        "end_offsets": dict(sorted(offsets.latest.items())),
        "offsets_went_back": offsets.went_back,
    }


def run(probe: Probe, over: Callable[[], bool], curve: TextIO | None = None) -> dict[str, Any]:
    """Make the topic, load it until `over`, read it back, and return the report."""
    tally, offsets = Tally(), Offsets()
    make_topic(probe)
    began = time.monotonic()
    print(json.dumps({"started": probe.run}), file=sys.stderr, flush=True)

    def ended() -> bool:
        return over() or (probe.seconds is not None and time.monotonic() - began >= probe.seconds)

    produce(probe, tally, offsets, ended, curve)
    seconds = time.monotonic() - began
    return report(probe, tally, offsets, consume(probe), seconds)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Load a Kafka cluster and prove that nothing got lost.")
    parser.add_argument("--bootstrap", required=True, metavar="HOST:PORT,…")
    parser.add_argument("--topic", default="stoneware-probe")
    parser.add_argument("--rate", type=float, default=300.0, help="records per second")
    parser.add_argument("--seconds", type=float, help="how long; without it until it is interrupted")
    parser.add_argument("--partitions", type=int, default=3)
    parser.add_argument("--replication", type=int, default=3)
    parser.add_argument("--size", type=int, default=100, help="bytes of a record")
    parser.add_argument("--curve", type=Path, help="file for a JSON line per second")
    return parser.parse_args(arguments)


def main() -> int:
    given = parse()
    probe = Probe(
        given.bootstrap.split(","),
        given.topic,
        given.rate,
        given.seconds,
        given.partitions,
        given.replication,
        given.size,
    )
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    warnings.simplefilter("ignore", DeprecationWarning)  # of asyncio, in the client library
    curve = given.curve.open("w") if given.curve else None
    result = run(probe, stop.is_set, curve)
    if curve is not None:
        curve.close()
    print(json.dumps(result, indent=2))
    return 1 if result["lost"] or result["offsets_went_back"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
