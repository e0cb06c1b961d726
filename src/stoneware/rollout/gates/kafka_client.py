"""What the Kafka gate reads from brokers, with kafka-python: the only Python client that knows the quorum."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from stoneware.errors import HostError
from stoneware.rollout.gates.availability import KafkaView, Partition, Voter

_REQUEST_MS = 10_000
_MIN_ISR = "min.insync.replicas"


class KafkaClient:
    """An admin client's view of the cluster."""

    def __init__(self, admin: Any) -> None:
        self._admin = admin

    def view(self) -> KafkaView:
        """Return the cluster as it is now."""
        brokers = self._admin.describe_cluster()["brokers"]
        topics = self._admin.describe_topics()
        leader, voters = self._quorum()
        least = self._min_isr([topic["name"] for topic in topics])
        return KafkaView(
            # Before version 2 of this request brokers do not say whether they are fenced.
            brokers={int(item["broker_id"]): bool(item.get("is_fenced", False)) for item in brokers},
            partitions=tuple(_partitions(topics, least)),
            leader=leader,
            voters=voters,
        )

    def _quorum(self) -> tuple[int, dict[int, Voter]]:
        # There is one, the log of the cluster's metadata, with one partition.
        (topic,) = self._admin.describe_metadata_quorum()["topics"]
        (partition,) = topic["partitions"]
        voters = {
            int(item["replica_id"]): Voter(
                int(item["replica_id"]),
                int(item.get("last_caught_up_timestamp", -1)),
                int(item["log_end_offset"]),
            )
            for item in partition["current_voters"]
        }
        return int(partition["leader_id"]), voters

    def _min_isr(self, topics: list[str]) -> dict[str, int]:
        from kafka.admin import ConfigResource, ConfigResourceType

        if not topics:
            return {}
        wanted = [ConfigResource(ConfigResourceType.TOPIC, name, {_MIN_ISR: None}) for name in topics]
        # By default the library leaves out what a topic has from its broker or from Kafka itself.
        found = self._admin.describe_configs(wanted, config_filter="all")["topic"]
        return {name: int(found[name][_MIN_ISR]["value"]) for name in topics if _MIN_ISR in found[name]}


def _partitions(topics: Iterable[Any], least: dict[str, int]) -> Iterator[Partition]:
    for topic in topics:
        for item in topic["partitions"]:
            yield Partition(
                topic=topic["name"],
                number=int(item["partition_index"]),
                leader=int(item["leader_id"]),
                replicas=tuple(item["replica_nodes"]),
                isr=tuple(item["isr_nodes"]),
                min_isr=least.get(topic["name"]),
            )


@contextlib.contextmanager
def connect(servers: str) -> Iterator[KafkaClient]:
    """Connect to the brokers at `host:port,…`. Raises HostError without the library."""
    try:
        from kafka.admin import KafkaAdminClient
    except ImportError as error:
        raise HostError(
            "the kafka gate needs the Python package kafka-python",
            resolution="pip install 'stoneware[kafka]'",
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of asyncio, in the library
        admin = KafkaAdminClient(bootstrap_servers=servers.split(","), request_timeout_ms=_REQUEST_MS)
        try:
            yield KafkaClient(admin)
        finally:
            admin.close()
