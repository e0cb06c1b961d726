"""When a Kafka broker may be taken down: the arithmetic, without a client.

The rules are those of Strimzi's KafkaRoller, which never asks for "no under-replicated partitions": a
partition that cannot be helped by waiting does not block, one that could become unavailable does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import field

from stoneware.dataclass import dataclass

CAUGHT_UP_MS = 2000  # controller.quorum.fetch.timeout.ms


@dataclass(frozen=True)
class Partition:
    """One partition. `min_isr` is the effective min.insync.replicas of its topic, None where unknown."""

    topic: str
    number: int
    leader: int
    replicas: tuple[int, ...]
    isr: tuple[int, ...]
    min_isr: int | None

    @property
    def name(self) -> str:
        """Return `TOPIC-NUMBER`."""
        return f"{self.topic}-{self.number}"


@dataclass(frozen=True)
class Voter:
    """One voter of the metadata quorum; times in milliseconds since the epoch, -1 where unknown."""

    id: int
    last_caught_up: int
    log_end_offset: int = 0


@dataclass(frozen=True)
class KafkaView:
    """A Kafka cluster as its brokers describe it. `leader` is that of the metadata quorum, -1 for none."""

    brokers: Mapping[int, bool]  # id to whether it is fenced
    partitions: tuple[Partition, ...]
    leader: int
    voters: Mapping[int, Voter] = field(default_factory=dict)


def partition_fault(partition: Partition, node: int, down: Collection[int] = ()) -> str:
    """Return why a partition forbids to take a broker down, or nothing. `down` are gone already."""
    least, isr = partition.min_isr, [broker for broker in partition.isr if broker not in down]
    if node not in partition.replicas or least is None or len(partition.replicas) <= least:
        return ""  # not concerned, or no waiting will ever help it
    # Also where the broker is not in sync itself: it may be the first to catch up. As Strimzi has it.
    if len(isr) < least:
        return f"{partition.name} has {len(isr)} replicas in sync, it needs {least}"
    if len(isr) == least and node in isr:
        return f"{partition.name} would fall below its {least} replicas in sync"
    return ""


def partition_faults(partitions: Iterable[Partition], node: int, down: Collection[int] = ()) -> list[str]:
    """Return why partitions forbid to take a broker down."""
    return [fault for fault in (partition_fault(item, node, down) for item in partitions) if fault]


def caught_up(view: KafkaView, within: int = CAUGHT_UP_MS) -> frozenset[int]:
    """Return the voters that are less than `within` milliseconds behind the leader of the quorum."""
    leader = view.voters.get(view.leader)
    if leader is None or leader.last_caught_up < 0:
        return frozenset()
    return frozenset(
        voter.id
        for voter in view.voters.values()
        # -1 is unknown, and so not caught up; as Strimzi has it.
        if voter.last_caught_up >= 0 and leader.last_caught_up - voter.last_caught_up < within
    )


def quorum_fault(view: KafkaView, node: int, down: Collection[int] = (), within: int = CAUGHT_UP_MS) -> str:
    """Return why the metadata quorum forbids to take a voter down, or nothing.

    Of N voters (N + 2) // 2 others have to be caught up: 2 of 3, 3 of 4, 3 of 5. Of two it is the other one.
    """
    if node not in view.voters:
        return ""
    if view.leader not in view.voters:
        return "the metadata quorum has no leader"
    total = len(view.voters)
    # Of one voter no waiting makes two.
    if total == 1:
        return ""
    rest = caught_up(view, within) - {node} - set(down)
    needed = 1 if total == 2 else (total + 2) // 2
    if len(rest) < needed:
        return f"{len(rest)} of the other {total - 1} voters are caught up, {needed} have to be"
    return ""
