"""The demo's Kafka client: `produce BROKER TEXT,TEXT…` and `consume BROKER GROUP`, on the topic `demo`."""

from __future__ import annotations

import sys
import time

from kafka import KafkaConsumer, KafkaProducer

TOPIC = "demo"
_FIRST = 120.0  # seconds: a broker makes the topic of the groups when the first one asks


def produce(broker: str, texts: list[str]) -> None:
    """Send messages and wait until the broker has them."""
    producer = KafkaProducer(bootstrap_servers=broker, acks="all")
    for text in texts:
        producer.send(TOPIC, text.encode()).get(timeout=30)
    producer.close()
    sys.stdout.write(f"sent {len(texts)} messages\n")


def consume(broker: str, group: str) -> None:
    """Print all messages from the beginning, up to the first second without one."""
    consumer = KafkaConsumer(
        TOPIC,
        bootstrap_servers=broker,
        group_id=group,
        auto_offset_reset="earliest",
    )
    found: list[str] = []
    deadline = time.monotonic() + _FIRST
    while (batch := consumer.poll(timeout_ms=1000)) or (not found and time.monotonic() < deadline):
        found += [message.value.decode() for messages in batch.values() for message in messages]
    consumer.close()
    if not found:
        sys.exit("no message came")
    sys.stdout.write("".join(f"{text}\n" for text in found))


def main() -> None:
    """Do what the command line says."""
    what, broker, words = sys.argv[1:]
    if what == "produce":
        produce(broker, words.split(","))
    else:
        consume(broker, words)


main()
