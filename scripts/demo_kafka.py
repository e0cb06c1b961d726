"""The demo's Kafka client: `produce BROKER TEXT,TEXT…` and `consume BROKER GROUP`, on the topic `demo`."""

from __future__ import annotations

import sys

from kafka import KafkaConsumer, KafkaProducer

TOPIC = "demo"


def produce(broker: str, texts: list[str]) -> None:
    """Send messages and wait until the broker has them."""
    producer = KafkaProducer(bootstrap_servers=broker, acks="all")
    for text in texts:
        producer.send(TOPIC, text.encode()).get(timeout=30)
    producer.close()
    sys.stdout.write(f"sent {len(texts)} messages\n")


def consume(broker: str, group: str) -> None:
    """Print all messages from the beginning."""
    consumer = KafkaConsumer(
        TOPIC,
        bootstrap_servers=broker,
        group_id=group,
        auto_offset_reset="earliest",
        consumer_timeout_ms=5000,
    )
    found = [message.value.decode() for message in consumer]
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
